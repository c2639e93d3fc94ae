"""The values that a message of another process stands for, and what a call has changed. Standard library only.

Values are built of Python's own types, so that they cannot lie; what has no meaning raises `WireError`.
"""

from __future__ import annotations

import base64
import collections
import re
from collections.abc import Callable, Iterator, Mapping

from pytest_evals.graders.code.wire import NUMPY_TYPE, WireError, attributes, referenced

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

    from pytest_evals.graders.code.wire import Home


def _bytes(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


class Unpacker:
    """Makes the values of one message. ``own`` are the objects that this side sent with what is answered."""

    def __init__(self, home: Home, heap: Any, own: list[Any] | None = None) -> None:
        if not isinstance(heap, list) or not all(isinstance(node, list) and node for node in heap):
            raise WireError("the heap is not a list of nodes")
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
        """Return the value that is packed here."""
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
        if node[0] not in _IMMUTABLE:
            raise WireError(f"no node {node[0]!r}")
        return _IMMUTABLE[node[0]](self, node[1:])

    def error(self, kind: Any, trace: Any, arguments: list[Any], *attributes: Any) -> BaseException:
        """Return an exception of this class, with its arguments and attributes."""
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


def _named_tuple(name: str, fields: list[str]) -> Any:
    return collections.namedtuple(name, fields)  # noqa: PYI024 - made of names that come


def _factory(unpacker: Unpacker, packed: Any) -> Any:
    factory = unpacker.unpack(packed)
    if factory is not None and not callable(factory):
        raise WireError("no factory")
    return collections.defaultdict(factory)


_IMMUTABLE: dict[str, Callable[[Unpacker, list[Any]], Any]] = {
    "t": lambda unpacker, parts: tuple(map(unpacker.unpack, parts)),
    "f": lambda unpacker, parts: frozenset(map(unpacker.unpack, parts)),
    "slice": lambda unpacker, parts: slice(*map(unpacker.unpack, parts)),
    "dk": lambda unpacker, parts: dict.fromkeys(map(unpacker.unpack, parts)).keys(),
    "di": lambda unpacker, parts: dict(unpacker.pairs(parts)).items(),
    "n": lambda unpacker, parts: _named_tuple(parts[0], parts[1])(*map(unpacker.unpack, parts[2:])),
    "e": lambda unpacker, parts: unpacker.error(*parts),
}
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


def _from_module(module: str, name: str) -> Callable[..., Any]:
    """Return what makes a value of a class whose module is imported when there is such a value."""

    def made(*parts: Any) -> Any:
        return referenced(module, name)(*parts)

    return made


_ORDER = {"o": -1, "s": 2, "d": 1, "od": 1, "C": 1, "dd": 1}
_VALUES: dict[str, Callable[..., Any]] = {
    "i": lambda text: int(text, 16),
    "b": _bytes,
    "c": complex,
    "range": lambda *parts: range(*(int(part, 16) for part in parts)),
    "...": lambda: ...,
    "not": lambda: NotImplemented,
    "D": _from_module("decimal", "Decimal"),
    "F": lambda above, below: referenced("fractions", "Fraction")(int(above, 16), int(below, 16)),
    "date": lambda text: referenced("datetime", "date").fromisoformat(text),
    "datetime": lambda text: referenced("datetime", "datetime").fromisoformat(text),
    "time": lambda text: referenced("datetime", "time").fromisoformat(text),
    "delta": _from_module("datetime", "timedelta"),
    "re": re.compile,
    "g": referenced,
}


def _place(index: Any, among: list[Any]) -> int:
    if type(index) is not int or not 0 <= index < len(among):
        raise WireError("no such object")
    return index


def _numpy_made(kind: str, shape: list[int] | None, data: str) -> Any:
    import numpy as np

    if not NUMPY_TYPE.fullmatch(kind):
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
