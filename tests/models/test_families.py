"""Every family of models gives the tokens that ``generate`` gives one prompt at a time, however prompts are computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers import row_independence
from pytest_evals.engines.transformers.backends.stateful import StatefulBackend
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.errors import ModelError

from .conftest import (
    COMMON,
    FAMILIES,
    GROUPED,
    answers,
    open_engine,
    prompt_ids,
    reference,
    request,
    save_model,
    scheduler_of,
    set_budget,
    texts,
    usage_of,
    weigh,
)

LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MOE: dict[str, Any] = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
PACKED: dict[str, Callable[[], Any]] = {
    "llama": FAMILIES["llama"],
    "qwen2": FAMILIES["qwen2"],
    "qwen3": lambda: transformers.Qwen3Config(**GROUPED, head_dim=8),
    "qwen3_moe": lambda: transformers.Qwen3MoeConfig(**GROUPED, **MOE),
    "gemma": lambda: transformers.GemmaConfig(**GROUPED, head_dim=8),
    "gemma2": FAMILIES["gemma2"],
    "gemma3": lambda: transformers.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=16),
    "mistral": lambda: transformers.MistralConfig(**GROUPED, sliding_window=16),
    "phi": lambda: transformers.PhiConfig(**GROUPED),
    "phi3": lambda: transformers.Phi3Config(**GROUPED, pad_token_id=1),
    "gpt2": FAMILIES["gpt2"],
    "opt": lambda: transformers.OPTConfig(
        vocab_size=320, hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=256,
    ),
    "gpt_neox": lambda: transformers.GPTNeoXConfig(**COMMON, max_position_embeddings=256),
    "starcoder2": lambda: transformers.Starcoder2Config(**GROUPED, sliding_window=None),
    "olmo2": lambda: transformers.Olmo2Config(**GROUPED),
    "cohere": lambda: transformers.CohereConfig(**GROUPED),
    "smollm3": lambda: transformers.SmolLM3Config(**GROUPED, pad_token_id=1),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=16
    ),
    "deepseek3": lambda: transformers.DeepseekV3Config(
        **{**GROUPED, "num_key_value_heads": 4}, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        moe_intermediate_size=32, first_k_dense_replace=1, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8,
        qk_nope_head_dim=8, v_head_dim=8,
    ),
}  # fmt: skip
"""Attention can be plugged in."""
IN_FLIGHT: dict[str, tuple[Callable[[], Any], str]] = {
    "falcon": (
        lambda: transformers.FalconConfig(
            vocab_size=320, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=256
        ),
        "its logits would differ by",
    ),
    "bloom": (FAMILIES["bloom"], ""),
    "gptj": (
        lambda: transformers.GPTJConfig(vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=256, rotary_dim=4),
        "",
    ),
    "lfm2": (
        lambda: transformers.Lfm2Config(**GROUPED, layer_types=["conv", "full_attention", "conv"]),
        "it has layers of conv",
    ),
    "falcon_h1": (
        lambda: transformers.FalconH1Config(
            **GROUPED,
            mamba_d_ssm=64,
            mamba_n_heads=4,
            mamba_d_head=16,
            mamba_d_state=8,
            mamba_chunk_size=16,
        ),
        "it keeps a state instead of keys and values",
    ),
    "qwen3_next": (
        lambda: transformers.Qwen3NextConfig(**GROUPED, **LINEAR, head_dim=8, num_experts=0, mlp_only_layers=[0, 1, 2]),
        "it keeps a state instead of keys and values",
    ),
    "qwen3_5": (
        lambda: transformers.Qwen3_5TextConfig(**GROUPED, **LINEAR, head_dim=8),
        "it keeps a state instead of keys and values",
    ),
    "mamba": (FAMILIES["mamba"], "it keeps a state instead of keys and values"),
    "llama4": (
        lambda: transformers.Llama4TextConfig(**GROUPED, head_dim=8, num_local_experts=2, intermediate_size_mlp=64),
        "it has layers of chunked_attention",
    ),
}
"""These keep something else, or attend in their own way, and rows can come and go all the same; with what the note says of why."""
INDEXED: dict[str, Any] = {
    **GROUPED, "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "moe_intermediate_size": 32, "first_k_dense_replace": 1, "kv_lora_rank": 16, "q_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 8, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 64,
}  # fmt: skip
BATCHED: dict[str, tuple[Callable[[], Any], str]] = {
    "deepseek_v32": (
        lambda: transformers.DeepseekV32Config(**INDEXED),
        "padded batches, those of more than 64 tokens one at a time: it has layers of indexed_attention",
    ),
}
"""These run through ``generate``; with what the note says."""
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 5.0, 9.0, 12.0],
    "original_max_position_embeddings": 64,
}
LIMITED: dict[str, Callable[[], Any]] = {
    "longrope": lambda: transformers.Phi3Config(
        **GROUPED, pad_token_id=1, rope_parameters=LONGROPE, original_max_position_embeddings=64
    ),
    "dynamic": lambda: transformers.LlamaConfig(
        **{**GROUPED, "max_position_embeddings": 64},
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
    ),
    "moshi": lambda: transformers.MoshiConfig(
        **{**GROUPED, "intermediate_size": None}, head_dim=8, ffn_dim=64, sliding_window=64
    ),
}
"""Beyond a length they compute in another way, which the packed forward cannot."""
GEMMA4: dict[str, Any] = {"global_head_dim": 16, "vocab_size_per_layer_input": 320, "hidden_size_per_layer_input": 8}
LAYERS: dict[str, Callable[[], Any]] = {
    "gemma4": lambda: transformers.Gemma4TextConfig(
        **GROUPED, **GEMMA4, head_dim=8, sliding_window=16, layer_types=["sliding_attention"] * 2 + ["full_attention"]
    ),
}
"""Layers that differ in their sizes."""
OTHERS = {**IN_FLIGHT, **BATCHED}
READERS: dict[str, Callable[[], Any]] = {
    "t5": FAMILIES["t5"],
    "bart": lambda: transformers.BartConfig(
        vocab_size=320, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=256,
    ),
}  # fmt: skip
"""Encoder-decoders, which know no chat template."""

SYSTEM = "Answer in one word and never in two of them, zebra. "
PROMPTS = [
    "a",
    "the quick brown fox",
    "What is the capital of France?",
    "0123 " * 9,
    "zebra " * 25,
    "x",
    "dog over fox",
    *(f"{SYSTEM}France: Paris. Spain: Madrid. Italy: Rome. {country}:" for country in ("Peru", "Chile", "Cuba")),
    *(f"{SYSTEM}2+2=4 and 5*3=15 and 8/2=4, so now {sum_}" for sum_ in ("1+1=", "7*7=", "9-3=")),
    *(f"{SYSTEM}{text}" for text in ("fox", "jumps " * 5)),
]


def asked() -> list[Request]:
    """Prompts of many lengths, some below shared beginnings of two levels, each with its own limit."""
    return [request(f"r{n}", text, max_new_tokens=3 + 5 * n % 14) for n, text in enumerate(PROMPTS)]


Known = tuple[Path, dict[str, str]]


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Known]:
    """The folder of a family's model, and what ``generate`` answers to `asked`; both made once."""
    made: dict[str, Known] = {}

    def make(name: str) -> Known:
        if name not in made:
            config = {**PACKED, **LIMITED, **LAYERS, **READERS, **{key: other for key, (other, _) in OTHERS.items()}}[
                name
            ]()
            folder = save_model(tmp_path_factory.mktemp(name), config, seed=SEEDS.get(name, 0))
            made[name] = (folder, reference(folder, asked(), template=name not in READERS))
        return made[name]

    return make


