"""What an engine is: requests in, results out, as they finish.

An engine runs in a process of its own (see `worker`), so everything here travels as plain data.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from pytest_evals.completion import Completion, Failure, Message
from pytest_evals.generation import GenerationParams, changed_params
from pytest_evals.hashing import of_last
from pytest_evals.media.parts import label_of, media_of


@dataclass(frozen=True, slots=True)
class Request:
    """A conversation to complete, or ``choices`` to weigh as its continuation.

    Attributes:
        id: Unique in a session; the same id means the same request.
        model: The model that answers.
        messages: The conversation.
        params: The generation parameters.
        choices: Texts whose likelihoods are asked; nothing is generated then.
        alone: Whether to compute it in the plainest way: without other rows, shared work or a layout of the engine's own. Audits compare
            with this.
        adapter: The folder or hub name of the adapter that answers, on the base that is loaded; it follows from ``model``.
    """

    id: str
    model: str
    messages: tuple[Message, ...]
    params: GenerationParams
    choices: tuple[str, ...] = ()
    alone: bool = False
    adapter: str | None = None

    @property
    def repeatable(self) -> bool:
        """Tell whether asking again gives the same answer, whatever the seed."""
        return self.params.greedy or bool(self.choices)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        return {
            "id": self.id,
            "model": self.model,
            "messages": list(self.messages),
            "params": self.params.to_dict(),
            "choices": list(self.choices),
            "alone": self.alone,
            **({} if self.adapter is None else {"adapter": self.adapter}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Request:
        """Return the request that `to_dict` described."""
        return cls(
            data["id"],
            data["model"],
            tuple(data["messages"]),
            GenerationParams.from_dict(data["params"]),
            tuple(data.get("choices", ())),
            data.get("alone", False),
            data.get("adapter"),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to the request with the same ``id``: a completion, or an ``error``."""

    id: str
    completion: Completion | None = None
    error: Failure | None = None

    @property
    def answer(self) -> Completion:
        """The completion. Raises `RuntimeError` if there is none; look at ``error`` first."""
        if self.completion is None:
            raise RuntimeError(f"request {self.id!r} has no completion: {self.error}")
        return self.completion

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire."""
        if self.completion is None:
            return {"id": self.id, "error": None if self.error is None else asdict(self.error)}
        return {"id": self.id, "completion": plain_answer(self.completion)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Result:
        """Return the result that `to_dict` described."""
        if "completion" in data:
            return cls(data["id"], Completion.from_dict(data["completion"]))
        return cls(data["id"], error=Failure(**data["error"]) if data["error"] else None)


@of_last
def plain_answer(completion: Completion) -> dict[str, Any]:
    """Return a completion as plain data, not to be changed: the journal and the wire have the same."""
    return completion.to_dict()


@dataclass(frozen=True, slots=True)
class Started:
    """The engine is now computing these requests. If the process dies, one of them is the cause."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Working:
    """Progress: the number of further tokens that were generated for requests that have not finished.

    ``usage`` has sums since the engine was loaded; each engine documents its fields.
    """

    tokens: int
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """A note for the user about how the model is run that is only known now. The report has it once."""

    text: str


Event = Started | Working | Noted | Result


