"""Faults of the disk, and of the file, while a run writes its artifact; and two runs with one file.

`campaigns.kills` runs them. What could not be kept where it should be must be an error of the run, and be kept whole elsewhere.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from campaigns.disturbed import PATIENCE, Folder, Tally, folder, reference, told
from pytest_evals.errors import ArtifactError

# -- Faults of the disk

_FAULTY = """
import errno, os, pytest
from pytest_evals.artifacts import writer

def pytest_configure():
    kind, room = os.environ["FAULT"], int(os.environ["ROOM"])
    left, whole = [room], writer._opened

    class Disk:
        def __init__(self, file): self._file = file
        def __getattr__(self, name): return getattr(self._file, name)
        def write(self, data):
            if left[0] <= 0: raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)))
            written = self._file.write(bytes(data[: left[0]]))
            left[0] -= written
            return written

    writer._opened = lambda *given: Disk(whole(*given))
"""


def _rescued(place: Folder, output: str, status: int, scores: list[tuple[object, ...]]) -> str | None:
    """Tell what is wrong with a run whose artifact could not be where it should."""
    found = re.search(r"all of it is\s+in\s+(\S+\.jsonl)", output)
    if status != 1 or found is None:
        return f"status {status}, and no word of where the artifact is: {output[-1500:]}"
    rescued = Path(found[1])
    try:
        shutil.move(rescued, place.path / "rescued.jsonl")
        return None if place.scores("rescued.jsonl") == scores else f"{rescued} has other scores"
    except (OSError, ArtifactError) as error:
        return f"{rescued}: {error}"


def faults(seed: int, verbose: bool) -> Iterator[Tally]:
    """Let writes fail."""
    scores, _, _ = reference()
    draw = random.Random(seed)
    for kind in ("ENOSPC", "EIO", "EROFS", "EDQUOT"):
        tally = Tally(f"writes fail with {kind}")
        for _ in range(3):
            with folder() as place:
                (place.path / "faulty.py").write_text(_FAULTY, encoding="utf-8")
                room = draw.randrange(0, 60_000)
                status, output = place.run(
                    "-p", "faulty", "--evals-artifact=run.jsonl", FAULT=kind, ROOM=str(room), PYTHONPATH=str(place.path)
                )
                tally.note(_rescued(place, output, status, scores))
        yield told(tally, verbose)
    yield told(_small_disk(scores), verbose)
    yield told(_read_only(), verbose)


def _small_disk(scores: list[tuple[object, ...]]) -> Tally:
    """Artifact and journal on a disk of 64 kB, where one can be mounted."""
    tally = Tally("a disk of 64 kB (tmpfs)")
    with folder() as place:
        small = place.path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            tally.title += ": not tried, nothing can be mounted here"
            return tally
        try:
            status, output = place.run("--evals-artifact=small/run.jsonl")
            tally.note(_rescued(place, output, status, scores))
        finally:
            subprocess.run(["umount", str(small)], check=False)
    return tally


def _read_only() -> Tally:
    """A folder in which nothing can be written: refused before anything is asked."""
    tally = Tally("a file in the place of the folder")
    with folder() as place:
        (place.path / "here").write_text("", encoding="utf-8")
        status, output = place.run("--evals-artifact=here/run.jsonl")
        tally.note(None if status == 4 and not place.calls() else f"status {status}: {output[-500:]}")
    return tally


# -- What happens to the file meanwhile

DEEDS: Mapping[str, str] = {
    "moved": "os.rename(A, A + '.moved')",
    "moved and replaced": "os.rename(A, A + '.moved'); open(A, 'w').write('other\\n')",
    "replaced": "open(A + '.x', 'w').write('other\\n'); os.replace(A + '.x', A)",
    "removed": "os.unlink(A)",
    "truncated": "os.truncate(A, 0)",
    "cut in the middle": "os.truncate(A, os.path.getsize(A) // 2)",
    "changed in one byte": "f = open(A, 'r+b'); f.seek(40); f.write(b'#'); f.close()",
    "its folder moved": "os.rename('out', 'moved')",
    "its folder removed": "__import__('shutil').rmtree('out')",
    "a link to another file": "os.unlink(A); open('victim', 'w').write('victim\\n'); os.symlink('../victim', A)",
    "a pipe in its place": "os.unlink(A); os.mkfifo(A)",
}


def files(verbose: bool) -> Iterator[Tally]:
    """Do something to the artifact while the run goes on; and let two runs have the same one."""
    scores, _, _ = reference()
    for title, deed in DEEDS.items():
        tally = Tally(f"the artifact: {title}")
        with folder() as place:
            once = f"A = 'out/run.jsonl'\nif not os.path.exists('done') and os.path.getsize(A) > 20000:\n    open('done', 'w').close(); {deed}"
            status, output = place.run("--evals-artifact=out/run.jsonl", "-p", "no:xdist", DEED=once)
            tally.note(_rescued(place, output, status, scores))
        yield told(tally, verbose)
    for delay in (0.0, 0.3, 1.0):
        yield told(_two_runs(delay, scores), verbose)


def _two_runs(delay: float, scores: list[tuple[object, ...]]) -> Tally:
    tally = Tally(f"two runs, one file, {delay:g} s apart")
    with folder() as place:
        first = place.start("--evals-artifact=run.jsonl")
        time.sleep(delay)
        second = place.start("--evals-artifact=run.jsonl")
        said = [process.communicate(timeout=PATIENCE)[0] for process in (first, second)]
        statuses = sorted((first.returncode, second.returncode))
        refused = "is being written by another run" in " ".join(said)
        whole = place.scores("run.jsonl") == scores
        tally.note(None if statuses == [0, 4] and refused and whole else f"statuses {statuses}: {said[1][-800:]}")
    return tally
