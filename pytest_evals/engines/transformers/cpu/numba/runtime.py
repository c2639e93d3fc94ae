"""Compiled loops on the threads that torch computes with.

A second team of threads would wait for the cores on which the first one waits for its next work. So there is no second
one: the OpenMP library that torch has loaded runs a loop as it runs torch's, and starting one takes some microseconds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import llvmlite.binding
import numpy as np
import torch
from numba import carray, cfunc, njit, types, void
from numba.core import typing

F = TypeVar("F", bound=Callable[..., Any])

_LIBRARY = "libgomp.so.1"
"""GNU's, which torch's builds for Linux bring along."""
_FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Sums may be taken in another order, which is what lets them be vectors; NaN and infinity keep their meaning."""
_MOST = 9

# Raises `OSError` where torch computes with another library: threads of this one would only be in the way of its own.
_run = ctypes.CDLL(_LIBRARY, mode=os.RTLD_NOLOAD).GOMP_parallel
_run.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
_run.restype = None
# Compiled code finds functions of the library by their names.
llvmlite.binding.load_library_permanently(_LIBRARY)
_thread = types.ExternalFunction("omp_get_thread_num", typing.signature(types.int32))
_threads = types.ExternalFunction("omp_get_num_threads", typing.signature(types.int32))


class CompiledLoop:
    """A loop that shares its work among threads: called with their number, up to 9 integers, tensors in fp32
    or int64, and perhaps a float.

    The loop gets pointers: to the integers, the float, and the numbers of each tensor, which must lie where the loop
    expects them: shapes and strides are among the integers.
    """

    def __init__(self, loop: Callable[[Any], None]) -> None:
        self._compiled = _compiled(loop, keep=True)

    def __call__(
        self, threads: int, integers: Sequence[int], tensors: Sequence[torch.Tensor], number: float = 0.0
    ) -> None:
        """Run the loop in this many threads, and return when all have ended."""
        whole, part = (ctypes.c_int64 * _MOST)(*integers), ctypes.c_double(number)
        places = [ctypes.addressof(whole), ctypes.addressof(part), *(tensor.data_ptr() for tensor in tensors)]
        _run(self._compiled.address, (ctypes.c_void_p * len(places))(*places), threads, 0)


def _compiled(loop: Callable[[Any], None], *, keep: bool) -> Any:
    """Compile a loop, or read it from where numba keeps what it compiled: beside the module, else in the user's cache."""
    try:
        return cfunc(void(types.CPointer(types.voidptr)), cache=keep, fastmath=_FAST, error_model="numpy")(loop)
    except RuntimeError:
        if not keep:
            raise
        # Neither place can be written to.
        return _compiled(loop, keep=False)


def inlined(function: F) -> F:
    """Make a function part of the loops that call it, so that what is constant there is constant in it."""
    result: F = njit(fastmath=_FAST, error_model="numpy", inline="always")(function)
    return result


@inlined
def integers_of(pointers: Any) -> Any:
    """Return the integers that a loop was called with."""
    given = carray(pointers[0], _MOST, np.int64)
    return given[0], given[1], given[2], given[3], given[4], given[5], given[6], given[7], given[8]


@inlined
def float_of(pointers: Any) -> Any:
    """Return the float that a loop was called with."""
    return np.float32(carray(pointers[1], 1, np.float64)[0])


@inlined
def share_of(total: int) -> Any:
    """Return the first of ``total`` units of work that this thread does, and the one after its last."""
    return total * _thread() // _threads(), total * (_thread() + 1) // _threads()


def _exp(value: Any) -> Any:
    """Return the exponential of a number up to 0, within 2 units in the last place.

    By powers of two and a polynomial, as in Cephes (Moshier, ``expf.c``): without calls, so that loops of it are vectors.
    """
    # Below it the exponential is not a normal number.
    value = max(value, np.float32(-87.0))
    power = np.floor(value * np.float32(1.44269504088896341) + np.float32(0.5))
    rest = value - power * np.float32(0.693359375) + power * np.float32(2.12194440e-4)
    sum_ = np.float32(1.9875691500e-4)
    sum_ = sum_ * rest + np.float32(1.3981999507e-3)
    sum_ = sum_ * rest + np.float32(8.3334519073e-3)
    sum_ = sum_ * rest + np.float32(4.1665795894e-2)
    sum_ = sum_ * rest + np.float32(1.6666665459e-1)
    sum_ = sum_ * rest + np.float32(5.0000001201e-1)
    bits = np.int32((np.int32(power) + np.int32(127)) << np.int32(23))
    return (sum_ * rest * rest + rest + np.float32(1)) * bits.view(np.float32)


exp: Callable[[Any], Any] = njit(fastmath={"contract"})(_exp)
"""See `_exp`; in another order its sums would lose their last digits."""
