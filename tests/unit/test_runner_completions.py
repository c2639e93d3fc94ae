"""From what an engine gave to the completion of a conversation."""

from __future__ import annotations

from typing import Any

from pytest_evals.completion import Completion, Message, Origin
from pytest_evals.engines.protocol import Result
from pytest_evals.runner.completions import completion_of

QUESTION: Message = {"role": "user", "content": "Capital?"}


def test_the_answer_is_the_last_message_of_the_conversation() -> None:
    counts: tuple[Any, ...] = (
        5,
        2,
        (-0.5, -1.0),
        (Completion("Paris"), Completion("Lyon")),
        0.5,
        0.25,
        "f00",
        Origin("k"),
    )
    result = Result("id", Completion("Paris", (), "length", None, *counts))
    answer: Message = {"role": "assistant", "content": "Paris"}
    assert completion_of(result, (QUESTION,), "m") == Completion("Paris", (QUESTION, answer), "length", "m", *counts)


def test_a_turn_that_the_model_continued_is_one_message() -> None:
    begun: Message = {"role": "assistant", "content": "It is"}
    completion = completion_of(Result("id", Completion(" Paris")), (QUESTION, begun), "m")
    assert completion.text == " Paris"
    assert completion.messages == (QUESTION, {"role": "assistant", "content": "It is Paris"})
    assert begun["content"] == "It is"
