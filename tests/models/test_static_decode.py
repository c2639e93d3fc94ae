"""Decoding in blocks of steps on static tensors gives the texts that one step after another gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers import sampler
from pytest_evals.engines.transformers.cuda import static_decode
from pytest_evals.engines.transformers.cuda.buckets import SlotTableSize
from pytest_evals.engines.transformers.cuda.graphs import CaptureError, EagerCapture, Launch
from pytest_evals.engines.transformers.cuda.setup import enable_static_decode, largest_static_difference
from pytest_evals.engines.transformers.cuda.static_decode import Buffers, StaticDecoder
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.packed import attention, kernels
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.sampler import Filters
from tests.unit.test_transformers_graphs import WithoutTheHost

from .conftest import (
    FAMILIES,
    answers,
    make_tokenizer,
    open_engine,
    reference,
    request,
    runner_of,
    save_model,
    set_budget,
    texts,
    usage_of,
)

PROMPTS = ["a", "the quick brown fox", "What is the capital of France?", "0123 " * 9, "zebra " * 25, "Paris. " * 4, "x"]
PACKED = ("llama", "qwen2", "gpt2", "gemma2")
LONG = "The same words before every question, so that they are computed once. "


class Watched(EagerCapture):
    """Calls, counts, and refuses what a graph could not hold."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.captured = 0
        self.waits = 0

    def capture(self, compute: Launch) -> Launch:
        with WithoutTheHost():
            compute()
        self.captured += 1
        return compute

    def wait(self) -> None:
        self.waits += 1


def static_engine(folder: Path, steps: int = 8, query: str = "", **options: Any) -> TransformersEngine:
    """An engine that decodes in blocks of up to so many steps, each of which could be captured."""
    engine = open_engine(folder, query, **options)
    runner = runner_of(engine)
    runner.decode_with(Watched(), steps)
    decoder_of(engine).launches.eager_first = False
    # As where graphs are used: prefixes are copied into the slots, and slots are made for all rows at once.
    set_budget(engine, cascade=None)
    runner.slots.room = SlotTableSize(16, 16 * 512)
    return engine


def decoder_of(engine: TransformersEngine) -> StaticDecoder:
    decoder = runner_of(engine).decoder
    assert decoder is not None
    return decoder


def capture_of(engine: TransformersEngine) -> Watched:
    capture = decoder_of(engine)._capture
    assert isinstance(capture, Watched)
    return capture


def mixed(**params: Any) -> list[Request]:
    """Prompts of many lengths, each with its own limit."""
    return [request(f"r{n}", text, max_new_tokens=5 + 6 * n, **params) for n, text in enumerate(PROMPTS)]


# -- the same texts


@pytest.mark.parametrize("family", [name for name in PACKED if name != "gpt2"])
@pytest.mark.parametrize("steps", [1, 8])
def test_blocks_give_the_texts_of_generate_one_at_a_time(tmp_path: Path, family: str, steps: int) -> None:
    folder = save_model(tmp_path, FAMILIES[family]())
    expected = reference(folder, mixed())
    assert texts(open_engine(folder), mixed()) == expected
    for batch in ("16", "3", "1"):
        engine = static_engine(folder, steps, batch=batch)
        assert texts(engine, mixed()) == expected
        assert capture_of(engine).captured


def test_a_model_that_cannot_be_captured_decodes_in_blocks_without_graphs(tmp_path: Path) -> None:
    folder = save_model(tmp_path, FAMILIES["gpt2"]())
    engine = open_engine(folder)
    refusing: Callable[[str], Any] = lambda _device: Refusing()  # noqa: E731 - of the type of a capture's class
    notes = enable_static_decode(runner_of(engine), engine.model, "cpu", [("CUDA graphs", refusing)])
    assert set(notes) == {
        f"decodes {choice} steps without CUDA graphs: a step cannot be captured (RuntimeError: no)"
        for choice in ("greedy", "logits", "sampled")
    }
    assert runner_of(engine).decoder is not None
    assert texts(engine, mixed()) == reference(folder, mixed())


def test_sampled_steps_that_cannot_be_captured_are_told_at_load_and_called_while_others_are_captured(
    tiny: Path,
) -> None:
    engine = open_engine(tiny)
    runner = runner_of(engine)
    made: list[Unsearchable] = []

    def make(_device: str) -> Unsearchable:
        made.append(Unsearchable())
        return made[-1]

    notes = enable_static_decode(runner, engine.model, "cpu", [("CUDA graphs", make)])
    assert notes == ["decodes sampled steps without CUDA graphs: a step cannot be captured (RuntimeError: no search)"]
    assert len(made) == 1
    before = made[0].captured
    requests = mixed(temperature=0.9, top_k=7, seed=3)
    decoder_of(engine).launches.eager_first = False
    assert texts(engine, requests) == texts(open_engine(tiny), requests)
    assert runner.take_notes() == []
    assert made[0].captured == before
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert made[0].captured > before


