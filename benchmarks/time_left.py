"""How good the time left is that a run tells: predicted against what it took.

    python -m benchmarks.time_left [--model smollm2] [--workload W1] [--keep FOLDER]

Runs workloads once, as a user would, and records with times what the estimate is told: requests sent, begun and finished, and what
the engine accounts for. Then the record is replayed with its own clock, and the estimate is asked after 10, 25, 50 and 75 % of the
time from the first forward to the last answer. What the engine sets up before its first forward is told apart: it is announced as what it
is, and no estimate covers it. ``--keep`` leaves the records in a folder; ``--replay FILE`` reads one instead of running anything.

The exit status is 1 where an estimate after a tenth of the run is off by more than a third.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evals_run import write_suite
from benchmarks.job import Job
from benchmarks.process import watch
from benchmarks.workloads import NAMES, ROOT, make_workload
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.remaining_work import RemainingWork

SHARES = (0.1, 0.25, 0.5, 0.75)
CHECKED = 0.1
"""The share of the run after which the estimate is checked."""
MOST_OFF = 1 / 3
RECORD = "EVALS_TIME_LEFT_RECORD"
_TIMEOUT = 1800.0

Event = tuple[float, str, Any]
"""When, which method of the estimate, and with what. The first event is of no method: it has the rows of the largest batch and the device."""


# -- As a plugin of the run that is recorded.


def pytest_configure() -> None:
    """Write down what the estimate is told."""
    path = os.environ.get(RECORD)
    if path is None:
        return
    file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    plain: dict[str, Callable[[Any], Any]] = {
        "sent": lambda requests: [request.to_dict() for request in requests],
        "started": list,
        "finished": Result.to_dict,
        "report": dict,
    }

    def recorded(name: str, told: Callable[..., None]) -> Callable[..., None]:
        def tell(self: RemainingWork, what: Any, *rest: Any) -> None:
            file.write(json.dumps([time.monotonic(), name, plain[name](what)]) + "\n")
            file.flush()
            told(self, what, *rest)

        return tell

    for name in plain:
        setattr(RemainingWork, name, recorded(name, getattr(RemainingWork, name)))


# -- The record, read with a clock of its own.


@dataclass(frozen=True, slots=True)
class Told:
    """What was told after a ``share`` of the run: seconds left, and what they were. ``seconds`` is `None` where nothing was told."""

    share: float
    seconds: float | None
    true: float

    @property
    def off(self) -> float | None:
        """How far the estimate is from the truth, as a share of it."""
        return None if self.seconds is None else self.seconds / self.true - 1


def read_events(file: Path) -> list[Event]:
    """Return the events of a record."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [(when, name, what) for when, name, what in map(json.loads, lines)]


def span(events: Sequence[Event]) -> tuple[float, float, float]:
    """Return when the first request was sent, when the first forward began, and when the last answer came."""
    sent = next(when for when, name, _ in events if name == "sent")
    begun = next(when for when, name, _ in events if name == "started")
    first = next(
        (what["device_seconds"] for _, name, what in events if name == "report" and "device_seconds" in what), 0.0
    )
    return sent, max(sent, begun - first), max(when for when, name, _ in events if name == "finished")


def replayed(events: Sequence[Event], shares: Sequence[float] = SHARES) -> list[Told]:
    """Return what the estimate tells after each of ``shares``, when it hears ``events`` at their times."""
    _, start, end = span(events)
    rows, device = next(what for _, name, what in events if name == "engine")
    work, found, left = RemainingWork(), [], list(shares)
    for when, name, what in events:
        while left and when > start + left[0] * (end - start):
            share = left.pop(0)
            now = start + share * (end - start)
            found.append(Told(share, work.seconds_left(rows, now, device), end - now))
        if name == "sent":
            work.sent(map(Request.from_dict, what))
        elif name == "started":
            work.started(what, when)
        elif name == "finished":
            work.finished(Result.from_dict(what), when)
        elif name == "report":
            work.report(what, when)
    return found


def record(name: str, model: str, file: Path) -> None:
    """Run a workload and leave its record in ``file``."""
    job = Job(model, make_workload(name).rows)
    options = "&template=none" if job.scored else ""
    spec = f"{model}{'&' if '?' in model else '?'}dtype=fp32{options}"
    with tempfile.TemporaryDirectory(prefix="evals-time-left-") as folder:
        write_suite(Path(folder), job)
        command = [*(sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.time_left", "--evals", "test_workload.py")]
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths, RECORD: str(file)}
        watch([*command, "--evals-model", spec, "--evals-artifact", "run.jsonl"], Path(folder), environment, _TIMEOUT)
        summary = json.loads((Path(folder) / "run.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    used = summary["throughput"]["models"][0]
    file.write_text(
        f"{json.dumps([0.0, 'engine', [used['rows'], used['device']]])}\n{file.read_text(encoding='utf-8')}",
        encoding="utf-8",
    )


def report(name: str, events: Sequence[Event]) -> bool:
    """Print what was told against what it was; return whether the estimate after a tenth is good enough."""
    sent, start, end = span(events)
    print(f"{name}: set up in {start - sent:.1f} s, computed in {end - start:.1f} s")
    good = True
    for told in replayed(events):
        shown = "nothing" if told.seconds is None else f"{told.seconds:6.1f} s"
        off = "" if told.off is None else f"{told.off:+.0%}"
        print(f"  after {told.share:4.0%}: told {shown}, was {told.true:6.1f} s  {off}")
        if told.share == CHECKED:
            good = told.off is not None and abs(told.off) <= MOST_OFF
    return good


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.time_left", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--workload", action="append", choices=NAMES, help="default: W1 and W5")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--replay", type=Path, metavar="FILE", action="append", default=[])
    asked = parser.parse_args(arguments)
    good = True
    for file in asked.replay:
        good &= report(file.stem, read_events(file))
    with tempfile.TemporaryDirectory(prefix="evals-time-left-") as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in () if asked.replay else asked.workload or ("W1", "W5"):
            file = folder / f"{name}.jsonl"
            record(name, asked.model, file)
            good &= report(name, read_events(file))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
