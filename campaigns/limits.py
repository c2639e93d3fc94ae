"""Whether everything that reads texts does so in time that grows as the text does: hostile texts of up to 10 MB.

    python -m campaigns.limits                  every reader, about half an hour
    python -m campaigns.limits number fences    those whose names begin so
    python -m campaigns.limits --megabytes 1    up to a smaller size

Each reader gets all texts of a thousand characters. What a text of 10 MB would take follows from the time of each, and from how that
time grew since the size before. As many texts as the reader's budget of seconds allows, those first that would take longest, get ten times as
large, and so on; the first one goes up to 10 MB in any case. Where time grows much faster than the text, the next size tells whether it
goes on so, unless that would take longer than the limit.

The table has, of each reader, the text that took longest, seconds by size, and the exponent of its growth over the largest sizes: 1 is linear,
2 is quadratic; then how many texts it read of each size. A row is marked with ``!`` where the time grew faster than the text or a text
took longer than the limit. The exit status is 1 when there is such a row. `campaigns.hostile_sizes` has texts and readers.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import psutil

from campaigns.hostile_sizes import Reader, readers, run, texts

SIZES = {1_000: 1_000_000, 10_000: 12, 100_000: 3, 1_000_000: 1, 10_000_000: 1}
"""How many texts are read of each size at least, whatever they cost: all of the smallest one."""
NOISE = 0.0005
"""Seconds below which nothing is said of growth."""
STEEP, LONG = 1.5, 0.5
"""The exponent from which growth is a finding, where a text took so many seconds."""
KEPT_SIZE = 100_000
"""Up to this size, texts are made once and are there for all readers."""

Text = Callable[[int], str]


@dataclass
class Curve:
    """How long a reader took for one kind of text, by its size. ``over``: the last size took longer than the limit."""

    text: str
    seconds: dict[int, float] = field(default_factory=dict)
    over: bool = False

    @property
    def growth(self) -> float:
        """The exponent of the growth over the last two sizes that took a noticeable time, 1 where none did."""
        told = [(size, seconds) for size, seconds in self.seconds.items() if seconds > NOISE]
        if len(told) < 2:
            return 1.0
        (size, seconds), (larger, longer) = told[-2:]
        return math.log(longer / seconds) / math.log(larger / size)

    @property
    def steep(self) -> bool:
        """Whether its time grows much faster than the text does."""
        return self.growth > STEEP and max(self.seconds.values()) > LONG

    def expected(self, size: int) -> float:
        """Return the seconds that a text of ``size`` would take if its time went on to grow as it did."""
        if not self.seconds:
            return 0.0
        largest = max(self.seconds)
        return self.seconds[largest] * math.pow(size / largest, max(1.0, self.growth))


@functools.cache
def _kept(text: Text, size: int) -> str:
    return text(size)


def _work(reader: Reader, wanted: Sequence[tuple[str, int]], channel: Connection) -> None:
    """Read texts in a process of its own; say before each that it begins, and after it how long it took."""
    made = dict(texts_by_name())
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):  # noqa: PTH123 - the null device
        run(reader, "What it needs is imported.")
        for name, size in wanted:
            text = _kept(made[name], size) if size <= KEPT_SIZE else made[name](size)
            channel.send(None)
            started = time.process_time()
            run(reader, text)
            channel.send(time.process_time() - started)
    channel.close()


@functools.cache
def texts_by_name() -> tuple[tuple[str, Text], ...]:
    """Return the texts; the same functions each time, under which `_kept` keeps what they made."""
    return tuple(texts())


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
                seconds = ours.recv() if _answers(ours, process.pid, limit) else math.inf
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


def _answers(channel: Connection, pid: int | None, limit: float) -> bool:
    """Wait until a process says how long it took; `False` once it has used so many seconds of a processor."""
    process = psutil.Process(pid)
    started = sum(process.cpu_times()[:2])
    while not channel.poll(0.5):
        with contextlib.suppress(psutil.Error):
            if sum(process.cpu_times()[:2]) - started > limit:
                return False
    return True


def grown(reader: Reader, limit: float, budget: float, largest: int, names: Iterable[str]) -> list[Curve]:
    """Return the curves of a reader: of all texts in the smallest size, of those that promise most up to ``largest``."""
    curves = {name: Curve(name) for name in names}
    left = list(curves.values())
    for size, fewest in SIZES.items():
        if size > largest:
            break
        left.sort(key=lambda curve: curve.expected(largest), reverse=True)
        reached: list[Curve] = []
        used = 0.0
        for number, (name, _, seconds) in enumerate(measured(reader, [(curve.text, size) for curve in left], limit), 1):
            curves[name].over = seconds == math.inf
            if seconds != math.inf:
                curves[name].seconds[size] = seconds
                reached.append(curves[name])
            used += seconds
            # Whether one goes on to grow so is always looked at.
            if used > budget and number >= fewest and not (number < len(left) and left[number].steep):
                break
        left = [curve for curve in reached if not curve.steep or curve.expected(10 * size) < limit]
    return list(curves.values())


def _row(name: str, curve: Curve) -> str:
    cells = [f"{curve.seconds[size]:9.3f}" if size in curve.seconds else f"{'-':>9}" for size in SIZES]
    mark = "!" if curve.over or curve.steep else " "
    return f"{mark} {name:26.26} {curve.text:26.26} {' '.join(cells)}  {curve.growth:4.1f}"


def worst(curves: Sequence[Curve]) -> list[Curve]:
    """Return the curves to show: all that are findings, else the one that took longest for the largest size."""
    findings = [curve for curve in curves if curve.over or curve.steep]
    return findings or [max(curves, key=lambda curve: (max(curve.seconds), max(curve.seconds.values())))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER")
    parser.add_argument("--megabytes", type=float, default=10, help="the largest text (default: 10)")
    parser.add_argument("--seconds", type=float, default=60, help="the limit for one text (default: 60)")
    parser.add_argument("--budget", type=float, default=1, help="seconds of each reader for each size (default: 1)")
    given = parser.parse_args(arguments)
    chosen = {
        name: reader for name, reader in readers().items() if not given.readers or name.startswith(tuple(given.readers))
    }
    names = [name for name, _ in texts_by_name()]
    largest = int(given.megabytes * 1_000_000)
    print(
        f"{len(chosen)} readers, {len(names)} texts, up to {largest:,} characters, at most {given.seconds:g} s for each"
    )
    print(f"  {'reader':26} {'text':26} {' '.join(f'{size:>9,}' for size in SIZES)}  growth  texts by size")
    for size in SIZES:
        if size <= min(largest, KEPT_SIZE):
            for _, text in texts_by_name():
                _kept(text, size)
    gc.freeze()
    failed = 0
    for name, reader in chosen.items():
        curves = grown(reader, given.seconds, given.budget, largest, names)
        shown = worst(curves)
        failed += any(curve.over or curve.steep for curve in shown)
        numbers = [sum(size in curve.seconds for curve in curves) for size in SIZES]
        for curve in shown:
            print(f"{_row(name, curve)}  {' '.join(map(str, numbers))}", flush=True)
    print(f"{failed} of {len(chosen)} readers took longer than the limit, or time that grows faster than the text")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
