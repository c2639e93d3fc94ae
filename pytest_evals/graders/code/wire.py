"""How values travel between the process of a program and that of its tests. Standard library only.

Plain data travels as a copy, and a copy is built of Python's own types: it cannot lie. Everything else stays where it lives and
travels as a number. A message is JSON with a heap, so that values may be shared, nested deeply, and contain themselves.
"""

from __future__ import annotations

import base64
import collections
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any, Protocol

    from pytest_evals.graders.code.unpacking import Unpacker

    class Home(Protocol):
        """What packing needs to know of its process."""

        @property
        def shared(self) -> Mapping[str, type]:
            """The classes whose objects travel as copies, by name."""
            ...

        @property
        def packages(self) -> bool:
            """Whether arrays of NumPy may travel."""
            ...

        def export(self, value: Any) -> Any:
            """Return what represents a value that is not plain data."""
            ...

        def resolve(self, packed: list[Any], unpacker: Unpacker) -> Any:
            """Return what ``export`` of the other side, or of this one, stands for."""
            ...


SMALL = 1 << 53
# fmt: off
SAFE_MODULES = frozenset((
    "asyncio.exceptions", "bisect", "collections", "copy", "datetime", "decimal", "fractions", "functools", "heapq",
    "itertools", "json", "json.decoder", "math", "operator", "queue", "random", "re", "statistics", "string", "typing",
))
"""Modules whose classes and functions are the same on both sides, and harmless."""
UNSAFE_NAMES = frozenset((
    "breakpoint", "compile", "delattr", "dir", "eval", "exec", "exit", "getattr", "globals", "help", "input", "locals",
    "memoryview", "open", "print", "quit", "setattr", "vars",
))
# fmt: on
NUMPY_TYPE = re.compile(r"[<>|=][biufc]\d{1,2}|[<>|=][SU]\d{1,6}")


class WireError(BaseException):
    """What came is nothing that the other side may say. A test that expects an exception does not expect this one."""


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# -- Packing.


class Packer:
    """Packs the values of one message. ``known`` are objects that the other side knows by other means."""

    def __init__(self, home: Home, known: Mapping[int, Any] | None = None) -> None:
        self.heap: list[Any] = []
        self.objects: list[Any] = []
        self._home, self._known = home, known or {}
        self._index: dict[int, int] = {}
        self._done = 0

    def pack(self, value: Any) -> Any:
        """Return what stands for the value. `finish` makes what it is made of."""
        kind = type(value)
        if value is None or kind in (str, bool, float) or (kind is int and -SMALL < value < SMALL):
            return value
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._index or self._is_made_of_others(value):
            return ["r", self._place(value)]
        return _LEAVES[kind](value) if kind in _LEAVES else self._other(value)

    def _is_made_of_others(self, value: Any) -> bool:
        kind = type(value)
        named = kind in _NODES or kind.__name__ in self._home.shared
        return named or _is_named(value) or isinstance(value, BaseException)

    def _place(self, value: Any) -> int:
        """Return the place of a value in the heap."""
        place = self._index.setdefault(id(value), len(self.objects))
        if place == len(self.objects):
            self.objects.append(value)
        return place

    def finish(self) -> list[Any]:
        """Return the heap."""
        while self._done < len(self.objects):
            self.heap.append(self.node(self.objects[self._done]))
            self._done += 1
        return self.heap

    def node(self, value: Any) -> list[Any]:
        """Return what a container is made of."""
        kind = type(value)
        if kind in _NODES:
            return _NODES[kind](self, value)
        if isinstance(value, BaseException):
            return self._error(value)
        if kind.__name__ in self._home.shared:
            return ["o", kind.__name__, *self.pairs(attributes(value))]
        names = [str.__str__(name) for name in kind._fields]
        return ["n", kind.__name__, names, *map(self.pack, tuple.__iter__(value))]

    def pairs(self, items: Any) -> list[Any]:
        """Return keys and values in turn."""
        return [self.pack(part) for pair in items for part in pair]

    def _error(self, error: BaseException) -> list[Any]:
        kept = {name: value for name, value in vars(error).items() if not name.startswith("__")}
        trace = getattr(error, "__evals_trace__", "")
        return ["e", self.pack(type(error)), trace, [self.pack(part) for part in error.args], *self.pairs(kept.items())]

    def _other(self, value: Any) -> Any:
        kind = type(value)
        # What is derived from plain data, and cannot change, is what it is derived from.
        for base, bare in _BASES.items():
            if isinstance(value, base):
                return self.pack(bare(value))
        if kind.__module__ == "numpy" and self._home.packages:
            packed = _numpy_packed(value)
            if packed is not None:
                return packed
        leaf = _NAMED_LEAVES.get((kind.__module__, kind.__name__))
        if leaf is not None and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind:
            return leaf(value)
        reference = reference_to(value)
        return ["g", *reference] if reference else self._home.export(value)