SEEDS: dict[str, int] = {}
"""Models that would nearly waver between two tokens somewhere."""


def in_pieces(engine: TransformersEngine) -> TransformersEngine:
    """Prompts are filled a few tokens at a time, and every shared beginning is attended to where it is."""
    set_budget(engine, tokens=7, cascade=1)
    return engine


@pytest.mark.parametrize("name", PACKED)
def test_prompts_in_pieces_below_shared_beginnings_and_rows_that_are_refilled(
    family: Callable[[str], Known], name: str
) -> None:
    folder, expected = family(name)
    engine = in_pieces(open_engine(folder, batch="3"))
    assert engine.info.identity["loop"] == "packed"
    assert engine.info.notes == ()
    assert texts(engine, asked()) == expected


@pytest.mark.parametrize(
    ("name", "batch"),
    [("llama", "auto"), ("llama", "3"), ("llama", "1"), ("gemma2", "auto"), ("gpt2", "3"), ("gpt_oss", "auto")],
)
def test_batches_of_any_size(family: Callable[[str], Known], name: str, batch: str) -> None:
    folder, expected = family(name)
    assert texts(open_engine(folder, batch=batch), asked()) == expected


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_differ_in_their_sizes_are_packed(family: Callable[[str], Known], name: str) -> None:
    folder, expected = family(name)
    engine = in_pieces(open_engine(folder, batch="3"))
    assert engine.info.identity["loop"] == "packed"
    assert texts(engine, asked()) == expected


