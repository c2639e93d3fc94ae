"""Rows whose tokens are guessed ahead get what they get without: texts, ends, log-probabilities, drawn tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.transformers.engine import TransformersEngine

from .conftest import answers, open_engine, reference, request, runner_of, texts, usage_of

# Random models repeat themselves soon.
PROMPTS = ["a", "the quick brown fox", "0123 " * 9, "zebra " * 12, "What is the capital of France?"]
LIMITS = (70, 41, 64, 3, 60)


def asked(**params: Any) -> list[Request]:
    return [
        request(f"r{n}", text, max_new_tokens=limit, **params)
        for n, (text, limit) in enumerate(zip(PROMPTS, LIMITS, strict=True))
    ]


def without_guesses(folder: Path, query: str = "", **options: Any) -> TransformersEngine:
    engine = open_engine(folder, query, **options)
    assert runner_of(engine).guesser is not None
    runner_of(engine).guesser = None
    return engine


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_texts_are_those_of_generate_and_take_fewer_forwards(folder: Callable[[str], Path], family: str) -> None:
    expected = reference(folder(family), asked())
    for batch in ("auto", "3", "1"):
        engine, plain = open_engine(folder(family), batch=batch), without_guesses(folder(family), batch=batch)
        assert texts(engine, asked()) == texts(plain, asked()) == expected
        usage, same = usage_of(engine), usage_of(plain)
        assert usage["right_tokens"] > 0
        assert usage["right_tokens"] <= usage["guessed_tokens"]
        assert usage["forwards"] < same["forwards"]
        for name in ("generated_tokens", "prompt_tokens", "padding_tokens", "most_rows"):
            assert usage[name] == same[name], name
        assert same["guessed_tokens"] == 0


@pytest.mark.parametrize(
    "params",
    [
        {"logprobs": True},
        {"stop": ("zebra", "e", "ab")},
        {"temperature": 0.05, "seed": 3, "logprobs": True},
        {"temperature": 0.05, "seed": 4, "n": 2, "top_k": 3},
        {"repetition_penalty": 1.02},
        {"regex": "[ab]{30,60}"},
    ],
)
def test_whatever_a_request_asks_for_is_what_it_gets(folder: Callable[[str], Path], params: dict[str, Any]) -> None:
    if "regex" in params:
        pytest.importorskip("xgrammar")
    engine = open_engine(folder("llama"), batch="2")
    found, expected = (
        answers(engine, asked(**params)),
        answers(without_guesses(folder("llama"), batch="2"), asked(**params)),
    )
    assert usage_of(engine)["right_tokens"] > 0
    for key, result in expected.items():
        assert taken(found[key]) == taken(result)
        assert found[key].answer.logprobs == (
            result.answer.logprobs and pytest.approx(result.answer.logprobs, abs=1e-4)
        )


def taken(result: Result) -> tuple[object, ...]:
    return (
        result.answer.text,
        result.answer.samples,
        result.answer.finish_reason,
        result.answer.completion_tokens,
        result.error,
    )


def test_near_ties_are_decided_by_the_row_alone_where_exactness_is_asked_for(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is a near-tie: every token is the reference's, whatever the step that was ahead computed."""
    monkeypatch.setattr("pytest_evals.engines.transformers.sampler.NEAR_TIE", 1e9)
    engine = open_engine(folder("llama"), exact=True)
    runner = runner_of(engine)
    forward = runner._forward
    monkeypatch.setattr(runner, "_forward", lambda layout, step: forward(layout, step).flip(-1))
    assert texts(engine, asked()[1:4]) == {key: reference(folder("llama"), asked())[key] for key in ("r1", "r2", "r3")}
    assert usage_of(engine)["right_tokens"] > 0


def test_rows_that_fail_in_a_step_that_was_ahead_go_on_from_what_they_had(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(folder("llama"), batch="2")
    runner = runner_of(engine)
    forward, failed = runner._forward, list[int]()

    def scarce(layout: Any, step: Any) -> Any:
        if step.width > 2 and step.decoding > 1 and not failed:
            failed.append(step.width)
            raise RuntimeError("broken for once")
        return forward(layout, step)

    monkeypatch.setattr(runner, "_forward", scarce)
    assert texts(engine, asked()) == reference(folder("llama"), asked())
    assert len(failed) == 1
