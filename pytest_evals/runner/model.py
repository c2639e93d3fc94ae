"""The fixtures ``model`` and ``judge``: calls of a model beyond the default turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pytest_evals.completion import By, Completion, Likelihood, Message, check_choices, check_measure, likeliest
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import DatasetError, SuiteError
from pytest_evals.generation import GenerationParams, changed_params, parse_generation
from pytest_evals.runner.calls import Caller
from pytest_evals.runner.completions import completion_of
from pytest_evals.suites.conversation import check_messages
from pytest_evals.suites.media import with_media

T = TypeVar("T")
Named = Callable[[str], str]
"""From a model specification as the user wrote it to how the session names the model; raises `ModelError`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest of several choices.

    Attributes:
        index: Its place among the choices, from 0.
        text: Its text.
        probabilities: The choices' probabilities relative to each other, in their order; their sum is 1.
        likelihoods: The choices' likelihoods, in their order.
    """

    index: int
    text: str
    probabilities: tuple[float, ...]
    likelihoods: tuple[Likelihood, ...]

    def __str__(self) -> str:
        return self.text


class PendingCall(Generic[T]):
    """A call on its way: ``await`` it, or take its ``result()``. Calls that are made before waiting are batched."""

    def __init__(self, caller: Caller, request: Request, handle: str, finish: Callable[[Result], T]) -> None:
        __tracebackhide__ = True
        self._caller = caller
        self._finish = finish
        self._pending, self._entry = caller.start(request, handle)

    if not TYPE_CHECKING:  # a checker of types would take any name for one that is there

        def __getattr__(self, name: str) -> Any:
            __tracebackhide__ = True
            raise AttributeError(f"this is a call on its way, which has no {name!r}: await it, or take its result()")

    def result(self) -> T:
        """Wait and return the answer. Raises `ModelCallError` if there is none."""
        __tracebackhide__ = True
        return self._answer(self._pending.result())

    def __await__(self) -> Generator[Any, None, T]:
        __tracebackhide__ = True
        return self._answer((yield from self._pending.wait().__await__()))

    def _answer(self, result: Result) -> T:
        __tracebackhide__ = True
        self._caller.finish(self._entry, result)
        return self._finish(result)


class Model:
    """A model to call for the case: the model under test, the judge, or another.

    ``generate``, ``choose`` and ``score`` return a pending call: ``await`` it, or take its ``result()``, which raises `ModelCallError` if there is
    no answer. Calls that are made before waiting are batched. Without a prompt, a call takes the case's.
    """

    def __init__(self, name: str, caller: Caller, *, named: Named, handle: str = "model") -> None:
        self.name = name
        self._caller = caller
        self._named = named
        self._handle = handle

    @property
    def generation(self) -> dict[str, Any]:
        """The suite's generation parameters for the case, without ``n``: ``generate(prompt, **model.generation)``."""
        params = self._caller.found.prepared.params
        return {name: getattr(params, name) for name in sorted(changed_params(params) - {"n"})}

    def using(self, spec: str) -> Model:
        """Return the handle of another model for this case. Raises `ModelError` for a wrong specification."""
        return Model(self._named(spec), self._caller, named=self._named, handle=self._handle)

    def generate(self, prompt: str | Sequence[Message] | None = None, **generation: Any) -> PendingCall[Completion]:
        """Complete a conversation. The result is a `Completion`.

        A sampled call has its own seed, which follows from the case, the caller and the caller's earlier calls (in a task or grader: those with
        the same request).

        Args:
            prompt: A user's message or a list of messages; by default the case's prompt.
            generation: Generation parameters, as in ``cases(generation=...)``.
        """
        __tracebackhide__ = True
        request = self._request(prompt, parse_generation(generation), ())
        return PendingCall(
            self._caller, request, self._handle, lambda result: completion_of(result, request.messages, request.model)
        )

    def choose(
        self, choices: Sequence[str], prompt: str | Sequence[Message] | None = None, *, by: By = "sum"
    ) -> PendingCall[Choice]:
        """Find the likeliest of ``choices`` as the answer. The result is a `Choice`.

        Args:
            choices: Their texts, at least one.
            prompt: A user's message or a list of messages; by default the case's prompt.
            by: What is compared: the ``sum`` of log-likelihoods, or their mean per ``token``, ``byte`` or ``char``.
        """
        measure = check_measure(by)
        request = self._request(prompt, GenerationParams(), check_choices(choices))

        def finish(result: Result) -> Choice:
            found = result.answer.likelihoods or ()
            chosen = likeliest(found, measure)
            return Choice(chosen.index, chosen.text, chosen.probabilities, found)

        return PendingCall(self._caller, request, self._handle, finish)

    def score(self, text: str, prompt: str | Sequence[Message] | None = None) -> PendingCall[Likelihood]:
        """Compute how likely ``text`` is as the answer. The result is a `Likelihood`.

        Args:
            text: A text that is not empty.
            prompt: A user's message or a list of messages; by default the case's prompt.
        """
        if not isinstance(text, str) or not text:
            raise SuiteError(f"model.score takes a non-empty text, not {text!r}")
        request = self._request(prompt, GenerationParams(), (text,))
        return PendingCall(self._caller, request, self._handle, lambda result: (result.answer.likelihoods or ())[0])

    def _request(
        self, prompt: str | Sequence[Message] | None, params: GenerationParams, choices: tuple[str, ...]
    ) -> Request:
        return self._caller.request(self.name, self._messages(prompt), params, choices)

    def _messages(self, prompt: str | Sequence[Message] | None) -> tuple[Message, ...]:
        if isinstance(prompt, str):
            return ({"role": "user", "content": prompt},)
        if prompt is not None:
            try:
                return tuple(with_media(check_messages(prompt), self._caller.found.prepared.places))
            except DatasetError as error:
                raise SuiteError(f"the prompt of a call is a string or a conversation: {error}") from error
        found = self._caller.found
        if found.prepared.problem:
            raise SuiteError(f"{found.info.name}: {found.prepared.case.place} {found.prepared.problem}")
        return found.prepared.prompt


@dataclasses.dataclass(frozen=True, slots=True)
class Encoders:
    """Asks classifiers and reward models for a case."""

    caller: Caller
    named: Named

    def ask(self, model: str, messages: Sequence[Message]) -> PendingCall[Completion]:
        """Have a text (one message), a pair (two) or a conversation read: a `Completion` with ``scores``."""
        request = self.caller.request(self.named(model), tuple(messages), GenerationParams(), ())
        return PendingCall(self.caller, request, "encoder", lambda result: result.answer)


@dataclasses.dataclass(frozen=True, slots=True)
class ModelProvider:
    """Makes handles for cases. ``judge_name`` is the model that judges."""

    judge_name: str
    named: Named
    encoder_named: Named

    def model(self, caller: Caller) -> Model:
        """Return the model under test."""
        return Model(caller.found.key.model or caller.found.models[0], caller, named=self.named)

    def encoder(self, caller: Caller) -> Encoders:
        """Return what asks classifiers and reward models."""
        return Encoders(caller, self.encoder_named)

    def judge(self, caller: Caller) -> Model:
        """Return the model that judges."""
        return Model(self.judge_name, caller, named=self.named, handle="judge")
