"""Programs that reach for what is outside of them: files, processes, the network, the machine's memory and disk.

In the code, ``@SECRET@`` is a file to be read, ``@VICTIM@`` a file and ``@FOLDER@`` a folder to be changed, ``@PID@`` a process with a
secret in its environment, ``@PORT@`` a port that somebody listens on. A program that gets further than it may prints ESCAPED, or the
secret; what it changed is seen afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Escape:
    """A program, and what kind of thing it reaches for."""

    name: str
    kind: str
    code: str


_CALL = """
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    return libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
ARM = os.uname().machine == "aarch64"
"""
_GOT = "    print('ESCAPED')"


def _try(*lines: str, call: bool = False) -> str:
    """Return code that says ESCAPED when nothing of it was refused."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"{_CALL if call else ''}\nimport os\ntry:\n{body}\nexcept (OSError, MemoryError, ValueError, EOFError) as e:\n    print(type(e))\nelse:\n{_GOT}\n"


def _show(*lines: str) -> str:
    """Return code that prints what it reads: the secret is looked for in that."""
    body = "\n".join(f"    {line}" for line in lines)
    return f"import os\ntry:\n{body}\nexcept OSError as e:\n    print(type(e))\n"


def _positive(expression: str, setup: str = "") -> str:
    """Return code that says ESCAPED when a raw system call succeeds."""
    return f"{_CALL}\n{setup}\nif {expression} >= 0:\n{_GOT}\n"


