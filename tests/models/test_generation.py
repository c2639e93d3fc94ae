"""Batched generation gives what one prompt at a time gives, token for token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.protocol import Inbox, Request, Result, Started
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.sampling import candidates
from pytest_evals.engines.transformers.scheduler import Budget
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

from .conftest import FAMILIES, answers, make_tokenizer, open_engine, reference, request, save_model

PROMPTS = [
    "a",
    "the quick brown fox",
    "What is the capital of France?",
    "0123 " * 9,
    "zebra " * 25,
    "Paris. " * 4,
    "x",
    "dog over fox",
]


def mixed(**params: Any) -> list[Request]:
    """Prompts of many lengths, each with its own limit."""
    return [request(f"r{n}", text, max_new_tokens=5 + 4 * n, **params) for n, text in enumerate(PROMPTS)]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_gives_the_tokens_of_generate_one_at_a_time(tmp_path: Path, family: str) -> None:
    folder = save_model(tmp_path, FAMILIES[family]())
    requests = mixed()
    expected = reference(folder, requests)
    for batch in ("auto", "3", "1"):
        found = answers(open_engine(folder, batch=batch), requests)
        assert {key: result.text for key, result in found.items()} == expected


def test_the_end_token_ends_a_row_and_is_counted_but_not_shown(tmp_path: Path, tiny: Path) -> None:
    requests = mixed()
    plain = reference(tiny, requests)
    tokenizer = make_tokenizer()
    # Any token that the model likes to generate serves as its end.
    common = tokenizer(plain["r7"])["input_ids"][3]
    folder = save_model(tmp_path, FAMILIES["llama"](), ends=(1, common))
    found = answers(open_engine(folder), requests)
    assert {key: result.text for key, result in found.items()} == reference(folder, requests)
    ended = [result for result in found.values() if result.finish_reason == "stop"]
    assert ended
    assert all(result.completion_tokens is not None and result.completion_tokens >= 1 for result in ended)
    assert found["r7"].completion_tokens is not None
    assert found["r7"].completion_tokens < 5 + 4 * 7


def test_token_counts_are_exact_and_without_padding(engine: TransformersEngine) -> None:
    tokenizer = make_tokenizer()
    for entry, result in zip(mixed(), answers(engine, mixed()).values(), strict=False):
        found = answers(engine, [entry])[entry.id]
        ids = tokenizer.apply_chat_template([dict(entry.messages[0])], add_generation_prompt=True, return_dict=False)
        assert found.prompt_tokens == len(ids)
        assert found.completion_tokens == entry.params.max_new_tokens
        assert result.finish_reason == "length"


def test_results_come_as_rows_finish_and_every_request_is_announced(engine: TransformersEngine) -> None:
    events = list(engine.generate(Inbox(mixed(), closed=True)))
    assert isinstance(events[0], Started)
    assert set(events[0].ids) == {f"r{n}" for n in range(8)}
    assert [event.id for event in events if isinstance(event, Result)] == [f"r{n}" for n in range(8)]


def test_a_sampled_text_depends_on_its_own_seed_only(engine: TransformersEngine) -> None:
    requests = [request(f"r{n}", text, max_new_tokens=12, temperature=0.9, seed=n) for n, text in enumerate(PROMPTS)]
    together = {key: result.text for key, result in answers(engine, requests).items()}
    alone = {entry.id: answers(engine, [entry])[entry.id].text for entry in requests}
    assert together == alone
    again = answers(engine, [request("r", PROMPTS[1], max_new_tokens=12, temperature=0.9, seed=99)])["r"].text
    assert again != alone["r1"]


def test_a_single_candidate_is_the_greedy_token(engine: TransformersEngine) -> None:
    greedy = answers(engine, mixed())
    narrow = answers(engine, mixed(temperature=5.0, top_k=1, seed=3))
    assert {key: result.text for key, result in narrow.items()} == {key: result.text for key, result in greedy.items()}


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (5, 1.0), (0, 0.6), (12, 0.8), (1, 1.0), (0, 0.01)])
def test_the_candidates_are_those_of_transformers_own_warpers(top_k: int, top_p: float) -> None:
    logits = torch.randn(50, generator=torch.Generator().manual_seed(1))
    warpers = transformers.LogitsProcessorList([transformers.TemperatureLogitsWarper(0.7)])
    if top_k:
        warpers.append(transformers.TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(transformers.TopPLogitsWarper(top_p))
    ids: Any = torch.zeros((1, 1), dtype=torch.long)
    expected = warpers(ids, logits.clone().unsqueeze(0))[0].softmax(-1)
    probabilities, tokens = candidates(logits, GenerationParams(temperature=0.7, top_k=top_k, top_p=top_p))
    found = torch.zeros(50).index_put((tokens,), probabilities / probabilities.sum())
    torch.testing.assert_close(found, expected)


def test_samples_follow_the_distribution(engine: TransformersEngine) -> None:
    draws = 400
    requests = [
        request(f"r{n}", "a", max_new_tokens=1, temperature=1.0, top_k=2, seed=n, logprobs=True) for n in range(draws)
    ]
    found = answers(engine, requests)
    (first, second) = sorted({result.logprobs[0] for result in found.values() if result.logprobs}, reverse=True)
    share = math.exp(first) / (math.exp(first) + math.exp(second))
    seen = sum(result.logprobs is not None and result.logprobs[0] == first for result in found.values()) / draws
    # Five standard errors of a binomial share.
    assert abs(seen - share) < 5 * math.sqrt(share * (1 - share) / draws)


def test_logprobs_are_those_of_a_plain_forward(engine: TransformersEngine, tiny: Path) -> None:
    entry = request("r", PROMPTS[2], max_new_tokens=6, logprobs=True)
    result = answers(engine, [*mixed(), entry])["r"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny).eval()
    ids = tokenizer.apply_chat_template([dict(entry.messages[0])], add_generation_prompt=True, return_dict=False)
    expected = []
    for _ in range(6):
        with torch.no_grad():
            logits = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)
        ids = [*ids, int(logits.argmax())]
        expected.append(logits.max().item())
    assert result.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_stop_string_ends_the_text_before_it(engine: TransformersEngine) -> None:
    full = answers(engine, [request("r", PROMPTS[1], max_new_tokens=20)])["r"]
    stop = full.text[7:9]
    cut = answers(engine, [request("r", PROMPTS[1], max_new_tokens=20, stop=(stop, "never there"))])["r"]
    assert cut.text == full.text[: full.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens is not None
    assert cut.completion_tokens < 20


def test_a_prompt_that_does_not_fit_is_that_cases_error_and_says_what_would(engine: TransformersEngine) -> None:
    requests = [request("long", "word " * 300), request("greedy", "a", max_new_tokens=255), *mixed()]
    found = answers(engine, requests)
    for key in ("long", "greedy"):
        error = found[key].error
        assert error is not None
        assert error.kind == "model"
        assert "more than the model's context of 256" in error.message
    assert "use a shorter prompt" in str(found["long"].error)
    assert "use max_new_tokens of at most 251" in str(found["greedy"].error)
    assert all(found[f"r{n}"].error is None for n in range(8))


def test_running_out_of_memory_splits_the_batch_and_keeps_finished_rows(
    engine: TransformersEngine, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = engine._runner
    forward, sizes = runner._forward, []

    def scarce(tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> Any:
        sizes.append(len(tokens))
        # The first batch fails half way, when some rows have finished; later ones when they are too large.
        if len(sizes) == 8 or (len(tokens) > 4 and len(sizes) > 8):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return forward(tokens, mask, positions, cache)

    monkeypatch.setattr(runner, "_forward", scarce)
    requests = mixed()
    found = answers(engine, requests)
    assert {key: result.text for key, result in found.items()} == reference(tiny, requests)
    assert sizes[0] == 8
    assert max(sizes[8:]) <= 4
    assert engine._scheduler.budget.rows <= 4


def test_a_row_that_fits_nowhere_is_that_cases_error(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = engine._runner._forward

    def scarce(tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> Any:
        if mask.shape[1] > 100:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")
        return forward(tokens, mask, positions, cache)

    monkeypatch.setattr(engine._runner, "_forward", scarce)
    found = answers(engine, mixed())
    failed = {key for key, result in found.items() if result.error}
    assert failed == {"r4"}
    assert "not enough memory on cpu for this request alone" in str(found["r4"].error)


def test_an_error_of_one_row_is_narrowed_down_to_it(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = engine._runner._forward
    poison = make_tokenizer()("7")["input_ids"][0]

    def picky(tokens: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> Any:
        if tokens.shape[1] > 1 and bool((tokens == poison).any()):
            raise RuntimeError("index out of range")
        return forward(tokens, mask, positions, cache)

    monkeypatch.setattr(engine._runner, "_forward", picky)
    found = answers(engine, [*mixed(), request("bad", "agent 7", max_new_tokens=3)])
    assert {key for key, result in found.items() if result.error} == {"bad"}
    assert "generation failed: RuntimeError: index out of range" in str(found["bad"].error)
    assert Budget(64, 1) != engine._scheduler.budget
    assert engine._scheduler.budget.rows == 64


def test_an_encoder_decoder_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    config = transformers.T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    transformers.T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="is an encoder-decoder model; this engine runs decoder-only"):
        open_engine(tmp_path)


def test_damaged_weights_are_a_model_error(tmp_path: Path, tiny: Path) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.suffix != ".safetensors" else b"damaged")
    with pytest.raises(ModelError, match="cannot be loaded: SafetensorError"):
        open_engine(tmp_path)


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="device 'cuda' is not available to torch here"):
        open_engine(tiny, device="cuda")
