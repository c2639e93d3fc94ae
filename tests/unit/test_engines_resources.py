"""What this machine has, found out without loading torch."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from pytest_evals.engines.resources import free_memory, gpu_count

Listing = Callable[..., None]


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test counts anew, and the next one after it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpu_count.cache_clear()
    yield
    gpu_count.cache_clear()


@pytest.fixture
def listing(monkeypatch: pytest.MonkeyPatch) -> Listing:
    """Say what the driver lists, or what happens when it is asked."""

    def lists(text: str = "", error: Exception | None = None) -> None:
        def run(*_arguments: Any, **_options: Any) -> subprocess.CompletedProcess[str]:
            if error:
                raise error
            return subprocess.CompletedProcess([], 0, text, "")

        monkeypatch.setattr(subprocess, "run", run)

    return lists


def test_gpus_are_counted_as_the_driver_lists_them(listing: Listing) -> None:
    listing(
        "GPU 0: NVIDIA H100 (UUID: GPU-1)\n  MIG 1g.10gb Device 0: (UUID: MIG-1)\nGPU 1: NVIDIA H100 (UUID: GPU-2)\n"
    )
    assert gpu_count() == 2


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("nvidia-smi"), PermissionError("nvidia-smi"), subprocess.TimeoutExpired("nvidia-smi", 10)],
)
def test_without_a_driver_there_are_none(listing: Listing, error: Exception) -> None:
    listing(error=error)
    assert gpu_count() == 0


def test_a_driver_that_fails_lists_none(listing: Listing) -> None:
    listing("NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.\n")
    assert gpu_count() == 0


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), (" 2 , 3 ,", 2), ("GPU-1,GPU-2,GPU-3", 3)]
)
def test_what_is_made_visible_decides(
    visible: str, count: int, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing("GPU 0: NVIDIA H100\n" * 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_count() == count


def test_the_driver_is_asked_once(listing: Listing) -> None:
    listing("GPU 0: NVIDIA H100\n")
    assert gpu_count() == 1
    listing(error=AssertionError("asked again"))
    assert gpu_count() == 1


def test_without_a_gpu_the_free_memory_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    free = free_memory()
    assert free is not None
    assert 0 < free <= psutil.virtual_memory().total


def test_the_memory_of_a_gpu_is_not_seen_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert free_memory() is None
