"""How values travel between the process of a program and that of its tests. Standard library only.

Plain data travels as a copy, and a copy is built of Python's own types: it cannot lie. Everything else stays where it lives and
travels as a number. A message is JSON with a heap, so that values may be shared, nested deeply, and contain themselves.
"""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

SMALL = 1 << 53
SAFE_MODULES = frozenset(
    [
        "asyncio.exceptions",
        "bisect",
        "collections",
        "copy",
        "datetime",
        "decimal",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "json",
        "json.decoder",
        "math",
        "operator",
        "queue",
        "random",
        "re",
        "statistics",
        "string",
        "typing",
    ]
)
"""Modules whose classes and functions are the same on both sides, and harmless."""
UNSAFE_NAMES = frozenset(
    [
        "breakpoint",
        "compile",
        "delattr",
        "dir",
        "eval",
        "exec",
        "exit",
        "getattr",
        "globals",
        "help",
        "input",
        "locals",
        "memoryview",
        "open",
        "print",
        "quit",
        "setattr",
        "vars",
    ]
)
_NUMPY_TYPE = re.compile(r"[<>|=][biufc]\d{1,2}|[<>|=][SU]\d{1,6}")


class WireError(BaseException):
    """What came is nothing that the other side may say. A test that expects an exception does not expect this one."""


class Home(Protocol):
    """What packing needs to know of its process."""

    shared: Mapping[str, type]
    packages: bool

    def export(self, value: Any) -> Any:
        """Return what stands for a value that is no plain data."""
        ...

    def resolve(self, packed: list[Any], unpacker: Unpacker) -> Any:
        """Return what ``export`` of the other side, or of this one, stands for."""
        ...


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


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
        if value is None or kind in (str, bool, float):
            return value
        if kind is int:
            return value if -SMALL < value < SMALL else ["i", hex(value)]
        if id(value) in self._known:
            return self._known[id(value)]
        if id(value) in self._index:
            return ["r", self._index[id(value)]]
        if kind in _NODES or kind.__name__ in self._home.shared or _is_named(value) or isinstance(value, BaseException):
            self._index[id(value)] = len(self.objects)
            self.objects.append(value)
            return ["r", len(self.objects) - 1]
        if kind in _LEAVES:
            return _LEAVES[kind](value)
        return self._other(value)

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
    bytes: lambda value: ["b", _text(value)],
    complex: lambda value: ["c", value.real, value.imag],
    range: lambda value: ["range", *(hex(part) for part in (value.start, value.stop, value.step))],
    type(...): lambda _: ["..."],
    type(NotImplemented): lambda _: ["not"],
    decimal.Decimal: lambda value: ["D", str(value)],
    fractions.Fraction: lambda value: ["F", hex(value.numerator), hex(value.denominator)],
    datetime.date: lambda value: ["date", value.isoformat()],
    datetime.datetime: lambda value: ["datetime", value.isoformat()],
    datetime.time: lambda value: ["time", value.isoformat()],
    datetime.timedelta: lambda value: ["delta", value.days, value.seconds, value.microseconds],
    re.Pattern: lambda value: ["re", value.pattern, value.flags] if isinstance(value.pattern, str) else ["not"],
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
        or not _NUMPY_TYPE.fullmatch(value.dtype.str)
    ):
        return None
    array = numpy.ascontiguousarray(value)
    return [
        "np",
        value.dtype.str,
        None if isinstance(value, numpy.generic) else list(value.shape),
        _text(array.tobytes()),
    ]


# -- Unpacking.


