"""Runs the works: ours and the peers' in turn, several rounds, each run a process of its own.

    python -m benchmarks [--quick] [--rounds N] [--space KIND] [--no-peers] [work ...]

The order is turned around from round to round, so that neither side always runs on the warmer
machine. A complete run is written to `docs/` (table, plots, raw figures); any run is printed. Above:
the command line. Below: `goals` says what is run and what is to be reached, `summary` what came of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from benchmarks.common import TIME_LIMIT, Figures
from benchmarks.goals import SUBJECTS, Subject
from benchmarks.summary import Results, Verdict, goals_table, judge, works_table
from tests.broker import Broker, BrokerAddress

__all__ = ["main"]

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS: Final = ROOT / ".venv-peers"
REQUIREMENTS: Final = Path(__file__).with_name("peers") / "requirements.txt"
PIP_INSTALL: Final = ("-m", "pip", "--disable-pip-version-check", "-qq", "install")
WORKS: Final = tuple(dict.fromkeys(subject.work for subject in SUBJECTS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; returns 0 also if goals fall short, 1 if a run failed."""
    options = _parse(arguments)
    subjects = [
        subject
        for subject in SUBJECTS
        if subject.work in (options.work or WORKS)
        and (not options.space or subject.space.partition("-")[0] in options.space)
        and not (subject.peer and options.no_peers)
    ]
    peers = None
    if any(subject.peer for subject in subjects) or "growth" in {s.work for s in subjects}:
        peers = None if options.no_peers else peers_environment()
    begin = time.monotonic()
    load = os.getloadavg()[0]
    rounds = options.rounds or (1 if options.quick else 3)
    with broker(needed=any(subject.needs_broker for subject in subjects)) as environment:
        results = run_all(subjects, rounds, environment, peers, quick=options.quick)
    failed = [subject for subject, runs in results.items() if not all(runs)]
    verdicts = judge(results)
    conditions = describe_conditions(
        rounds, peers, load, time.monotonic() - begin, quick=options.quick
    )
    print_report(conditions, results, verdicts)
    complete = set(subjects) == set(SUBJECTS) and not options.quick
    if options.output or complete:
        write_report(options.output or ROOT / "docs", conditions, results, verdicts, peers)
    for subject in failed:
        print(f"FAILED: {subject.work} {subject.space} {subject.name}", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "work", nargs="*", help=f"which; all of them without one: {', '.join(WORKS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that all runs"
    )
    parser.add_argument("--rounds", type=int, help="how often each is run (3; quick: 1)")
    parser.add_argument("--space", action="append", choices=("native", "local", "amqp", "import"))
    parser.add_argument("--no-peers", action="store_true", help="ours only")
    parser.add_argument(
        "--output", type=Path, help="write table, plots and figures here, also of a partial run"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.work) - set(WORKS):
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    return options


# Running


def run_all(
    subjects: Sequence[Subject],
    rounds: int,
    environment: Mapping[str, str],
    peers: Path | None,
    *,
    quick: bool,
) -> Results:
    """Every subject, `rounds` times; those of one work and space stand side by side in time."""
    results: Results = {subject: [] for subject in subjects}
    groups: dict[tuple[str, str], list[Subject]] = {}
    for subject in subjects:
        groups.setdefault((subject.work, subject.space), []).append(subject)
    for number in range(rounds):
        for group in groups.values():
            for subject in group if number % 2 == 0 else reversed(group):
                python = Path(sys.executable) if not subject.peer else peers
                assert python is not None
                figures = run(subject, python, environment, quick=quick)
                print(
                    f"[{number + 1}/{rounds}] {subject.work} {subject.space} {subject.name}: "
                    + ("failed" if figures is None else _short(figures)),
                    file=sys.stderr,
                    flush=True,
                )
                results[subject].append(figures or {})
    return results


def run(
    subject: Subject, python: Path, environment: Mapping[str, str], *, quick: bool
) -> Figures | None:
    """One run in a process of its own; None, and its complaint on standard error, if it failed."""
    command = [str(python), "-m", *subject.command(), *(["--quick"] if quick else [])]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that it and all that it started can be ended together
    )
    try:
        output, complaint = process.communicate(timeout=TIME_LIMIT + 30)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            print(f"{' '.join(command[1:])} did not end", file=sys.stderr)
            return None
        raise
    if process.returncode:
        print(complaint[-4000:], file=sys.stderr)
        return None
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures


def _short(figures: Figures) -> str:
    shown = [f"{name} {value:g}" for name, value in list(figures.items())[:4]]
    return ", ".join(shown) + (", …" if len(figures) > 4 else "")


