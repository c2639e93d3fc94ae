"""Batched generation gives what one prompt at a time gives, token for token, and accounts for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.protocol import Inbox, Request, Result, Started, Working
from pytest_evals.engines.transformers import selection
from pytest_evals.engines.transformers.cpu import linear
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.errors import ModelError

from .conftest import (
    FAMILIES,
    TEMPLATE,
    answers,
    make_tokenizer,
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
    usage_of,
    weigh,
)

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


def few_shot(count: int = 6) -> list[Request]:
    """Prompts that begin with the same examples."""
    shots = "France: Paris. Spain: Madrid. Italy: Rome. "
    return [request(f"s{n}", f"{shots}{'zebra ' * n}:", max_new_tokens=4 + n) for n in range(count)]


# -- how completions end


def test_the_end_token_ends_a_row_and_is_counted_but_not_shown(tmp_path: Path, tiny: Path) -> None:
    requests = mixed()
    plain = reference(tiny, requests)
    tokenizer = make_tokenizer()
    # Any token that the model likes to generate serves as its end.
    common = tokenizer(plain["r7"])["input_ids"][3]
    folder = save_model(tmp_path, FAMILIES["llama"](), ends=(1, common))
    found = answers(open_engine(folder), requests)
    assert {key: result.answer.text for key, result in found.items()} == reference(folder, requests)
    ended = [result for result in found.values() if result.answer.finish_reason == "stop"]
    assert ended
    assert all(result.answer.completion_tokens is not None and result.answer.completion_tokens >= 1 for result in ended)
    assert found["r7"].answer.completion_tokens is not None
    assert found["r7"].answer.completion_tokens < 5 + 4 * 7


def test_a_stop_string_ends_the_text_before_it(engine: TransformersEngine) -> None:
    full = answers(engine, [request("r", PROMPTS[1], max_new_tokens=20)])["r"]
    stop = full.answer.text[7:9]
    cut = answers(engine, [request("r", PROMPTS[1], max_new_tokens=20, stop=(stop, "never there"))])["r"]
    assert cut.answer.text == full.answer.text[: full.answer.text.index(stop)]
    assert cut.answer.finish_reason == "stop"
    assert cut.answer.completion_tokens is not None
    assert cut.answer.completion_tokens < 20


def test_a_model_that_never_ends_is_cut_at_the_limit(tmp_path: Path) -> None:
    """Neither model, tokenizer nor template names a token that ends a text."""
    tokenizer = make_tokenizer(TEMPLATE.replace("<end>", ""))
    tokenizer.eos_token = None
    folder = save_model(tmp_path, FAMILIES["llama"](), tokenizer)
    for name in ("config.json", "generation_config.json"):
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(
            text.replace('"eos_token_id": [\n    1\n  ]', '"eos_token_id": null'), encoding="utf-8"
        )
    engine = open_engine(folder)
    assert engine._intake._ends == frozenset()
    for result in answers(engine, mixed()).values():
        assert result.answer.finish_reason == "length"
        assert result.answer.completion_tokens == 5 + 4 * int(result.id[1:])


def test_token_counts_are_exact_and_without_padding(engine: TransformersEngine) -> None:
    tokenizer = make_tokenizer()
    found = answers(engine, mixed())
    for entry in mixed():
        result = found[entry.id]
        assert result.answer.prompt_tokens == len(prompt_ids(tokenizer, entry))
        assert result.answer.completion_tokens == entry.params.max_new_tokens
        assert result.answer.finish_reason == "length"
        assert answers(engine, [entry])[entry.id].answer.prompt_tokens == result.answer.prompt_tokens


def test_logprobs_are_those_of_a_plain_forward(engine: TransformersEngine, tiny: Path) -> None:
    entry = request("r", PROMPTS[2], max_new_tokens=6, logprobs=True)
    found = answers(engine, [*mixed(), entry])
    model, ids = reference_model(tiny), prompt_ids(make_tokenizer(), entry)
    expected = []
    for _ in range(6):
        with torch.no_grad():
            logits = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), -1)
        ids = [*ids, int(logits.argmax())]
        expected.append(logits.max().item())
    assert found["r"].answer.logprobs == pytest.approx(expected, abs=1e-4)
    assert found["r0"].answer.logprobs is None


# -- what is under way together


def test_results_come_as_rows_finish_and_every_request_is_announced(engine: TransformersEngine) -> None:
    events = list(engine.generate(Inbox(mixed(), closed=True)))
    assert isinstance(events[0], Started)
    announced = [key for event in events if isinstance(event, Started) for key in event.ids]
    assert sorted(announced) == [f"r{n}" for n in range(8)]
    assert [event.id for event in events if isinstance(event, Result)] == [f"r{n}" for n in range(8)]


def test_a_request_is_announced_before_its_result_and_once(tiny: Path) -> None:
    seen: set[str] = set()
    for event in open_engine(tiny, batch="2").generate(Inbox(mixed(), closed=True)):
        if isinstance(event, Started):
            assert not seen & set(event.ids)
            seen.update(event.ids)
        elif isinstance(event, Result):
            assert event.id in seen


def test_requests_that_arrive_late_join_what_is_under_way(tiny: Path) -> None:
    engine = open_engine(tiny)
    runner_of(engine).guesser = None
    inbox = Inbox([request("first", "a", max_new_tokens=40)])
    events = engine.generate(inbox)
    assert next(events) == Started(("first",))
    late = few_shot()
    inbox.put(late)
    inbox.close()
    order = [event.id for event in events if isinstance(event, Result)]
    assert order == [*(entry.id for entry in late), "first"]
    assert usage_of(engine)["most_rows"] == 7


def test_late_requests_give_what_they_would_have_given_at_once(tiny: Path) -> None:
    engine = open_engine(tiny)
    shots = few_shot()
    inbox = Inbox([*mixed(), *shots[:4]])
    found: dict[str, str] = {}
    for number, event in enumerate(engine.generate(inbox)):
        if number == 5:
            inbox.put(shots[4:])
            inbox.close()
        if isinstance(event, Result):
            found[event.id] = event.answer.text
    assert found == reference(tiny, [*mixed(), *shots])
    # The late ones found the examples computed.
    assert usage_of(engine)["shared_tokens"] > 4 * 20


def test_an_abort_ends_the_work_at_the_next_forward(engine: TransformersEngine) -> None:
    inbox = Inbox(mixed())
    events = engine.generate(inbox)
    assert isinstance(next(events), Started)
    inbox.abort()
    assert [event for event in events if isinstance(event, Result)] == []
    assert usage_of(engine)["forwards"] <= 2


def test_an_engine_is_asked_again_and_again(engine: TransformersEngine, tiny: Path) -> None:
    expected = reference(tiny, mixed())
    assert texts(engine, mixed()) == expected
    assert texts(engine, mixed()[::-1]) == expected
    assert answers(engine, []) == {}


def test_latency_begins_with_the_computation_and_waiting_before_it_is_apart(tiny: Path) -> None:
    found = answers(open_engine(tiny, batch="1"), mixed())
    # The longest come first: this one waits for all others.
    last = found["r0"]
    assert last.answer.latency is not None
    assert last.answer.queued is not None
    assert last.answer.queued > 3 * last.answer.latency
    assert found["r7"].answer.queued == pytest.approx(0, abs=last.answer.queued / 2)


# -- the account


def test_prompt_tokens_are_computed_or_shared_and_generated_ones_are_all_counted(tiny: Path) -> None:
    engine = open_engine(tiny, batch="3")
    set_budget(engine, tokens=16, cascade=1)
    found = answers(engine, [*mixed(), *few_shot()])
    usage = usage_of(engine)
    prompts = sum(result.answer.prompt_tokens or 0 for result in found.values())
    completions = sum(result.answer.completion_tokens or 0 for result in found.values())
    assert usage["prompt_tokens"] + usage["shared_tokens"] + usage["reused_tokens"] == prompts
    assert usage["shared_tokens"] > 0
    assert usage["padding_tokens"] == 0
    assert usage["generated_tokens"] == completions
    # Each row's first token comes with its prompt, and some with the one before: they were guessed.
    assert usage["decode_rows"] == completions - len(found) - usage["right_tokens"]
    assert usage["decode_rows"] / usage["decodes"] <= usage["most_rows"] == 3
    assert usage["decodes"] <= usage["forwards"]
    assert usage["weights_bytes"] == sum(parameter.nbytes for parameter in engine.model.parameters())
    assert 0 < usage["device_seconds"] < 60


def test_likelihoods_are_counted_as_prompts(tiny: Path) -> None:
    engine = open_engine(tiny)
    found = answers(engine, [weigh("w", PROMPTS[2], " Paris", " Rome")])["w"]
    usage = usage_of(engine)
    assert found.answer.likelihoods is not None
    assert found.answer.prompt_tokens is not None
    read = sum(found.answer.prompt_tokens + each.tokens - 1 for each in found.answer.likelihoods)
    assert usage["prompt_tokens"] + usage["shared_tokens"] == read
    assert (usage["generated_tokens"], usage["decodes"]) == (0, 0)


@pytest.mark.parametrize("family", ["mamba", "bloom"])
def test_the_account_of_padded_batches_tells_padding_apart(tmp_path: Path, family: str) -> None:
    engine = open_engine(save_model(tmp_path, FAMILIES[family]()), batch="4")
    found = answers(engine, mixed())
    usage = usage_of(engine)
    assert usage["prompt_tokens"] == sum(result.answer.prompt_tokens or 0 for result in found.values())
    assert usage["generated_tokens"] == sum(result.answer.completion_tokens or 0 for result in found.values())
    assert usage["padding_tokens"] > 0
    assert (usage["most_rows"], usage["shared_tokens"]) == (4, 0)
    # As in the account of packed batches: a row's first token comes with its prompt, each other with a forward.
    assert usage["decode_rows"] == usage["generated_tokens"] - len(found)
    assert usage["forwards"] > usage["decodes"] > max(result.answer.completion_tokens or 0 for result in found.values())
    assert usage["decode_rows"] < 4 * usage["decodes"]


def test_the_last_news_hold_the_whole_account(engine: TransformersEngine) -> None:
    news = [event for event in engine.generate(Inbox(mixed(), closed=True)) if isinstance(event, Working)]
    assert news[-1].usage == usage_of(engine) | {"peak_bytes": (news[-1].usage or {})["peak_bytes"]}


def test_what_was_loaded_is_told(tiny: Path) -> None:
    engine = open_engine(tiny, batch="7")
    info = engine.info
    assert (info.device, info.dtype, info.context, info.rows, info.notes) == ("cpu", "float32", 256, 7, ())
    assert info.seconds > 0
    assert engine.capabilities.likelihoods
    assert open_engine(tiny).info.rows == 64


# -- memory and layout


def test_memory_for_few_cells_computes_the_same_with_few_rows_at_a_time(tiny: Path) -> None:
    engine = open_engine(tiny)
    set_budget(engine, cells=150)
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert usage_of(engine)["most_rows"] <= 4


def test_what_nobody_needs_any_more_is_kept_while_there_is_room_and_dropped_with_what_it_holds(tiny: Path) -> None:
    engine = open_engine(tiny)
    set_budget(engine, cells=400, cascade=1)
    groups = [
        [request(f"{country}{n}", f"{country} {'zebra ' * 12} {n}", max_new_tokens=3) for n in range(3)]
        for country in ("France", "dog", "0123", "over", "jumps")
    ]
    requests = [entry for group in groups for entry in group]
    assert texts(engine, requests) == reference(tiny, requests)
    kept = scheduler_of(engine).prefixes.all()
    slots = runner_of(engine).slots
    assert 0 < sum(len(prefix.tokens) for prefix in kept) <= 400 - slots.size
    assert set(slots.stores) == {id(prefix) for prefix in kept}


@pytest.mark.parametrize("kernel", range(len(linear.KERNELS)))
def test_packed_layers_give_the_same_texts(tiny: Path, monkeypatch: pytest.MonkeyPatch, kernel: int) -> None:
    expected = reference(tiny, mixed())
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    monkeypatch.setattr(linear, "_LEAST_GAIN", 1e-9)
    monkeypatch.setattr(linear, "KERNELS", [linear.KERNELS[kernel]])
    engine = open_engine(tiny)
    layers = [module for module in engine.model.modules() if isinstance(module, torch.nn.Linear)]
    assert sum("forward" in vars(layer) for layer in layers) == len(layers)
    assert texts(engine, mixed()) == expected


def test_without_memory_to_spare_layers_stay_as_they_are(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    monkeypatch.setattr(linear, "_LEAST_GAIN", 1e-9)
    monkeypatch.setattr(selection, "free_memory", lambda _device: 10_000)
    engine = open_engine(tiny)
    assert not any("forward" in vars(each) for each in engine.model.modules() if isinstance(each, torch.nn.Linear))
    assert scheduler_of(engine).budget.cells == 1
    assert texts(engine, mixed()[:4]) == reference(tiny, mixed()[:4])


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_other_precisions_run_the_fast_way_too(tiny: Path, dtype: str) -> None:
    engine = open_engine(tiny, dtype=dtype)
    assert engine.info.identity["loop"] == "packed"
    found = answers(engine, mixed(logprobs=True))
    exact = answers(open_engine(tiny), mixed(logprobs=True))
    for key, result in found.items():
        assert result.error is None
        assert result.answer.logprobs is not None
        assert all(math.isfinite(logprob) for logprob in result.answer.logprobs)
        assert (exact[key].answer.logprobs or ())[0] == pytest.approx(result.answer.logprobs[0], abs=0.1)


# -- what cannot be loaded


def test_damaged_weights_are_a_model_error(tmp_path: Path, tiny: Path) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.suffix != ".safetensors" else b"damaged")
    with pytest.raises(ModelError, match="is no safetensors file, or its beginning is damaged"):
        open_engine(tmp_path)


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ModelError, match="device 'cuda' is not available to torch here"):
        open_engine(tiny, device="cuda")


def test_a_model_leaves_transformers_attention_as_it_was_when_it_cannot_be_packed(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["t5"]())
    plain = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).config._attn_implementation
    assert open_engine(folder, "?template=none").model.config._attn_implementation == plain
