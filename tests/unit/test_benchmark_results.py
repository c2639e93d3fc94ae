"""Results of the benchmark beside those that were committed: what is compared, and what counts as slower."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.committed import RESULTS, changes, comparison_lines, last_committed
from benchmarks.hardware import Hardware

HERE = Hardware("a processor", 2, 24, "Linux", {"torch": "2.13.0"}, "abc")
ELSEWHERE = replace(HERE, processor="another processor")


def result(
    evals: tuple[float, ...], generate: tuple[float, ...], time: str = "2026-01-01", **values: Any
) -> dict[str, Any]:
    lines = [
        {"contender": name, "rounds": list(rounds), "seconds": min(rounds), "rows": rows, "problem": None}
        for name, rounds, rows in (("evals", evals, 64), ("generate-32", generate, 64), ("generate-1", generate, 16))
    ]
    return {
        "time": time,
        "hardware": HERE.to_dict(),
        "workloads": [{"workload": "W1", "rows": 64, "contenders": lines}],
        **values,
    }


def verdicts(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [change.verdict for change in changes(then, now)]


def test_a_machine_that_is_slower_today_changes_nothing() -> None:
    then = result((10, 11, 10.5), (20, 22, 21))
    assert verdicts(then, result((15, 16.5, 16), (30, 33, 32))) == [""]


def test_rounds_that_overlap_change_nothing() -> None:
    then = result((10, 12, 11), (20, 20, 20))
    assert verdicts(then, result((12, 13, 14), (20, 20, 20))) == [""]


def test_slower_in_every_round_is_slower_and_the_other_way_round() -> None:
    then, now = result((10, 10.2, 10.1), (20, 20, 20)), result((12, 12.2, 12.1), (20, 20, 20))
    assert verdicts(then, now) == ["slower"]
    assert verdicts(now, then) == ["faster"]
    (change,) = changes(then, now)
    assert change.ratio == pytest.approx(10.1 / 12.1)
    said = comparison_lines(then, now, "then.json")
    assert said[-1] == "slower by more than runs differ: W1, 64 rows"
    assert "-17%" in "\n".join(said)


def test_one_round_says_nothing_of_how_much_runs_differ() -> None:
    assert verdicts(result((10,), (20,)), result((11.5,), (20,))) == [""]
    assert verdicts(result((10,), (20,)), result((13,), (20,))) == ["slower"]


def test_other_rows_contenders_that_did_a_part_and_failures_are_not_compared() -> None:
    then = result((10,), (20,))
    other = result((10,), (20,))
    other["workloads"][0]["rows"] = 16
    assert changes(then, other) == []
    assert comparison_lines(then, other, "then.json")[-1] == "nothing was measured in both"
    failed = result((10,), (20,))
    failed["workloads"][0]["contenders"][1]["problem"] = "out of memory"
    assert changes(then, failed) == []
    failed["workloads"][0]["contenders"][0]["problem"] = "out of memory"
    assert changes(failed, then) == []


def test_the_newest_of_such_a_machine_is_taken_else_the_newest_of_any(tmp_path: Path) -> None:
    def write(name: str, hardware: Hardware, time: str) -> None:
        data = result((1,), (2,), time, hardware=hardware.to_dict())
        (tmp_path / name).write_text(json.dumps(data))

    assert last_committed(HERE, folder=tmp_path) is None
    write("c.json", ELSEWHERE, "2026-03-01")
    assert last_committed(HERE, folder=tmp_path)[0].name == "c.json"  # type: ignore[index]  # None is a failure
    write("a.json", HERE, "2026-01-01")
    write("b.json", HERE, "2026-02-01")
    write("d-short.json", HERE, "2026-04-01")
    (tmp_path / "other.json").write_text('{"table": []}')
    found, data = last_committed(HERE, folder=tmp_path)  # type: ignore[misc]  # as above
    assert (found.name, data["time"]) == ("b.json", "2026-02-01")
    assert last_committed(HERE, short=True, folder=tmp_path)[0].name == "d-short.json"  # type: ignore[index]  # as above


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(ValueError, match=r"broken\.json is not a result"):
        last_committed(HERE, folder=tmp_path)


def test_seconds_of_another_machine_are_said_to_be_so() -> None:
    then = result((10,), (20,), hardware=ELSEWHERE.to_dict())
    assert "seconds are of another machine" in comparison_lines(then, result((10,), (20,)), "then.json")


def test_what_is_committed_can_be_read() -> None:
    last_committed(HERE, folder=RESULTS)
    last_committed(HERE, short=True, folder=RESULTS)
