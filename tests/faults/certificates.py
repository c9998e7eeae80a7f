"""A certificate authority that lives as long as a test: a root, one in between, and servers' certificates.

Made with the `openssl` command, which RabbitMQ's own TLS needs anyway.
"""

from __future__ import annotations

import secrets
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["Authority"]

_CA: Final = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
_SERVER: Final = (
    "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName={names}\n"
)


class Authority:
    """A root that clients trust (`root`), and one below it that signs what servers show."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.root = self._made("root", _CA, by=None, days=30)
        self._made("between", _CA, by="root", days=30)

    def server(self, name: str, *, subjects: str, expired: bool = False) -> tuple[Path, Path]:
        """A server's chain, its own certificate first, and its key.

        Args:
            name: of the files.
            subjects: who the server is, such as `IP:127.0.0.1,DNS:localhost`.
            expired: it was good until yesterday.
        """
        extensions = _SERVER.format(names=subjects)
        leaf = self._made(name, extensions, by="between", days=-1 if expired else 30)
        chain = self._folder / f"{name}-chain.pem"
        chain.write_bytes(leaf.read_bytes() + (self._folder / "between.pem").read_bytes())
        return chain, self._folder / f"{name}.key"

    def _made(self, name: str, extensions: str, *, by: str | None, days: int) -> Path:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        request, details = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        details.write_text(extensions)
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        self._openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        signer: list[str | Path] = ["-signkey", key]
        if by is not None:
            signer = ["-CA", self._folder / f"{by}.pem", "-CAkey", self._folder / f"{by}.key"]
            signer += ["-set_serial", str(secrets.randbits(64))]
        self._openssl(
            *("x509", "-req", "-in", request, "-out", certificate, "-extfile", details),
            *("-days", str(days), *signer),
        )
        return certificate

    def _openssl(self, *arguments: str | Path) -> None:
        done = subprocess.run(
            ["openssl", *arguments], capture_output=True, text=True, cwd=self._folder, check=False
        )
        assert done.returncode == 0, done.stderr
