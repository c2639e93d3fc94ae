"""How likely a served model finds a text: ``/completions`` with ``echo``, or with vLLM's ``prompt_logprobs``, gives the
log-probability of each token of a prompt.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pytest_evals.completion import Completion, Likelihood, Message
from pytest_evals.engines.openai.bodies import Dialect
from pytest_evals.engines.openai.failures import BrokenAnswerError, RefusalError
from pytest_evals.engines.openai.prompt_logprobs import WeighedPrompt, read_prompt, weighed_continuation
from pytest_evals.engines.openai.servers import ServerPool
from pytest_evals.engines.protocol import Request
from pytest_evals.errors import UnsupportedError

Way = Literal["echo", "prompt_logprobs"]
_PROBE = "The quick brown fox jumps over the lazy dog."
_REFUSED = (
    "the server does not give the log-probabilities of a prompt (echo with logprobs, or prompt_logprobs, at /completions), so it cannot tell how likely a "
    "text is; choices need a model that can"
)


class LikelihoodReader:
    """Weighs texts as continuations. ``render`` writes a conversation as the text that the model reads before its answer."""

    def __init__(self, pool: ServerPool, dialect: Dialect, render: Callable[[Sequence[Message]], str]) -> None:
        self._pool = pool
        self._dialect = dialect
        self._render = render
        self._way: asyncio.Task[Way | None] | None = None
        self._prompts: dict[str, asyncio.Task[WeighedPrompt]] = {}

    async def weigh(self, request: Request) -> Completion:
        """Return the likelihoods of the request's choices. Raises `UnsupportedError` where the server cannot."""
        way = await self._found_way()
        if way is None:
            raise UnsupportedError(_REFUSED)
        prompt = self._render(request.messages)
        likelihood = self._echoed_likelihood if way == "echo" else self._weighed_likelihood
        try:
            found = await asyncio.gather(*(likelihood(prompt, choice) for choice in request.choices))
        finally:
            self._prompts.pop(prompt, None)
        tokens = [count for _, count in found if count is not None]
        return Completion(
            prompt_tokens=tokens[0] if tokens else None,
            completion_tokens=0,
            likelihoods=tuple(likelihood for likelihood, _ in found),
        )

    async def _found_way(self) -> Way | None:
        if self._way is None:
            self._way = asyncio.ensure_future(self._probe())
        try:
            return await asyncio.shield(self._way)
        except Exception:  # whatever went wrong is raised again; the next request then repeats the probe
            self._way = None
            raise

    async def _probe(self) -> Way | None:
        if await self._echoes():
            return "echo"
        try:
            return "prompt_logprobs" if len((await self._weighed(_PROBE)).ids) > 3 else None
        except (RefusalError, UnsupportedError):
            return None

    async def _echoes(self) -> bool:
        try:
            data = await self._echoed(_PROBE)
        except RefusalError:
            return False
        tokens, values = data.get("tokens") or [], data.get("token_logprobs") or []
        # One token was generated behind the prompt; the first of all has nothing before it.
        return len(tokens) == len(values) > 3 and all(isinstance(value, (int, float)) for value in values[1:])

    async def _echoed(self, text: str) -> Mapping[str, Any]:
        return (await self._choice_of(text, {"echo": True, "logprobs": 1})).get("logprobs") or {}

    async def _weighed(self, text: str) -> WeighedPrompt:
        choice = await self._choice_of(text, {"prompt_logprobs": 1})
        try:
            return read_prompt(choice.get("prompt_logprobs") or [])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UnsupportedError(f"the server's prompt_logprobs cannot be read ({error})") from error

    async def _choice_of(self, text: str, wish: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {**self._dialect.extra, "model": self._dialect.model, "prompt": text, "max_tokens": 1, "temperature": 0}
        answer = await self._pool.post("/completions", {**body, **wish})
        try:
            choice = answer["choices"][0]
            return {"prompt_logprobs": answer.get("prompt_logprobs"), **choice}
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BrokenAnswerError("it sent no choices") from error

    async def _echoed_likelihood(self, prompt: str, choice: str) -> tuple[Likelihood, int | None]:
        data = await self._echoed(prompt + choice)
        return continuation(data, prompt, choice)

    async def _weighed_likelihood(self, prompt: str, choice: str) -> tuple[Likelihood, int | None]:
        if prompt not in self._prompts:
            self._prompts[prompt] = asyncio.ensure_future(self._weighed(prompt))
        whole, alone = await asyncio.gather(self._weighed(prompt + choice), asyncio.shield(self._prompts[prompt]))
        return weighed_continuation(whole, alone, choice)


def continuation(data: Mapping[str, Any], prompt: str, choice: str) -> tuple[Likelihood, int]:
    """Return the likelihood of ``choice`` in echoed log-probabilities, and the number of the prompt's tokens.

    Tokens are told to one side or the other by the texts of the tokens, which together are the prompt and the choice. Raises
    `UnsupportedError` where a token holds the end of the prompt and the beginning of the choice, or they are not given.
    """
    tokens, values = data.get("tokens") or [], data.get("token_logprobs") or []
    offsets = data.get("text_offset") or _offsets(tokens)
    end = len(prompt) + len(choice)
    # A token that the server writes before the text (as <s>) may count as text in the offsets.
    shift = _shift(tokens, offsets, prompt)
    places = [offset - shift for offset in offsets]
    inside = [index for index, place in enumerate(places) if len(prompt) <= place < end and tokens[index]]
    if not inside or places[inside[0]] != len(prompt) or len(values) < len(tokens):
        raise UnsupportedError(
            f"the choice {choice!r} does not begin where a token begins behind this prompt, so that the server cannot tell how likely it is"
        )
    chosen = [values[index] for index in inside]
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in chosen):
        raise UnsupportedError(f"the server gives no finite log-probability for the choice {choice!r}")
    best = data.get("top_logprobs") or []
    greedy = len(best) > inside[-1] and all(
        best[index] and values[index] >= max(best[index].values()) - 1e-9 for index in inside
    )
    return Likelihood(choice, float(sum(chosen)), len(chosen), len(choice.encode()), greedy), inside[0]


def _offsets(tokens: Sequence[str]) -> list[int]:
    places, place = [], 0
    for token in tokens:
        places.append(place)
        place += len(token)
    return places


def _shift(tokens: Sequence[str], offsets: Sequence[int], prompt: str) -> int:
    """Return how many characters the server's own first tokens take in the offsets."""
    if not tokens or not offsets or prompt.startswith(tokens[0]) or len(offsets) < 2:
        return 0
    return int(offsets[1])
