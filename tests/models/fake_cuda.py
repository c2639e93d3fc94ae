"""CUDA tensors without a GPU and without values, and a count of what makes the host wait for the device.

Torch's fake tensors have a device, a shape and a dtype. Operators on them check what they check on a GPU: that all tensors are on one
device, and that nobody asks for a value. Here a value that is asked for is made up and counted, so that a whole run goes through.
"""

from __future__ import annotations

import ctypes
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "cuda:0"
TOKEN = 5
"""What the host reads where it asks for tokens."""
_CUDA, _META = 1, 14
_REGISTRY = "_ZN3c104impl26device_guard_impl_registryE"
_DYNAMIC = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "repeat_interleave"}
"""Operators whose shape depends on values: the host waits for them."""


class Waits(TorchDispatchMode):
    """Counts what the host waits for: ``reads`` of values, and ``uploads`` that are not asynchronous, by where they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # In inference mode operators arrive that are made of others; only these tell what they do.
        if func.namespace == "aten" and func._can_decompose():
            with self:
                return func.decompose(*args, **kwargs)
        name = func.name().partition("::")[2].partition(".")[0]
        if name == "_local_scalar_dense":
            return self._scalar(args[0])
        if name in _DYNAMIC and on_cuda(args[0]) and kwargs.get("output_size") is None:
            raise AssertionError(f"{name} on the device: its shape is a value ({asked_at()})")
        if name in ("index", "index_put_", "index_put"):
            masks = [each for each in args[1] if each is not None and each.dtype in (torch.bool, torch.uint8)]
            assert not masks, f"a mask picks values on the device: their number is a value ({asked_at()})"
            if on_cuda(args[0]) and any(each is not None and not on_cuda(each) for each in args[1]):
                self.uploads[asked_at()] += 1
        found = func(*args, **kwargs)
        if name == "copy_":
            self._copied(args[1], args[0], waits=not (kwargs.get("non_blocking") or (len(args) > 2 and args[2])))
        elif name == "_to_copy":
            self._copied(args[0], found, waits=not kwargs.get("non_blocking"))
        return found

    def _scalar(self, tensor: Any) -> Any:
        constant = getattr(tensor, "constant", None)
        if constant is not None:
            return constant.item()
        if on_cuda(tensor):
            self.reads[asked_at()] += 1
        return True if tensor.dtype == torch.bool else TOKEN if not tensor.dtype.is_floating_point else 0.5

    def _copied(self, source: Any, target: Any, *, waits: bool) -> None:
        if waits and on_cuda(source) != on_cuda(target):
            (self.reads if on_cuda(source) else self.uploads)[asked_at()] += 1

    def listed(self, tensor: Any) -> Any:
        """In the place of `Tensor.tolist`: one read, whatever the number of values."""
        if tensor.constant is not None:
            return tensor.constant.tolist()
        if on_cuda(tensor):
            self.reads[asked_at()] += 1
        return torch.Tensor.tolist(made_up(tensor))

    def take(self) -> tuple[int, int]:
        """Return reads and uploads since the last time."""
        found = self.reads.total(), self.uploads.total()
        self.reads.clear()
        self.uploads.clear()
        return found


def made_up(tensor: Any) -> torch.Tensor:
    """A real tensor of this shape and dtype; tokens are `TOKEN`."""
    with torch._C._DisableTorchDispatch(), torch.utils._python_dispatch._disable_current_modes():
        value = True if tensor.dtype == torch.bool else TOKEN if not tensor.dtype.is_floating_point else 0.5
        return torch.full(tuple(tensor.shape), value, dtype=tensor.dtype)


def on_cuda(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def asked_at() -> str:
    """The innermost line outside of torch and this module."""
    here, torch_folder = Path(__file__).name, str(Path(torch.__file__).parent)
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(torch_folder) and Path(frame.filename).name != here:
            return f"{Path(frame.filename).name}:{frame.lineno} {frame.line}"
    return "unknown"


@contextmanager
def fake_cuda() -> Iterator[Waits]:
    """Make tensors without values, also on `DEVICE`, and count what is waited for."""
    waits = Waits()
    with cuda_guard(), pytest.MonkeyPatch.context() as patch, torch.inference_mode(), FakeTensorMode(), waits:
        patch.setattr(FakeTensor, "tolist", lambda tensor: waits.listed(tensor))  # noqa: PLW0108 - a method of the class gets the tensor
        yield waits


@contextmanager
def cuda_guard() -> Iterator[None]:
    """Let a build of torch without CUDA switch between its devices, which do nothing: the guard of ``meta`` serves.

    In a build with CUDA, torch does that itself where there is no GPU.
    """
    if torch.backends.cuda.is_built():
        yield
        return
    if sys.platform != "linux":
        pytest.skip("the table of device guards is looked up by its name on Linux")
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    guards = (ctypes.c_void_p * (_META + 1)).in_dll(library, _REGISTRY)
    assert guards[_META]
    assert not guards[_CUDA]
    guards[_CUDA] = guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = None