class Inbox:
    """Requests for an engine. Thread-safe: one thread adds requests, the engine takes them.

    The engine takes requests when it has room, so that late ones can join the work in progress.
    """

    def __init__(self, requests: Sequence[Request] = (), *, closed: bool = False) -> None:
        self._waiting = deque(requests)
        self._closed = closed
        self._aborted = False
        self._cancelled: set[str] = set()
        self._changed = threading.Condition()

    def put(self, requests: Sequence[Request]) -> None:
        """Add requests."""
        with self._changed:
            self._waiting.extend(requests)
            self._changed.notify()

    def close(self) -> None:
        """Say that no more requests come. Those that are here are still answered."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def abort(self) -> None:
        """Drop all requests. The engine stops when it looks the next time."""
        with self._changed:
            self._closed = self._aborted = True
            self._waiting.clear()
            self._changed.notify()

    def cancel(self, ids: Collection[str]) -> None:
        """Say that these requests are no longer needed. Those that the engine has not taken are dropped."""
        with self._changed:
            self._waiting = deque(request for request in self._waiting if request.id not in ids)
            self._cancelled.update(ids)

    def take_cancelled(self) -> set[str]:
        """Return the requests that were cancelled since the last call. An engine may stop computing them."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            return cancelled

    def take(self, limit: int | None = None, *, wait: bool = True) -> list[Request]:
        """Return up to ``limit`` requests. With ``wait``, waits for the first one; an empty list then means that no more come."""
        with self._changed:
            while wait and not self._waiting and not self._closed:
                self._changed.wait()
            taken: list[Request] = []
            while self._waiting and (limit is None or len(taken) < limit):
                taken.append(self._waiting.popleft())
            return taken

    @property
    def aborted(self) -> bool:
        """Whether the engine should stop at once."""
        return self._aborted


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do.

    Attributes:
        likelihoods: Whether it weighs ``choices``; otherwise they are refused.
        params: The generation parameters that it honours. A request with another one is refused.
        media: The kinds of message parts that the model reads beside texts.
        no_media: Why there are none, if there might have been some.
    """

    likelihoods: bool = False
    params: frozenset[str] = frozenset(
        {"max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "seed"}
    )
    media: frozenset[str] = frozenset()
    no_media: str | None = None


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What was loaded, for the header of the report and for the artifact."""

    device: str | None = None
    dtype: str | None = None
    context: int | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What a fingerprint must cover besides the request: weights, template, versions."""
    notes: tuple[str, ...] = ()
    """What the user should know of how this model is run; said once in the report."""
    rows: int | None = None
    """Rows of the largest batch."""
    seconds: float = 0.0
    """How long loading took."""


class Engine(Protocol):
    """A loaded model."""

    info: EngineInfo
    capabilities: Capabilities

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """Answer requests until the inbox is closed and empty.

        Yields a `Started` before it computes requests, a `Result` for each request as it finishes, in any order, and `Working` or `Noted` at any
        time. A request that cannot be answered is a `Result` with an error; it never raises.
        """
        ...

    def close(self) -> None:
        """Free what was loaded."""
        ...


_READS = {"image": "images", "audio": "audio"}


def refusal(request: Request, capabilities: Capabilities) -> Failure | None:
    """Return why the engine cannot honour the request's parameters, or read its messages; else `None`."""
    unread = next((part for part in media_of(request.messages) if part["type"] not in capabilities.media), None)
    if unread is not None:
        why = capabilities.no_media or f"give it texts, or ask a model that reads {_READS[unread['type']]}"
        return Failure("unsupported", f"{request.model} cannot read the {label_of(unread)}: {why}")
    if request.choices and not capabilities.likelihoods:
        return Failure(
            "unsupported", f"{request.model} cannot tell how likely a text is; choices need a model that can"
        )
    # An engine that knows nothing of thoughts gives them no tokens.
    beyond = sorted(changed_params(request.params) - capabilities.params - {"thinking_allowance"})
    if not beyond:
        return None
    return Failure(
        "unsupported",
        f"{request.model} cannot honour the generation parameter {beyond[0]!r}; leave it out for this model",
        beyond[0],
    )


@runtime_checkable
class TellsAtOnce(Protocol):
    """An engine whose answers may be worth more than a moment: it reports each one as soon as it is there, before it yields it."""

    on_result: Callable[[Result], None]


# -- What the process that runs tests needs of engines, wherever they are.

Deliver = Callable[[list[Result]], None]
"""Takes results as they finish. It is called in a thread that must not wait, so it hands them on at once."""


class ModelService(Protocol):
    """`EnginePool` itself, or a connection to the controller's (`RemotePool`)."""

    def prepare(self, model: str) -> None:
        """Start loading ``model`` if its turn is now; returns at once."""
        ...

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand in requests; those handed in before are left alone. Returns at once."""
        ...

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """Wait for the result of ``request`` (submitted if it was not); `None` when ``timeout`` seconds pass first."""
        ...

    def subscribe(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Have the results of requests (submitted if they were not) handed to ``deliver``, several at a time where
        several are there; then `result` does not know them. Returns at once; ``deliver`` may be called before that.
        """
        ...