class NoSearch(TorchDispatchMode):
    """As a kernel that looks at a value on the host would, one operator of sampled steps fails."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten.searchsorted.Tensor:
            raise RuntimeError("no search")
        return func(*args, **(kwargs or {}))


class Unsearchable(Watched):
    """Refuses what draws."""

    def capture(self, compute: Launch) -> Launch:
        try:
            with NoSearch():
                compute()
        except RuntimeError as error:
            raise CaptureError(f"RuntimeError: {error}") from error
        return super().capture(compute)


class Refusing(EagerCapture):
    """No graphs here."""

    def capture(self, compute: Launch) -> Launch:
        del compute
        raise CaptureError("RuntimeError: no")


@pytest.mark.parametrize("steps", [1, 8])
def test_an_end_token_in_the_middle_of_a_block_ends_the_text_there(tmp_path: Path, tiny: Path, steps: int) -> None:
    tokenizer = make_tokenizer()
    ends = (
        1,
        *sorted({tokenizer(text)["input_ids"][3] for key, text in reference(tiny, mixed()).items() if key > "r1"}),
    )
    folder = save_model(tmp_path, FAMILIES["llama"](), ends=ends)
    engine = static_engine(folder, steps)
    found = answers(engine, mixed())
    assert {key: result.answer.text for key, result in found.items()} == reference(folder, mixed())
    plain = answers(open_engine(folder), mixed())
    stopped = [key for key, result in found.items() if result.answer.finish_reason == "stop"]
    assert len(stopped) > 2
    assert {key: (result.answer.finish_reason, result.answer.completion_tokens) for key, result in found.items()} == {
        key: (result.answer.finish_reason, result.answer.completion_tokens) for key, result in plain.items()
    }


def test_waiting_rows_take_the_places_of_those_that_ended_after_a_block(tiny: Path) -> None:
    requests = [request(f"q{n}", f"number {n}", max_new_tokens=3 + n % 11) for n in range(40)]
    engine = static_engine(tiny, batch="5")
    assert texts(engine, requests) == texts(open_engine(tiny), requests)
    assert usage_of(engine)["most_rows"] == 5


@pytest.mark.parametrize(
    "params", [{}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"top_k": 30, "top_p": 0.9, "n": 3}]
)
def test_a_sampled_text_does_not_depend_on_the_length_of_blocks(tiny: Path, params: dict[str, Any]) -> None:
    requests = [
        request(f"r{n}", text, max_new_tokens=9 + 3 * n, temperature=0.9, seed=n, **params)
        for n, text in enumerate(PROMPTS)
    ]
    requests += mixed()[3:5]
    plain = {
        key: (result.answer.text, result.answer.samples) for key, result in answers(open_engine(tiny), requests).items()
    }
    for steps, batch in ((1, "16"), (8, "16"), (8, "3"), (5, "1")):
        found = answers(static_engine(tiny, steps, batch=batch), requests)
        assert {key: (result.answer.text, result.answer.samples) for key, result in found.items()} == plain


def test_prefixes_are_in_the_slots_of_the_rows_below_them(tiny: Path) -> None:
    requests = [request(f"q{n}", f"{LONG}{text}", max_new_tokens=12) for n, text in enumerate(PROMPTS)]
    engine = static_engine(tiny)
    assert texts(engine, requests) == reference(tiny, requests)
    assert usage_of(engine)["shared_tokens"] > 0
    assert capture_of(engine).waits


def test_rows_that_attend_to_a_prefix_where_it_is_decode_as_ever(tiny: Path) -> None:
    requests = [request(f"q{n}", f"{LONG}{text}", max_new_tokens=12) for n, text in enumerate(PROMPTS)]
    engine = static_engine(tiny)
    set_budget(engine, cascade=1)
    assert texts(engine, requests) == reference(tiny, requests)
    assert not capture_of(engine).waits


# -- what the host has to see


def test_the_host_looks_once_a_block(tiny: Path) -> None:
    engine = static_engine(tiny)
    requests = [request(f"r{n}", text, max_new_tokens=33) for n, text in enumerate(PROMPTS)]
    texts(engine, requests)
    # The first token comes with the prompt.
    assert capture_of(engine).waits == 4
    singly = static_engine(tiny, 1)
    texts(singly, requests)
    assert capture_of(singly).waits == 32


@pytest.mark.parametrize(
    "params", [{"logprobs": True}, {"repetition_penalty": 1.3}, {"temperature": 0.8, "seed": 3, "logprobs": True}]
)
def test_where_the_host_must_see_logits_it_takes_one_step_at_a_time(tiny: Path, params: dict[str, Any]) -> None:
    requests = [*mixed(), request("seen", "x", max_new_tokens=30, **params)]
    engine, plain = static_engine(tiny), open_engine(tiny)
    found, expected = answers(engine, requests), answers(plain, requests)
    assert {key: result.answer.text for key, result in found.items()} == {
        key: each.answer.text for key, each in expected.items()
    }
    assert found["seen"].answer.logprobs == pytest.approx(expected["seen"].answer.logprobs, abs=1e-4)
    # The longest row is alone in the end, and free to go on in blocks.
    assert capture_of(engine).waits == math.ceil((mixed()[-1].params.max_new_tokens - 30) / 8)


def test_near_ties_are_decided_by_the_row_alone_where_exactness_is_asked_for(tiny: Path) -> None:
    engine = static_engine(tiny, exact=True)
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert not capture_of(engine).waits
    assert capture_of(engine).captured


def test_stop_strings_end_a_text_in_the_middle_of_a_block(tiny: Path) -> None:
    full = texts(open_engine(tiny), [request("r", PROMPTS[1], max_new_tokens=30)])["r"]
    requests = [request("r", PROMPTS[1], max_new_tokens=30, stop=(full[9:11], "never there"))]
    found = answers(static_engine(tiny), requests)["r"]
    assert found.answer.finish_reason == "stop"
    assert full.startswith(found.answer.text)
    assert found.answer.text == texts(open_engine(tiny), requests)["r"]


# -- accounts, memory, mistakes


def test_what_is_accounted_for_does_not_depend_on_blocks(tiny: Path) -> None:
    engine, plain = open_engine(tiny, decode="static"), open_engine(tiny)
    # Guesses, which blocks do without, make forwards fewer.
    runner_of(plain).guesser = None
    assert texts(engine, mixed()) == texts(plain, mixed())
    found, expected = usage_of(engine), usage_of(plain)
    for name in ("prompt_tokens", "generated_tokens", "decode_rows", "most_rows", "decodes"):
        assert found[name] == expected[name], name
    assert engine.info.notes == ()
    assert runner_of(engine).slots.room is not None


def test_sizes_that_come_again_are_prepared_and_others_are_not(tmp_path: Path) -> None:
    config = FAMILIES["llama"]()
    config.max_position_embeddings = 512
    engine = static_engine(save_model(tmp_path, config))
    decoder_of(engine).launches.eager_first = True
    requests = [request(f"r{n}", text, max_new_tokens=200 if n == 4 else 40) for n, text in enumerate(PROMPTS)]
    texts(engine, requests)
    kinds = {key[1:] for key in decoder_of(engine).launches._ready}
    # Seven rows at first, later one that comes to more than 256 tokens.
    assert {(8, 256), (1, 512)} <= kinds


def test_running_out_of_memory_makes_the_table_smaller_and_loses_nothing(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = static_engine(tiny)
    runner, decoder = runner_of(engine), decoder_of(engine)
    run, calls = decoder.run, []

    def scarce(rows: Sequence[Any]) -> list[Any]:
        calls.append(len(rows))
        if len(rows) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return run(rows)

    monkeypatch.setattr(decoder, "run", scarce)
    assert texts(engine, mixed()) == reference(tiny, mixed())
    assert calls[0] == 7
    assert runner.slots.room == SlotTableSize(8, 8 * 512)


def test_logits_that_are_no_numbers_are_the_error_of_their_rows_alone(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = static_engine(tiny)
    decoder = decoder_of(engine)
    forward = decoder._forward
    bad = runner_of(engine)

    def spoilt(ids: torch.Tensor, step: Any) -> torch.Tensor:
        logits = forward(ids, step)
        # The position that only one row comes to: its prompt is the longest.
        return logits.masked_fill((step.positions > 165).unsqueeze(1), torch.nan)

    monkeypatch.setattr(decoder, "_forward", spoilt)
    requests = [*mixed(), request("bad", "zebra " * 28, max_new_tokens=60)]
    found = answers(engine, requests)
    assert {key for key, result in found.items() if result.error} == {"bad"}
    assert "not finite numbers" in str(found["bad"].error)
    expected = reference(tiny, mixed())
    assert {key: result.answer.text for key, result in found.items() if key != "bad"} == expected
    assert bad.decoder is decoder


@pytest.mark.parametrize("what", ["mask", "cells", "tokens", "draws"])
def test_a_decoder_that_computes_something_else_is_not_used(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    engine = open_engine(tiny)
    runner = runner_of(engine)
    assert enable_static_decode(runner, engine.model, "cpu", [("static tensors", EagerCapture)]) == []
    if what == "mask":
        mask = ForwardContext.decode_mask
        monkeypatch.setattr(ForwardContext, "decode_mask", lambda self, *args: mask(self, *args) * 0)
    elif what == "cells":
        monkeypatch.setattr(ModelRunner, "_logits", misplaced(ModelRunner._logits))
    elif what == "tokens":
        monkeypatch.setattr(StaticDecoder, "_step", repeating(StaticDecoder._step))
    else:
        look_up = sampler.sample_by_inverse_cdf
        monkeypatch.setattr(
            static_decode, "sample_by_inverse_cdf", lambda shares, numbers: look_up(shares, 1 - numbers)
        )
    notes = enable_static_decode(runner, engine.model, "cpu", [("static tensors", EagerCapture)])
    assert len(notes) == 1
    assert notes[0].startswith("decodes without static tensors: its logits would differ by")
    assert runner.decoder is None
    if what == "tokens":
        assert texts(engine, mixed()) == reference(tiny, mixed())


def misplaced(logits: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Have pure decoding write every token one cell too far."""

    def wrong(self: Any, ids: torch.Tensor, step: Any, **extra: Any) -> torch.Tensor:
        if not step.spans:
            step.cells = step.cells + 1
        return logits(self, ids, step, **extra)

    return wrong