@pytest.mark.parametrize("name", IN_FLIGHT)
def test_rows_of_a_model_that_keeps_something_else_come_and_go(family: Callable[[str], Known], name: str) -> None:
    folder, expected = family(name)
    engine = open_engine(folder, batch="3")
    assert engine.info.identity["loop"] == "stateful"
    (note,) = engine.info.notes
    assert note.startswith("runs in flight over transformers' own cache: ")
    assert IN_FLIGHT[name][1] in note
    assert texts(engine, asked()) == expected


def test_rows_in_flight_share_beginnings_sample_score_and_survive_what_fails(
    family: Callable[[str], Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = family("lfm2")
    engine = open_engine(folder, batch="3")
    assert texts(engine, asked()) == expected
    assert usage_of(engine)["shared_tokens"] > usage_of(engine)["prompt_tokens"] / 4
    sampled = [request(f"s{n}", PROMPTS[n], max_new_tokens=9, temperature=1.5, seed=n) for n in (1, 3, 5, 8)]
    scored = [weigh(f"w{n}", PROMPTS[n], "Paris", " fox jumps") for n in (1, 8)]
    plain = answers(open_engine(folder, "?loop=generate"), [*sampled, *scored])
    found = answers(engine, [*scored, *sampled])
    for key, result in plain.items():
        assert result.answer is not None
        other = found[key].answer
        assert other is not None
        assert other.text == result.answer.text
        for one, two in zip(other.likelihoods or (), result.answer.likelihoods or (), strict=True):
            assert one.logprob == pytest.approx(two.logprob, abs=1e-3)
    # A forward with the prompt of one request fails, alone too; the others are answered.
    stateful = engine._loops[0]
    assert isinstance(stateful, StatefulBackend)
    forward, bad = stateful._forward, prompt_ids(engine.tokenizer, asked()[2])

    def failing(ids: Any, *rest: Any) -> Any:
        if bad[-4:] in ids[:, -4:].tolist():
            raise ValueError("no such thing")
        return forward(ids, *rest)

    monkeypatch.setattr(stateful, "_forward", failing)
    found = answers(engine, asked()[:5])
    assert found["r2"].error is not None
    assert "no such thing" in found["r2"].error.message
    assert {key: found[key].answer.text for key in ("r0", "r1", "r3", "r4")} == {
        key: expected[key] for key in ("r0", "r1", "r3", "r4")
    }


@pytest.mark.parametrize("name", BATCHED)
def test_a_model_that_keeps_nothing_by_row_runs_through_generate_and_says_why(
    family: Callable[[str], Known], name: str
) -> None:
    folder, expected = family(name)
    engine = open_engine(folder, batch="3")
    assert engine.info.identity["loop"] == "generate"
    assert engine.info.notes == (f"runs through transformers' generate in {BATCHED[name][1]}",)
    assert texts(engine, asked()) == expected


@pytest.mark.parametrize("name", ["mamba", "qwen3_next", "bloom"])
def test_a_model_that_cannot_be_packed_takes_large_batches(family: Callable[[str], Known], name: str) -> None:
    folder, expected = family(name)
    assert texts(open_engine(folder), asked()) == expected
    assert texts(open_engine(folder, "?loop=generate"), asked()) == expected


@pytest.mark.parametrize("name", LIMITED)
def test_beyond_the_length_from_which_a_model_computes_in_another_way_prompts_are_computed_alone(
    family: Callable[[str], Known], name: str
) -> None:
    folder, expected = family(name)
    if name == "dynamic":
        # What a long prompt changes stays for the next one: each needs a model of its own.
        expected = {key: text for entry in asked() for key, text in reference(folder, [entry]).items()}
    engine = open_engine(folder)
    # The configuration of the dynamic one names the length for which it was trained, and refuses what is longer.
    engine._intake._context = None
    assert engine.info.identity["loop"] == "packed"
    (note,) = engine.info.notes
    assert note.startswith("prompts that may come to more than 64 tokens")
    assert texts(engine, asked()) == expected
    # What long ones changed does not stay.
    assert texts(engine, asked()) == expected


@pytest.mark.parametrize("batch", ["auto", "3"])
@pytest.mark.parametrize("name", READERS)
def test_an_encoder_decoder_reads_the_prompt_and_writes_the_answer(
    family: Callable[[str], Known], name: str, batch: str
) -> None:
    folder, expected = family(name)
    engine = open_engine(folder, "?template=none", batch=batch)
    assert engine.info.identity["loop"] == "generate"
    assert "it is an encoder-decoder" in engine.info.notes[0]
    assert texts(engine, asked()) == expected


def test_the_tests_above_compute_what_they_say(family: Callable[[str], Known]) -> None:
    """Beginnings of two levels, attended to in place; prompts in pieces; never more than three rows."""
    folder, _ = family("llama")
    engine = in_pieces(open_engine(folder, batch="3"))
    scheduler = scheduler_of(engine)
    plan, shared, cut, rows = scheduler.plan, set[int](), 0, 0

    def noted() -> Any:
        nonlocal cut, rows
        made = plan()
        shared.update(row.shared for row in made.decode)
        cut += sum(not piece.last for piece in made.pieces)
        rows = max(rows, len(made.decode))
        return made

    scheduler.plan = noted  # type: ignore[method-assign]  # looked at while it works
    texts(engine, asked())
    levels = {prefix.end: len(prefix.path) for prefix in scheduler.prefixes.all() if not prefix.kept}
    assert sorted(levels.values()) == [1, 2, 2]
    assert shared == {0, *levels}
    assert cut > 10
    assert rows == 3


def test_generate_can_be_asked_for_and_packed_insisted_on(family: Callable[[str], Known]) -> None:
    folder, expected = family("llama")
    engine = open_engine(folder, "?loop=generate", batch="3")
    assert engine.info.identity["loop"] == "generate"
    assert engine.info.notes == (
        "runs through transformers' generate in padded batches: asked for with ?loop=generate",
    )
    assert texts(engine, asked()) == expected
    assert usage_of(engine)["padding_tokens"] > 0
    assert open_engine(folder, "?loop=packed").info.identity["loop"] == "packed"


def test_experts_that_take_a_limited_number_of_tokens_get_one_prompt_at_a_time(tmp_path: Path) -> None:
    config = transformers.SwitchTransformersConfig(
        vocab_size=320, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=4, num_experts=4,
        expert_capacity=6, num_sparse_encoder_layers=1, num_sparse_decoder_layers=1, tie_word_embeddings=False,
    )  # fmt: skip
    folder = save_model(tmp_path, config)
    engine = open_engine(folder, "?template=none")
    assert "in batches of one prompt" in engine.info.notes[0]
    assert texts(engine, asked()) == reference(folder, asked(), template=False)


def test_a_model_that_padding_would_harm_gets_batches_of_prompts_of_one_length(
    family: Callable[[str], Known], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = family("llama")
    monkeypatch.setattr(row_independence, "padding_is_harmless", lambda _model: False)
    engine = open_engine(folder, "?loop=generate")
    assert "in batches of prompts of one length" in engine.info.notes[0]
    assert texts(engine, asked()) == expected
    usage = usage_of(engine)
    # Rows that ended before the others of their batch are computed on, and nothing is padded.
    lengths = {len(prompt_ids(engine.tokenizer, entry)) for entry in asked()}
    assert usage["forwards"] - usage["decodes"] == len(lengths) < len(PROMPTS)


def test_a_model_that_cannot_be_packed_is_refused_where_that_is_insisted_on(family: Callable[[str], Known]) -> None:
    folder, _ = family("mamba")
    with pytest.raises(ModelError, match="cannot be run with loop=packed: it keeps a state instead of keys and values"):
        open_engine(folder, "?loop=packed")
