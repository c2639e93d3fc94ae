"""The calls of models that a case makes beyond its default turn: who made them, and what came of them."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_evals.budget import Budget
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import ModelCallError


class Pending(Protocol):
    """An answer that is on its way."""

    def result(self) -> Result:
        """Wait for it."""
        ...

    def wait(self) -> Coroutine[Any, Any, Result]:
        """Wait for it in an event loop."""
        ...


class Asker(Protocol):
    """Takes requests to the engines."""

    def ask(self, request: Request) -> Pending:
        """Hand in a request, without waiting."""
        ...


@dataclass(slots=True)
class Calls:
    """The calls of a case so far, as the artifact has them, and what they used."""

    budget: Budget
    made: list[dict[str, Any]] = field(default_factory=list)


class Line:
    """The line of one who calls: a step of a case, or its test (``step`` is `None`).

    Its calls are numbered, whichever model they go to; ids and seeds follow from that, never from what else runs.
    """

    def __init__(self, nodeid: str, step: str | None, asker: Asker, calls: Calls) -> None:
        self.step = step
        self._id = nodeid if step is None else f"{nodeid}#{step}"
        self._asker = asker
        self._calls = calls
        self._numbers = itertools.count(1)

    def next_number(self) -> int:
        """Return the number of the next call, from 1."""
        return next(self._numbers)

    def request_id(self, number: int) -> str:
        """Return the id of a call's request."""
        return f"{self._id}#{number}"

    def open(self, request: Request, handle: str) -> tuple[Pending, dict[str, Any]]:
        """Make a call; return the answer on its way, and the call's entry. Raises `LimitExceeded`."""
        self._calls.budget.count_call()
        entry: dict[str, Any] = {
            "by": self.step or "test",
            "handle": handle,
            "model": request.model,
            "messages": [dict(message) for message in request.messages],
        }
        self._calls.made.append(entry)
        return self._asker.ask(request), entry

    def close(self, entry: dict[str, Any], result: Result) -> None:
        """Enter what came of a call. Raises `LimitExceeded`, and `ModelCallError` when there is no answer."""
        __tracebackhide__ = True
        if result.error is not None:
            entry["error"] = {"kind": result.error.kind, "message": result.error.message}
            raise ModelCallError(f"no answer ({result.error.kind} error): {result.error.message}", result.error.kind)
        first = "latency" not in entry
        if result.likelihoods is not None:
            entry["likelihoods"] = [[each.text, each.logprob] for each in result.likelihoods]
        else:
            entry["text"] = result.text
        entry.update(
            prompt_tokens=result.prompt_tokens, completion_tokens=result.completion_tokens, latency=result.latency
        )
        if first:
            self._calls.budget.count_tokens((result.prompt_tokens or 0) + (result.completion_tokens or 0))
