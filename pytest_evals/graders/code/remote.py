"""Objects of another process, as this one uses them. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

    from pytest_evals.graders.code.peer import Peer

_ORDERED = ("lt", "le", "gt", "ge")
_BINARY = (
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "divmod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
)
# fmt: off
_ASKED = (
    "len", "iter", "next", "reversed", "getitem", "setitem", "delitem", "bool", "str", "repr", "hash", "int", "float", "complex",
    "index", "neg", "pos", "abs", "invert", "round", "trunc", "floor", "ceil", "format", "call", "enter", "exit", "aenter", "aexit",
    "aiter", "anext", "length_hint", "instancecheck", "subclasscheck", "contains", "await",
)
_FOR_READING = frozenset((
    "__name__", "__qualname__", "__module__", "__doc__", "__dict__", "__annotations__", "__version__", "__wrapped__",
))
# fmt: on
EQUALITY = ("__eq__", "__ne__")
WITH_ANOTHER = frozenset(f"__{name}__" for name in (*_ORDERED, *_BINARY, *(f"r{name}" for name in _BINARY)))
SPECIAL = frozenset((*EQUALITY, *WITH_ANOTHER, *(f"__{name}__" for name in _ASKED)))
_TEXT_METHODS = (
    {name for kind in (str, bytes, int, float, complex) for name in dir(kind) if not name.startswith("_")}
    | {"issubset", "issuperset", "isdisjoint"}
) - {name for kind in (list, dict, set) for name in dir(kind) if not name.startswith("is")}


class Remote:
    """An object of the other process. ``_evals`` is the peer that knows it, its number, and whether it may answer for itself."""

    __slots__ = ("__weakref__", "_evals")
    _evals: tuple[Peer, int, bool]

    def __getattr__(self, name: str) -> Any:
        peer, _, free = self._evals
        if name.startswith("__") and name not in _FOR_READING:
            raise AttributeError(f"{name} of an object of the other process")
        if peer.wary and not free and name in _TEXT_METHODS:
            raise AttributeError(
                f"{_named(self)} is neither a text, a number nor a set, so it is not asked for {name}(); {_way_out(self)}"
            )
        return peer.request("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._evals[0].request("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        self._evals[0].request("delete", self, name)

    def __dir__(self) -> Any:
        return self._evals[0].request("dir", self)


def _named(remote: Remote) -> str:
    return f"an object of the program's class {type(remote).__name__!r}"


def _way_out(remote: Remote) -> str:
    return f"objects=[{type(remote).__name__!r}] of the grader lets it answer for itself"


def _forward(name: str) -> Callable[..., Any]:
    def forward(self: Remote, *given: Any) -> Any:
        peer, _, free = self._evals
        # Asked whether it equals 3, or what it is less 3, an object of the program would know what is expected.
        if given and peer.wary and not free and not isinstance(given[0], Remote):
            if name in EQUALITY:
                return NotImplemented
            if name == "__contains__" and hasattr(type(self), "__iter__"):
                return any(part is given[0] or part == given[0] for part in iter(self))
            if name in WITH_ANOTHER or name == "__contains__":
                raise TypeError(f"{_named(self)} is not asked for its {name} with plain data; {_way_out(self)}")
        if name == "__exit__":
            given = (None, None, None) if given[0] is None else (given[0], given[1], None)
        return peer.request("special", self, name, *given)

    forward.__name__ = name
    return forward


def _same(self: Remote) -> Remote:
    return self


_FORWARDS = {name: _forward(name) for name in SPECIAL}


def special_names(value: Any) -> list[str]:
    """Return the operators that the class of a value has of its own."""
    kind = type(value)
    return [name for name in SPECIAL if getattr(kind, name, None) not in (None, getattr(object, name, None))]


def remote_object(peer: Peer, number: int, name: str, operators: Iterable[Any]) -> Remote:
    """Return what stands for an object of the other process. Raises `ValueError` for a name that no class can have."""
    names = {operator for operator in operators if operator in SPECIAL and operator != "__await__"}
    # Iterators are their own iterators, whatever they say: nothing is asked for that.
    own = {part: _same if part == "__iter__" and "__next__" in names else _FORWARDS[part] for part in names}
    own |= {part: _FORWARDS[part] for part in EQUALITY}
    own.setdefault("__hash__", lambda _: hash((Remote, number)))
    if "__call__" in names:
        own["__call__"] = _call
    made: Remote = type(name, (Remote,), {"__slots__": (), "__module__": "__main__", **own})()
    object.__setattr__(made, "_evals", (peer, number, name in peer.free))
    return made


def _call(self: Remote, *given: Any, **named: Any) -> Any:
    return self._evals[0].request("call", self, given, named)
