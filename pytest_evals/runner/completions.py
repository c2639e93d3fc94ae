"""One turn: from what an engine, a dataset or a task gave to the completion."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from pytest_evals.collection.item import RECORDED, EvalItem
from pytest_evals.completion import Completion, FinishReason, Message
from pytest_evals.engines.protocol import Result
from pytest_evals.errors import SuiteError


def recorded_completion(found: EvalItem) -> Completion:
    """Return the completion that the row of the case brings."""
    return Completion(**_turn(found.prepared.prompt, found.prepared.recorded or "", "recorded"), model=RECORDED)


def generated_completion(result: Result, found: EvalItem) -> Completion:
    """Return the completion that a model gave in the default turn of a case."""
    return completion_of(result, found.prepared.prompt, found.key.model or found.models[0])


def completion_of(result: Result, prompt: Sequence[Message], model: str) -> Completion:
    """Return the completion of a conversation that ``result`` is the answer to."""
    answer = result.answer
    turn = _turn(prompt, answer.text, answer.finish_reason)
    *before, last = turn["messages"]
    return dataclasses.replace(answer, messages=(*before, with_calls(last, answer)), model=model)


def made_completion(value: object, found: EvalItem) -> Completion:
    """Return the completion that a task in the place of the default turn made. Raises `SuiteError` for what is none."""
    if isinstance(value, Completion):
        return value
    if not isinstance(value, str):
        raise SuiteError(
            f"a task named completion returns the text or a Completion, not {type(value).__name__}; give it another name if it "
            "makes something else"
        )
    return Completion(**_turn(found.prepared.prompt, value, "stop"), model=found.key.model)


def with_calls(message: Message, answer: Completion) -> Message:
    """Return the message of an answer with its calls of tools, as OpenAI's API writes them."""
    if not answer.tool_calls:
        return message
    return {**message, "tool_calls": [call.to_message() for call in answer.tool_calls]}


def _turn(prompt: Sequence[Message], text: str, finish_reason: FinishReason) -> dict[str, Any]:
    said = list(prompt)
    answer = {"role": "assistant", "content": text}
    if finish_reason != "recorded" and said and said[-1]["role"] == "assistant":
        # The model continued the last turn; as a message it is one.
        answer["content"] = f"{said.pop()['content']}{text}"
    return {"text": text, "messages": (*said, answer), "finish_reason": finish_reason}
