"""The results that are committed in ``benchmarks/results``, and whether a run is slower than the last of them.

A machine is not as fast today as it was yesterday. So what counts is how many times faster evals is than others in the same
run, round by round. It is slower where even the best round of now is worse than the worst of then, and the middle ones differ
by more than `NOISE`. Seconds are shown beside it.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.hardware import Hardware
from benchmarks.workloads import ROOT

RESULTS = ROOT / "benchmarks" / "results"
NOISE = 0.05
"""The share by which the middle of the rounds may differ."""
ONE_ROUND_NOISE = 0.2
"""The same, where either result has fewer than two rounds, which say nothing of how much runs differ."""


@dataclass(frozen=True, slots=True)
class Change:
    """How many times faster evals was than ``rival`` on a workload, in each round: ``then`` and ``now``."""

    workload: str
    rival: str
    then: tuple[float, ...]
    now: tuple[float, ...]
    seconds_then: float
    seconds_now: float

    @property
    def ratio(self) -> float:
        """How the middle of the rounds changed: 0.9 is a tenth slower than before."""
        return statistics.median(self.now) / statistics.median(self.then)

    @property
    def verdict(self) -> str:
        """``slower``, ``faster`` or nothing."""
        noise = NOISE if min(len(self.now), len(self.then)) > 1 else ONE_ROUND_NOISE
        if max(self.now) < min(self.then) and self.ratio < 1 - noise:
            return "slower"
        return "faster" if min(self.now) > max(self.then) and self.ratio > 1 + noise else ""


def last_committed(
    hardware: Hardware, *, short: bool = False, folder: Path = RESULTS
) -> tuple[Path, Mapping[str, Any]] | None:
    """Return the newest result of such a machine, else the newest of any, else `None`; of short runs or of whole ones.

    Raises `ValueError` for a file that is no result, with its name.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if "workloads" not in data or path.stem.endswith("-short") != short:
                continue  # another benchmark's, or the other size's
            same = hardware.same_machine(Hardware.from_dict(data["hardware"]))
            found.append((same, data["time"], path, data))
        except (KeyError, TypeError, ValueError) as error:
            message = f"{path} is not a result of this benchmark: {error!r}"
            raise ValueError(message) from error
    if not found:
        return None
    _, _, path, data = max(found, key=lambda one: one[:2])
    return path, data


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return what both measured: each workload of as many rows, against each contender that did all of them."""
    before = {key: (ratios, seconds) for key, ratios, seconds in _ratios(then)}
    return [
        Change(*key, then=before[key][0], now=ratios, seconds_then=before[key][1], seconds_now=seconds)
        for key, ratios, seconds in _ratios(now)
        if key in before
    ]


def _ratios(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], tuple[float, ...], float]]:
    """Yield workload and rival, how many times faster evals was in each round, and the seconds of evals."""
    for workload in result["workloads"]:
        lines = {line["contender"]: line for line in workload["contenders"] if line["rounds"] and not line["problem"]}
        own = lines.pop("evals", None)
        if own is None:
            continue
        title = f"{workload['workload']}, {workload['rows']} rows"
        for name, line in lines.items():
            if line["rows"] == own["rows"]:
                # Rounds alternate, so that those of one number ran one after the other.
                pairs = zip(line["rounds"], own["rounds"], strict=False)
                yield (title, name), tuple(other / mine for other, mine in pairs), own["seconds"]


def comparison_lines(then: Mapping[str, Any], now: Mapping[str, Any], source: str) -> list[str]:
    """Return the table of then and now, and a sentence on what got slower."""
    hardware = Hardware.from_dict(then["hardware"])
    found = changes(then, now)
    title = f"beside {source}, of {then['time'][:10]}: {hardware.described()}"
    if not found:
        return ["", title, "nothing was measured in both"]
    other = [] if hardware.same_machine(Hardware.from_dict(now["hardware"])) else ["seconds are of another machine"]
    headers = ["", "against", "evals s", "before", "times faster", "before", "change", ""]
    rows = [
        [
            change.workload,
            change.rival,
            f"{change.seconds_now:,.1f}",
            f"{change.seconds_then:,.1f}",
            _range(change.now),
            _range(change.then),
            f"{change.ratio - 1:+.0%}",
            change.verdict,
        ]
        for change in found
    ]
    aligned = ["left", "left", *["right"] * 5, "left"]
    table = tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=aligned).splitlines()
    return ["", title, *other, *table, _slower(found)]


def _range(ratios: Sequence[float]) -> str:
    middle = f"{statistics.median(ratios):.2f}x"
    return middle if len(ratios) < 2 else f"{middle} ({min(ratios):.2f} to {max(ratios):.2f})"


def _slower(found: Sequence[Change]) -> str:
    slower = sorted({change.workload for change in found if change.verdict == "slower"})
    if not slower:
        return "nothing got slower by more than runs differ"
    return f"slower by more than runs differ: {', '.join(slower)}"
