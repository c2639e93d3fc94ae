"""Kills at random moments of a run, faults of its disk, and signals: what of its answers, its scores and its files is lost.

    python -m campaigns.kills [--kills 100] [--seed 0] [--parts kills,signals,disk,files] [--verbose]

A kill hits pytest, the process of an engine or a worker of pytest-xdist, after a random time or when a random number of answers was
given; a run that ended by it is resumed. Then no answer that the model had given may have been asked for again, no case may be missing,
and scores must be those of an undisturbed run. The exit status is 1 when something was lost. `campaigns.disturbed` has the
suite, `campaigns.disk` the faults of the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from campaigns import disk
from campaigns.disturbed import PATIENCE, PROGRAM, Folder, Tally, folder, reference
from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.journal import journal_path
from pytest_evals.errors import ArtifactError

Expected = tuple[list[tuple[object, ...]], float, Counter[str]]
"""Scores, seconds and answers of an undisturbed run."""

# -- Kills


def victim(process: subprocess.Popen[str], kind: str) -> psutil.Process | None:
    """Return the process to kill, `None` where there is none any more."""
    try:
        main = psutil.Process(process.pid)
        if kind == "pytest":
            return main
        children = main.children(recursive=True)
        marks = {"engine": "pytest_evals.engines.worker", "worker": "execnet"}
        found = [child for child in children if any(marks[kind] in part for part in child.cmdline())]
        return random.choice(found) if found else None
    except psutil.Error:
        return None


def wait_for(process: subprocess.Popen[str], moment: Callable[[], bool]) -> bool:
    """Wait until it is time; return whether the process still runs then."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        if moment():
            return True
        time.sleep(0.001)
    return False


def left_behind(children: Sequence[psutil.Process]) -> list[str]:
    """Return the processes that are still there some seconds after their end was due."""
    _, alive = psutil.wait_procs(children, timeout=8)
    found = []
    for child in alive:
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(child.cmdline())[:60])
            child.kill()
    return found


def kill_once(kind: str, by: str, draw: random.Random, expected: Expected, tally: Tally) -> str | None:
    """Run, kill, resume; return what was lost."""
    _, seconds, reference_calls = expected
    with folder() as place:
        workers = ("-n", "2") if kind == "worker" or draw.random() < 0.2 else ("-p", "no:xdist")
        after, answers = draw.uniform(0.3, seconds), draw.randrange(1, reference_calls.total())
        process = place.start("--evals-artifact=run.jsonl", *workers)
        due = time.monotonic() + after
        hit = wait_for(process, lambda: time.monotonic() > due if by == "time" else place.logged(answers))
        target = victim(process, kind) if hit else None
        children = psutil.Process(process.pid).children(recursive=True) if hit else []
        if target is not None:
            with contextlib.suppress(psutil.Error):
                target.kill()
        process.communicate(timeout=PATIENCE)
        orphans = left_behind(children)
        if orphans:
            return f"processes left behind: {orphans}"
        killed = process.returncode == -signal.SIGKILL
        tally.ended += killed
        name, before = "run.jsonl", place.calls().total()
        if killed or _crashed(place.path / name):
            tally.kept += before
            try:
                name = _resumed(place, before)
            except ArtifactError as error:
                return str(error)
        return lost(place, name, before, expected, tally)


def _resumed(place: Folder, before: int) -> str:
    """Resume the run, if it left anything; return the artifact. Raises `ArtifactError`."""
    found = (place.path / "run.jsonl").exists()
    if before and not found:
        raise ArtifactError(f"{before} answers were given, and there is no artifact")
    again = ("--evals-resume=run.jsonl",) if found else ()
    status, output = place.run("--evals-artifact=again.jsonl", *again)
    if status != 0:
        raise ArtifactError(f"the resumed run ended with {status}: {output[-1500:]}")
    return "again.jsonl"


def lost(place: Folder, name: str, before: int, expected: Expected, tally: Tally) -> str | None:
    """Return what is missing in the artifact in the end, or was asked for again."""
    scores, _, reference_calls = expected
    calls = place.calls()
    twice, missing = (calls - reference_calls).total(), (reference_calls - calls).total()
    tally.again += twice
    found = [
        *([f"{missing} answers are missing: {list(reference_calls - calls)[:3]}"] if missing else []),
        *([f"scores are {place.scores(name)}, not {scores}"] if place.scores(name) != scores else []),
        *(["the journal is still there"] if journal_path(place.path / name).exists() else []),
        *([f"{twice} of {before} answers were asked for again"] if twice else []),
    ]
    return "; ".join(found) or None


def _crashed(path: Path) -> bool:
    """Tell whether the case of a worker that was killed is an error, as it should be."""
    with contextlib.suppress(ArtifactError):
        return any(sample.error for sample in EvaluationArtifact.load(path).samples)
    return True


