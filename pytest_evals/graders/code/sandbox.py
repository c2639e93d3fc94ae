"""What a process forbids itself before it runs a program that a model wrote. Standard library only.

What can be forbidden depends on the platform, so the names of limits that hold are returned. On Linux (x86-64 and ARM64) no
privilege is needed: a seccomp filter refuses system calls, Landlock keeps to some folders.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterable, Sequence

from pytest_evals.graders.code.syscalls import CHECKED, FILES, REFUSED, NumberPair

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH = 0, 4
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_DUMPABLE = 38, 22, 2, 4
_CLONE_THREAD, _O_ACCESS, _O_TRUNC = 0x10000, 0x3, 0x200
_FCNTL = (8, 15, 10, 1024, 1026)  # F_SETOWN F_SETOWN_EX F_SETSIG F_SETLEASE F_NOTIFY: signals to others, and leases
_IOCTL = (0x8901, 0x8902, 0x5412, 0x541C)  # FIOSETOWN SIOCSPGRP TIOCSTI TIOCLINUX: the same, and input of terminals
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE, _DEVICE_CALLS = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # remove and make anything
_NETWORK, _SCOPES = 0x3, 0x3  # bind and connect; abstract sockets and signals
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


def confine(
    level: str, *, folder: str, readable: Sequence[str], memory: int, seconds: int, file_size: int
) -> list[str]:
    """Set every limit of ``level``, and return the names of those that hold.

    ``none``: what the process uses. ``seccomp``: what it calls, too. ``landlock``: files too: it reads those below
    ``readable``, and changes those in ``folder``. Any other level has files of its own, and is confined from outside: what
    it calls is limited here.
    """
    held = _resources(memory, seconds, file_size)
    if level != "none":
        held += _kernel(level, folder, readable)
    return held if "processes" in held else [*held, *forbid_processes()]


def _resources(memory: int, seconds: int, file_size: int) -> list[str]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {"processor time": (resource.RLIMIT_CPU, seconds), "file size": (resource.RLIMIT_FSIZE, file_size)}
    limits |= {"core dump": (resource.RLIMIT_CORE, 0), "open files": (resource.RLIMIT_NOFILE, 256)}
    # Address space is limited on Linux alone: elsewhere the system's own libraries reserve far more than they use.
    if sys.platform == "linux":
        limits["memory"] = (resource.RLIMIT_AS, memory)
    held = []
    for name, (kind, limit) in limits.items():
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            continue
        held.append(name)
    return held


def forbid_processes() -> list[str]:
    """Forbid new processes (on Linux, threads too) where the kernel has no better way; there is none for root."""
    try:
        import resource

        if os.geteuid() == 0:
            return []
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    except (ImportError, AttributeError, ValueError, OSError):
        return []
    return ["processes"]


def _machine() -> str:
    return os.uname().machine if hasattr(os, "uname") else ""


def _libc() -> Any:
    """Return the C library, `None` where the filter is not written for this machine."""
    if sys.platform != "linux" or _machine() not in _ARCHITECTURES or struct.calcsize("P") != 8:
        return None
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return None


def hide_memory() -> None:
    """Keep processes of the same user from reading or changing the memory of this one, where the kernel can do that."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _kernel(level: str, folder: str, readable: Sequence[str]) -> list[str]:
    libc = _libc()
    if libc is None or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    held = []
    if level == "landlock" and _keep_to_folders(libc, folder, readable):
        held += ["files outside", "reading files"]
    # Root without its capabilities cannot look into processes that have them.
    _drop_capabilities(libc)
    own_files = level not in ("seccomp", "landlock")
    if _filter_calls(libc, os.getpid(), own_files=own_files):
        held += ["processes", "network", "signals"]
    return held


def _drop_capabilities(libc: Any) -> None:
    import ctypes

    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    libc.syscall(REFUSED["capset"][_ARCHITECTURES[_machine()][0]], header, ctypes.create_string_buffer(24))


# -- Landlock: which files may be read and changed.


def landlock_version() -> int:
    """Return the version of Landlock's interface, 0 where the kernel has none."""
    libc = _libc()
    return 0 if libc is None else max(libc.syscall(_LANDLOCK_CREATE, None, 0, 1), 0)