@contextmanager
def broker(*, needed: bool) -> Iterator[dict[str, str]]:
    """The environment for the runs, with the URL of a private broker, or of the one that it names."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AMQP_")}
    given = BrokerAddress.from_environment(os.environ)
    if not needed:
        yield environment
    elif given is not None:
        yield environment | {"AMQP_URL": given.url()}
    else:
        with Broker() as private:
            yield environment | {"AMQP_URL": private.url()}


def peers_environment() -> Path:
    """The interpreter that has the peers; made and filled if they are not there or others are wanted."""
    python = PEERS / "bin" / "python"
    ready = PEERS / "ready"
    wanted = REQUIREMENTS.read_text()
    if not (ready.exists() and ready.read_text() == wanted):
        print("Setting up .venv-peers ...", file=sys.stderr)
        venv.EnvBuilder(with_pip=True, clear=True).create(PEERS)
        subprocess.run(
            [str(python), *PIP_INSTALL, "-r", str(REQUIREMENTS)],
            check=True,
            timeout=600,
        )
        ready.write_text(wanted)
    return python


# Reporting


def describe_conditions(
    rounds: int, peers: Path | None, load: float, seconds: float, *, quick: bool
) -> str:
    """What the figures depend on; nothing that identifies the machine."""
    versions = [f"{name} {_version(name)}" for name in ("agency-space", "pydantic", "pika")]
    if peers is not None:
        versions.append(", ".join(REQUIREMENTS.read_text().split()).replace("==", " "))
    parts = [
        datetime.now(UTC).date().isoformat(),
        f"{os.cpu_count()} CPUs ({platform.machine()})",
        f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        f"{platform.python_implementation()} {platform.python_version()}",
        "; peers: ".join([", ".join(versions[:3]), *versions[3:]]),
        f"{rounds} round(s){' (quick)' if quick else ''} in {seconds / 60:.0f} minutes",
        f"load average {load:.1f} before",
    ]
    return "; ".join(parts) + "." + (BUSY if load > (os.cpu_count() or 1) / 2 else "")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def print_report(conditions: str, results: Results, verdicts: Sequence[Verdict]) -> None:
    print(conditions)
    print()
    print(works_table(results))
    print()
    print(goals_table(verdicts))
    print()
    print(falls_short(verdicts))


def falls_short(verdicts: Sequence[Verdict]) -> str:
    """The sentence at the end."""
    short = [verdict for verdict in verdicts if verdict.met is False]
    unknown = sum(verdict.met is None for verdict in verdicts)
    text = f"{sum(verdict.met is True for verdict in verdicts)} of {len(verdicts)} goals met"
    if short:
        names = (f"{v.goal.space} {v.goal.work} {v.goal.figure} ({v.goal.bound})" for v in short)
        text += "; fall short: " + ", ".join(names)
    return text + (f"; {unknown} not measured" if unknown else "") + "."


def write_report(
    folder: Path,
    conditions: str,
    results: Results,
    verdicts: Sequence[Verdict],
    peers: Path | None,
) -> None:
    """`benchmarks.md`, `benchmarks.json` and, if the growth work was run, the plots in `images/`."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = {
        "conditions": conditions,
        "runs": [
            {"work": s.work, "space": s.space, "subject": s.name, "rounds": runs}
            for s, runs in results.items()
        ],
    }
    figures = folder / "benchmarks.json"
    figures.write_text(json.dumps(raw, indent=1) + "\n")
    plots: list[str] = []
    if peers is not None and any(subject.work == "growth" for subject in results):
        done = subprocess.run(
            [
                str(peers),
                "-m",
                "benchmarks.plots",
                figures.resolve(),
                (folder / "images").resolve(),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        plots = done.stdout.split()
    pictures = "\n".join(f"![{name[:-4].replace('-', ' ')}](images/{name})" for name in plots)
    text = PAGE.format(
        conditions=conditions,
        short=falls_short(verdicts),
        goals=goals_table(verdicts),
        works=works_table(results),
        pictures=pictures or "Not measured in this run.",
    )
    (folder / "benchmarks.md").write_text(text)
    print(f"written: {folder.name}/benchmarks.md", file=sys.stderr)


BUSY: Final = (
    " **The machine was busy with other work: these figures are noisy, and a verdict may come out"
    " differently on a quiet one.**"
)

PAGE: Final = """# Benchmarks

Written by `make bench`; `benchmarks/README.md` says what each work does. {conditions}

Median (least to greatest) of the rounds. Every run is a process of its own, ours and the peer's in
turn, the order turned around each round. Times vary with the machine and with what else it does, so
compare within a line: the ratio is what counts. Ours always runs as users get it: every message
validated and copied, on AMQP durable, persistent, mandatory, confirmed and acknowledged after the
action. pykka neither checks nor copies; the raw AMQP clients have the same guarantees. FastStream awaits
each publish before the next, which keeps the order, as ours does; `faststream-unordered` has 100 under way
and does not, so it is shown without a goal. Celery and Dramatiq, from four threads, keep no order.

## Goals

{short}

"Reached" is the ratio of ours to the peer's where the goal names a peer, else the figure itself. The
verdict is the median's, "unclear" where single rounds say otherwise. What was tried for a goal that is
not met, and what limits it, stands in [What a message costs](costs.md).

{goals}

## All figures

`busy_foreground`: how much slower while an agent of the application's own process computes in pure
Python; below each the same with an unrelated process computing, which is what the shared cores cost and
no library can win back. `llm_call`: a call that takes 200 ms, through an agent and directly, among 1,000
agents.

{works}

## Cost as the work grows

The medians of the rounds; the shade goes from the least to the greatest. Flat is good. A curve that
ends early ran out of time, but for the depth on AMQP: more than 10,000 messages the server does not
keep for an agent.

Few messages, at the left, share what waking somebody costs. On AMQP the first few hundred go ahead of
the server's confirms, and are with the receiver before it begins; the others wait for the server.
How long memory and times stay flat is for `make soak`, which runs for hours.

{pictures}
"""
