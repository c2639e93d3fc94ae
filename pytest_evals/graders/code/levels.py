"""Levels of confinement for programs that a model wrote: which there are here, and how a process is started in one."""

from __future__ import annotations

import binascii
import functools
import json
import marshal
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.graders.code.sandbox import landlock_version
from pytest_evals.text import one_line

STRONGEST_FIRST = ("bubblewrap", "landlock", "seccomp", "none")
CONTAINERS = ("docker", "podman")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "seccomp": ("processes", "network", "signals"),
    "landlock": ("processes", "network", "signals", "files outside", "reading files"),
    "bubblewrap": ("processes", "network", "signals"),
    "docker": ("processes", "network", "signals"),
    "podman": ("processes", "network", "signals"),
}
"""What the process itself must have limited, or no program is run. Bubblewrap and containers limit more from outside."""
FROM_OUTSIDE = ("files outside", "reading files", "disk space", "other processes")
START_SECONDS = 30
_PARTS = ("syscalls", "sandbox", "wire", "unpacking", "remote", "peer", "harness")
_SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/nix/store", "/gnu/store")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/alternatives")
_INSIDE = "/tmp"  # noqa: S108 - a folder of the program's own, in a tree of files that nothing else sees
# Reads its modules from what it is sent: a process that sees none of this machine's files needs none.
BOOT = """
import binascii, json, marshal, os, sys, types
data = b""
while b"\\n" not in data:
    part = os.read(0, 1 << 16)
    if not part:
        os._exit(3)
    data += part
data, _, rest = data.partition(b"\\n")
for name in ("pytest_evals", "pytest_evals.graders", "pytest_evals.graders.code"):
    sys.modules[name] = types.ModuleType(name)
sent = json.loads(data)
for name, source in sent["modules"].items():
    module = sys.modules[name] = types.ModuleType(name)
    code = marshal.loads(binascii.a2b_base64(source)) if sent["compiled"] else compile(source, name, "exec")
    exec(code, vars(module))
module.main(rest)
"""


class SandboxError(SuiteError):
    """A level of confinement is not available here."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A level that was found to work. ``asked`` is what the settings say, ``note`` why it is not a stronger one."""

    level: str
    asked: str = "auto"
    image: str = ""
    note: str = ""

    @property
    def wrapped(self) -> bool:
        """Tell whether another program starts the process, and passes its exit status on."""
        return self.level in ("bubblewrap", *CONTAINERS)

    @property
    def title(self) -> str:
        """What header and score card call it."""
        name = {"none": "no confinement but limits", "landlock": "Landlock and seccomp"}.get(self.level, self.level)
        return f"{name} (evals_code_sandbox = {self.asked})"

    @property
    def from_outside(self) -> tuple[str, ...]:
        """What the level limits beside what the process limits itself."""
        return FROM_OUTSIDE if self.wrapped else ()

    def sources(self) -> dict[str, Any]:
        """Return what the process of a program runs, in a form that its Python reads."""
        return sources(compiled=self.level not in CONTAINERS)

    def command(self, limits: Mapping[str, int], *, packages: bool) -> tuple[list[str], str | None]:
        """Return the command that starts a process in this level, and the name of its container. ``limits`` are in bytes."""
        if self.level in CONTAINERS:
            name = f"evals-program-{secrets.token_hex(8)}"
            return container_command(self.level, self.image, name, limits, packages=packages), name
        python = [interpreter(packages=packages), *python_flags(packages=packages), "-c", BOOT]
        return ([*bubblewrap_command(limits, packages=packages), *python] if self.wrapped else python), None

    def confinement(self, folder: str, limits: Mapping[str, int], *, packages: bool) -> dict[str, Any]:
        """Return what the process sets for itself, as `sandbox.confine` takes it."""
        inside = _INSIDE if self.wrapped else folder
        readable = list(readable_paths(packages=packages)) if self.level == "landlock" else []
        return {"level": self.level, "folder": inside, "readable": readable, **limits}


