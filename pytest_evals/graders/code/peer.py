"""A process that calls functions of another one, and is called by it. Standard library only.

The process of the tests and that of the program are such peers. Requests may nest: a function that the test gives to the program is
called back while the program works. Neither side is more than its answers: what a peer may be asked for is its own decision.
"""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable, Mapping
from typing import Any

from pytest_evals.graders.code.wire import Packer, Unpacker, WireError, changed, container_tag, snapshot

LONGEST_MESSAGE = 32 << 20
_ORDERED = ("lt", "le", "gt", "ge")
_BINARY = [
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
]
_ASKED = [
    "len",
    "iter",
    "next",
    "reversed",
    "getitem",
    "setitem",
    "delitem",
    "bool",
    "str",
    "repr",
    "hash",
    "int",
    "float",
    "complex",
    "index",
    "neg",
    "pos",
    "abs",
    "invert",
    "round",
    "trunc",
    "floor",
    "ceil",
    "format",
    "call",
    "enter",
    "exit",
    "aenter",
    "aexit",
    "aiter",
    "anext",
    "length_hint",
    "instancecheck",
    "subclasscheck",
]
EQUALITY = ("__eq__", "__ne__")
WITH_ANOTHER = frozenset(f"__{name}__" for name in (*_ORDERED, *_BINARY, *(f"r{name}" for name in _BINARY)))
SPECIAL = frozenset(
    (*EQUALITY, *WITH_ANOTHER, "__contains__", "__await__", "__next__", *(f"__{name}__" for name in _ASKED))
)
_FOR_READING = frozenset(
    ["__name__", "__qualname__", "__module__", "__doc__", "__dict__", "__annotations__", "__version__", "__wrapped__"]
)
_TEXT_METHODS = (
    {name for kind in (str, bytes, int, float, complex) for name in dir(kind) if not name.startswith("_")}
    | {"issubset", "issuperset", "isdisjoint"}
) - {name for kind in (list, dict, set) for name in dir(kind) if not name.startswith("is")}


class PeerGoneError(BaseException):
    """The other side has closed its end. A test that expects an exception does not expect this one."""


