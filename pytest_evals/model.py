"""The fixture ``model``: calls of the model under test beyond the default turn."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pytest_evals.completion import Completion, Likelihood, Message
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.errors import DatasetError, ModelCallError, SuiteError
from pytest_evals.generation import GenerationParams, parse_generation
from pytest_evals.graders.likelihood import By, check_choices, check_measure, likeliest
from pytest_evals.plan import seeded
from pytest_evals.suite import check_messages

if TYPE_CHECKING:
    from pytest_evals.collection import EvalItem
    from pytest_evals.run import CaseRun

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """What a model chose: the likeliest of the ``likelihoods``. ``probabilities`` are theirs among themselves."""

    index: int
    text: str
    probabilities: tuple[float, ...]
    likelihoods: tuple[Likelihood, ...]

    def __str__(self) -> str:
        return self.text


class Call(Generic[T]):
    """A call that is on its way: ``await`` it, or ask for its ``result()``. Calls made before waiting are batched."""

    def __init__(self, run: CaseRun, request: Request, finish: Callable[[Result], T]) -> None:
        self._run = run
        self._request = request
        self._finish = finish
        self._result: Result | None = None
        run.submit(request)

    def result(self) -> T:
        """Wait and return the answer. Raises `ModelCallError` when there is none."""
        if self._result is None:
            self._result = self._run.wait(self._request)
        result = self._result
        if result.error is not None:
            raise ModelCallError(f"no answer ({result.error.kind} error): {result.error.message}")
        return self._finish(result)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.to_thread(self.result).__await__()


class Model:
    """The model under test, for the case that runs. Where no prompt is given, it is the case's."""

    def __init__(self, run: CaseRun, nodeid: str, found: EvalItem, base_seed: int) -> None:
        self.name = found.key.model or found.models[0]
        self._run = run
        self._nodeid = nodeid
        self._found = found
        self._base_seed = base_seed
        self._calls = itertools.count(1)

    def generate(self, prompt: str | Sequence[Message] | None = None, **generation: Any) -> Call[Completion]:
        """Complete a conversation: a `Completion`. ``generation`` takes the parameters of ``cases(generation=...)``.

        A sampled call's seed follows from the case and from how many calls were made before it.
        """
        number = next(self._calls)
        params = seeded(parse_generation(generation), self._found, self._base_seed + number)
        request = self._request(number, prompt, params, ())
        return Call(self._run, request, lambda result: _completion(request, result))

    def choose(
        self, choices: Sequence[str], prompt: str | Sequence[Message] | None = None, *, by: By = "sum"
    ) -> Call[Choice]:
        """Weigh ``choices`` as the answer: a `Choice`. ``by``: compare sums, or means a ``token`` or a ``byte``."""
        measure = check_measure(by)
        request = self._request(next(self._calls), prompt, GenerationParams(), check_choices(choices))

        def finish(result: Result) -> Choice:
            found = result.likelihoods or ()
            chosen = likeliest(found, measure)
            return Choice(chosen.index, chosen.text, chosen.probabilities, found)

        return Call(self._run, request, finish)

    def score(self, text: str, prompt: str | Sequence[Message] | None = None) -> Call[Likelihood]:
        """Ask how likely ``text`` is as the answer: a `Likelihood`."""
        if not isinstance(text, str) or not text:
            raise SuiteError(f"model.score takes a non-empty text, not {text!r}")
        request = self._request(next(self._calls), prompt, GenerationParams(), (text,))
        return Call(self._run, request, lambda result: (result.likelihoods or ())[0])

    def _request(
        self,
        number: int,
        prompt: str | Sequence[Message] | None,
        params: GenerationParams,
        choices: tuple[str, ...],
    ) -> Request:
        messages = self._messages(prompt)
        return Request(f"{self._nodeid}#{number}", self.name, messages, params, choices)

    def _messages(self, prompt: str | Sequence[Message] | None) -> tuple[Message, ...]:
        if isinstance(prompt, str):
            return ({"role": "user", "content": prompt},)
        if prompt is not None:
            try:
                return tuple(check_messages(prompt))
            except DatasetError as error:
                raise SuiteError(f"the prompt of a call is a string or a conversation: {error}") from error
        if self._found.prepared.problem:
            raise SuiteError(
                f"{self._found.info.name}: {self._found.prepared.case.place} {self._found.prepared.problem}"
            )
        return self._found.prepared.prompt


def _completion(request: Request, result: Result) -> Completion:
    answer = {"role": "assistant", "content": result.text}
    return Completion(
        result.text,
        (*request.messages, answer),
        result.finish_reason,
        model=request.model,
        prompt_tokens=result.prompt_tokens,
        completion_tokens=result.completion_tokens,
        logprobs=result.logprobs,
        samples=result.samples or (),
        latency=result.latency,
        queued=result.queued,
        fingerprint=result.fingerprint,
    )