@functools.cache
def sources(*more: str, compiled: bool = True) -> dict[str, Any]:
    """Return the modules that a process of the harness reads, the last one being what it runs: compiled, unless another version
    of Python may be to read them.
    """
    folder = Path(__file__).parent
    modules = {}
    for part in (*_PARTS, *more):
        own = folder / f"{part}.py"
        path = own if own.exists() else folder.parents[1] / own.name
        name = f"pytest_evals.graders.code.{part}" if own.exists() else f"pytest_evals.{part}"
        source = path.read_text(encoding="utf-8")
        code = binascii.b2a_base64(marshal.dumps(compile(source, name, "exec")), newline=False).decode()
        modules[name] = code if compiled else source
    return {"modules": modules, "compiled": compiled}


def interpreter(*, packages: bool) -> str:
    """Return the Python that runs programs. Without packages it is the one behind a virtual environment."""
    return sys.executable if packages else getattr(sys, "_base_executable", None) or sys.executable


def python_flags(*, packages: bool) -> list[str]:
    """Return the options: no folder of the user's on the import path, and without ``packages`` no site-packages."""
    return ["-s", "-P", "-B", "-u", *([] if packages else ["-S"])]


def environment(folder: str) -> dict[str, str]:
    """Return all the environment that a program has."""
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    # Equal programs give equal results: sets of strings have one order.
    fixed = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, "PATH": os.defpath, "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8", **fixed}


@functools.cache
def readable_paths(*, packages: bool) -> tuple[str, ...]:
    """Return what a program may read: the system's libraries, Python, and its packages where it may have them."""
    paths = [*_SYSTEM, *_SYSTEM_FILES, sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib")]
    paths += [str(Path(interpreter(packages=False)).resolve().parent.parent)]
    paths += filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    if packages:
        import site

        paths += [sys.prefix, sys.exec_prefix, *site.getsitepackages()]
    known = dict.fromkeys(str(form) for path in paths for form in (Path(path), Path(path).resolve()))
    # The root of the file system is nothing to give away; a link to a folder that is there needs both.
    return tuple(path for path in known if Path(path).exists() and path != "/")


def bubblewrap_command(limits: Mapping[str, int], *, packages: bool) -> list[str]:
    """Return the command line of bubblewrap, up to what it starts: nothing of this machine but Python and its libraries."""
    binds = [part for path in readable_paths(packages=packages) for part in ("--ro-bind-try", path, path)]
    variables = environment(_INSIDE) | {"PATH": os.defpath}
    set_variables = [part for name, value in variables.items() for part in ("--setenv", name, value)]
    return [
        shutil.which("bwrap") or "bwrap",
        *("--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"),
        *("--uid", "65534", "--gid", "65534", "--clearenv", *set_variables),
        # Before what is bound: Python may be installed below it.
        *("--size", str(4 * limits["file_size"]), "--tmpfs", _INSIDE),
        *binds,
        *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--chdir", _INSIDE, "--remount-ro", "/", "--"),
    ]


def container_command(tool: str, image: str, name: str, limits: Mapping[str, int], *, packages: bool) -> list[str]:
    """Return the command line of Docker or Podman: no network, no files but the image's, no privileges, all of it limited."""
    variables = environment(_INSIDE)
    set_variables = [part for key, value in variables.items() if key != "PATH" for part in ("--env", f"{key}={value}")]
    memory, disk = str(limits["memory"]), f"rw,nosuid,nodev,noexec,size={4 * limits['file_size']}"
    return [
        shutil.which(tool) or tool,
        *("run", "--rm", "--interactive", "--init", "--name", name, "--pull", "never", "--network", "none"),
        *("--read-only", "--tmpfs", f"{_INSIDE}:{disk}", "--workdir", _INSIDE, "--user", "65534:65534"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--ipc", "none", "--hostname", "sandbox"),
        *("--ulimit", "nofile=256:256", "--ulimit", "nproc=4096:4096", "--pids-limit", "64"),
        *("--memory", memory, "--memory-swap", memory, "--cpus", "1", "--log-driver", "none"),
        *(*set_variables, "--entrypoint", "python3", image, *python_flags(packages=packages), "-c", BOOT),
    ]


def remove_container(tool: str, name: str) -> None:
    """End a container, if it is still there."""
    command = [shutil.which(tool) or tool, "rm", "--force", name]
    subprocess.run(command, capture_output=True, timeout=START_SECONDS, check=False)  # noqa: S603 - the tool that was asked for


# -- What there is.


def default_image() -> str:
    """Return the image that containers are made of where none is named."""
    return f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


@functools.cache
def find_sandbox(asked: str, image: str = "") -> Sandbox:
    """Return the level that was asked for, once it was seen to work; for ``auto`` the strongest that does.

    Raises `SandboxError` that says why it does not: nothing weaker is taken in its place.
    """
    if asked != "auto":
        sandbox = Sandbox(asked, asked, image or default_image())
        why_not = probe(sandbox)
        if why_not:
            raise SandboxError(f"evals_code_sandbox = {asked} does not work here: {why_not}")
        return sandbox
    missing: list[str] = []
    for level in STRONGEST_FIRST:
        why_not = probe(Sandbox(level))
        if not why_not:
            return Sandbox(level, note="; ".join(missing))
        missing.append(f"no {level}: {why_not}")
    raise SandboxError(f"Python cannot be started for programs of models: {missing[-1]}")


def probe(sandbox: Sandbox) -> str:
    """Start a process in this level, and return why that does not do; nothing where it does."""
    absent = _absent(sandbox)
    if absent:
        return absent
    limits = {"memory": 1 << 30, "seconds": 10, "file_size": 1 << 24}
    import tempfile

    with tempfile.TemporaryDirectory(prefix="evals-program-") as folder:
        command, name = sandbox.command(limits, packages=False)
        setup = {"confine": sandbox.confinement(folder, limits, packages=False), "packages": False}
        lines = b"".join(json.dumps(line).encode() + b"\n" for line in (sandbox.sources(), setup))
        try:
            done = subprocess.run(  # noqa: S603 - Python, or the tool that was asked for
                command,
                input=lines,
                capture_output=True,
                cwd=folder,
                env=tool_environment(sandbox, folder),
                timeout=START_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return one_line(str(error), 300)
        finally:
            if name is not None:
                remove_container(sandbox.level, name)
    try:
        held = json.loads(done.stdout.splitlines()[0])["ready"]
    except (IndexError, KeyError, TypeError, ValueError):
        said = done.stderr.decode("utf-8", "replace").strip()
        return one_line(said.splitlines()[-1] if said else f"exit status {done.returncode}", 300)
    missing = [limit for limit in REQUIRED[sandbox.level] if limit not in held]
    return f"the kernel does not limit {', '.join(missing)}" if missing else ""


def _absent(sandbox: Sandbox) -> str:
    if sandbox.level in CONTAINERS:
        return _image_absent(sandbox)
    if sandbox.level == "none":
        return ""
    if sys.platform != "linux":
        return "it is part of Linux"
    if sandbox.level == "bubblewrap" and shutil.which("bwrap") is None:
        return "the program bwrap is not installed (Debian's package is 'bubblewrap')"
    if sandbox.level == "landlock" and landlock_version() < 1:
        return "the kernel has no Landlock, or it is switched off (it needs 5.13 or newer)"
    return ""


def _image_absent(sandbox: Sandbox) -> str:
    tool = shutil.which(sandbox.level)
    if tool is None:
        return f"the program {sandbox.level} is not installed"
    try:
        done = subprocess.run(  # noqa: S603 - the tool that was asked for
            [tool, "image", "inspect", sandbox.image],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return one_line(str(error), 300)
    if done.returncode == 0:
        return ""
    said = one_line(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "nothing", 200)
    return (
        f"'{sandbox.level} image inspect {sandbox.image}' says: {said}; an image has to be here before "
        f"({sandbox.level} pull {sandbox.image}), and evals_code_image names another"
    )


def tool_environment(sandbox: Sandbox, folder: str) -> dict[str, str]:
    """Return the environment of the command: the program's own, but a container's tool needs that of its user."""
    return dict(os.environ) if sandbox.level in CONTAINERS else environment(folder)


def tests_confinement(sandbox: Sandbox, folder: str, limits: Mapping[str, int], *, packages: bool) -> dict[str, Any]:
    """Return what the process of the tests forbids itself: as much as it can where the program is confined, too."""
    level = "none" if sandbox.level == "none" else "landlock" if landlock_version() else "seccomp"
    if sys.platform != "linux":
        level = "none"
    readable: Sequence[str] = readable_paths(packages=packages) if level == "landlock" else ()
    return {"level": level, "folder": folder, "readable": list(readable), **limits}