def _keep_to_folders(libc: Any, folder: str, readable: Sequence[str]) -> bool:
    import ctypes

    version = landlock_version()
    if version < 1:
        return False
    reading = _EXECUTE | _READ_FILE | _READ_FOLDER
    handled = reading | _CHANGES
    # Each version of the interface knows more; what an older kernel cannot limit by files, the filter refuses.
    handled |= (1 << 13 if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    handled |= _DEVICE_CALLS if version >= 5 else 0
    attribute = struct.pack("=QQQ", handled, _NETWORK, _SCOPES)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(_LANDLOCK_CREATE, ctypes.create_string_buffer(attribute, len(attribute)), len(attribute), 0)
    if rules < 0:
        return False
    devices = handled & (_READ_FILE | _WRITE_FILE | _TRUNCATE)
    allowed = [(folder, handled & ~_EXECUTE), *((path, reading) for path in readable)]
    allowed += [(path, devices) for path in DEVICES]
    try:
        for path, rights in allowed:
            if not _allow(libc, rules, path, rights):
                return False
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _allow(libc: Any, rules: int, path: str, rights: int) -> bool:
    import ctypes

    try:
        opened = os.open(path, os.O_PATH)
    except OSError:
        return True  # what is not there need not be read
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - pathlib is slow to import
            rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _DEVICE_CALLS
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, opened))
        return bool(libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0) == 0)
    finally:
        os.close(opened)


# -- seccomp: which system calls the kernel refuses.


def _filter_calls(libc: Any, pid: int, *, own_files: bool) -> bool:
    import ctypes

    code = b"".join(instructions(_machine(), pid, own_files=own_files))
    filters = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(filters)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def instructions(machine: str, pid: int, *, own_files: bool) -> list[bytes]:
    """Return the filter, in the kernel's own form (BPF): for a machine, and a process that may send signals to itself."""
    column, architecture = _ARCHITECTURES[machine]
    allow, refuse = _step(_RETURN, _ALLOW), _step(_RETURN, _FAIL | errno.EPERM)
    absent = _step(_RETURN, _FAIL | errno.ENOSYS)
    steps = [_step(_LOAD, _ARCH), _step(_EQUAL, architecture, yes=1), refuse, _step(_LOAD, _NUMBER)]
    # Numbers from here on are those of a second set of calls on x86-64.
    steps += [_step(_AT_LEAST, 0x40000000, no=1), refuse]
    refused = {**REFUSED, **({} if own_files else FILES)}
    for number in _numbers(refused, column):
        steps += [_step(_EQUAL, number, no=1), refuse]

    def rule(name: str, *checks: bytes) -> None:
        """Add a rule for one call; it is jumped over where it is another one's."""
        for number in _numbers({name: CHECKED[name]}, column):
            steps.extend([_step(_EQUAL, number, no=len(checks)), *checks])

    # Threads are made with clone; the C library takes it where clone3 does not exist.
    rule("clone3", absent)
    rule("clone", *_argument(0), _step(_HAS_BIT, _CLONE_THREAD, yes=1), refuse, allow)
    for name in ("kill", "tgkill"):
        rule(name, *_argument(0), _step(_EQUAL, pid, yes=1), refuse, allow)
    # Limits may be asked for (no new ones are given: a null pointer), but not changed.
    high = _argument(2, high=True)
    rule("prlimit64", *_argument(2), _step(_EQUAL, 0, no=2), *high, _step(_EQUAL, 0, yes=1), refuse, allow)
    for name, commands in (("fcntl", _FCNTL), ("ioctl", _IOCTL)):
        checks = [step for command in commands for step in (_step(_EQUAL, command, no=1), refuse)]
        rule(name, *_argument(1), *checks, allow)
    if not own_files:
        # Opened for reading but emptied anyway: Landlock knows about that only in newer kernels.
        for name, place in (("open", 1), ("openat", 2)):
            emptied = [_step(_AND, _O_TRUNC | _O_ACCESS), _step(_EQUAL, _O_TRUNC, no=1), refuse]
            rule(name, *_argument(place), *emptied, allow)
    return [*steps, allow]


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _argument(place: int, *, high: bool = False) -> tuple[bytes]:
    return (_step(_LOAD, 16 + 8 * place + (4 if high else 0)),)


def _numbers(calls: dict[str, NumberPair], column: int) -> Iterable[int]:
    return (number for pair in calls.values() if (number := pair[column]) is not None)
