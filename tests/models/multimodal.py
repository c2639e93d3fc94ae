"""Tiny models that read images or audio, with their processors, and what ``generate`` answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from pytest_evals.engines.protocol import Request
from pytest_evals.generation import GenerationParams
from pytest_evals.media.parts import checked_content
from pytest_evals.media.sources import MediaPlaces
from tests.media import picture

from .conftest import GROUPED, make_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'text' %}{{ part.text }}{% else %}PLACE{% endif %}{% endfor %}{% endif %}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PARTS_ONLY = TEMPLATE.replace("{% if message.content is string %}{{ message.content }}{% else %}", "").replace(
    "{% endfor %}{% endif %}<end>", "{% endfor %}<end>"
)
"""A template that loses the text of a message whose content is no list."""


def idefics3(folder: Path, language: Path | None = None) -> Path:
    """An Idefics3 with a small random vision tower, on the language model in ``language`` or on a random one."""
    tokens = ["<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>"]
    tokens += [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    if language is None:
        tokenizer, text = make_tokenizer(), transformers.LlamaConfig(**GROUPED, eos_token_id=1)
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(language)
        text = transformers.AutoConfig.from_pretrained(language)
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    image_processor = transformers.Idefics3ImageProcessorPil(
        do_image_splitting=False, size={"longest_edge": 64}, max_image_size={"longest_edge": 64}
    )
    template = PARTS_ONLY.replace("PLACE", "<image>") if language is None else _turns(tokenizer.chat_template)
    processor = transformers.Idefics3Processor(image_processor, tokenizer, image_seq_len=4, chat_template=template)
    vision = transformers.models.idefics3.configuration_idefics3.Idefics3VisionConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=64, patch_size=16
    )
    config = transformers.Idefics3Config(
        vision_config=vision,
        text_config=text,
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    torch.manual_seed(0)
    model: Any = transformers.Idefics3ForConditionalGeneration(config)
    if language is not None:
        own = transformers.AutoModelForCausalLM.from_pretrained(language, dtype=torch.float32)
        model.model.text_model.load_state_dict(own.model.state_dict())
        model.lm_head.load_state_dict(own.lm_head.state_dict())
        model.tie_weights()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    _enlarge(model, ("connector",) if language else ("",), 1.0 if language else 4.0)
    model.generation_config.eos_token_id = text.eos_token_id
    return _saved(folder, model, processor)


def _turns(template: str) -> str:
    """SmolLM2's turns, with images in them."""
    del template
    return (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{% if message.content is string %}{{ message.content }}"
        "{% else %}{% for part in message.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<image>{% endif %}"
        "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def gemma3(folder: Path) -> Path:
    """A tiny random Gemma 3 with its vision tower: images attend in both directions."""
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    plain = make_tokenizer()
    plain.add_special_tokens({"additional_special_tokens": list(names.values())})
    tokenizer: Any = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, bos_token="<bos>", eos_token="<end>", extra_special_tokens=names
    )
    image_processor = transformers.Gemma3ImageProcessorPil(size={"height": 32, "width": 32})
    processor = transformers.Gemma3Processor(
        image_processor, tokenizer, chat_template=TEMPLATE.replace("PLACE", "<start_of_image>"), image_seq_length=4
    )
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=16),
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
            "patch_size": 8, "model_type": "siglip_vision_model", "vision_use_head": False,
        },
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = transformers.Gemma3ForConditionalGeneration(config)
    _enlarge(model, ("",), 4.0)
    return _saved(folder, model, processor)


def qwen2_audio(folder: Path) -> Path:
    """A tiny random Qwen2-Audio."""
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]})
    reader = transformers.WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    processor = transformers.Qwen2AudioProcessor(
        reader, tokenizer, chat_template=TEMPLATE.replace("PLACE", "<|audio_bos|><|AUDIO|><|audio_eos|>")
    )
    config = transformers.Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder", "num_mel_bins": 16, "d_model": 32, "encoder_layers": 2,
            "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "max_source_positions": 50,
        },
        text_config=transformers.Qwen2Config(**GROUPED),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )  # fmt: skip
    torch.manual_seed(0)
    model: Any = transformers.Qwen2AudioForConditionalGeneration(config)
    _enlarge(model, ("",), 4.0)
    return _saved(folder, model, processor)


def _enlarge(model: Any, parts: Sequence[str], factor: float) -> None:
    """Make weights larger, so that logits differ clearly, and images count."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and any(part in name for part in parts):
                parameter.mul_(factor)


def _saved(folder: Path, model: Any, processor: Any) -> Path:
    if model.generation_config.eos_token_id is None:
        model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 1
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


COLORS = ("red", "green", "blue", "white", "black", "orange")


def asked(key: str, content: Sequence[Any], *, system: str | None = None, **params: Any) -> Request:
    """A request with parts of the user's message."""
    user: Any = {"role": "user", "content": checked_content(content, MediaPlaces(()), 1)}
    before: list[Any] = [{"role": "system", "content": system}] if system else []
    return Request(key, "m", (*before, user), GenerationParams(**params))


def shown(index: int) -> dict[str, Any]:
    """A part with a picture; each index has its own."""
    image = picture(40 + 8 * (index % 3), 30, COLORS[index % len(COLORS)])
    return {"type": "image", "image": image}


def reference(folder: Path, requests: Sequence[Request]) -> dict[str, str]:
    """What ``model.generate`` answers through the processor as its documentation says, greedy, one conversation at a time."""
    processor: Any = transformers.AutoProcessor.from_pretrained(folder)
    model: Any = transformers.AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = {}
    for entry in requests:
        messages = [_as_transformers_has_it(message) for message in entry.messages]
        inputs = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        output = model.generate(**inputs, do_sample=False, max_new_tokens=entry.params.max_new_tokens)
        generated = output[0, inputs["input_ids"].shape[1] :].tolist()
        ends = model.generation_config.eos_token_id
        if generated[-1] in (ends if isinstance(ends, list) else [ends]):
            generated.pop()
        found[entry.id] = processor.tokenizer.decode(
            generated, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
    return found


def _as_transformers_has_it(message: Any) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": [{"type": "text", "text": content}]}
    parts = [{"type": part["type"], part["type"]: part[part["type"]]} for part in map(dict, content)]
    return {"role": message["role"], "content": parts}
