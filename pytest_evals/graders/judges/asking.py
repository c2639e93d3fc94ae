"""Asks a judge until its reply can be read: once, and once more when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from pytest_evals.completion import Completion, Message
from pytest_evals.errors import ModelCallError
from pytest_evals.graders.judges.prompts import follow_up
from pytest_evals.graders.judges.reading.thoughts import strip_thoughts

if TYPE_CHECKING:
    from pytest_evals.runner.model import Model

T = TypeVar("T")
ReplyConstraint = Mapping[str, Any]
"""A generation parameter that allows nothing but replies of the right form: ``choice`` or ``json_schema``."""

# What models of a run were found unable to do. A run has one event loop.
_UNSUPPORTED: WeakKeyDictionary[asyncio.AbstractEventLoop, set[tuple[str, str]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """What a judge said: the value that was read, or the ``problem`` with its last reply; ``replies`` as they came."""

    value: T | None
    replies: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge said in one call. ``held``: the engine held it to the form that was asked for, so that nothing in it is a
    quotation.
    """

    text: str
    held: bool = False


Read = Callable[[Reply], tuple[T | None, str | None]]
"""From a reply to its value, or to what is wrong with it."""


async def ask(
    model: Model,
    messages: Sequence[Message],
    read: Read[T],
    *,
    guide: ReplyConstraint,
    generation: Mapping[str, Any],
    remind: str | Callable[[str], str],
    guided_first: bool = True,
) -> Answered[T]:
    """Ask ``model`` and read its reply; where that fails, go on in the same conversation with ``remind``, once. ``remind`` may be a
    function of the reply.

    ``guide`` holds the reply to its form where the engine can; with ``guided_first`` off, only that of the second
    attempt. What the model answers when it is asked is final: errors of the model or its engine are raised.
    """
    reply = await _generate(model, messages, generation, guide if guided_first else {})
    value, problem = read(reply)
    if problem is None:
        return Answered(value, (reply.text,))
    # The second attempt is greedy: it is to be in the right form, not another opinion.
    patient = {**generation, "temperature": 0.0}
    request = remind if isinstance(remind, str) else remind(reply.text)
    second = await _generate(model, follow_up(messages, strip_thoughts(reply.text), request), patient, guide)
    value, again = read(second)
    return Answered(value, (reply.text, second.text), again)


async def _generate(
    model: Model, messages: Sequence[Message], generation: Mapping[str, Any], guide: ReplyConstraint
) -> Reply:
    name = next(iter(guide), None)
    if name is not None and able(model, name):
        try:
            return Reply(said_by(await _completed(model.generate(messages, **generation, **guide))), held=True)
        except ModelCallError as error:
            if error.kind != "unsupported":
                raise
            unable(model, name)
    return Reply(said_by(await _completed(model.generate(messages, **generation))))


def said_by(completion: Completion) -> str:
    """Return what a judge said beside its thoughts; of one that did nothing but think, these, as such."""
    return f"<think>{completion.reasoning}" if completion.reasoning and not completion.text else completion.text


async def _completed(call: Awaitable[Completion]) -> Completion:
    return await call


def able(model: Model, what: str) -> bool:
    """Tell whether ``model`` has not been found unable to do ``what``."""
    return (model.name, what) not in _UNSUPPORTED.get(asyncio.get_running_loop(), set())


def unable(model: Model, what: str) -> None:
    """Remember for this run that ``model`` cannot do ``what``."""
    _UNSUPPORTED.setdefault(asyncio.get_running_loop(), set()).add((model.name, what))


async def together(asked: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run all of them at the same time, so that their calls meet in batches; wait for all, then raise the first error."""
    results = await asyncio.gather(*asked, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
