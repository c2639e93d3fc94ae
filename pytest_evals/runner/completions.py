"""One turn: from what an engine, a dataset or a task gave to the completion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from urllib.parse import parse_qs

from pytest_evals.collection.item import RECORDED, EvalItem
from pytest_evals.completion import Completion, Message, text_of
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import SuiteError
from pytest_evals.suites.conversation import RecordedCompletion


def recorded_completion(found: EvalItem) -> Completion:
    """Return the completion that the row of the case brings: a text is divided as what a model writes, or else its parts are
    given.
    """
    recorded = found.prepared.recorded
    if isinstance(recorded, RecordedCompletion):
        parts = Completion(recorded.text, reasoning=recorded.reasoning, tool_calls=recorded.tool_calls)
    else:
        parts = _divided(recorded or "", found)
    return _turn(found.prepared.prompt, dataclasses.replace(parts, finish_reason="recorded"), RECORDED)


def generated_completion(result: Result, found: EvalItem) -> Completion:
    """Return the completion that a model gave in the default turn of a case."""
    return completion_of(result, found.prepared.prompt, found.key.model or found.models[0])


def completion_of(result: Result, prompt: Sequence[Message], model: str) -> Completion:
    """Return the completion of a conversation that ``result`` is the answer to."""
    return _turn(prompt, result.answer, model)


def made_completion(value: object, found: EvalItem) -> Completion:
    """Return the completion that a task in the place of the default turn made: a text is divided as what a model writes.

    Raises `SuiteError` for what is none.
    """
    if isinstance(value, Completion):
        return value
    if not isinstance(value, str):
        raise SuiteError(
            f"a task named completion returns the text or a Completion, not {type(value).__name__}; give it another name if it "
            "makes something else"
        )
    parts = _divided(value, found)
    return _turn(found.prepared.prompt, parts, found.key.model)


def _reasoning_of(found: EvalItem) -> str:
    """Return what the specification of the case's model says of thoughts."""
    model = found.key.model if found.key.model not in (None, RECORDED) else found.models[0] if found.models else None
    return parse_qs((model or "").partition("?")[2]).get("reasoning", ["auto"])[-1]


def _divided(text: str, found: EvalItem) -> Completion:
    """Return the parts of a text that some model wrote: calls of tools among them where the suite offers tools."""
    # A run in which models are asked needs none of this.
    from pytest_evals.replies.form import ANY_FORM, written_form
    from pytest_evals.replies.reading import read_reply
    from pytest_evals.tool_calls.forms import ANY
    from pytest_evals.tool_calls.numbering import calls_in, numbered

    params = found.prepared.params
    tools = params.tools if params.tool_choice != "none" else ()
    form = written_form(_reasoning_of(found)) or ANY_FORM
    reply = read_reply(text, dataclasses.replace(form, tools=ANY) if tools else form, tools=tools)
    return Completion(
        reply.text,
        finish_reason="length" if reply.unfinished else "tool_calls" if reply.tool_calls else "stop",
        reasoning=reply.reasoning,
        tool_calls=numbered(reply.tool_calls, calls_in(found.prepared.prompt)),
        tool_call_error=reply.problem,
        raw=None if reply.text == text else text,
    )


def _turn(prompt: Sequence[Message], completion: Completion, model: str | None) -> Completion:
    """Return the completion of ``model`` with its conversation: the prompt, and the answer as the assistant's message."""
    said = list(prompt)
    answer: Message = {"role": "assistant", "content": completion.text}
    reasoning = completion.reasoning
    if completion.finish_reason != "recorded" and said and said[-1]["role"] == "assistant":
        # The model continued the last turn; as a message it is one, and what was given may hold thoughts.
        from pytest_evals.replies.thoughts import divide

        begun = text_of(said.pop())
        whole = divide(begun + (completion.text if completion.raw is None else completion.raw))
        if completion.raw is None or not whole.reasoning:
            answer["content"] = f"{begun}{completion.text}"
        else:
            answer["content"], reasoning = whole.answer, whole.reasoning
    if reasoning is not None:
        answer["reasoning_content"] = reasoning
    if completion.tool_calls:
        answer["tool_calls"] = [call.to_message() for call in completion.tool_calls]
        answer["content"] = answer["content"] or None
    return completion.changed(messages=(*said, answer), model=model)