class Unpacker:
    """Makes the values of one message. ``own`` are the objects that this side sent with what is answered."""

    def __init__(self, home: Home, heap: Any, own: list[Any] | None = None) -> None:
        if not isinstance(heap, list) or not all(isinstance(node, list) and node for node in heap):
            raise WireError("the heap is no list of nodes")
        self._home, self._heap, self._own = home, heap, own or []
        self.objects: list[Any] = [None] * len(heap)
        self._made = [False] * len(heap)
        self._making: set[int] = set()
        self.mutable = [index for index, node in enumerate(heap) if node[0] in _SHELLS or node[0] == "o"]
        for index in self.mutable:
            self.objects[index], self._made[index] = self._shell(heap[index]), True
        # What is hashed comes last: an object's hash may depend on what it is made of.
        for index in sorted(self.mutable, key=lambda index: _ORDER.get(heap[index][0], 0)):
            self.fill(self.objects[index], heap[index])

    def unpack(self, packed: Any) -> Any:
        """Return the value that stands here."""
        if packed is None or type(packed) in (str, bool, float, int):
            return packed
        if type(packed) is not list or not packed:
            raise WireError("no value")
        tag = packed[0]
        if tag == "r":
            return self._node(packed[1])
        if tag == "a":
            return self._own[_place(packed[1], self._own)]
        if tag in _VALUES:
            return _VALUES[tag](*packed[1:])
        if tag == "np" and self._home.packages:
            return _numpy_made(*packed[1:])
        return self._home.resolve(packed, self)

    def fill(self, value: Any, node: list[Any]) -> None:
        """Put into a container what its node says."""
        tag = node[0]
        if tag == "o":
            for name, part in self.pairs(node[2:]):
                object.__setattr__(value, name, part)
        elif tag == "ba":
            value[:] = _bytes(node[1])
        elif tag in ("l", "s", "q"):
            value.clear()
            add = value.add if tag == "s" else value.append
            for part in node[2:] if tag == "q" else node[1:]:
                add(self.unpack(part))
        else:
            value.clear()
            for key, part in self.pairs(node[2:] if tag == "dd" else node[1:]):
                value[key] = part

    def pairs(self, parts: list[Any]) -> Iterator[tuple[Any, Any]]:
        """Return what keys and values in turn stand for."""
        if len(parts) % 2:
            raise WireError("a key without a value")
        for place in range(0, len(parts), 2):
            yield self.unpack(parts[place]), self.unpack(parts[place + 1])

    def _node(self, index: Any) -> Any:
        index = _place(index, self._heap)
        if not self._made[index]:
            if index in self._making:
                raise WireError("a value that cannot contain itself does")
            self._making.add(index)
            self.objects[index], self._made[index] = self._immutable(self._heap[index]), True
        return self.objects[index]

    def _shell(self, node: list[Any]) -> Any:
        if node[0] == "o":
            kind = self._home.shared.get(node[1])
            if kind is None:
                raise WireError(f"no class {node[1]!r}")
            return object.__new__(kind)
        return _SHELLS[node[0]](self, node)

    def _immutable(self, node: list[Any]) -> Any:
        tag, parts = node[0], node[1:]
        if tag == "t":
            return tuple(map(self.unpack, parts))
        if tag == "f":
            return frozenset(map(self.unpack, parts))
        if tag == "slice" and len(parts) == 3:
            return slice(*map(self.unpack, parts))
        if tag == "dk":
            return dict.fromkeys(map(self.unpack, parts)).keys()
        if tag == "di":
            return dict(self.pairs(parts)).items()
        if tag == "n":
            return collections.namedtuple(parts[0], parts[1])(*map(self.unpack, parts[2:]))  # noqa: PYI024 - made of names that come
        if tag == "e":
            return self._error(*parts)
        raise WireError(f"no node {tag!r}")

    def _error(self, kind: Any, trace: Any, arguments: list[Any], *attributes: Any) -> BaseException:
        made = self.unpack(kind)
        if not isinstance(made, type) or not issubclass(made, BaseException) or not isinstance(trace, str):
            raise WireError("no exception")
        given = [self.unpack(part) for part in arguments]
        try:
            error = made(*given)
        except Exception:  # noqa: BLE001 - some need arguments of certain types
            error = made.__new__(made)
            error.args = tuple(given)
        for name, value in self.pairs(list(attributes)):
            if isinstance(name, str) and not name.startswith("__"):
                error.__dict__[name] = value
        error.__dict__["__evals_trace__"] = trace
        return error


def _factory(unpacker: Unpacker, packed: Any) -> Any:
    factory = unpacker.unpack(packed)
    if factory is not None and not callable(factory):
        raise WireError("no factory")
    return collections.defaultdict(factory)


_SHELLS: dict[str, Callable[[Unpacker, list[Any]], Any]] = {
    "l": lambda *_: [],
    "s": lambda *_: set(),
    "d": lambda *_: {},
    "ba": lambda *_: bytearray(),
    "q": lambda _, node: collections.deque(maxlen=node[1]),
    "od": lambda *_: collections.OrderedDict(),
    "C": lambda *_: collections.Counter(),
    "dd": lambda unpacker, node: _factory(unpacker, node[1]),
}
_ORDER = {"o": -1, "s": 2, "d": 1, "od": 1, "C": 1, "dd": 1}
_VALUES: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "b": _bytes,
    "c": complex,
    "range": lambda *parts: range(*(int(part, 16) for part in parts)),
    "...": lambda: ...,
    "not": lambda: NotImplemented,
    "D": decimal.Decimal,
    "F": lambda above, below: fractions.Fraction(int(above, 16), int(below, 16)),
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "delta": datetime.timedelta,
    "re": re.compile,
    "g": referenced,
}


def _place(index: Any, among: list[Any]) -> int:
    if type(index) is not int or not 0 <= index < len(among):
        raise WireError("no such object")
    return index


def _numpy_made(kind: str, shape: list[int] | None, data: str) -> Any:
    import numpy as np

    if not _NUMPY_TYPE.fullmatch(kind):
        raise WireError("no such type of array")
    array = np.frombuffer(_bytes(data), dtype=kind)
    return array[0] if shape is None else array.reshape(shape).copy()


# -- What a call does to the containers that it was given is carried back.


_TAGS: dict[type, str] = {
    list: "l",
    set: "s",
    dict: "d",
    bytearray: "ba",
    collections.deque: "q",
    collections.OrderedDict: "od",
    collections.Counter: "C",
    collections.defaultdict: "dd",
}


def container_tag(value: Any, shared: Mapping[str, type]) -> str | None:
    """Return the tag of the node that a container has, `None` for what cannot change."""
    kind = type(value)
    return _TAGS.get(kind) or ("o" if shared.get(kind.__name__) is kind else None)


def snapshot(value: Any) -> Any:
    """Return what a container is made of now, to be compared later."""
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, (list, collections.deque)):
        return list(value)
    if isinstance(value, (set, bytearray)):
        return value.copy()
    return [part for pair in attributes(value) for part in pair]


def changed(value: Any, before: Any) -> bool:
    """Tell whether a container is made of other things than at its snapshot."""
    now = snapshot(value)
    if isinstance(now, list):
        return len(now) != len(before) or any(one is not other for one, other in zip(now, before, strict=True))
    return bool(now != before)
