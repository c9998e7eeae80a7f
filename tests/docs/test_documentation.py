"""What the documentation shows is true: its Python runs, prints what the page says, and its links lead somewhere.

The Python blocks of a page are one program, run in order. On the line before a block,

    <!-- fragment -->         means that it is compiled only, with what surrounds it left out
    <!-- needs: broker -->    means that it is run with the RabbitMQ of the tests

A block of `text` right after a block of Python is what that one prints.
"""

from __future__ import annotations

import ast
import re
import textwrap
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker import BrokerAddress
from tests.programs import Program

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]*)(#[^)]*)?\)")
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    mark: str
    language: str
    code: str
    line: int
    """Of the code's first line in the page."""

    @property
    def runs(self) -> bool:
        return self.language == "python" and self.mark != "fragment"


@dataclass
class Page:
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def blocks(self) -> list[Block]:
        return [
            Block(
                found["mark"] or "",
                found["language"],
                textwrap.dedent(found["code"]),
                self.text.count("\n", 0, found.start("code")) + 1,
            )
            for found in FENCE.finditer(self.text)
        ]

    @property
    def needs_broker(self) -> bool:
        return any(block.mark == "needs: broker" for block in self.blocks)

    def program(self, *, broker: bool) -> str:
        """The page's blocks as one program, each at the lines where it stands, so that tracebacks are right."""
        lines: list[str] = []
        for block in self.blocks:
            if block.runs and (broker or not block.mark):
                lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
        return "\n".join(lines) + "\n"

    def printed(self, *, broker: bool) -> list[str]:
        """What the page says that its blocks print."""
        pairs = zip(self.blocks, self.blocks[1:], strict=False)
        return [
            shown.code
            for block, shown in pairs
            if block.runs and (broker or not block.mark) and shown.language == "text"
        ]

    def run(self, folder: Path, env: dict[str, str], *, broker: bool) -> None:
        program = folder / f"{self.path.stem}.py"
        program.write_text(self.program(broker=broker), encoding="utf-8")
        with Program("-W", "error", program, env=env, cwd=folder) as running:
            status = running.end()
        assert status == 0, running.output
        position = 0
        for shown in self.printed(broker=broker):
            assert shown in running.output[position:], f"not printed: {shown}\n{running.output}"
            position = running.output.index(shown, position) + len(shown)


def pages(*, broker: bool = False) -> list[object]:
    every = [Page(path) for path in PAGES]
    return [pytest.param(page, id=str(page)) for page in every if not broker or page.needs_broker]


@pytest.mark.parametrize("page", pages())
def test_the_python_of_a_page_runs(page: Page, tmp_path: Path) -> None:
    page.run(tmp_path, {}, broker=False)


@pytest.mark.broker
@pytest.mark.parametrize("page", pages(broker=True))
def test_the_python_of_a_page_runs_with_a_broker(
    page: Page, tmp_path: Path, broker: BrokerAddress
) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    vhost = f"docs-{uuid.uuid4().hex}"
    broker.rabbitmqctl("add_vhost", vhost)
    broker.rabbitmqctl("set_permissions", "--vhost", vhost, broker.username, ".*", ".*", ".*")
    page.run(tmp_path, {"AMQP_URL": broker.url(vhost)}, broker=True)


@pytest.mark.parametrize("page", pages())
def test_the_fragments_of_a_page_are_python(page: Page) -> None:
    for block in page.blocks:
        if block.mark == "fragment":
            ast.parse(block.code)


@pytest.mark.parametrize("page", pages())
def test_a_page_marks_its_blocks_in_a_known_way(page: Page) -> None:
    marks = {block.mark for block in page.blocks}
    assert marks <= {"", "fragment", "needs: broker"}
    assert page.text.count("```python") == sum(block.language == "python" for block in page.blocks)


@pytest.mark.parametrize("page", pages())
def test_the_links_of_a_page_lead_to_files_and_headings(page: Page) -> None:
    broken = []
    for target, anchor in LINK.findall(FENCE.sub("", page.text)):
        file = (page.path.parent / target).resolve() if target else page.path
        if not file.exists() or (anchor and anchor[1:] not in anchors(file)):
            broken.append(target + anchor)
    assert broken == []


def anchors(file: Path) -> set[str]:
    """The anchors that the headings of a page get where Markdown is shown."""
    headings = re.findall(
        r"^#+ (.*)$", FENCE.sub("", file.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }
