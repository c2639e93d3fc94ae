"""Programs that try to escape, and programs that try to pass without being right, at every level of confinement.

    python -m campaigns.sandbox [LEVEL...] [--image IMAGE] [--verbose]

prints how many of each kind succeed, and their names. The exit status is 1 when one does under bubblewrap.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from campaigns.escapes import ESCAPES, Escape
from campaigns.fakes import FAKES, Fake
from pytest_evals.graders.code.levels import CONTAINERS, STRONGEST_FIRST, Sandbox, SandboxError, find_sandbox
from pytest_evals.graders.code.runner import ProgramLimits, ProgramTask, run_program

LIMITS = ProgramLimits(seconds=8)
_VICTIM = "import ctypes, sys, time\nx = ctypes.create_string_buffer(8)\nprint(ctypes.addressof(x), flush=True)\ntime.sleep(600)"


@dataclass
class World:
    """What programs reach for: files in a folder, a process with a secret, a port."""

    folder: Path
    secret: str
    process: subprocess.Popen[str]
    address: int
    port: int

    def filled(self, code: str) -> str:
        """Return the code of an escape with the names of this world."""
        names = {
            "SECRET": self.folder / "secret.txt",
            "VICTIM": self.folder / "victim.txt",
            "FOLDER": self.folder / "inner",
            "PID": self.process.pid,
            "PORT": self.port,
            "ADDRESS": self.address,
        }
        for name, value in names.items():
            code = code.replace(f"@{name}@", str(value))
        return code

    def state(self) -> tuple[Any, ...]:
        """Return what a program could have changed."""
        pid, victim = self.process.pid, self.folder / "victim.txt"
        with contextlib.suppress(OSError):
            found = victim.stat()
            files = (victim.read_text(), found.st_mode, found.st_uid, found.st_mtime, os.listxattr(victim))
            scheduling = (os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid), os.sched_getscheduler(pid))
            listed = sorted(path.name for path in self.folder.rglob("*"))
            return (files, scheduling, listed, self.process.poll(), socket.gethostname())
        return ()


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Make a world, and clean up after the programs."""
    secret = secrets.token_hex(16)
    hostname = socket.gethostname()
    with tempfile.TemporaryDirectory(prefix="evals-campaign-", dir=Path.home()) as name, socket.socket() as server:
        folder = Path(name)
        (folder / "inner").mkdir()
        (folder / "secret.txt").write_text(secret)
        (folder / "victim.txt").write_text("kept")
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.socket(socket.AF_UNIX) as local, open(folder / "secret.txt") as opened:  # noqa: PTH123 - a file that is open
            with contextlib.suppress(OSError):
                local.bind("\0evals-campaign")
                local.listen()
            process = subprocess.Popen(
                [sys.executable, "-c", _VICTIM, f"--key={secret}"],
                env={**os.environ, "CAMPAIGN_SECRET": secret},
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: os.dup2(opened.fileno(), 9),  # noqa: PLW1509 - one descriptor, before anything runs
                pass_fds=(9,),
            )
            assert process.stdout is not None
            try:
                yield World(folder, secret, process, int(process.stdout.readline()), server.getsockname()[1])
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                if socket.gethostname() != hostname:
                    socket.sethostname(hostname)
                for left in Path("/dev/shm").glob("evals-campaign-*"):
                    left.unlink()
                _forget_shared_memory()
                _unmount(folder / "inner")


def _unmount(folder: Path) -> None:
    import ctypes

    ctypes.CDLL(None).umount2(str(folder).encode(), 2)


def _forget_shared_memory() -> None:
    listed = Path("/proc/sysvipc/shm")
    if not listed.exists():
        return
    import ctypes

    libc = ctypes.CDLL(None)
    for line in listed.read_text().splitlines()[1:]:
        _, identity, mode, size, *_ = line.split()
        if int(size) == 64 << 20 and mode.endswith("600"):
            libc.shmctl(int(identity), 0, None)


def escapes(escape: Escape, sandbox: Sandbox) -> bool:
    """Tell whether a program reaches what it reaches for."""
    with world() as around:
        before = around.state()
        os.environ["CAMPAIGN_SECRET"] = around.secret
        try:
            task = ProgramTask(around.filled(escape.code) + "\ndef f(x):\n    return x\n", ["assert f(1) == 1"])
            outcome = run_program(task, LIMITS, sandbox)
        finally:
            del os.environ["CAMPAIGN_SECRET"]
        text = f"{outcome.output} {outcome.errors}"
        ended = "the process of its tests was ended" in text
        return "ESCAPED" in outcome.output or around.secret in text or ended or around.state() != before


def fakes(fake: Fake, sandbox: Sandbox, *, isolated: bool = True) -> bool:
    """Tell whether a wrong program passes a test."""
    limits = ProgramLimits(seconds=3, memory=512)
    task = ProgramTask(fake.code, fake.tests, isolated=isolated, **fake.settings)
    return None in run_program(task, limits, sandbox).errors


def succeeding(tries: Sequence[Any], attempt: Callable[[Any], bool], show: bool) -> dict[str, list[str]]:
    """Return the names of those that succeed, by kind."""
    found: dict[str, list[str]] = {each.kind: [] for each in tries}
    for each in tries:
        if show:
            print(f"  {each.kind}: {each.name}", flush=True)
        if attempt(each):
            found[each.kind].append(each.name)
    return found


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("levels", nargs="*", default=list(STRONGEST_FIRST), metavar="LEVEL")
    parser.add_argument("--verbose", action="store_true", help="name each program before it runs")
    parser.add_argument("--image", default="", help="the image of containers")
    given = parser.parse_args()
    print(f"{len(ESCAPES)} escapes, {len(FAKES)} fakes")
    failed = False
    for level in given.levels:
        try:
            sandbox = find_sandbox(level, given.image)
        except SandboxError as error:
            print(f"{level}: not run, {error}")
            continue
        told: list[tuple[str, dict[str, list[str]]]] = [
            ("escapes", succeeding(ESCAPES, partial(escapes, sandbox=sandbox), given.verbose)),
            ("fakes", succeeding(FAKES, partial(fakes, sandbox=sandbox), given.verbose)),
        ]
        if level == "none":
            inside = succeeding(FAKES, partial(fakes, sandbox=sandbox, isolated=False), given.verbose)
            told.append(("fakes with isolated=False", inside))
        for title, found in told:
            print(f"{level}: {sum(map(len, found.values()))} {title} succeed")
            for kind, names in found.items():
                print(f"    {kind}: {len(names)}{': ' if names else ''}{', '.join(names)}")
            failed = failed or (level in ("bubblewrap", *CONTAINERS) and any(found.values()))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
