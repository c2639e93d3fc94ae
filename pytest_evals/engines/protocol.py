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
    """One conversation to complete, or to weigh ``choices`` as its continuation.

    ``id`` is unique in a session; asking again with the same id is the same request. With ``choices`` nothing is
    generated: the result holds the likelihood of each. ``alone`` asks for the plainest computation: nothing else in the
    batch, nothing shared, no layout of the engine's own; an audit compares with it. ``adapter`` is the folder or hub name of the
    adapter that answers, where the loaded weights are those of its base; it follows from ``model``.
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
    """What became of the request of the same ``id``: a completion, or the ``error`` that took its place."""

    id: str
    completion: Completion | None = None
    error: Failure | None = None

    @property
    def answer(self) -> Completion:
        """The completion. Raises `RuntimeError` where there is none: look at ``error`` first."""
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
    """Says that the requests of these ids are being computed: should the process die now, one of them is the cause."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Working:
    """News for the waiting caller: this many more tokens were generated for requests that have not finished.

    ``usage`` is what the engine accounts for, summed up since it was loaded; see the engine for its fields.
    """

    tokens: int
    usage: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that the user should know of how the model is run, which shows only now; said once in the report."""

    text: str


Event = Started | Working | Noted | Result


class Inbox:
    """Requests on their way to an engine. Thread-safe: one thread puts, the engine takes.

    An engine takes when it has room, so that requests which arrive late can join the work in progress.
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
        """Say that no more requests come; those here are still to be done."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def abort(self) -> None:
        """Drop everything: the engine stops at its next look."""
        with self._changed:
            self._closed = self._aborted = True
            self._waiting.clear()
            self._changed.notify()

    def cancel(self, ids: Collection[str]) -> None:
        """Say that no one waits for these requests any more: what the engine has not taken is dropped."""
        with self._changed:
            self._waiting = deque(request for request in self._waiting if request.id not in ids)
            self._cancelled.update(ids)

    def take_cancelled(self) -> set[str]:
        """Return the requests that were cancelled since the last call. An engine may end what it computes for them."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            return cancelled

    def take(self, limit: int | None = None, *, wait: bool = True) -> list[Request]:
        """Return up to ``limit`` requests, waiting for the first one if ``wait``. An empty list after a wait means: the
        end.
        """
        with self._changed:
            while wait and not self._waiting and not self._closed:
                self._changed.wait()
            taken: list[Request] = []
            while self._waiting and (limit is None or len(taken) < limit):
                taken.append(self._waiting.popleft())
            return taken

    @property
    def aborted(self) -> bool:
        """Tell whether the engine is to stop at once."""
        return self._aborted


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do. A generation parameter outside ``params`` is refused for the request that carries it, and
    ``choices`` are refused where there are no ``likelihoods``. ``media`` are the kinds of parts that the model reads beside texts;
    ``no_media`` says why there are none, where there might have been some.
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
    """One loaded model."""

    info: EngineInfo
    capabilities: Capabilities

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """Answer requests until the inbox is closed and empty.

        Yields a `Started` before it computes requests and a `Result` for each of them as it finishes, in any order;
        `Working` as it likes. A request that cannot be answered is a `Result` with an error, never an exception.
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
