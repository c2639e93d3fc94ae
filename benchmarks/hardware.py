"""What a result was measured on: processor, threads, memory, versions, commit."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.job import installed
from benchmarks.workloads import ROOT


@dataclass(frozen=True, slots=True)
class Hardware:
    """``processor`` is its model, ``threads`` those that each contender had, ``memory_gb`` what is built in."""

    processor: str
    threads: int
    memory_gb: int
    system: str
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None

    def same_machine(self, other: Hardware) -> bool:
        """Tell whether seconds of both can be compared: the same processor, and as many threads."""
        return (self.processor, self.threads) == (other.processor, other.threads)

    def described(self) -> str:
        """Return one line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.processor}, {self.threads} threads, {self.memory_gb} GB; {versions}; commit {self.commit or '?'}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return what `to_dict` described."""
        return cls(**data)


def this_hardware(threads: int) -> Hardware:
    """Return what this process runs on, for contenders of ``threads`` threads."""
    memory = round(psutil.virtual_memory().total / 1e9)
    versions = {"Python": platform.python_version(), **installed()}
    return Hardware(_processor(), threads, memory, platform.platform(), versions, _commit())


def _processor() -> str:
    """Return the model of the processor with the widest vectors that it has, which its name alone may not tell."""
    name, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        pairs = dict(line.split(":", 1) for line in reversed(lines) if ":" in line)
        entries = {key.strip(): value.strip() for key, value in pairs.items()}
        name = entries.get("model name", name)
        flags = entries.get("flags", entries.get("Features", ""))
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or name
    widest = next((flag for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve") if flag in flags.split()), "")
    return f"{name} ({platform.machine()}{', ' if widest else ''}{widest})"


def _commit() -> str | None:
    """Return the short name of the commit, with a plus sign where files differ from it; `None` outside of a clone."""
    with contextlib.suppress(OSError):
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)
        return found.stdout.strip() or None
    return None
