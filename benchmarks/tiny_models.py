"""Tiny random models of every type that transformers knows: its real code, with configurations shrunk by the kind of each size.

A configuration is made from the fields of its class: widths, layers, heads, experts, windows and sparse budgets get small values that
fit together, sub-configurations are shrunk in the same way. What a type needs beside that is in `SETTINGS`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.models.auto import modeling_auto

LAYERS, HEADS, HEAD, WIDTH, INNER = 4, 4, 16, 64, 96
WINDOW = 64
"""Windows and sparse budgets: some prompts are shorter, some longer."""
POSITIONS = 512
VOCABULARY = 320

KINDS: dict[str, tuple[str, Any]] = {
    "causal": ("MODEL_FOR_CAUSAL_LM_MAPPING", transformers.AutoModelForCausalLM),
    "seq2seq": ("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING", transformers.AutoModelForSeq2SeqLM),
    "image-text": ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING", transformers.AutoModelForImageTextToText),
}
"""The tables of transformers that list types, and the class that makes a model of one."""

_SIZES: tuple[tuple[int, str], ...] = (
    (VOCABULARY, "vocab_size"),
    (
        WIDTH,
        (
            "hidden_size d_model n_embd embed_dim embedding_dim dim hidden_dim word_embed_proj_dim encoder_hidden_size decoder_hidden_size"
            " hidden_size_per_layer_input lru_width attention_hidden_size projection_dim output_hidden_size out_hidden_size embedding_size"
            " adapter_hidden_size cross_attention_hidden_size decoder_input_dim vision_hidden_size audio_hidden_size mm_hidden_size n_state"
            " text_hidden_size audio_embed_dim output_dim expert_hidden_size linear_latent_size proj_size"
        ),
    ),
    (
        INNER,
        (
            "intermediate_size ffn_dim n_inner d_ff encoder_ffn_dim decoder_ffn_dim ffn_hidden_size moe_intermediate_size d_inner"
            " shared_expert_intermediate_size shared_intermediate_size intermediate_size_mlp dense_intermediate_size block_ffn_dim"
            " moe_shared_expert_intermediate_size mlp_dim feed_forward_size expert_ffn_hidden_size encoder_intermediate_size ffn_intermediate_size"
            " feedforward_dim"
        ),
    ),
    (
        LAYERS,
        (
            "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers num_encoder_layers depth"
            " num_self_attends_per_block"
        ),
    ),
    (
        HEADS,
        (
            "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads attention_heads"
            " swa_num_attention_heads num_decoder_attention_heads num_encoder_attention_heads linear_num_value_heads linear_num_heads"
            " mamba_num_heads_ num_experts n_routed_experts num_local_experts moe_num_experts num_experts_per_layer n_experts"
            " index_n_heads_ heads_count"
        ),
    ),
    (
        2,
        (
            "num_key_value_heads num_experts_per_tok n_head_kv num_kv_heads moe_topk top_k num_selected_experts linear_num_key_heads moe_k"
            " n_activated_experts moe_top_k num_experts_per_token top_k_experts num_global_key_value_heads swa_num_key_value_heads"
            " shared_expert_num_ num_shared_experts_"
        ),
    ),
    (
        1,
        (
            "n_group topk_group n_groups mamba_n_groups first_k_dense_replace num_mem_blocks ngroups n_shared_experts num_shared_experts"
            " moe_n_group router_n_groups moe_num_shared_experts"
        ),
    ),
    (
        HEAD,
        (
            "head_dim d_kv qk_nope_head_dim v_head_dim linear_key_head_dim linear_value_head_dim q_lora_rank kv_lora_rank index_head_dim"
            " attention_head_dim swa_head_dim mamba_d_state ssm_state_size state_size mamba_d_head_ global_head_dim swa_v_head_dim kv_channels"
            " o_lora_rank attn_head_dim"
        ),
    ),
    (8, "qk_rope_head_dim hidden_size_per_layer_input_ rotary_dim mamba_dt_rank time_step_rank"),
    (
        WINDOW,
        (
            "sliding_window window_size_ index_topk attention_chunk_size sliding_window_size attention_window_size local_attention_window"
            " attn_window local_window_size"
        ),
    ),
    (
        POSITIONS,
        (
            "max_position_embeddings n_positions max_source_positions max_target_positions n_ctx max_seq_len max_sequence_length"
            " max_length_ seq_length model_max_length max_seq_length"
        ),
    ),
)
SMALL: dict[str, int] = {name: size for size, names in _SIZES for name in names.split()}
"""What a field of a configuration becomes, by its name."""

_HYBRID = ["linear_attention", "full_attention"] * 2
_ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10_000.0}
_ROPE_BY_LAYER = {
    kind: {"rope_type": "default", "rope_theta": 10_000.0} for kind in ("sliding_attention", "full_attention")
}
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
SETTINGS: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"layer_group_size": 2, "num_key_value_heads": 4},
    "bamba": {"attn_layer_indices": [1, 3], "mamba_n_heads": 4, "mamba_d_head": 32},
    "blt": {"encoder_hash_byte_group_vocab": 64, "encoder_hash_byte_group_size": [3]},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": _ROPE_BY_LAYER,
    },
    "cpmant": {"dim_head": 16, "dim_ff": 96},
    "gemma4_text": {"vocab_size_per_layer_input": 320, "hidden_size_per_layer_input": 8},
    "gemma4_unified_vision": {"patch_size": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
    "granitemoehybrid": {"layer_types": _HYBRID, "mamba_n_heads": 4, "mamba_d_head": 32},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm3": {"num_hidden_layers": 6},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "adapter_rank": 8},
    "gemma3n_text": {"vocab_size_per_layer_input": 320, "num_kv_shared_layers": 0},
    "dots3_note_vision_encoder": {"pyramid_num_routed": [-1, -1, 2, 4], "adapter_in_dim": 64, "adapter_out_dim": 64},
    "dots3_note_audio_encoder": {"adapter_out_dim": 64, "adapter_input_size": 64},
    **{
        name: {"rope_parameters": _ROPE | {"mrope_section": [2, 3, 3]}}
        for name in (
            "glm4v_text",
            "glm46v_text",
            "glm_ocr_text",
            "glmga_text",
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "paddleocr_vl_text",
        )
    },
    "glm4v_moe_text": {"rope_parameters": _ROPE | {"mrope_section": [1, 1, 2]}},
    "cosmos3_edge_text": {"rope_parameters": _ROPE | {"mrope_section": [2, 3, 3]}},
    "ernie4_5_vl_moe_text": {
        "moe_intermediate_size": [96, 96],
        "rope_parameters": _ROPE | {"mrope_section": [2, 2, 4]},
    },
    "florence_vision": {
        "embed_dim": [32, 64],
        "depths": [1, 1],
        "num_heads": [2, 4],
        "num_groups": [2, 4],
        "patch_size": [7, 3],
        "patch_stride": [4, 2],
        "patch_padding": [3, 1],
        "patch_prenorm": [False, True],
    },
    "kimi_linear": {"layer_types": _HYBRID},
    "longcat_flash": {"head_dim": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16},
    "molmo2_adapter": {"vision_feature_layer": [3, 1]},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 16,
        "indexer_budget": 64,
        "indexer_compress_ratio": 16,
    },
    "reformer": {
        "is_decoder": True,
        "hidden_size": 64,
        "attn_layers": ["local", "local"],
        "axial_pos_shape": [16, 32],
        "axial_pos_embds_dim": [16, 48],
    },
    "xmod": {"default_language": "en_XX", "is_decoder": True},
    "zaya": {"num_experts_per_tok": 1},
}
"""What a type of configuration needs beside `SMALL`."""


def config_class_of(name: str) -> Any:
    """Return the class of configurations of a type."""
    return transformers.CONFIG_MAPPING[name]


def names_of(kind: str) -> list[str]:
    """Return the types of a kind."""
    return sorted(getattr(modeling_auto, KINDS[kind][0] + "_NAMES"))


def shrunk(config_class: Any, **settings: Any) -> Any:
    """Return a small configuration of a class."""
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    values: dict[str, Any] = {name: SMALL[name] for name in fields if name in SMALL and fields[name].default != 0}
    values |= {name: value for name, value in _IDS.items() if name in fields}
    if _same(fields, "num_key_value_heads", "num_attention_heads") or "kv_lora_rank" in fields:
        values["num_key_value_heads"] = HEADS
    for name, sub_class in config_class.sub_configs.items():
        sub = sub_class
        if sub is transformers.AutoConfig:
            made = getattr(config_class(), name, None)
            if made is None:
                continue
            sub = type(made)
        values[name] = shrunk(sub)
    values |= SETTINGS.get(config_class.model_type, {})
    return config_class(**values | settings)


def _same(fields: dict[str, Any], first: str, second: str) -> bool:
    names = first in fields and second in fields
    return names and fields[first].default == fields[second].default is not None


def make_tokenizer() -> Any:
    """Return a byte-level tokenizer with a chat template that can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<bos>", "<end>", "<user>", "<assistant>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox"], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<end>")
    fast.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return fast
