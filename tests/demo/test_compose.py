"""compose.yaml describes what the programs need, as far as that can be seen without a container engine.

Its image is put together in a folder, and its applications run here, with their own settings, beside a broker that is
in no container.
"""

from __future__ import annotations

import http.client
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with Gradio, without types

from agents.models import SETTINGS
from apps.gradio_app import PORT
from tests.broker import BrokerAddress
from tests.demo.conftest import Programs
from tests.demo.tab import address_of
from tests.demo.terminal_program import DEMO, PATIENCE
from tests.demo.test_models import NAMES

ROOT = DEMO.parents[1]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (DEMO / "compose.yaml").read_text(encoding="utf-8")
)["services"]
APPLICATIONS = {"page": "demo_amqp_1.py", "agents": "demo_amqp_2.py"}

pytestmark = pytest.mark.timeout(180)


def test_it_starts_a_broker_and_then_the_two_applications() -> None:
    assert set(SERVICES) == {"rabbitmq", *APPLICATIONS}
    assert SERVICES["rabbitmq"]["image"] == "rabbitmq:4"
    for name, program in APPLICATIONS.items():
        assert SERVICES[name]["command"] == f"python {program}"
        assert SERVICES[name]["depends_on"] == {"rabbitmq": {"condition": "service_healthy"}}
        assert SERVICES[name]["environment"]["AMQP_HOST"] == "rabbitmq"


@pytest.mark.broker
def test_the_broker_is_asked_for_its_health_in_words_that_it_knows(broker: BrokerAddress) -> None:
    if broker.ctl is None:
        pytest.skip("AMQP_URL or AMQP_HOST names a broker that is not ours to control")
    tool, *arguments = shlex.split(SERVICES["rabbitmq"]["healthcheck"]["test"])
    command = [str(Path(broker.ctl).with_name(tool)), *arguments]
    subprocess.run(command, env=dict(broker.env), check=True, timeout=PATIENCE)


def test_only_the_page_is_published_and_to_this_machine_only() -> None:
    published = {name: about["ports"] for name, about in SERVICES.items() if "ports" in about}
    assert published == {"page": [f"127.0.0.1:{PORT}:{PORT}"]}


def test_the_models_have_the_settings_of_the_file_if_there_is_one() -> None:
    (file,) = SERVICES["agents"]["env_file"]
    assert (DEMO / file["path"], file["required"]) == (SETTINGS, False)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The folder in which the programs are in the image. What pip would do there is left out."""
    described = [SERVICES[name]["build"] for name in APPLICATIONS]
    assert described[0] == described[1]
    assert (DEMO / described[0]["context"]).resolve() == ROOT
    folder = tmp_path
    for line in described[0]["dockerfile_inline"].splitlines():
        instruction, *words = shlex.split(line)
        if instruction == "WORKDIR":
            folder = tmp_path / words[0].lstrip("/")
            folder.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            for source in words[:-1]:
                found = list(ROOT.glob(source))
                assert found, f"there is no {source}"
                for one in found:
                    put(one, folder / words[-1])
    return folder


def put(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_the_image_has_all_that_is_installed_and_no_keys(image: Path, tmp_path: Path) -> None:
    project = image.parents[1]
    installed = re.findall(r"pip install .*'\.\[(.*)\]'", str(SERVICES["page"]["build"]))
    assert installed == ["amqp,demo,openai"]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "built"],
        cwd=project,
        check=True,
        timeout=PATIENCE,
    )
    assert len(list(tmp_path.glob("built/*.whl"))) == 1
    assert not list(project.rglob(".env"))


@pytest.mark.broker
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is one loopback address")
def test_the_applications_run_with_these_settings(
    image: Path,
    programs: Programs,
    broker: BrokerAddress,
    amqp: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AMQP_URL")
    where = {
        "AMQP_HOST": broker.host,
        "AMQP_PORT": str(broker.port),
        "AMQP_USERNAME": broker.username,
        "AMQP_PASSWORD": broker.password,
        "AMQP_VHOST": amqp.rpartition("/")[2],
    }
    empty = dict.fromkeys(NAMES, "")  # what Compose makes of .env.example, if it is copied to .env
    settings = {name: about.get("environment", {}) for name, about in SERVICES.items()}
    listening = {"WEB_APP_ADDRESS": "127.0.0.2", "WEB_APP_PORT": "0"}  # not at all addresses
    assert settings["page"].keys() == {"AMQP_HOST", "HOST_APPROVER", "WEB_APP_ADDRESS"}

    agents = programs.start(
        str(image / APPLICATIONS["agents"]),
        PYTHONPATH=str(image),
        **{**empty, **settings["agents"], **where},
    )
    page = programs.start(
        str(image / APPLICATIONS["page"]),
        PYTHONPATH=str(image),
        **{**settings["page"], **where, **listening},
    )
    agents.expect("Guide is in the space")
    address = address_of(page).removeprefix("http://")
    connection = http.client.HTTPConnection("127.0.0.2", int(address.partition(":")[2]))
    connection.request("GET", "/", headers={"Host": address})
    assert connection.getresponse().status == 200
    connection.close()