def repeating(step: Callable[..., None]) -> Callable[..., None]:
    """Have blocks start with the same token again in every second step, as a graph that reads old memory would."""
    turns = iter(range(1_000_000))

    def wrong(self: Any, buffers: Any, *key: Any) -> None:
        before = buffers.tokens.clone()
        step(self, buffers, *key)
        if next(turns) % 2:
            buffers.tokens.copy_(before)

    return wrong


@pytest.mark.parametrize("family", PACKED)
def test_what_is_computed_before_the_first_request_is_given_back(tmp_path: Path, family: str) -> None:
    engine = open_engine(save_model(tmp_path, FAMILIES[family]()))
    runner = runner_of(engine)
    runner.decode_with(EagerCapture())
    assert largest_static_difference(runner, engine.model) < 1e-5
    assert runner.slots.nbytes == 0
    assert decoder_of(engine)._buffers is None


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_torchs_own_attention_decodes_as_the_definition_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Where the device is CUDA. In fp32 it is not used, so that half precision is what can be compared."""
    engine = open_engine(save_model(tmp_path, FAMILIES["llama"]()), dtype=dtype)
    runner = runner_of(engine)
    runner.decode_with(EagerCapture())
    used: list[torch.dtype] = []
    fused = kernels.fused_decode

    def noted(query: torch.Tensor, *args: Any) -> torch.Tensor:
        used.append(query.dtype)
        return fused(query, *args)

    monkeypatch.setattr(attention, "fused_decode", noted)
    usual = largest_static_difference(runner, engine.model)
    assert not used
    monkeypatch.setattr(attention, "FUSED_DEVICES", {"cpu"})
    assert largest_static_difference(runner, engine.model) < max(2 * usual, 5e-2)
    assert used


class OnOneDevice(TorchDispatchMode):
    """Refuses tensors of the host. There is no GPU here, but there is a device without values: ``meta``."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, torch.Tensor)]
        assert all(tensor.device.type == "meta" for tensor in tensors), f"{func} meets a tensor of the host"
        return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", PACKED)
def test_a_step_is_computed_on_the_device_alone(
    family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FUSED_DEVICES", {"meta"})
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES[family](), dtype=dtype).to("meta").eval()
    runner = ModelRunner(model, "meta", 1, capture=EagerCapture())
    runner.slots.room = SlotTableSize(16, 16 * 512)
    runner.slots.reserve(8, 100)
    for layer in range(model.config.num_hidden_layers):
        keys = torch.zeros(1, heads_of(model.config), 8, device="meta", dtype=dtype)
        runner.slots.layer(layer, keys, keys)
    buffers = Buffers(runner.slots.rows, 8, "meta", pinned=False)
    assert runner.decoder is not None
    for choice in ("greedy", "logits", Filters(16, mass=True, share=True)):
        with torch.inference_mode(), OnOneDevice():
            runner.decoder._step(buffers, choice, 8, 256)
    assert buffers.logits.shape == (16, 320)


def heads_of(config: Any) -> int:
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads
