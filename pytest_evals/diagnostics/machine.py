"""torch's build and the GPU, processors, memory, and the levels of confinement for programs of models."""

from __future__ import annotations

import ast
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_evals.diagnostics.finding import Finding
from pytest_evals.text import one_line

_TRIAL_SECONDS = 120
_TRIAL = "import torch; torch.ones(2, 2, device='cuda').sum().item(); print(torch.cuda.get_device_name())"
_LITTLE_MEMORY = 2e9
_GOOD_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16", "i8mm")
_DRIVERS = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}


def torch() -> Iterator[Finding]:
    """Yield torch's version and build, and whether it can compute on the GPU of this machine."""
    version, build = torch_build()
    if version is None:
        # What is required and missing has a finding already.
        return
    devices, driver = cuda_devices()
    if build == "cpu":
        yield Finding("torch", "ok", f"{version}, built for CPUs")
        if devices:
            yield Finding(
                "gpu",
                "problem",
                f"{devices} NVIDIA {'GPU is' if devices == 1 else 'GPUs are'} here (driver for CUDA {driver}), and torch is built for CPUs",
                "install the build of torch for CUDA: https://pytorch.org/get-started",
            )
        else:
            yield Finding("gpu", "ok", "no GPU: models run on the CPU")
    elif build == "mps":
        yield Finding("torch", "ok", f"{version}, built for Apple's processors (device mps)")
    else:
        yield Finding("torch", "ok", f"{version}, built for {build}")
        yield _trial() if devices or not build.startswith("CUDA") else _no_device(driver)


def torch_build() -> tuple[str | None, str]:
    """Return torch's version (`None` where it is not installed) and what it is built for: ``cpu``, ``mps``, ``CUDA 12.8``, ``ROCm 6.4``
    or ``XPU``. It is read from torch's files.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None, ""
    try:
        version = importlib.metadata.version("torch")
        source = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except (importlib.metadata.PackageNotFoundError, OSError):
        return None, ""
    return version, _build(source)


def _build(source: str) -> str:
    """Read torch's ``version.py``, which assigns the versions of what it was built for, or `None`."""
    values: dict[str, object] = {}
    for node in ast.parse(source).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            values |= {target.id: node.value.value for target in targets if isinstance(target, ast.Name)}
    for name, title in (("cuda", "CUDA"), ("hip", "ROCm"), ("xpu", "XPU")):
        if values.get(name):
            return f"{title} {values[name]}"
    return "mps" if sys.platform == "darwin" and platform.machine() == "arm64" else "cpu"


def cuda_devices() -> tuple[int, str]:
    """Return how many NVIDIA GPUs the driver shows, and the newest CUDA that it can run; 0 and nothing without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVERS.get(sys.platform, ""))
    except (OSError, TypeError):
        return 0, ""
    version, devices = ctypes.c_int(), ctypes.c_int()
    driver.cuDriverGetVersion(ctypes.byref(version))
    known = f"{version.value // 1000}.{version.value % 1000 // 10}"
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(devices)) != 0:
        return 0, known
    return devices.value, known


def _no_device(driver: str) -> Finding:
    why = f"the driver (CUDA {driver}) shows none" if driver else "there is no NVIDIA driver"
    action = "'torch --index-url https://download.pytorch.org/whl/cpu' is the smaller build, where no GPU is expected"
    return Finding("gpu", "note", f"no GPU: {why}; models run on the CPU", action)


def _trial() -> Finding:
    """Compute on the GPU in a process of its own: only that tells whether torch, driver and GPU fit each other."""
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", _TRIAL], capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("gpu", "problem", f"torch cannot be tried on the GPU: {one_line(str(error), 300)}")
    if done.returncode == 0:
        return Finding("gpu", "ok", f"{done.stdout.strip()}: torch computes on it")
    said = one_line((done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1], 300)
    action = "a driver that is older than torch's CUDA, or a GPU that this build does not know: https://pytorch.org/get-started"
    return Finding("gpu", "problem", f"torch cannot compute on the GPU: {said}", action)


def processors() -> Iterator[Finding]:
    """Yield how many processors there are for torch, and what they can do."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    limits = [f"{allowed} of {os.cpu_count()} processors"] if allowed != os.cpu_count() else [f"{allowed} processors"]
    limits += [f"limited to the time of {quota:g}"] if quota is not None and quota < allowed else []
    threads = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if os.environ.get(name)]
    features = instructions()
    known = [name for name in _GOOD_INSTRUCTIONS if name in features]
    text = "; ".join([*limits, platform.machine(), *threads, *([" ".join(known)] if known else [])])
    if features and "x86" in platform.machine().lower() and "avx2" not in features:
        yield Finding("cpu", "note", f"{text}; no AVX2: generation on this CPU is slow")
    else:
        yield Finding("cpu", "ok", text)


def instructions(path: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the instruction sets that Linux lists for the first processor; none elsewhere."""
    try:
        found = re.search(
            r"^(?:flags|Features)\s*:\s*(.*)$", path.read_text(encoding="utf-8", errors="replace"), re.MULTILINE
        )
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def _quota(path: Path = Path("/sys/fs/cgroup/cpu.max")) -> float | None:
    try:
        limit, period = path.read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def memory() -> Iterator[Finding]:
    """Yield the memory that is free."""
    import psutil

    found = psutil.virtual_memory()
    text = f"{found.available / 1e9:.1f} GB of {found.total / 1e9:.1f} GB free"
    if found.available < _LITTLE_MEMORY:
        yield Finding(
            "memory",
            "note",
            f"{text}; the default model needs about 1.5 GB",
            "end other programs, or choose a smaller model",
        )
    else:
        yield Finding("memory", "ok", text)


def sandboxes() -> Iterator[Finding]:
    """Yield the levels of confinement for programs that a model writes (`graders.python_tests`), tried one by one."""
    from pytest_evals.graders.code.levels import CONTAINERS, STRONGEST_FIRST, Sandbox, probe

    why_not = {level: probe(Sandbox(level)) for level in STRONGEST_FIRST}
    there = [level for level in STRONGEST_FIRST if not why_not[level]]
    missing = "; ".join(f"no {level}: {why}" for level, why in why_not.items() if why)
    containers = [tool for tool in CONTAINERS if _which(tool)]
    text = f"{', '.join(there) or 'none works'}{f'; {missing}' if missing else ''}"
    if containers:
        text += f"; {' and '.join(containers)} may be chosen by evals_code_sandbox"
    if there[:1] == ["bubblewrap"]:
        yield Finding("sandbox", "ok", text)
    elif there:
        action = "for graders.python_tests, install bubblewrap (Debian: apt-get install bubblewrap), or set evals_code_sandbox = docker"
        yield Finding("sandbox", "note", text, action)
    else:
        yield Finding("sandbox", "problem", text, "graders.python_tests cannot run programs here")


def _which(program: str) -> str | None:
    import shutil

    return shutil.which(program)
