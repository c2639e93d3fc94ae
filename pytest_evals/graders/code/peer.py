"""A process that calls functions of another one, and is called by it. Standard library only.

The process of the tests and that of the program are such peers. Requests may nest: a function that the test gives to the program is
called back while the program works. Neither side is more than its answers: what a peer may be asked for is its own decision.
"""

from __future__ import annotations

import contextlib
import json
import os
import types
from collections.abc import Callable, Iterator, Mapping

from pytest_evals.graders.code.remote import SPECIAL, Remote, remote_object, special_names
from pytest_evals.graders.code.unpacking import Unpacker, changed, container_tag, snapshot
from pytest_evals.graders.code.wire import Packer, WireError

TYPE_CHECKING = False  # as in typing, which takes longer to import than all that is used here
if TYPE_CHECKING:
    from typing import Any

LONGEST_MESSAGE = 32 << 20


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
        """Return the next message. Raises `PeerGoneError`, and `WireError` for what is not a message."""
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
        packed = [packer.pack(operand) for operand in (*operands, self.streams())]
        heap = packer.finish()
        try:
            self.line.send({"do": operation, "with": packed, "heap": heap})
            while "do" in (message := self.line.receive()):
                self.answer(message)
            failed, value = self._result(message, packer.objects)
            self.streamed(message.get("streamed"))
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
            *operands, streams = [unpacker.unpack(packed) for packed in message["with"]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise WireError("no request") from error
        containers = {index: unpacker.objects[index] for index in unpacker.mutable}
        before = {index: snapshot(value) for index, value in containers.items()}
        with self.streaming(streams) as streamed:
            try:
                key, value = "result", self.perform(message["do"], *operands)
            except (WireError, PeerGoneError):
                raise
            except BaseException as error:  # noqa: BLE001 - SystemExit too: it is raised on the other side
                key, value = "raised", self.kept(error)
            reply = self._reply(key, value, containers, before)
        self.line.send(reply | {"streamed": streamed})

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

    def streams(self) -> Any:
        """Return what the other side is to read and print to while it does what is asked for; `None` for what it has."""
        return None

    def streamed(self, said: object) -> None:
        """Take what it printed and read of that."""

    @contextlib.contextmanager
    def streaming(self, streams: Any) -> Iterator[dict[str, Any] | None]:  # noqa: ARG002 - it is for those that override it
        """Read and print as the other side says, and note that in what is yielded."""
        yield None

    def kept(self, error: BaseException) -> BaseException:
        """Return what the other side gets of an exception."""
        return error

    def perform(self, operation: str, *operands: Any) -> Any:
        """Do what the other side asks for."""
        if operation == "special":
            return self._special(*operands)
        if operation not in _OPERATIONS:
            raise WireError(f"no operation {operation!r}")
        return _OPERATIONS[operation](*operands)

    def _special(self, value: Any, name: str, *given: Any) -> Any:
        if name not in SPECIAL or name == "__call__":
            raise WireError(f"no operator {name!r}")
        if name == "__instancecheck__":
            return isinstance(given[0], value)
        return getattr(type(value), name)(value, *given)

    # -- objects that stay where they live

    def export(self, value: Any) -> Any:
        """Return what stands for an object: its number, and what it can do."""
        if isinstance(value, Remote) and value._evals[0] is self:  # noqa: SLF001 - its own mark
            return ["y", value._evals[1]]  # noqa: SLF001 - the same
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
        made = remote_object(self, number, name, parts)
        return _awaitable(self, made) if kind == "c" else made

    def forget(self) -> None:
        """Forget the objects of both sides: those of one test are not those of the next."""
        for table in (self._mine, self._numbers, self._theirs, self._remote):
            table.clear()


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
    """Return the result of an awaitable, in a loop of its own: the one that may run here waits for the other process."""
    import asyncio

    async def whole() -> Any:
        return await awaitable

    running = asyncio._get_running_loop()  # noqa: SLF001 - asyncio has no other way to run a loop in a loop
    asyncio._set_running_loop(None)  # noqa: SLF001 - the same
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(whole())
    finally:
        loop.close()
        asyncio._set_running_loop(running)  # noqa: SLF001 - the same


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "call": lambda function, given, named: function(*given, **named),
    "get": getattr,
    "set": setattr,
    "delete": delattr,
    "dir": lambda value: list(map(str, dir(value))),
    "await": drive,
}
