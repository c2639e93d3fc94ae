"""A sampled text depends on its own prompt, parameters and seed, and on nothing that happens to be computed beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.engine import TransformersEngine

from .conftest import (
    FAMILIES,
    answers,
    open_engine,
    prompt_ids,
    reference_model,
    request,
    save_model,
    set_budget,
    texts,
    tokenizer_of_all,
)

PROMPTS = [
    "a",
    "the quick brown fox",
    "What is the capital of France?",
    "0123 " * 9,
    "zebra " * 20,
    "x",
    "dog over fox",
]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.1},
    "all": {"top_k": 40, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3},
}


def asked() -> list[Request]:
    """Every kind of sampling after every prompt, each with a seed of its own, and greedy ones between."""
    sampled = [
        request(f"{kind} {n}", text, max_new_tokens=4 + 2 * n, temperature=0.7 + n / 10, seed=n, **params)
        for n, text in enumerate(PROMPTS)
        for kind, params in KINDS.items()
    ]
    return [*sampled, *(request(f"greedy {n}", text, max_new_tokens=9) for n, text in enumerate(PROMPTS))]


@pytest.fixture(scope="module")
def expected(tiny: Path) -> dict[str, str]:
    """What one request at a time gives."""
    engine = open_engine(tiny, batch="1")
    return {entry.id: texts(engine, [entry])[entry.id] for entry in asked()}


def test_a_text_does_not_depend_on_its_neighbours(tiny: Path, expected: dict[str, str]) -> None:
    assert texts(open_engine(tiny), asked()) == expected


def test_a_text_does_not_depend_on_order_batch_or_pieces(tiny: Path, expected: dict[str, str]) -> None:
    engine = open_engine(tiny, batch="3")
    set_budget(engine, tokens=7, cascade=1)
    assert texts(engine, asked()[::-1]) == expected


def test_a_text_does_not_depend_on_the_way_it_is_computed(tiny: Path, expected: dict[str, str]) -> None:
    assert texts(open_engine(tiny, "?loop=generate", batch="5"), asked()) == expected


def test_the_same_request_again_gives_the_same_and_another_seed_something_else(tiny: Path) -> None:
    engine = open_engine(tiny)
    found = texts(
        engine,
        [
            request(f"{n}", PROMPTS[1], max_new_tokens=12, temperature=1.0, seed=seed)
            for n, seed in enumerate((5, 5, 6))
        ],
    )
    assert found["0"] == found["1"] != found["2"]


def test_a_single_candidate_is_the_greedy_token(engine: TransformersEngine) -> None:
    greedy = [request(f"r{n}", text, max_new_tokens=9) for n, text in enumerate(PROMPTS)]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        sampled = [
            request(f"r{n}", text, max_new_tokens=9, temperature=3.0, seed=n, **narrow)
            for n, text in enumerate(PROMPTS)
        ]
        assert texts(engine, sampled) == texts(engine, greedy)


def drawn(engine: TransformersEngine, requests: Sequence[Request]) -> list[float]:
    """The log-probability of the first token of each request, which tells tokens apart."""
    return [(result.answer.logprobs or (math.nan,))[0] for result in answers(engine, requests).values()]


@pytest.mark.parametrize("loop", ["packed", "generate"])
def test_tokens_come_as_often_as_the_model_finds_them_likely(tiny: Path, loop: str) -> None:
    """Of many seeds, and of as many samples of one request."""
    temperature, draws = 0.8, 400
    params: dict[str, Any] = {"max_new_tokens": 1, "temperature": temperature, "top_k": 8}
    with torch.no_grad():
        logits = reference_model(tiny)(torch.tensor([prompt_ids(tokenizer_of_all(), request("r", "a"))])).logits[0, -1]
    best = logits.topk(8)
    wanted = (best.values / temperature).softmax(-1) * draws
    known = logits.log_softmax(-1)[best.indices].tolist()
    engine = open_engine(tiny, f"?loop={loop}")
    found = drawn(engine, [request(f"r{n}", "a", seed=n, logprobs=True, **params) for n in range(draws)])
    places = [min(range(8), key=lambda place: abs(known[place] - logprob)) for logprob in found]
    assert [known[place] for place in places] == pytest.approx(found, abs=1e-3)
    counts = torch.bincount(torch.tensor(places), minlength=8).tolist()
    result: Any = stats.chisquare(counts, wanted.tolist(), sum_check=False)
    # Seeds are fixed: what passes once passes for ever.
    assert result.pvalue > 1e-3


def test_samples_are_drawn_as_often_as_they_are_likely(tiny: Path) -> None:
    draws = 300
    entry = request("r", "a", max_new_tokens=1, temperature=1.0, top_k=4, n=draws, seed=3)
    result = answers(open_engine(tiny), [entry])["r"]
    assert result.answer.samples is not None
    assert len(result.answer.samples) == draws
    with torch.no_grad():
        logits = reference_model(tiny)(torch.tensor([prompt_ids(tokenizer_of_all(), entry)])).logits[0, -1]
    best = logits.topk(4)
    shown = [tokenizer_of_all().decode([token], skip_special_tokens=True) for token in best.indices.tolist()]
    drawn = [sample.text for sample in result.answer.samples]
    assert set(drawn) <= set(shown)
    wanted: dict[str, float] = {}
    for text, share in zip(shown, best.values.softmax(-1).tolist(), strict=True):
        wanted[text] = wanted.get(text, 0) + share * draws
    seen = [drawn.count(text) for text in wanted]
    assert stats.chisquare(seen, list(wanted.values()), sum_check=False).pvalue > 1e-3


# -- several samples


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_samples_differ_and_the_first_is_what_one_alone_would_be(tmp_path: Path, family: str) -> None:
    engine = open_engine(save_model(tmp_path, FAMILIES[family]()), batch="3")
    several = request("n", PROMPTS[1], max_new_tokens=10, temperature=1.0, seed=4, n=5)
    single = request("1", PROMPTS[1], max_new_tokens=10, temperature=1.0, seed=4)
    found = answers(engine, [several, single])
    samples = found["n"].answer.samples
    assert samples is not None
    assert len({sample.text for sample in samples}) == 5
    assert samples[0].text == found["n"].answer.text == found["1"].answer.text
    assert found["1"].answer.samples == ()
    assert (found["n"].answer.prompt_tokens, found["n"].answer.completion_tokens) == (
        found["1"].answer.prompt_tokens,
        found["1"].answer.completion_tokens,
    )


def test_more_samples_begin_with_the_ones_that_fewer_would_be(engine: TransformersEngine) -> None:
    found = answers(
        engine, [request(f"{n}", PROMPTS[2], max_new_tokens=8, temperature=1.0, seed=4, n=n) for n in (2, 4, 6)]
    )
    samples = [found[key].answer.samples or () for key in ("2", "4", "6")]
    assert samples[2][:2] == samples[1][:2] == samples[0]
    assert samples[2][:4] == samples[1]


def test_the_prompt_of_several_samples_is_computed_once(tiny: Path) -> None:
    engine = open_engine(tiny)
    prompt = answers(engine, [request("n", "zebra " * 20, max_new_tokens=2, temperature=1.0, n=8)])[
        "n"
    ].answer.prompt_tokens
    assert prompt is not None
    usage = engine._meter.snapshot()
    assert usage["prompt_tokens"] == prompt + 7
    assert usage["shared_tokens"] == 7 * (prompt - 1)


# -- penalties


@pytest.mark.parametrize("penalty", [1.3, 2.0, 0.7])
def test_a_penalty_gives_what_generate_gives_with_it(tiny: Path, penalty: float) -> None:
    model, tokenizer = reference_model(tiny), tokenizer_of_all()
    requests = [request(f"r{n}", text, max_new_tokens=12, repetition_penalty=penalty) for n, text in enumerate(PROMPTS)]
    expected = {}
    for entry in requests:
        ids = torch.tensor([prompt_ids(tokenizer, entry)])
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12, repetition_penalty=penalty
        )
        expected[entry.id] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    assert texts(open_engine(tiny), requests) == expected
    assert texts(open_engine(tiny, "?loop=generate"), requests) == expected
    plain = texts(open_engine(tiny), [request(f"r{n}", text, max_new_tokens=12) for n, text in enumerate(PROMPTS)])
    assert plain != expected


# -- what a model says of sampling itself


def test_the_models_own_defaults_of_generation_are_not_used(tmp_path: Path) -> None:
    """Neither in batches nor alone: what a suite does not say is what `GenerationParams` say."""
    for family in ("llama", "mamba", "t5"):
        query = "?template=none" if family == "t5" else ""
        folder = save_model(tmp_path / family, FAMILIES[family]())
        requests = [request(f"r{n}", text, max_new_tokens=6 + n) for n, text in enumerate(PROMPTS[:4])]
        alone = [Request(f"alone {entry.id}", "m", entry.messages, entry.params, alone=True) for entry in requests]
        before = texts(open_engine(folder, query), [*requests, *alone])
        model = reference_model(folder)
        written = tokenizer_of_all()(before["r0"], add_special_tokens=False)["input_ids"]
        model.generation_config.update(
            do_sample=True, temperature=0.3, top_k=3, repetition_penalty=5.0, suppress_tokens=[*range(2, 9), *written],
            min_new_tokens=30, forced_eos_token_id=1, bad_words_ids=[[written[-1]]], no_repeat_ngram_size=1,
        )  # fmt: skip
        model.save_pretrained(folder)
        engine = open_engine(folder, query)
        assert engine.model.generation_config.min_new_tokens == 30
        assert texts(engine, [*requests, *alone]) == before