READING = {
    "a file": _show("print(open('@SECRET@').read())"),
    "a file through a link": _show("os.symlink('@SECRET@', 'link')", "print(open('link').read())"),
    "a file through a hard link": _show("os.link('@SECRET@', 'hard')", "print(open('hard').read())"),
    "a folder's listing": _try("os.listdir('@FOLDER@')"),
    "the environment of the parent": _show("print(open(f'/proc/{os.getppid()}/environ').read())"),
    "the environment of a process": _show("print(open('/proc/@PID@/environ').read())"),
    "the environment of every process": _show(
        "for name in os.listdir('/proc'):",
        "    try: print(''.join(open(f'/proc/{name}/environ').read().split('SECRET')[1:])[:99] if name.isdigit() else '')",
        "    except (OSError, UnicodeDecodeError): pass",
    ),
    "its own environment": _show("print(dict(os.environ))"),
    "a file through a process's root": _show("print(open('/proc/@PID@/root@SECRET@').read())"),
    "a process's memory": _try("open('/proc/@PID@/mem', 'rb')"),
    "a process's memory by a call": _positive(
        "call(270 if ARM else 310, @PID@, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)",
        "class V(ctypes.Structure): _fields_ = [('b', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
        "buffer = ctypes.create_string_buffer(8)\n"
        "mine, theirs = V(ctypes.addressof(buffer), 8), V(@ADDRESS@, 8)",
    ),
    "the users' passwords": _try("open('/etc/shadow').read()"),
    "a process's command line": _show("print(open('/proc/@PID@/cmdline').read())"),
    "a process's open file": _show("print(os.pread(call_fd := os.open('/proc/@PID@/fd/9', os.O_RDONLY), 99, 0))"),
}
CHANGING = {
    "a file's text": _try("open('@VICTIM@', 'w').write('x')"),
    "a file by opening it to be read": _try("os.open('@VICTIM@', os.O_RDONLY | os.O_TRUNC)"),
    "a file's length": _try("os.truncate('@VICTIM@', 0)"),
    "a file's place": _try("os.rename('@VICTIM@', '@FOLDER@/moved')"),
    "a file, away with it": _try("os.remove('@VICTIM@')"),
    "a file's mode": _try("os.chmod('@VICTIM@', 0o777)"),
    "a file's owner": _try("os.chown('@VICTIM@', 65534, 65534)"),
    "a file's time": _try("os.utime('@VICTIM@', (1, 1))"),
    "a file's attributes": _try("os.setxattr('@VICTIM@', 'user.x', b'1')"),
    "a file through an open process": _try("open('/proc/@PID@/root@VICTIM@', 'w').write('x')"),
    "a new file": _try("open('@FOLDER@/new', 'w')"),
    "a new folder": _try("os.mkdir('@FOLDER@/sub')"),
    "a new link": _try("os.symlink('/etc', '@FOLDER@/link')"),
    "a new device": _try("os.mknod('@FOLDER@/pipe', 0o10600)"),
    "Python's own library": _try("import json", "open(json.__file__, 'a').write('')"),
    "a file it moves to itself": _try("os.rename('@VICTIM@', 'mine')"),
}
PROCESSES = {
    "fork": _try("os.fork() or os._exit(0)"),
    "subprocess": _try("import subprocess", "subprocess.run(['true'], check=True)"),
    "another program in its place": "import os\ntry:\n    os.execv('/bin/echo', ['echo', 'ESCAPED'])\nexcept OSError as e:\n    print(type(e))\n",
    "posix_spawn": _try("os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"),
    "vfork by a call": _positive("(call(58) if not ARM else -1)"),
    "clone by a call": _positive("call(220 if ARM else 56, 17, 0, 0, 0, 0)"),
    "clone3 by a call": _positive(
        "call(435, arguments, 88)",
        "arguments = ctypes.create_string_buffer(struct.pack('=11Q', *[0] * 4, 17, *[0] * 6), 88)",
    ),
    "a program in memory": _try(
        "fd = os.memfd_create('x')", "os.write(fd, b'#!/bin/sh\\n')", "os.execve(fd, ['x'], {})"
    ),
}
OTHERS = {
    "kill": _try("os.kill(@PID@, 9)"),
    "kill the parent": "import os, time\ntry:\n    os.kill(os.getppid(), 9)\n    time.sleep(1)\nexcept OSError as e:\n    print(type(e))\n",
    "kill all": _try("os.kill(-1, 0)"),
    "a signal of input": """import fcntl, os, time
r, w = os.pipe()
try:
    fcntl.fcntl(r, fcntl.F_SETOWN, @PID@)
    fcntl.fcntl(r, 10, 9)
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(w, b"x")
    time.sleep(0.2)
except OSError as e:
    print(type(e))
""",
    "a signal of input by another call": """import fcntl, os, struct, time
r, w = os.pipe()
try:
    fcntl.fcntl(r, 15, struct.pack("ii", 1, @PID@))
    fcntl.fcntl(r, 10, 9)
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(w, b"x")
    time.sleep(0.2)
except OSError as e:
    print(type(e))
""",
    "a signal with data": _positive(
        "call(138 if ARM else 129, @PID@, 9, information)",
        "information = ctypes.create_string_buffer(struct.pack('=iiii', 9, 0, -1, 0), 128)",
    ),
    "a signal to a thread": _positive("call(130 if ARM else 200, @PID@, 9)"),
    "a signal by a file": _positive("call(424, call(434, @PID@, 0), 9, 0, 0)"),
    "tracing": _positive("call(117 if ARM else 101, 16, @PID@, 0, 0)"),
    "niceness": _try("os.setpriority(os.PRIO_PROCESS, @PID@, 19)"),
    "a place on processors": _try("os.sched_setaffinity(@PID@, {0})"),
    "scheduling": _try("os.sched_setscheduler(@PID@, os.SCHED_IDLE, os.sched_param(0))"),
    "limits": _try("import resource", "resource.prlimit(@PID@, resource.RLIMIT_NOFILE, (64, 64))"),
}
NETWORK = {
    "TCP": _try("import socket", "socket.create_connection(('127.0.0.1', @PORT@), 2)"),
    "UDP": _try(
        "import socket", "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', @PORT@))"
    ),
    "a local socket": _try("import socket", "socket.socket(socket.AF_UNIX).connect('\\0evals-campaign')"),
    "listening": _try("import socket", "s = socket.socket()", "s.bind(('127.0.0.1', 0))", "s.listen()"),
    "netlink": _try("import socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)"),
    "a name": _try("import socket", "socket.getaddrinfo('localhost', 80)", "socket.socket()"),
}
RESOURCES = {
    "memory": _try("x = bytearray(3 << 30)"),
    "shared memory": _try("import mmap", "x = mmap.mmap(-1, 3 << 30)", "x[::4096] = bytes(len(x) // 4096)"),
    "memory in files": _try(
        "fds = [os.memfd_create(str(i)) for i in range(100)]",
        "for fd in fds: os.pwrite(fd, bytes(15 << 20), 0)",
        call=False,
    ),
    "memory of System V": _positive("min(call(194 if ARM else 29, 0, 64 << 20, 0o1600) for _ in range(30))"),
    "files in /dev/shm": _try("for i in range(30): open(f'/dev/shm/evals-campaign-{i}', 'wb').write(bytes(10 << 20))"),
    "disk": _try("for i in range(60): open(str(i), 'wb').write(bytes(15 << 20))"),
    "a large file": _try("open('large', 'wb').write(bytes(100 << 20))"),
    "higher limits": _try("import resource", "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))"),
}
MACHINE = {
    "its name": _try("import socket", "socket.sethostname('evals-campaign')"),
    "a mount": _positive("call(40 if ARM else 165, b'x', b'@FOLDER@', b'tmpfs', 0, 0)"),
    "a name space": _positive("call(97 if ARM else 272, 0x10000000)"),
    "another root": _try("os.chroot('.')"),
    "io_uring": _positive("call(425, 8, parameters)", "parameters = ctypes.create_string_buffer(120)"),
    "keys": _positive("call(217 if ARM else 248, b'user', b'evals', b'x', 1, -1)"),
    "another user": _try("os.setuid(1)"),
}
KINDS = {
    "reading": READING,
    "changing files": CHANGING,
    "processes": PROCESSES,
    "other processes": OTHERS,
    "network": NETWORK,
    "memory and disk": RESOURCES,
    "the machine": MACHINE,
}
ESCAPES = tuple(Escape(name, kind, code) for kind, codes in KINDS.items() for name, code in codes.items())
