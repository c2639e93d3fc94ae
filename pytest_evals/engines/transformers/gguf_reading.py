"""Has transformers read a GGUF file once.

To load one it parses the metadata of the file three times, and builds the table of tensor names for each module of the model. Both are
done in Python, and take most of the half minute for a small model. What is read from them is never changed, so once is enough.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_REPEATED = ("GGUFReader", "get_tensor_name_map")


@contextmanager
def read_once() -> Iterator[None]:
    """Let the reader of a file, and each table of names, be made once in this context; without the package gguf nothing changes."""
    try:
        import gguf
    except ImportError:
        yield
        return
    package: Any = gguf
    own = {name: getattr(package, name) for name in _REPEATED if hasattr(package, name)}
    for name, make in own.items():
        setattr(package, name, functools.cache(make))
    try:
        yield
    finally:
        for name, make in own.items():
            setattr(package, name, make)