_BASES: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: b"".join([value]),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
_LEAVES: dict[type, Callable[[Any], Any]] = {
    int: lambda value: ["i", hex(value)],
    bytes: lambda value: ["b", _text(value)],
    complex: lambda value: ["c", value.real, value.imag],
    range: lambda value: ["range", *(hex(part) for part in (value.start, value.stop, value.step))],
    type(...): lambda _: ["..."],
    type(NotImplemented): lambda _: ["not"],
    re.Pattern: lambda value: ["re", value.pattern, value.flags] if isinstance(value.pattern, str) else ["not"],
}
# Classes of modules that are imported where a program or its tests do so.
_NAMED_LEAVES: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("decimal", "Decimal"): lambda value: ["D", str(value)],
    ("fractions", "Fraction"): lambda value: ["F", hex(value.numerator), hex(value.denominator)],
    ("datetime", "date"): lambda value: ["date", value.isoformat()],
    ("datetime", "datetime"): lambda value: ["datetime", value.isoformat()],
    ("datetime", "time"): lambda value: ["time", value.isoformat()],
    ("datetime", "timedelta"): lambda value: ["delta", value.days, value.seconds, value.microseconds],
}
_NODES: dict[type, Callable[[Packer, Any], list[Any]]] = {
    list: lambda packer, value: ["l", *map(packer.pack, value)],
    tuple: lambda packer, value: ["t", *map(packer.pack, value)],
    set: lambda packer, value: ["s", *map(packer.pack, value)],
    frozenset: lambda packer, value: ["f", *map(packer.pack, value)],
    dict: lambda packer, value: ["d", *packer.pairs(value.items())],
    slice: lambda packer, value: ["slice", *map(packer.pack, (value.start, value.stop, value.step))],
    bytearray: lambda _, value: ["ba", _text(value)],
    collections.deque: lambda packer, value: ["q", value.maxlen, *map(packer.pack, value)],
    collections.OrderedDict: lambda packer, value: ["od", *packer.pairs(value.items())],
    collections.Counter: lambda packer, value: ["C", *packer.pairs(value.items())],
    collections.defaultdict: lambda packer, value: [
        "dd",
        packer.pack(value.default_factory),
        *packer.pairs(value.items()),
    ],
    type({}.keys()): lambda packer, value: ["dk", *map(packer.pack, value)],
    type({}.items()): lambda packer, value: ["di", *packer.pairs(value)],
}


def _is_named(value: Any) -> bool:
    fields = getattr(type(value), "_fields", None) if isinstance(value, tuple) else None
    return type(fields) is tuple and len(fields) == tuple.__len__(value) and all(type(name) is str for name in fields)


def attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Return the attributes of an object, those in slots too."""
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def reference_to(value: Any) -> tuple[str, str] | None:
    """Return module and name of what both sides have: builtins, and what is in some modules of the standard library."""
    if not isinstance(value, (type, types.BuiltinFunctionType, types.FunctionType)):
        return None
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    module = module.removeprefix("_") if module.startswith("_") else module
    try:
        return (module, name) if referenced(module, name) is value else None
    except (WireError, ImportError):
        return None


def referenced(module: Any, name: Any) -> Any:
    """Return what both sides have by that name. Raises `WireError` for anything else."""
    known = module == "builtins" and name not in UNSAFE_NAMES
    if not isinstance(name, str) or name.startswith("_") or not (known or module in SAFE_MODULES):
        raise WireError(f"{module}.{name} is not shared")
    loaded = sys.modules.get(module) or __import__(module, fromlist=[name])
    found = getattr(loaded, name, None)
    if not isinstance(found, (type, types.BuiltinFunctionType, types.FunctionType)):
        raise WireError(f"{module}.{name} is not shared")
    return found


def _numpy_packed(value: Any) -> list[Any] | None:
    numpy = sys.modules.get("numpy")
    if (
        numpy is None
        or not isinstance(value, (numpy.generic, numpy.ndarray))
        or not NUMPY_TYPE.fullmatch(value.dtype.str)
    ):
        return None
    array = numpy.ascontiguousarray(value)
    return [
        "np",
        value.dtype.str,
        None if isinstance(value, numpy.generic) else list(value.shape),
        _text(array.tobytes()),
    ]