def kills(number: int, seed: int, verbose: bool) -> Iterator[Tally]:
    """Kill processes of runs."""
    expected = reference()
    draw = random.Random(seed)
    rows = {
        (kind, by): Tally(f"{kind} killed, by {by}")
        for kind in ("pytest", "engine", "worker")
        for by in ("time", "progress")
    }
    for index in range(number):
        kind, by = list(rows)[index % len(rows)]
        problem = kill_once(kind, by, draw, expected, rows[kind, by])
        rows[kind, by].note(problem)
        if verbose or problem:
            print(f"  {index}: {kind}, by {by}: {problem or 'nothing lost'}", flush=True)
    yield from rows.values()


# -- Signals that ask a run to end


def signal_once(
    number: signal.Signals,
    whole_group: bool,
    workers: Sequence[str],
    draw: random.Random,
    expected: Expected,
) -> str | None:
    """Run, send a signal, look at what is there; then paste the command that the score card names."""
    scores, undisturbed, reference_calls = expected
    with folder() as place:
        process = place.start(
            "--evals-artifact=run.jsonl",
            "--junitxml=junit.xml",
            "--evals-html=page.html",
            *workers,
            TEST_SECONDS="0.05",
        )
        answers = draw.randrange(5, reference_calls.total() - 20)
        if not wait_for(process, lambda: place.logged(answers)):
            return "the run ended before"
        children = psutil.Process(process.pid).children(recursive=True)
        started = time.monotonic()
        (os.killpg if whole_group else os.kill)(process.pid, number)
        output, _ = process.communicate(timeout=PATIENCE)
        seconds = time.monotonic() - started
        orphans = left_behind(children)
        missing = [name for name in ("run.jsonl", "junit.xml", "page.html") if not (place.path / name).exists()]
        command = re.search(r"^to go on: (.*)$", output, re.MULTILINE)
        problems = [
            *([f"exit status {process.returncode}"] if process.returncode != 2 else []),
            *([f"processes left behind: {orphans}"] if orphans else []),
            *([f"not there: {missing}"] if missing else []),
            *(["no score card"] if "score card" not in output else []),
            *(["no command to go on with"] if command is None else []),
            # On a busy machine everything takes longer.
            *([f"it took {seconds:.0f} s"] if seconds > max(7, 2 * undisturbed) else []),
        ]
        if problems or command is None:
            return f"{'; '.join(problems)}: {output[-1500:]}"
        summary = EvaluationArtifact.load(place.path / "run.jsonl").summary
        if summary is None or summary.complete:
            return "the artifact has no summary of a run that was cut short"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *shlex.split(command[1])[1:]],
            cwd=place.path,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if done.returncode != 0:
            return f"pasted: {command[1]}: status {done.returncode}: {done.stdout[-1500:]}"
        calls = place.calls()
        if reference_calls - calls or place.scores("run-2.jsonl") != scores:
            return f"pasted: {command[1]}: answers or scores are not those of an undisturbed run"
        twice = (calls - reference_calls).total()
        return f"{twice} answers were asked for again" if twice else None


def signals(number: int, seed: int, verbose: bool) -> Iterator[Tally]:
    """Send signals."""
    expected = reference()
    draw = random.Random(seed)
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        for whole_group in (False, True):
            for workers in (("-p", "no:xdist"), ("-n", "2")):
                to = "to the whole group" if whole_group else "to pytest"
                tally = Tally(f"{name} {to}{', -n 2' if '-n' in workers else ''}")
                for _ in range(max(1, number // 50)):
                    problem = signal_once(signal.Signals[name], whole_group, workers, draw, expected)
                    tally.note(problem)
                    if verbose or problem:
                        print(f"  {tally.title}: {problem or 'nothing lost'}", flush=True)
                yield tally


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", default="kills,signals,disk,files")
    parser.add_argument("--verbose", action="store_true", help="say how each try went")
    given = parser.parse_args()
    parts: Mapping[str, Callable[[], Iterator[Tally]]] = {
        "kills": lambda: kills(given.kills, given.seed, given.verbose),
        "signals": lambda: signals(given.kills, given.seed, given.verbose),
        "disk": lambda: disk.faults(given.seed, given.verbose),
        "files": lambda: disk.files(given.verbose),
    }
    tallies = [tally for part in given.parts.split(",") for tally in parts[part]()]
    print(f"{'':<46}{'tries':>7}{'lost':>7}{'ended':>7}{'resumed answers':>17}{'asked again':>13}")
    for tally in tallies:
        print(
            f"{tally.title:<46}{tally.tries:>7}{len(tally.wrong):>7}{tally.ended:>7}{tally.kept:>17}{tally.again:>13}"
        )
    return int(any(tally.wrong for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
