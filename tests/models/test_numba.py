"""A model computed with compiled loops gives the tokens that ``generate`` gives; where loops would not, it goes without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.cpu import attention, setup
from pytest_evals.engines.transformers.cpu.int8_head import Int8ArgmaxHead
from pytest_evals.engines.transformers.engine import TransformersEngine

from .conftest import (
    answers,
    open_engine,
    prompt_ids,
    reference,
    reference_model,
    request,
    runner_of,
    save_model,
    scheduler_of,
    set_budget,
    texts,
    tokenizer_of_all,
    usage_of,
    weigh,
)
from .test_families import PACKED, asked

pytest.importorskip("numba", reason="needs numba (pytest-evals-hf[cpu])")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="loops run on GNU's OpenMP")

# Groups of heads, norms of heads, windows, sinks, scores with a cap, biases, positions that are learned or rotated in part.
NAMES = ["llama", "qwen3", "gemma2", "gemma3", "mistral", "gpt2", "opt", "phi", "cohere", "gpt_oss"]


@pytest.fixture(autouse=True)
def loops_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models would be computed faster without."""
    monkeypatch.setattr(attention, "_is_faster", lambda *_: True)
    monkeypatch.setattr(Int8ArgmaxHead, "is_faster", lambda *_: True)


def compiled(folder: Path, **options: Any) -> TransformersEngine:
    engine = open_engine(folder, compiled=True, **options)
    assert runner_of(engine).threads is not None
    assert runner_of(engine).shortlist is not None
    return engine


@pytest.mark.parametrize("name", NAMES)
def test_families(tmp_path: Path, name: str) -> None:
    folder = save_model(tmp_path, PACKED[name]())
    expected = reference(folder, asked())
    for batch in ("auto", "3", "1"):
        assert texts(compiled(folder, batch=batch), asked()) == expected
    engine = compiled(folder, batch="3")
    set_budget(engine, tokens=7, cascade=1)
    assert texts(engine, asked()) == expected
    usage = usage_of(engine)
    assert usage["chosen_threads"] == torch.get_num_threads()
    assert (usage["chosen_loops"], usage["chosen_short_head"]) == (1, 1)


def of_all_kinds() -> list[Request]:
    """Rows that want more of their logits than the likeliest token, beside such as do not."""
    kinds: list[dict[str, Any]] = [
        {},
        {"logprobs": True},
        {"temperature": 0.7, "seed": 3},
        {"repetition_penalty": 1.3},
        {"regex": "[ab]{5,9}"},
        {"stop": ("e", "ab")},
    ]
    return [request(f"r{n}", "zebra " * (n + 1), max_new_tokens=8 + 6 * n, **kind) for n, kind in enumerate(kinds)]


def test_rows_of_all_kinds_beside_each_other(folder: Callable[[str], Path]) -> None:
    plain = open_engine(folder("llama"), compiled=False)
    assert runner_of(plain).threads is None
    expected = answers(plain, of_all_kinds())
    assert not any(result.error for result in expected.values())
    for batch in ("auto", "1"):
        found = answers(compiled(folder("llama"), batch=batch), of_all_kinds())
        for key, result in expected.items():
            assert (found[key].answer.text, found[key].answer.finish_reason) == (
                result.answer.text,
                result.answer.finish_reason,
            ), key
        assert found["r1"].answer.logprobs == pytest.approx(expected["r1"].answer.logprobs, rel=1e-3, abs=1e-3)


def test_choices_are_scored_as_without(folder: Callable[[str], Path]) -> None:
    asking = [weigh(f"c{number}", "2 + 2 = " * (number + 1), " 4", " five", " zebra and fox") for number in range(4)]
    expected = answers(open_engine(folder("llama"), compiled=False), asking)
    found = answers(compiled(folder("llama")), asking)
    for key, result in expected.items():
        sums = [[each.logprob for each in of.answer.likelihoods or ()] for of in (found[key], result)]
        assert len(sums[1]) == 3
        assert sums[0] == pytest.approx(sums[1], abs=1e-4)


def test_numbers_that_are_none_are_an_error_of_their_row_alone(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model's output layer gets a state that is no number for one row, as a broken model gives."""
    asking = [request(f"r{number}", text, max_new_tokens=5) for number, text in enumerate(("a", "fox over", "012"))]
    engine = compiled(folder("llama"))
    expected = texts(engine, asking)
    usual, spoiled = Int8ArgmaxHead.find, runner_of(engine)
    states = hidden_of(folder("llama"), asking[1])

    def find(self: Int8ArgmaxHead, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        same = (hidden - states).abs().amax(dim=-1, keepdim=True) < 1e-3
        return usual(self, torch.where(same, float("nan"), hidden))

    spoiled.clear()
    scheduler_of(engine).clear()
    monkeypatch.setattr(Int8ArgmaxHead, "find", find)
    found = answers(engine, asking)
    assert "not finite numbers" in str(found["r1"].error)
    assert {key: found[key].answer.text for key in ("r0", "r2")} == {key: expected[key] for key in ("r0", "r2")}


def hidden_of(folder: Path, entry: Request) -> torch.Tensor:
    """What the output layer gets for the last token of a prompt."""
    model = reference_model(folder)
    ids = torch.tensor([prompt_ids(tokenizer_of_all(), entry)])
    with torch.inference_mode():
        state: torch.Tensor = model.model(input_ids=ids).last_hidden_state[0, -1]
    return state


@pytest.mark.parametrize("trouble", ["wrong", "raises"])
def test_loops_that_do_not_give_the_models_logits_are_not_used(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    usual = attention.attend

    def attend(*arguments: Any) -> Any:
        if trouble == "raises":
            raise RuntimeError("no such symbol")
        output, sums = usual(*arguments)
        return output * 1.5, sums

    monkeypatch.setattr(attention, "attend", attend)
    monkeypatch.setattr(Int8ArgmaxHead, "find", lambda _, hidden: (hidden[:, 0], hidden[:, 0].long() * 0))
    engine = open_engine(folder("llama"), compiled=True)
    assert runner_of(engine).threads is None
    assert runner_of(engine).shortlist is None
    assert texts(engine, asked()) == reference(folder("llama"), asked())


def test_small_models_are_not_worth_compiling(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[object] = []
    monkeypatch.setattr(setup, "compiled_threads", lambda *arguments: asked_for.append(arguments))
    engine = open_engine(folder("llama"))
    assert asked_for == []
    assert runner_of(engine).threads is None
    open_engine(folder("llama"), compiled=True)
    assert len(asked_for) == 1
