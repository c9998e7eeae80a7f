"""The benchmarks' driver: it runs, it compares the right things, and its tables say what was
measured. Nothing here asserts a time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common import percentile
from benchmarks.driver import falls_short
from benchmarks.goals import GOALS, SUBJECTS, UNITS, Goal, Subject
from benchmarks.summary import Results, Spread, goals_table, judge, ratio, shown, works_table

ROOT = Path(__file__).resolve().parents[2]

OURS = Subject("one_way", "native")
PEER = Subject("one_way", "native", "pykka")
FASTER = Goal("one_way", "native", "rate", at_least=1.5, peer="pykka")


def run_driver(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("AMQP_")},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_quick_run_of_one_native_work_ends_and_prints_a_table() -> None:
    done = run_driver("--quick", "--no-peers", "--space", "native", "one_way")

    assert done.returncode == 0, done.stderr
    assert "| one_way | native | messages/s |" in done.stdout
    assert "1 not measured" in done.stdout  # the goal that needs the peer


def test_a_run_can_be_written_to_a_folder(tmp_path: Path) -> None:
    done = run_driver(
        "--quick", "--no-peers", "--space", "native", "--output", str(tmp_path), "round_trip"
    )

    assert done.returncode == 0, done.stderr
    assert "# Benchmarks" in (tmp_path / "benchmarks.md").read_text()
    (run,) = json.loads((tmp_path / "benchmarks.json").read_text())["runs"]
    assert (run["work"], run["space"], run["subject"]) == ("round_trip", "native", "agency")
    assert set(run["rounds"][0]) == {"p50", "p99"}


def test_an_unknown_work_is_refused_by_name() -> None:
    done = run_driver("juggling")

    assert done.returncode == 2
    assert "juggling" in done.stderr


def test_every_goal_belongs_to_a_subject_and_a_peer_that_are_run() -> None:
    subjects = set(SUBJECTS)
    for goal in GOALS:
        assert Subject(goal.work, goal.space) in subjects
        assert Subject(goal.work, goal.space, goal.peer) in subjects


def test_every_subject_names_a_module_that_exists() -> None:
    for subject in SUBJECTS:
        module, _word = subject.command()
        assert (ROOT / Path(*module.split("."))).with_suffix(".py").exists()


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.25, 1), (0.5, 2), (0.51, 3), (0.99, 4), (1.0, 4)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([4, 2, 3, 1], share) == expected


def test_a_spread_is_the_median_and_both_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)


def test_a_spread_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        Spread.of([])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.01234, "0.0123"), (1.2345, "1.23"), (99.96, "100"), (12345.6, "12,300")],
)
def test_three_digits_are_shown(value: float, expected: str) -> None:
    assert shown(value) == expected


def test_a_ratio_is_of_the_medians_and_its_range_is_of_the_rounds() -> None:
    ours = [{"rate": 10.0}, {"rate": 20.0}, {"rate": 30.0}]
    theirs = [{"rate": 5.0}, {"rate": 5.0}, {"rate": 10.0}]

    assert ratio(ours, theirs, "rate") == Spread(4.0, 2.0, 4.0)


def test_a_round_that_failed_is_left_out_of_a_ratio_and_the_others_stay_together() -> None:
    ours = [{}, {"rate": 20.0}, {"rate": 30.0}]
    theirs = [{"rate": 5.0}, {"rate": 5.0}, {"rate": 10.0}]

    assert ratio(ours, theirs, "rate") == Spread(25.0 / 7.5, 3.0, 4.0)


def test_a_ratio_to_a_figure_that_the_peer_lacks_is_none() -> None:
    assert ratio([{"rate_send": 1.0}], [{"rate": 1.0}], "rate_send") is None


@pytest.mark.parametrize(("ours", "met"), [(149.0, False), (150.0, True)])
def test_a_goal_is_judged_by_the_ratio_to_its_peer(ours: float, met: bool) -> None:
    results: Results = {OURS: [{"rate": ours}], PEER: [{"rate": 100.0}]}

    (verdict,) = judge(results, [FASTER])

    assert verdict.met is met


@pytest.mark.parametrize(("value", "met"), [(6.1, False), (6.0, True)])
def test_a_goal_without_a_peer_is_judged_by_the_figure(value: float, met: bool) -> None:
    goal = Goal("one_way", "native", "kib", at_most=6)

    (verdict,) = judge({OURS: [{"kib": value}]}, [goal])

    assert verdict.met is met


def test_a_goal_whose_peer_was_not_run_is_not_measured() -> None:
    (verdict,) = judge({OURS: [{"rate": 1.0}]}, [FASTER])

    assert verdict.met is None
    assert "| not measured |" in goals_table([verdict])


@pytest.mark.parametrize(("second", "clear"), [(90.0, True), (160.0, False)])
def test_a_verdict_on_which_rounds_differ_is_called_unclear(second: float, clear: bool) -> None:
    results: Results = {
        OURS: [{"rate": 100.0}, {"rate": second}],
        PEER: [{"rate": 100.0}, {"rate": 100.0}],
    }

    (verdict,) = judge(results, [FASTER])

    assert verdict.clear is clear
    assert ("unclear" in goals_table([verdict])) is not clear


def test_a_goal_that_is_not_met_points_to_what_limits_it() -> None:
    verdicts = judge({OURS: [{"rate": 1.0}], PEER: [{"rate": 1.0}]}, [FASTER])

    assert "**no**: [what limits it](costs.md)" in goals_table(verdicts)
    assert (ROOT / "docs/costs.md").exists()


def test_a_goal_of_a_work_that_was_not_run_is_left_out() -> None:
    assert judge({}, [FASTER]) == []


def test_the_end_of_the_report_names_what_falls_short() -> None:
    verdicts = judge({OURS: [{"rate": 1.0}], PEER: [{"rate": 1.0}]}, [FASTER])

    assert falls_short(verdicts) == (
        "0 of 1 goals met; fall short: native one_way rate (≥ 1.5 times pykka)."
    )


def test_a_peer_without_a_goal_stands_in_the_table_of_works() -> None:
    (unordered,) = [subject for subject in SUBJECTS if subject.peer == "faststream-unordered"]
    ours = Subject(unordered.work, unordered.space)
    results: Results = {ours: [{"rate": 300.0}], unordered: [{"rate": 200.0}]}

    assert "faststream-unordered" not in {goal.peer for goal in GOALS}
    assert "faststream-unordered 200: 1.5 times" in works_table(results)


def test_every_figure_that_has_a_goal_has_words_for_the_tables() -> None:
    assert {goal.figure for goal in GOALS} <= set(UNITS)


def test_the_table_of_works_puts_the_peer_beside_ours() -> None:
    results: Results = {OURS: [{"rate": 300.0}], PEER: [{"rate": 200.0}]}

    assert works_table(results).splitlines()[2:] == [
        "| one_way | native | messages/s | 300 | pykka 200: 1.5 times |"
    ]