class Line:
    """Messages as lines of JSON over two file descriptors."""

    def __init__(self, reading: int, writing: int, rest: bytes = b"") -> None:
        self._reading, self._writing = reading, writing
        self._rest = bytearray(rest)
        # Programs may replace functions of the modules that they import; this line keeps its own.
        self._read, self._write, self._loads, self._dumps = os.read, os.write, json.loads, json.dumps

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises `PeerGoneError`."""
        data = self._dumps(message).encode() + b"\n"
        view = memoryview(data)
        try:
            while view:
                view = view[self._write(self._writing, view) :]
        except OSError as error:
            raise PeerGoneError from error

    def receive(self) -> dict[str, Any]:
        """Return the next message. Raises `PeerGoneError`, and `WireError` for what is no message."""
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > LONGEST_MESSAGE:
                raise WireError(f"an answer of more than {LONGEST_MESSAGE >> 20} MiB")
            try:
                data = self._read(self._reading, 1 << 16)
            except OSError as error:
                raise PeerGoneError from error
            if not data:
                raise PeerGoneError
            self._rest += data
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        try:
            message = self._loads(line)
        except (ValueError, RecursionError) as error:
            raise WireError("no JSON") from error
        if not isinstance(message, dict):
            raise WireError("no message")
        return message


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
                return any(part is given[0] or part == given[0] for part in iter(self))  # type: ignore[call-overload]  # it has the method
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


class Peer:
    """One of two processes that call each other. ``wary``: the other side may lie."""

    wary = False

    def __init__(self, line: Line, *, packages: bool) -> None:
        self.line, self.packages = line, packages
        self.shared: dict[str, type] = {}
        self.free: frozenset[str] = frozenset()
        self.broken: BaseException | None = None
        self._mine: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._theirs: dict[int, Any] = {}
        self._remote: dict[int, int] = {}

    # -- asking

    def request(self, operation: str, *operands: Any) -> Any:
        """Have the other side do something, and return or raise what comes of it; answer what it asks meanwhile."""
        packer = Packer(self)
        packed = [packer.pack(operand) for operand in operands]
        heap = packer.finish()
        try:
            self.line.send({"do": operation, "with": packed, "heap": heap})
            while "do" in (message := self.line.receive()):
                self.answer(message)
            failed, value = self._result(message, packer.objects)
        except (WireError, PeerGoneError) as error:
            self.broken = self.broken or error
            raise
        if failed:
            raise value
        return value

    def _result(self, message: Mapping[str, Any], sent: list[Any]) -> tuple[bool, Any]:
        try:
            unpacker = Unpacker(self, message["heap"], sent)
            for index, node in message["changed"]:
                if type(index) is not int or index < 0 or container_tag(sent[index], self.shared) != node[0]:
                    raise WireError("no such container")
                unpacker.fill(sent[index], node)
            failed, value = "raised" in message, unpacker.unpack(message["raised" if "raised" in message else "result"])
        except (RecursionError, MemoryError) as error:
            raise WireError("an answer that is too large") from error
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError, ImportError) as error:
            raise WireError(f"no answer: {error!r}") from error
        if failed and not isinstance(value, BaseException):
            raise WireError("no exception")
        return failed, value

    # -- answering

    def answer(self, message: Mapping[str, Any]) -> None:
        """Do what the other side asks for, and say what comes of it. Raises `WireError` for what may not be asked."""
        try:
            unpacker = Unpacker(self, message["heap"])
            operands = [unpacker.unpack(packed) for packed in message["with"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise WireError("no request") from error
        containers = {index: unpacker.objects[index] for index in unpacker.mutable}
        before = {index: snapshot(value) for index, value in containers.items()}
        try:
            key, value = "result", self.perform(message["do"], *operands)
        except (WireError, PeerGoneError):
            raise
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it is raised on the other side
            key, value = "raised", self.kept(error)
        self.line.send(self._reply(key, value, containers, before))

    def _reply(self, key: str, value: Any, containers: Mapping[int, Any], before: Mapping[int, Any]) -> dict[str, Any]:
        known = {id(container): ["a", index] for index, container in containers.items()}
        try:
            packer = Packer(self, known)
            packed = packer.pack(value)
            nodes = [[i, packer.node(part)] for i, part in containers.items() if changed(part, before[i])]
            return {key: packed, "heap": packer.finish(), "changed": nodes}
        except (WireError, PeerGoneError):
            raise
        except BaseException as error:  # noqa: BLE001 - parts of a program's values are its own code
            packer = Packer(self)
            text = f"{type(error).__name__}: what came of it cannot be sent"
            return {"raised": packer.pack(TypeError(text)), "heap": packer.finish(), "changed": []}

    def kept(self, error: BaseException) -> BaseException:
        """Return what the other side gets of an exception."""
        return error

    def perform(self, operation: str, *operands: Any) -> Any:
        """Do what the other side asks for."""
        if operation == "call":
            function, given, named = operands
            return function(*given, **named)
        if operation == "special":
            value, name, *given = operands
            return self._special(value, name, given)
        if operation == "get":
            return getattr(operands[0], operands[1])
        if operation == "set":
            return setattr(operands[0], operands[1], operands[2])
        if operation == "delete":
            return delattr(operands[0], operands[1])
        if operation == "dir":
            return list(map(str, dir(operands[0])))
        if operation == "await":
            return drive(operands[0])
        raise WireError(f"no operation {operation!r}")

    def _special(self, value: Any, name: str, given: list[Any]) -> Any:
        if name not in SPECIAL or name == "__call__":
            raise WireError(f"no operator {name!r}")
        if name == "__instancecheck__":
            return isinstance(given[0], value)
        return getattr(type(value), name)(value, *given)

    # -- objects that stay where they live

    def export(self, value: Any) -> Any:
        """Return what stands for an object: its number, and what it can do."""
        if id(value) in self._remote and self._theirs.get(self._remote[id(value)]) is value:
            return ["y", self._remote[id(value)]]
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._mine[number] = value
        return ["m", number, *self.described(value)]

    def described(self, value: Any) -> list[Any]:
        """Return kind, name and operators of an object."""
        if isinstance(value, type) and issubclass(value, BaseException):
            packer = Packer(self)
            return [
                "x",
                value.__name__,
                [packer.pack(base) for base in value.__bases__ if issubclass(base, BaseException)],
            ]
        if isinstance(value, types.CoroutineType) or (hasattr(value, "__await__") and not isinstance(value, type)):
            return ["c", type(value).__name__, []]
        name = getattr(value, "__name__", None) if isinstance(value, (type, types.FunctionType)) else None
        return ["o", name if isinstance(name, str) else type(value).__name__, special_names(value)]

    def resolve(self, packed: list[Any], unpacker: Unpacker) -> Any:
        """Return the object that a number stands for."""
        tag, number, *description = packed
        if type(number) is not int:
            raise WireError("no number")
        if tag == "y":
            if number not in self._mine:
                raise WireError("no such object")
            return self._mine[number]
        if tag != "m":
            raise WireError(f"no value {tag!r}")
        if number not in self._theirs:
            self._theirs[number] = self._made(number, unpacker, *description)
            self._remote[id(self._theirs[number])] = number
        return self._theirs[number]

    def _made(self, number: int, unpacker: Unpacker, kind: str, name: str, parts: list[Any]) -> Any:
        if not isinstance(name, str) or not isinstance(parts, list):
            raise WireError("no description")
        if kind == "x":
            return _exception_class(name, [unpacker.unpack(base) for base in parts])
        names = {part for part in parts if part in SPECIAL and part != "__await__"}
        # Iterators are their own iterators, whatever they say: a proxy is not asked for each.
        own = {part: _same if part == "__iter__" and "__next__" in names else _FORWARDS[part] for part in names}
        own |= {part: _FORWARDS[part] for part in EQUALITY}
        own.setdefault("__hash__", lambda _: hash((Remote, number)))
        if "__call__" in names:
            own["__call__"] = _call
        made = type(name, (Remote,), {"__slots__": (), "__module__": "__main__", **own})()
        object.__setattr__(made, "_evals", (self, number, name in self.free))
        return _awaitable(self, made) if kind == "c" else made

    def forget(self) -> None:
        """Forget the objects of both sides: those of one test are not those of the next."""
        for table in (self._mine, self._numbers, self._theirs, self._remote):
            table.clear()


def _call(self: Remote, *given: Any, **named: Any) -> Any:
    return self._evals[0].request("call", self, given, named)


async def _awaitable(peer: Peer, remote: Remote) -> Any:
    return peer.request("await", remote)


def _exception_class(name: str, bases: list[Any]) -> type:
    if not bases or not all(isinstance(base, type) and issubclass(base, BaseException) for base in bases):
        raise WireError("no class of exceptions")
    try:
        return type(name, tuple(bases), {"__module__": "__main__"})
    except TypeError:  # bases that do not go together
        return type(name, (Exception,), {"__module__": "__main__"})


def drive(awaitable: Any) -> Any:
    """Return what an awaitable comes to, in a loop of its own: the one that may run here waits for the other process."""
    import asyncio

    async def whole() -> Any:
        return await awaitable

    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(whole())
    finally:
        loop.close()
        asyncio._set_running_loop(running)
