"""What this machine has, found out without loading torch."""

from __future__ import annotations

import functools
import os
import subprocess


@functools.cache
def gpu_count() -> int:
    """Return how many NVIDIA GPUs this process may use: ``CUDA_VISIBLE_DEVICES``, or what the driver lists."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([entry for entry in visible.split(",") if entry.strip() and entry.strip() != "-1"])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S607 - the driver's tool is wherever the system has it
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def free_memory() -> int | None:
    """Return the bytes of main memory that are free. With a GPU `None`: its memory is not seen from here."""
    if gpu_count():
        return None
    import psutil

    return int(psutil.virtual_memory().available)
