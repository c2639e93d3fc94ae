"""From what an engine gave to the completion of a conversation."""

from __future__ import annotations

import dataclasses
from typing import Any

from pytest_evals.completion import Completion, Message, Origin, ToolCall
from pytest_evals.engines.protocol import Result
from pytest_evals.runner.completions import completion_of

QUESTION: Message = {"role": "user", "content": "Capital?"}


def test_the_answer_is_the_last_message_of_the_conversation() -> None:
    counts = (5, 2, (-0.5, -1.0), (Completion("Paris"), Completion("Lyon")), 0.5, 0.25, "f00", Origin("k"))
    result = Result("id", Completion("Paris", (), "length", None, *counts))
    answer: Message = {"role": "assistant", "content": "Paris"}
    assert completion_of(result, (QUESTION,), "m") == Completion("Paris", (QUESTION, answer), "length", "m", *counts)


def test_a_turn_that_the_model_continued_is_one_message() -> None:
    begun: Message = {"role": "assistant", "content": "It is"}
    completion = completion_of(Result("id", Completion(" Paris")), (QUESTION, begun), "m")
    assert completion.text == " Paris"
    assert completion.messages == (QUESTION, {"role": "assistant", "content": "It is Paris"})
    assert begun["content"] == "It is"


def test_thoughts_and_calls_stand_in_the_message_as_the_api_of_openai_writes_them() -> None:
    answer = Completion(
        "", finish_reason="tool_calls", reasoning="Ask.", tool_calls=(ToolCall("find", {"city": "Ürümqi"}, "c1"),)
    )
    (_, message) = completion_of(Result("id", answer), (QUESTION,), "m").messages
    function = {"name": "find", "arguments": '{"city": "Ürümqi"}'}
    calls = [{"id": "c1", "type": "function", "function": function}]
    assert message == {"role": "assistant", "content": None, "reasoning_content": "Ask.", "tool_calls": calls}


def test_thoughts_that_the_prompt_began_are_those_of_the_turn() -> None:
    begun: Message = {"role": "assistant", "content": "<think>\nLyon?"}
    answer = Completion("Paris", reasoning="No.", raw=" No.\n</think>\n\nParis")
    completion = completion_of(Result("id", answer), (QUESTION, begun), "m")
    assert completion.messages[-1] == {"role": "assistant", "content": "Paris", "reasoning_content": "Lyon? No."}
    assert (completion.text, completion.reasoning) == ("Paris", "No.")


def test_a_changed_completion_is_what_a_replaced_one_is() -> None:
    call = ToolCall("f", {"a": 1}, "c1")
    completion = Completion("Paris", model="m", reasoning="so", tool_calls=(call,), raw="<so>Paris", logprobs=(-0.5,))
    values: dict[str, Any] = {"messages": (QUESTION,), "model": "other", "origin": Origin("k")}
    assert completion.changed(**values) == dataclasses.replace(completion, **values)
    assert Completion.from_dict(completion.to_dict()) == dataclasses.replace(completion, model=None)
