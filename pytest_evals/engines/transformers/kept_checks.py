"""What was found out about a model when it was loaded before: checks of logits, and ways to compute that were timed.

Finding out takes longer than loading a small model. What was found holds for the same weights, options, versions, code and machine, and is
kept in the cache folder under all of these. Where one of them has changed, or the file is damaged, it is found out again.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from pytest_evals.engines.identity import place_of
from pytest_evals.engines.model_cache import keep, read_kept
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.cpu.tuning import processors

T = TypeVar("T")
_PROCESSOR = Path("/proc/cpuinfo")
_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "GOMP_CPU_AFFINITY", "KMP_AFFINITY"),
    *("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    *("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"),
)
"""What decides with how many threads, and with which instructions of the processor, libraries compute."""


class KeptChecks:
    """Finds each thing out once. Without a ``place`` in the cache folder nothing is known, and nothing kept."""

    def __init__(self, place: Path | None = None) -> None:
        self._place = place
        self._known = read_kept(place) if place is not None else {}
        self._changed = False

    def recall(self, name: str, kind: type[T], find: Callable[[], T], *, timed: bool = False) -> T:
        """Return what is known under ``name``, plain data of the type ``kind``; else what ``find`` returns, from now on known.

        ``timed``: it follows from how long something took, which says little while others use the machine. Then it is not kept.
        """
        known = self._known.get(name)
        # A truth value is a whole number to Python.
        if type(known) is kind:
            return known
        found = find()
        if not (timed and is_busy()):
            self._known[name] = found
            self._changed = True
        return found

    def keep(self) -> None:
        """Keep what was found out since."""
        if self._changed and self._place is not None:
            keep(self._place, self._known)
        self._changed = False


def is_busy() -> bool:
    """Tell whether more is at work on this machine, for the last minute or so, than there are processors."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except (OSError, AttributeError):  # Windows does not tell
        return False


def kept_checks(spec: ModelSpec, options: Mapping[str, Any], weights: str | None) -> KeptChecks:
    """Return what is known of a model whose files are told apart as ``weights``; nothing where they cannot be."""
    if weights is None or weights.endswith("@None"):
        return KeptChecks()
    decides = [_numba(), _processor(), *processors(), {name: os.environ.get(name) for name in _VARIABLES}]
    return KeptChecks(place_of("checks", spec, options, weights, decides))


def _numba() -> str | None:
    try:
        return metadata.version("numba")
    except metadata.PackageNotFoundError:
        return None


@cache
def _processor() -> str:
    """Return the kind of the processor."""
    try:
        lines = _PROCESSOR.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(
        line for line in lines if line.startswith(("vendor_id", "cpu family", "model", "stepping", "flags"))
    )
