"""The calls of models that a case makes beyond its default turn: who made them, and what came of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pytest_evals.completion import Completion, Message
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import ModelCallError
from pytest_evals.fixtures.context import GRADER
from pytest_evals.fixtures.limits import CallBudget
from pytest_evals.generation import GenerationParams
from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import identified
from pytest_evals.runner.requests import seeded
from pytest_evals.tools import tool_name

if TYPE_CHECKING:
    from pytest_evals.collection.item import EvalItem


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
class CallLog:
    """The calls of a case so far, as the artifact has them, and what they used."""

    budget: CallBudget
    made: list[dict[str, Any]] = field(default_factory=list)


class Caller:
    """Who calls models for a case: a step, or its test (``step`` is `None`).

    Ids and seeds of calls follow from the case, the caller and the call, never from what else runs. The calls of a test are
    numbered. Those of a step are told apart by what they ask, and numbered where they ask the same: a step may make several
    at a time, and then their order is an accident.
    """

    def __init__(
        self, nodeid: str, step: str | None, asker: Asker, calls: CallLog, *, found: EvalItem, base_seed: int
    ) -> None:
        self.found = found
        self._nodeid = nodeid
        self._step = step
        self._asker = asker
        self._calls = calls
        self._base_seed = base_seed
        self._asked: Counter[str] = Counter()

    def request(
        self, model: str, messages: tuple[Message, ...], params: GenerationParams, choices: tuple[str, ...]
    ) -> Request:
        """Return the request of a call, with the seed that a sampled one needs."""
        if self._step is None:
            number = self._count("")
            key, sampled = f"{self._nodeid}#{number}", seeded(params, self.found, self._base_seed + number)
        else:
            asked = content_hash([model, identified(messages), params.to_dict(), list(choices)], length=12)
            name = f"{self._step}#{asked}.{self._count(asked)}"
            key, sampled = f"{self._nodeid}#{name}", seeded(params, self.found, self._base_seed, name)
        return Request(key, model, messages, sampled, choices)

    def _count(self, asked: str) -> int:
        self._asked[asked] += 1
        return self._asked[asked]

    def start(self, request: Request, handle: str) -> tuple[Pending, dict[str, Any]]:
        """Make a call; return the answer on its way, and the call's entry. Raises `LimitExceeded`."""
        __tracebackhide__ = True
        self._calls.budget.count_call()
        entry: dict[str, Any] = {
            "by": self._step or GRADER.get() or "test",
            "handle": handle,
            "model": request.model,
            "messages": [dict(message) for message in request.messages],
        }
        if request.params.tools and request.params.tool_choice != "none":
            entry["tools"] = [tool_name(tool) for tool in request.params.tools]
        self._calls.made.append(entry)
        return self._asker.ask(request), entry

    def finish(self, entry: dict[str, Any], result: Result) -> None:
        """Enter what came of a call. Raises `LimitExceeded`, and `ModelCallError` when there is no answer."""
        __tracebackhide__ = True
        if result.error is not None:
            entry["error"] = {"kind": result.error.kind, "message": result.error.message}
            kind, message = result.error.kind, result.error.message
            raise ModelCallError(f"no answer ({kind} error): {message}", kind, result.error.parameter)
        first = "latency" not in entry
        entry.update(answer_data(result.answer))
        if first:
            self._calls.budget.count_tokens((result.answer.prompt_tokens or 0) + (result.answer.completion_tokens or 0))


_ALWAYS = ("prompt_tokens", "completion_tokens", "latency", "origin")


def answer_data(completion: Completion) -> dict[str, Any]:
    """Return what a call's entry has of its answer: enough to give it again."""
    data = completion.to_dict()
    apart = ("queued", "fingerprint") + (("text", "finish_reason") if completion.likelihoods is not None else ())
    return dict.fromkeys(_ALWAYS) | {name: value for name, value in data.items() if name not in apart}


def grader_call(grader: str, model: str | None, result: Result) -> dict[str, Any]:
    """Return the entry of the likelihoods that a ready-made grader had weighed: of answers to the case's own prompt, which
    is not written down again.
    """
    entry: dict[str, Any] = {"by": grader, "handle": "model", "model": model, "messages": []}
    if result.error is not None:
        return {**entry, "error": {"kind": result.error.kind, "message": result.error.message}}
    return {**entry, **answer_data(result.answer)}


# -- Calls that a test makes itself, in its own time: each goes to the engines at once.


class Waiting(Protocol):
    """Hands in requests and waits for their answers."""

    def submit(self, request: Request) -> None:
        """Hand in a request, without waiting."""
        ...

    def wait(self, request: Request) -> Result:
        """Wait for the answer to a request."""
        ...


class DirectAsker:
    """See `pytest_evals.runner.calls.Asker`."""

    def __init__(self, run: Waiting) -> None:
        self._run = run

    def ask(self, request: Request) -> DirectAnswer:
        """Hand in a request."""
        self._run.submit(request)
        return DirectAnswer(self._run, request)


class DirectAnswer:
    """See `pytest_evals.runner.calls.Pending`."""

    def __init__(self, run: Waiting, request: Request) -> None:
        self._run = run
        self._request = request
        self._result: Result | None = None

    def result(self) -> Result:
        """Wait for the answer; it is there at once the next time."""
        if self._result is None:
            self._result = self._run.wait(self._request)
        return self._result

    async def wait(self) -> Result:
        """Wait for the answer in the test's own event loop."""
        return await asyncio.to_thread(self.result)
