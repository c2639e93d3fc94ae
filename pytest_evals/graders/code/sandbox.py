"""Limits that a process sets for itself before it runs a program that nobody has read. Standard library only.

What can be limited depends on the platform, so the names of limits that hold are returned. On Linux (x86-64 and ARM64) no
privilege is needed: a seccomp filter forbids new processes, sockets, and signals to others; Landlock forbids to change files
outside of the folder.
"""

from __future__ import annotations

import errno
import os
import platform
import struct
import sys
from typing import Any

# numbers of system calls, on x86-64 and ARM64
_DENIED: dict[str, tuple[int, ...]] = {
    # fork vfork execve execveat socket ptrace tkill rt_sigqueueinfo rt_tgsigqueueinfo process_vm_readv process_vm_writev
    # io_uring_setup pidfd_send_signal setrlimit unshare setns mount umount2 chroot bpf reboot
    "x86_64": (57, 58, 59, 322, 41, 101, 200, 129, 297, 310, 311, 425, 424, 160, 272, 308, 165, 166, 161, 321, 169),
    "aarch64": (221, 281, 198, 117, 130, 138, 240, 270, 271, 425, 424, 164, 97, 268, 40, 39, 51, 280, 142),
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_TO_ITSELF = {"x86_64": (62, 234), "aarch64": (129, 131)}  # kill tgkill
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST, _THIRD = 0, 4, 16, 32  # where the call and its arguments stand
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_CHANGES = _WRITE_FILE | sum(1 << bit for bit in range(4, 13))  # remove and make anything


def confine(folder: str, memory: int, seconds: int, file_size: int) -> list[str]:
    """Set every limit that can be set, and return the names of those that hold."""
    held = [*_resources(memory, seconds, file_size), *_kernel(folder)]
    return held if "processes" in held else [*held, *forbid_processes()]


def _resources(memory: int, seconds: int, file_size: int) -> list[str]:
    try:
        import resource
    except ImportError:  # Windows
        return []
    limits = {"processor time": (resource.RLIMIT_CPU, seconds), "file size": (resource.RLIMIT_FSIZE, file_size)}
    limits["core dump"] = (resource.RLIMIT_CORE, 0)
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
    """Forbid new processes (on Linux, threads too) where the kernel has no better way; nobody can do so for root."""
    try:
        import resource

        if os.geteuid() == 0:
            return []
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    except (ImportError, AttributeError, ValueError, OSError):
        return []
    return ["processes"]


def _kernel(folder: str) -> list[str]:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _ARCHITECTURE or struct.calcsize("P") != 8:
        return []
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
    except (ImportError, OSError):
        return []
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    # Landlock first: its calls are new ones, which the filter lets through, but the order costs nothing.
    held = ["files outside"] if _forbid_changes(ctypes, libc, folder) else []
    return [*held, "processes", "network", "signals"] if _filter_calls(ctypes, libc, machine) else held


def _forbid_changes(ctypes: Any, libc: Any, folder: str) -> bool:
    """Let files be changed in ``folder`` alone, and ``/dev/null`` be written."""
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    handled = _CHANGES | (_TRUNCATE if version >= 3 else 0)
    attribute = ctypes.create_string_buffer(struct.pack("=Q", handled))
    rules = libc.syscall(_LANDLOCK_CREATE, attribute, 8, 0)
    if rules < 0:
        return False
    try:
        for path, allowed in ((folder, handled), (os.devnull, handled & (_WRITE_FILE | _TRUNCATE))):
            opened = os.open(path, os.O_RDONLY)
            try:
                rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, opened))
                if libc.syscall(_LANDLOCK_ADD, rules, 1, rule, 0):
                    return False
            finally:
                os.close(opened)
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, 0) == 0)
    finally:
        os.close(rules)


def _filter_calls(ctypes: Any, libc: Any, machine: str) -> bool:
    """Have the kernel refuse what starts processes, opens sockets, or reaches other processes."""
    code = b"".join(_instructions(machine, os.getpid()))
    filters = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(filters)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)


def _instructions(machine: str, pid: int) -> list[bytes]:
    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value)

    allow, refuse = step(_RETURN, _ALLOW), step(_RETURN, _FAIL | errno.EPERM)
    # Each rule looks at the number of the call, and jumps over itself where it is another one's.
    steps = [step(_LOAD, _ARCH), step(_EQUAL, _ARCHITECTURE[machine], yes=1), refuse, step(_LOAD, _NUMBER)]
    # Numbers from here on are those of a second set of calls on x86-64.
    steps += [step(_AT_LEAST, 0x40000000, no=1), refuse]
    for number in _DENIED[machine]:
        steps += [step(_EQUAL, number, no=1), refuse]
    # Threads are made with clone; the C library takes it where clone3 does not exist.
    steps += [step(_EQUAL, _CLONE3, no=1), step(_RETURN, _FAIL | errno.ENOSYS)]
    steps += [step(_EQUAL, _CLONE[machine], no=4), step(_LOAD, _FIRST), step(_HAS_BIT, _CLONE_THREAD, yes=1)]
    steps += [refuse, allow]
    for number in _TO_ITSELF[machine]:
        steps += [step(_EQUAL, number, no=4), step(_LOAD, _FIRST), step(_EQUAL, pid, yes=1), refuse, allow]
    # Limits may be asked for (no new ones are given: a null pointer), but not changed.
    steps += [step(_EQUAL, _PRLIMIT[machine], no=6), step(_LOAD, _THIRD), step(_EQUAL, 0, no=2)]
    steps += [step(_LOAD, _THIRD + 4), step(_EQUAL, 0, yes=1), refuse, allow]
    return [*steps, allow]
