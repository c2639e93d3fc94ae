"""The servers of one model: which of them gets the next request, who waits, what is tried again, and when all are gone.

A request goes to the server with the most room. One that cannot be reached is left alone for a while, then tried with one
request; after too many failures in a row it is gone. What it was sent goes to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pytest_evals.engines.openai.answers import ServedAnswer
from pytest_evals.engines.openai.bodies import Dialect
from pytest_evals.engines.openai.concurrency import ConcurrencyLimit
from pytest_evals.engines.openai.failures import (
    BrokenAnswerError,
    RefusalError,
    ServerError,
    SilentError,
    ThrottledError,
    UnreachableError,
)
from pytest_evals.engines.openai.transport import Transport

Sent = TypeVar("Sent")

LONGEST_WAIT = 600.0
"""Seconds; a server that asks to wait longer will not answer in this run."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_LOOK = 0.05


class AllGoneError(Exception):
    """No server is left."""


@dataclass
class Server:
    """One server. ``active`` requests are under way; it gets none before ``open_at``; ``failures`` in a row kept it from being
    reached, the last of them at ``failed_at``; ``gone`` is why it is not asked any more.
    """

    url: str
    limit: ConcurrencyLimit
    active: int = 0
    open_at: float = 0.0
    failures: int = 0
    failed_at: float = float("-inf")
    answers: int = 0
    gone: str | None = None

    @property
    def room(self) -> int:
        """Requests that it can be sent now."""
        # After a failure one request finds out whether it is there again.
        limit = 1 if self.failures else self.limit.limit
        return 0 if self.gone is not None or time.monotonic() < self.open_at else limit - self.active


@dataclass
class Tally:
    """Sums over the engine's life."""

    requests: int = 0
    retries: int = 0
    throttled: int = 0
    prompt_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0


