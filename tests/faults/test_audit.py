"""The audit log: no action on request without its record, whatever happens to the file."""

from __future__ import annotations

import json
import os
import random
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from agency import ActionError, ActionNotPermitted, LocalSpace, Space, digest
from agency.audit import AuditLog
from tests.faults.conftest import MakeSpace
from tests.faults.members import Guarded
from tests.programs import Program

pytestmark = pytest.mark.timeout(180)

PROGRAM = Path(__file__).parent / "programs" / "decides.py"
ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    path = tmp_path / "effects"
    path.touch()
    return path


def records(path: Path) -> list[dict[str, Any]]:
    """What stands in the log; lines that were cut off are none."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def numbers(path: Path) -> list[int]:
    return [record["message"]["action"]["args"]["number"] for record in records(path)]


def act(space: Space, wish: str, **args: Any) -> None:
    """Ask "guarded" as somebody, on behalf of nobody else."""
    me = space.join()
    try:
        me.proxy("guarded").act(wish=wish, **args)
    finally:
        space.remove(me)


def test_every_decision_is_recorded_before_it_takes_effect(
    make_space: MakeSpace, audit: Path, effects: Path
) -> None:
    space = make_space(audit=audit)
    space.add(Guarded, "guarded", audit, effects)
    space.add(Guarded, "impatient", audit, effects, permission_timeout=0.5)
    me = space.join("me")
    outcomes = {
        "granted": ("permitted", "request_permission returned True"),
        "refused": ("refused", "request_permission returned False"),
        "almost granted": ("refused", "request_permission returned a str"),
        "broken": ("refused", "request_permission raised RuntimeError: nobody is here"),
        "not decided": ("refused", "no answer within 0.5 seconds"),
    }
    askers = ["impatient" if wish == "not decided" else "guarded" for wish in outcomes]
    for number, (wish, asker) in enumerate(zip(outcomes, askers, strict=True)):
        expected: AbstractContextManager[object] = (
            nullcontext() if wish == "granted" else pytest.raises(ActionNotPermitted)
        )
        with expected:
            me.proxy(asker).act(wish=wish, number=number)
    found = records(audit)
    assert [(one["decision"], one["why"]) for one in found] == list(outcomes.values())
    for number, (wish, asker, record) in enumerate(zip(outcomes, askers, found, strict=True)):
        assert record["by"] == asker
        assert record["senders"] == ["me"]
        assert record["message"]["from"] == "me"
        assert record["message"]["to"] == asker
        assert record["message"]["action"] == {
            "name": "act",
            "args": {"wish": wish, "number": number},
        }
        assert record["digest"] == digest(record["message"])
    assert effects.read_text() == "0 True\n"


def test_what_cannot_be_recorded_is_refused_and_nothing_else_is(
    make_space: MakeSpace, audit: Path, effects: Path
) -> None:
    audit.symlink_to("/dev/full")
    space = make_space(audit=audit)
    space.add(Guarded, "guarded", os.devnull, effects)
    me = space.join("me")
    for _ in range(2):
        with pytest.raises(ActionNotPermitted) as refusal:
            me.proxy("guarded").act(wish="granted", number=1)
        assert str(refusal.value) == '"guarded.act" not permitted: the audit log cannot be written'
        assert me.proxy("guarded").ping() == "pong"
    assert effects.read_text() == ""
    audit.unlink()
    me.proxy("guarded").act(wish="granted", number=2)
    assert numbers(audit) == [2]
    assert effects.read_text() == "2 False\n"  # it looks elsewhere


def test_a_log_that_cannot_be_opened_is_an_error_at_once(
    make_space: MakeSpace, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="missing"):
        make_space(audit=tmp_path / "missing" / "audit.jsonl")


def test_nobody_else_can_read_the_log(make_space: MakeSpace, audit: Path) -> None:
    make_space(audit=audit)
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600


def test_what_needs_no_permission_is_not_recorded(
    make_space: MakeSpace, audit: Path, effects: Path
) -> None:
    space = make_space(audit=audit)
    space.add(Guarded, "guarded", audit, effects)
    guarded = space.join("me").proxy("guarded")
    assert guarded.ping() == "pong"
    for call in (guarded.forbidden, guarded.act):
        with pytest.raises(ActionError):
            call()
    assert audit.read_bytes() == b""


def test_many_processes_write_to_one_log_and_no_record_is_broken(
    audit: Path, effects: Path
) -> None:
    with LocalSpace(audit=audit) as space:
        agents = [f"guarded-{number}" for number in range(4)]
        for id in agents:
            space.add(Guarded, id, audit, effects)
        me = space.join("me")

        def ask(number: int) -> None:
            me.proxy(agents[number % 4]).act(
                wish="granted", number=number, load="x" * (number % 7 * 5_000)
            )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(200)))
    assert sorted(numbers(audit)) == list(range(200))
    assert audit.read_bytes().count(b"\n") == 200
    assert sorted(effects.read_text().splitlines()) == sorted(f"{n} True" for n in range(200))


def test_a_record_after_one_that_was_cut_off_stands_on_a_line_of_its_own(
    make_space: MakeSpace, audit: Path, effects: Path
) -> None:
    space = make_space(audit=audit)
    space.add(Guarded, "guarded", audit, effects)
    act(space, "granted", number=1)
    for number, torn in ((2, b'{"time": "2026-01-31T12'), (3, b"{"), (4, b'{"a": 1}')):
        with audit.open("ab") as other:
            other.write(torn)
        act(space, "granted", number=number)
    assert [one for one in records(audit) if "message" in one] == records(audit)
    assert numbers(audit) == [1, 2, 3, 4]


def test_of_all_that_was_done_until_a_kill_there_is_a_record(
    audit: Path, effects: Path, seed: random.Random
) -> None:
    first = 0
    for _ in range(5):
        with Program(PROGRAM, audit, effects, str(first), env=ENVIRONMENT) as program:
            for _ in range(seed.randrange(1, 20)):
                program.wait_for("acted")
            program.kill()
        first += 100_000
    done = [line.split() for line in effects.read_text().splitlines()]
    assert len({number for number, _ in done}) == len(done) >= 5
    assert {was_recorded for _, was_recorded in done} == {"True"}
    recorded = numbers(audit)
    assert len(set(recorded)) == len(recorded)
    assert {int(number) for number, _ in done} <= set(recorded)
    assert len(recorded) - len(done) <= 5  # permitted, and killed before it could have an effect


def test_when_the_disk_is_full_in_the_middle_of_a_record_it_is_refused(
    audit: Path, effects: Path
) -> None:
    arguments = PROGRAM, audit, effects, "0", "120000"  # room for two records and a part
    with Program(*arguments, env=ENVIRONMENT) as program:
        program.wait_for("not permitted: the audit log cannot be written")
        program.wait_for("acted 3")
        program.kill()
    assert numbers(audit)[:3] == [0, 1, 3]
    assert b'"number": 2' in audit.read_bytes()
    assert effects.read_text().startswith("0 True\n1 True\n3 True\n")


def test_a_log_that_was_moved_away_is_made_anew(
    make_space: MakeSpace, audit: Path, effects: Path
) -> None:
    space = make_space(audit=audit)
    space.add(Guarded, "guarded", audit, effects)
    for number in range(3):
        act(space, "granted", number=number)
        audit.rename(audit.with_suffix(f".{number}"))
    act(space, "granted", number=3)
    audit.rename(audit.with_suffix(".3"))
    audit.touch(0o640)  # as `logrotate` does with `create`
    act(space, "granted", number=4)
    kept = [numbers(audit.with_suffix(f".{number}")) for number in range(4)]
    assert [*kept, numbers(audit)] == [[0], [1], [2], [3], [4]]
    assert effects.read_text().count("True") == 5


def test_a_log_of_a_hundred_megabytes_is_only_appended_to(audit: Path) -> None:
    size = 100_000_000
    with audit.open("wb") as file:
        file.truncate(size - 1)
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    log = AuditLog(audit)
    log.record({"to": "x"}, "sha256:0", permitted=True, why="it may", by="x", senders=["me"])
    log.close()
    with audit.open("rb") as file:
        file.seek(size)
        assert json.loads(file.read())["message"] == {"to": "x"}
        file.seek(0)
        assert file.read(4096) == bytes(4096)
