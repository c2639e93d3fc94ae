"""Near-ties decided as one prompt alone decides them, and requests that are computed alone from the start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.transformers import sampler
from pytest_evals.engines.transformers.backends.reference import ReferenceBackend
from pytest_evals.engines.transformers.cpu import linear
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.errors import ModelError

from .conftest import (
    FAMILIES,
    answers,
    open_engine,
    reference,
    request,
    runner_of,
    save_model,
    scheduler_of,
    set_budget,
    texts,
    usage_of,
    weigh,
)

SHOTS = "France: Paris. Spain: Madrid. Italy: Rome. "
PROMPTS = ["a", "0123 " * 9, "zebra " * 15, *(f"{SHOTS}{country}:" for country in ("Peru", "Cuba", "Chile"))]


def asked(**params: Any) -> list[Request]:
    return [request(f"r{n}", text, max_new_tokens=4 + 2 * n, **params) for n, text in enumerate(PROMPTS)]


def alone(requests: list[Request]) -> list[Request]:
    return [replace(entry, id=f"alone {entry.id}", alone=True) for entry in requests]


def questions(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> list[tuple[TokenSequence, int]]:
    """Note what the arbiter is asked: whose token, and how many tokens the row has."""
    arbiter, asked_for = engine._loops[-1], list[tuple[TokenSequence, int]]()
    assert isinstance(arbiter, ReferenceBackend)
    next_logits = arbiter.next_logits

    def noted(row: TokenSequence) -> torch.Tensor:
        asked_for.append((row, len(row.generated)))
        return next_logits(row)

    monkeypatch.setattr(arbiter, "next_logits", noted)
    return asked_for


def confused(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the batch compute nonsense, so that only an arbiter can be right."""
    runner = runner_of(engine)
    forward = runner._forward
    monkeypatch.setattr(runner, "_forward", lambda layout, step: forward(layout, step).flip(-1))