@dataclass
class ServerPool:
    """See the module. A request is tried ``retries`` times more after it has failed."""

    servers: list[Server]
    transport: Transport
    dialect: Dialect
    retries: int
    random: random.Random = field(default_factory=random.Random)
    tally: Tally = field(default_factory=Tally)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when there may be room for another request."""
    _paused: int = 0

    @property
    def waiting(self) -> bool:
        """Tell whether a server asked to wait, or is left alone for a while: silence is expected."""
        now = time.monotonic()
        return any(server.gone is None and now < server.open_at for server in self.servers)

    @property
    def capacity(self) -> int:
        """Requests that may be under way, or wait for a moment after they were refused: the others are not held up by those."""
        limit = sum(server.limit.limit for server in self.servers if server.gone is None)
        return limit + min(self._paused, limit) or 1024

    @property
    def settled(self) -> int:
        """The sum of the limits."""
        return sum(server.limit.limit for server in self.servers)

    async def ask(
        self, make_body: Callable[[], Mapping[str, Any]], most_tokens: int, retries: int | None = None
    ) -> ServedAnswer:
        """Return the answer to a request whose body is made for each try; there are ``retries`` of them, where that is not left open.

        Raises `RefusalError`, `WithheldError`, `BrokenAnswerError` after the last try, and `AllGoneError`.
        """
        return await self.exchange(lambda server: self._ask(server, make_body(), most_tokens), retries)

    async def post(self, endpoint: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that is answered to a body, in one piece. Raises as `ask` does."""
        return await self.exchange(lambda server: self._post(server, endpoint, body))

    async def _ask(self, server: Server, body: Mapping[str, Any], most_tokens: int) -> ServedAnswer:
        made_room = False

        def begun(seconds: float) -> None:
            nonlocal made_room
            made_room = server.limit.begun(server.active, seconds)
            if made_room:
                self.room.set()

        answer = await self.transport.ask(server.url + self.dialect.endpoint, body, most_tokens, begun)
        if not made_room:
            server.limit.answered(server.active, answer.first_word, answer.latency - answer.first_word)
        return answer

    async def _post(self, server: Server, endpoint: str, body: Mapping[str, Any]) -> Any:
        answer = await self.transport.post(server.url + endpoint, body)
        server.limit.answered(server.active, 0.0, 0.0)
        return answer

    async def exchange(self, send: Callable[[Server], Awaitable[Sent]], retries: int | None = None) -> Sent:
        """Send something to a server until it is answered or refused."""
        failures, answers, most = 0, -1, self.retries if retries is None else retries
        while True:
            server = await self._free_server()
            sent, pause, learned = time.monotonic(), 0.0, self.dialect.learned
            server.active += 1
            self.tally.requests += 1
            try:
                answer = await send(server)
                server.failures = 0
                server.answers += 1
                return answer
            except UnreachableError as error:
                self._unreachable(server, sent, str(error))
            except ThrottledError as error:
                pause = self._throttled(server, sent, error)
                # Where others are answered meanwhile, it is a matter of turns.
                known, answers = answers, self._answers
                failures += answers == known
                _give_up_after(failures, most, error)
            except SilentError as error:
                if server.active > 1:
                    # Requests that a server has taken may wait there for each other.
                    server.limit.throttled(sent, time.monotonic(), server.active)
                known, answers = answers, self._answers
                failures += answers == known
                _give_up_after(failures, most, error)
                pause = self._pause(1)
            except BrokenAnswerError as error:
                failures += 1
                _give_up_after(failures, most, error)
                pause = self._pause(failures)
            except RefusalError as error:
                server.failures = 0
                if not (error.status in (400, 422) and self.dialect.learn(str(error), learned)):
                    raise
            finally:
                server.active -= 1
                self.room.set()
            self.tally.retries += 1
            self._paused += 1
            try:
                await asyncio.sleep(pause)
            finally:
                self._paused -= 1

    @property
    def _answers(self) -> int:
        return sum(server.answers for server in self.servers)

    async def _free_server(self) -> Server:
        while True:
            server = max(self.servers, key=lambda each: each.room)
            if server.room > 0:
                return server
            if all(each.gone is not None for each in self.servers):
                raise AllGoneError(self.gone_reason)
            # Servers that are left alone for a while tell nothing when it is over.
            await self.changed(_LOOK)

    async def changed(self, seconds: float) -> None:
        """Wait until there may be room for another request, or for so long."""
        self.room.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.room.wait()

    @property
    def gone_reason(self) -> str:
        """Say why no server is left."""
        return "; ".join(f"{server.url}: {server.gone}" for server in self.servers if server.gone is not None)

    def _pause(self, failures: int) -> float:
        """Return how long to wait before the next try: twice as long each time, with jitter so that not all come back at once."""
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (failures - 1)) * (0.5 + self.random.random() / 2)

    def _unreachable(self, server: Server, sent: float, why: str) -> None:
        # Of many requests that fail at once, one counts.
        if sent < server.failed_at:
            return
        server.failures += 1
        server.failed_at = time.monotonic()
        server.open_at = server.failed_at + self._pause(server.failures)
        if server.failures > self.retries:
            server.gone = f"{why} (tried {server.failures} times)"

    def _throttled(self, server: Server, sent: float, error: ThrottledError) -> float:
        """Take note of it; return how long this request waits by itself."""
        self.tally.throttled += 1
        now = time.monotonic()
        server.limit.throttled(sent, now, server.active)
        if error.wait is not None and error.wait > LONGEST_WAIT:
            server.gone = f"it asks to wait {error.wait:.0f} s ({error})"
            return 0.0
        wait = self._pause(1) if error.wait is None else error.wait
        if error.wait is None and server.active > 1 and not server.limit.fixed:
            # The server has others of ours to do: fewer at a time is what it wants, and no pause for all.
            return wait
        server.open_at = max(server.open_at, now + wait)
        return 0.0


def _give_up_after(failures: int, most: int, error: ServerError) -> None:
    if failures > most:
        times = f"tried {failures} times; " if failures > 1 else ""
        raise BrokenAnswerError(f"{times}{error}") from error


def server_error_words(error: ServerError) -> str:
    """Say what went wrong with one request."""
    if isinstance(error, RefusalError):
        return f"the server refused this request: {error}"
    return f"the server failed on this request: {error}"
