"""What an exception of a forward means: too little memory, a broken device, or this row's own fault."""

from __future__ import annotations

import torch
from torch import distributed

from pytest_evals.completion import Failure

_MEMORY_MESSAGES = ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the error says that the batch was too large for the device's memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _MEMORY_MESSAGES)


def is_fatal(error: BaseException) -> bool:
    """Tell whether the device is unusable after the error, so that only a new process helps."""
    if distributed.is_initialized() and is_out_of_memory(error):
        # The other ranks of the model had enough: they no longer do the same.
        return True
    if is_out_of_memory(error):
        # Also where it calls itself a CUDA error: the device goes on once there is memory.
        return False
    return "CUDA error" in str(error) or "device-side assert" in str(error)


def explain(error: Exception, device: str) -> Failure:
    """Return the failure of a row that failed alone."""
    if is_out_of_memory(error):
        return Failure("engine", f"not enough memory on {device} for this request alone: {error}")
    return Failure("engine", f"generation failed: {type(error).__name__}: {error}")