# -- near ties


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_where_everything_is_a_near_tie_the_arbiter_writes_what_generate_writes(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(sampler, "NEAR_TIE", 1e9)
    engine = open_engine(folder(family), batch="3", exact=True)
    set_budget(engine, tokens=16, cascade=1)
    asked_for = questions(engine, monkeypatch)
    confused(engine, monkeypatch)
    requests = asked()
    assert texts(engine, requests) == reference(folder(family), requests)
    assert len(asked_for) == sum(entry.params.max_new_tokens for entry in requests)
    assert all(row.generated for row, _ in asked_for)
    assert {count for row, count in asked_for if row.request.id == "r5"} == set(range(14))


def test_a_model_that_runs_through_generate_computes_one_prompt_at_a_time(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["bloom"]())
    engine = open_engine(folder, exact=True)
    assert engine.info.rows == 1
    assert engine.info.notes[0].startswith(
        "runs through transformers' generate, one prompt at a time for exactness: its logits would differ by"
    )
    assert texts(engine, asked()) == reference(folder, asked())
    assert usage_of(engine)["most_rows"] == 1


def test_without_the_wish_to_be_exact_nobody_is_asked(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "NEAR_TIE", 1e9)
    engine = open_engine(folder("llama"))
    asked_for = questions(engine, monkeypatch)
    assert texts(engine, asked()) == reference(folder("llama"), asked())
    assert asked_for == []


def test_the_arbiter_is_asked_about_near_ties_only(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two likeliest tokens of one forward are made to be almost equally likely."""
    engine = open_engine(folder("llama"), exact=True)
    asked_for = questions(engine, monkeypatch)
    runner, calls = runner_of(engine), 0
    forward = runner._forward

    def tied(layout: Any, step: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        logits = forward(layout, step)
        if calls == 4:
            best = logits[2].topk(2).indices
            # The second one gets ahead by less than rounding may do.
            logits[2, best[1]] = logits[2, best[0]] + sampler.NEAR_TIE / 2
        return logits

    monkeypatch.setattr(runner, "_forward", tied)
    assert texts(engine, asked()) == reference(folder("llama"), asked())
    assert len(asked_for) == 1
    assert calls > 4


def test_sampled_and_scored_rows_are_not_asked_about(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [*asked(temperature=1.0, seed=3), weigh("w", "x", "a", "the")]
    plain = answers(open_engine(folder("llama")), requests)
    monkeypatch.setattr(sampler, "NEAR_TIE", 1e9)
    engine = open_engine(folder("llama"), exact=True)
    asked_for = questions(engine, monkeypatch)
    found = answers(engine, requests)
    assert {key: result.answer.text for key, result in found.items()} == {
        key: result.answer.text for key, result in plain.items()
    }
    assert asked_for == []


def test_penalties_and_log_probabilities_stay_with_a_token_that_the_arbiter_chose(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = asked(repetition_penalty=1.4, logprobs=True)
    plain = answers(open_engine(folder("llama")), requests)
    monkeypatch.setattr(sampler, "NEAR_TIE", 1e9)
    found = answers(open_engine(folder("llama"), exact=True), requests)
    for key, result in found.items():
        assert result.answer.text == plain[key].answer.text
        assert result.answer.logprobs == pytest.approx(plain[key].answer.logprobs, abs=1e-4)


def test_to_be_exact_a_model_computes_in_fp32(folder: Callable[[str], Path]) -> None:
    assert open_engine(folder("llama"), exact=True, dtype="auto").info.dtype == "float32"
    with pytest.raises(
        ModelError, match="--evals-exact computes in fp32, or on a CUDA device in bf16; dtype=bf16 cannot be combined"
    ):
        open_engine(folder("llama"), exact=True, dtype="bf16")


# -- alone


@pytest.mark.parametrize("family", ["llama", "gemma2", "mamba", "t5"])
def test_requests_that_want_to_be_alone_give_what_generate_gives(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family), "?template=none" if family == "t5" else "")
    expected = reference(folder(family), asked(), template=family != "t5")
    found = texts(engine, [*alone(asked()), *asked()])
    assert found == expected | {f"alone {key}": text for key, text in expected.items()}


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_they_are_computed_one_by_one_after_everybody_else(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family))
    events = engine.generate(Inbox([*alone(asked()), *asked()], closed=True))
    order = [event.id for event in events if isinstance(event, Result)]
    assert sorted(order[:6]) == [f"r{n}" for n in range(6)]
    assert sorted(order[6:]) == [f"alone r{n}" for n in range(6)]


def test_others_that_arrive_meanwhile_go_first(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    inbox = Inbox(alone(asked()))
    order: list[str] = []
    for event in engine.generate(inbox):
        if isinstance(event, Result):
            order.append(event.id)
            if len(order) == 2:
                inbox.put(asked())
                inbox.close()
    assert all(key.startswith("alone") for key in order[:2])
    assert sorted(order[2:8]) == [f"r{n}" for n in range(6)]


def test_they_share_nothing_and_use_nothing_of_the_engines_own(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed attention and packed layers compute nonsense: who is alone does not notice."""
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    monkeypatch.setattr(linear, "_LEAST_GAIN", 1e-9)
    wrong = linear.LinearKernel(
        "wrong", lambda weight, _: weight, lambda values, packed, _: values @ packed.t() * 3 + 1
    )
    engine = open_engine(folder("llama"))
    with runner_of(engine).detached():
        found_joints = linear.find_joints(engine.model)
    for joint in found_joints:
        joint.replace(wrong, 4, engine._loops[-1].layout)  # type: ignore[attr-defined]  # the reference has one
    confused(engine, monkeypatch)
    expected = reference(folder("llama"), asked())
    found = texts(engine, [*asked(), *alone(asked())])
    assert {key: text for key, text in found.items() if key.startswith("alone")} == {
        f"alone {key}": text for key, text in expected.items()
    }
    assert not {key for key, text in expected.items() if found[key] == text}
    # Three in company share their beginning, three alone do not.
    (prefix,) = (each for each in scheduler_of(engine).prefixes.all() if not each.kept)
    assert usage_of(engine)["shared_tokens"] == 2 * len(prefix.tokens)


def test_a_sampled_request_alone_draws_what_it_draws_in_company(folder: Callable[[str], Path]) -> None:
    requests = asked(temperature=1.0, seed=7)
    found = answers(open_engine(folder("llama")), [*requests, *alone(requests)])
    several = request("n", "x", temperature=1.0, seed=1, n=3, max_new_tokens=5)
    for entry in requests:
        assert found[f"alone {entry.id}"].answer.text == found[entry.id].answer.text
        assert found[f"alone {entry.id}"].answer.fingerprint == found[entry.id].answer.fingerprint
    both = answers(open_engine(folder("llama")), [several, *alone([several])])
    assert both["alone n"].answer.samples == both["n"].answer.samples


@pytest.mark.parametrize("family", ["llama", "mamba", "t5"])
def test_likelihoods_alone_are_those_in_company(folder: Callable[[str], Path], family: str) -> None:
    engine = open_engine(folder(family), "?template=none" if family == "t5" else "")
    requests = [weigh(f"w{n}", text, " the", "zebra", "x") for n, text in enumerate(PROMPTS)]
    found = answers(engine, [*requests, *alone(requests)])
    for entry in requests:
        usual, single = found[entry.id].answer.likelihoods, found[f"alone {entry.id}"].answer.likelihoods
        assert usual is not None
        assert single is not None
        assert [each.logprob for each in usual] == pytest.approx([each.logprob for each in single], abs=1e-4)


def test_who_is_alone_may_fail_alone(folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(folder("llama"))
    generate = engine.model.generate

    def picky(*arguments: Any, **options: Any) -> Any:
        if options["input_ids"].shape[1] > 60:
            raise MemoryError
        return generate(*arguments, **options)

    monkeypatch.setattr(engine.model, "generate", picky)
    found = answers(engine, [*alone(asked()), *asked()])
    assert {key for key, result in found.items() if result.error} == {"alone r2"}
    assert "not enough memory on cpu for this request alone" in str(found["alone r2"].error)
    assert texts(engine, asked()) == reference(folder("llama"), asked())


def test_a_refused_request_does_not_keep_the_others_waiting(folder: Callable[[str], Path]) -> None:
    engine = open_engine(folder("llama"))
    found = answers(engine, [*alone([request("long", "word " * 300)]), request("r", "x", max_new_tokens=2)])
    assert found["alone long"].error is not None
    assert found["r"].error is None
