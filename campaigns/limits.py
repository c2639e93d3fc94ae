"""Whether everything that reads texts does so in time that grows as the text does: hostile texts of up to 10 MB.

    python -m campaigns.limits                  every reader, about an hour
    python -m campaigns.limits number fences    those whose names begin so
    python -m campaigns.limits --megabytes 1    up to a smaller size

Each reader gets each text in two small sizes. Those texts for which its time grew most, and those that took longest, then get
larger and larger, and with each size fewer of them. The table has, of each reader, the text that took longest, seconds by size, and the
exponent of its growth over the largest sizes: 1 is linear, 2 is quadratic. A row is marked with ``!`` where the limit was exceeded. The
exit status is 1 when there is such a row. `campaigns.hostile_sizes` has texts and readers.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from campaigns.hostile_sizes import Reader, readers, run, texts

SMALL = (2_000, 8_000)
LARGE = (32_000, 128_000, 500_000, 2_000_000, 10_000_000)
SUSPECTS = (4, 4, 2, 1, 1)
"""Texts that are tried in each large size, of those with the largest growth and of those with the longest time."""
NOISE = 0.004
"""Seconds below which nothing is said of growth."""


@dataclass
class Curve:
    """How long a reader took for one kind of text, by its size. ``over``: the last size took longer than the limit."""

    text: str
    seconds: dict[int, float] = field(default_factory=dict)
    over: bool = False

    @property
    def longest(self) -> float:
        """The seconds of the largest text."""
        return max(self.seconds.values(), default=0.0)

    @property
    def growth(self) -> float:
        """The exponent of the growth over the last two sizes that took a noticeable time, 1 where none did."""
        told = [(size, seconds) for size, seconds in self.seconds.items() if seconds > NOISE]
        if len(told) < 2:
            return 1.0
        (size, seconds), (larger, longer) = told[-2:]
        return math.log(longer / seconds) / math.log(larger / size)


def _work(reader: Reader, wanted: Sequence[tuple[str, int]], channel: Connection) -> None:
    """Read texts in a process of its own; say before each that it begins, and after it how long it took."""
    made = dict(texts())
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123 - the null device
        for name, size in wanted:
            text = made[name](size)
            channel.send(None)
            started = time.perf_counter()
            run(reader, text)
            channel.send(time.perf_counter() - started)
    channel.close()


def measured(reader: Reader, wanted: Sequence[tuple[str, int]], limit: float) -> Iterator[tuple[str, int, float]]:
    """Yield name, size and seconds of each text; infinite ones for a text that took longer than ``limit``."""
    context = multiprocessing.get_context("fork")
    left = list(wanted)
    while left:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(reader, left, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            while left:
                ours.recv()
                seconds = ours.recv() if ours.poll(limit) else math.inf
                yield (*left.pop(0), seconds)
                if seconds == math.inf:
                    break
        except EOFError:
            # It ended: out of memory, or a crash of the interpreter.
            yield (*left.pop(0), math.inf)
        finally:
            process.kill()
            process.join()
            ours.close()


def grown(reader: Reader, limit: float, largest: int, names: Iterable[str]) -> list[Curve]:
    """Return the curves of a reader: of all texts in small sizes, of those that are suspect up to ``largest``."""
    curves = {name: Curve(name) for name in names}
    small = [(name, size) for name in curves for size in SMALL]
    for name, size, seconds in measured(reader, small, limit):
        _note(curves[name], size, seconds)
    left = list(curves.values())
    for size, number in zip(LARGE, SUSPECTS, strict=True):
        if size > largest:
            break
        left = suspects([curve for curve in left if not curve.over], number)
        for name, _, seconds in measured(reader, [(curve.text, size) for curve in left], limit):
            _note(curves[name], size, seconds)
    return list(curves.values())


def suspects(curves: Sequence[Curve], number: int) -> list[Curve]:
    """Return the ``number`` of curves that took longest, and as many that grew most."""
    by_time = sorted(curves, key=lambda curve: curve.longest, reverse=True)[:number]
    by_growth = sorted(curves, key=lambda curve: curve.growth, reverse=True)[:number]
    return list({curve.text: curve for curve in (*by_time, *by_growth)}.values())


def _note(curve: Curve, size: int, seconds: float) -> None:
    curve.over = curve.over or seconds == math.inf
    if seconds != math.inf:
        curve.seconds[size] = seconds


def _row(name: str, curve: Curve) -> str:
    sizes = (*SMALL, *LARGE)
    cells = [f"{curve.seconds[size]:9.3f}" if size in curve.seconds else f"{'-':>9}" for size in sizes]
    mark = "!" if curve.over else " "
    return f"{mark} {name:26.26} {curve.text:22.22} {' '.join(cells)}  {curve.growth:4.1f}"


def worst(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves to show: all that were over the limit, else the one that took longest for the largest size."""
    over = [curve for curve in curves if curve.over]
    return over or [max(curves, key=lambda curve: (max(curve.seconds, default=0), curve.longest))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--megabytes", type=float, default=10, help="the largest text (default: 10)")
    parser.add_argument("--seconds", type=float, default=60, help="the limit for one text (default: 60)")
    given = parser.parse_args(arguments)
    found: Mapping[str, Reader] = readers()
    chosen = {
        name: reader for name, reader in found.items() if not given.readers or name.startswith(tuple(given.readers))
    }
    names = [name for name, _ in texts()]
    largest = int(given.megabytes * 1_000_000)
    print(
        f"{len(chosen)} readers, {len(names)} texts, up to {largest:,} characters, at most {given.seconds:g} s for each"
    )
    print(f"  {'reader':26} {'text':22} {' '.join(f'{size:>9,}' for size in (*SMALL, *LARGE))}  growth")
    failed = 0
    for name, reader in chosen.items():
        shown = worst(grown(reader, given.seconds, largest, names))
        failed += any(curve.over for curve in shown)
        for curve in shown:
            print(_row(name, curve), flush=True)
    print(f"{failed} of {len(chosen)} readers were over the limit")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
