"""What all kernels share: how they are launched, and what differs under Triton's interpreter."""

from __future__ import annotations

import os

import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether kernels run in Triton's interpreter, on tensors of the CPU. Triton looks when kernels are defined."""
WIDENS = tl.constexpr(INTERPRETED)
"""Whether products take their factors in fp32. The interpreter keeps bf16 as whole numbers, and would multiply these."""
DEVICE_KEYS = ("CUDA", "CPU") if INTERPRETED else ("CUDA",)
"""Where operators made of kernels are registered, as torch names the keys of its dispatcher."""
