"""Models for the benchmark on a GPU: random weights in a shape that is named or described, or a folder; and its rows.

Random models need neither a network nor a disk: they are made on the device, always with the same weights. Their words
are their tokens (``t17 t4711``), so that texts tell tokens exactly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.questions import short_questions
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.loading import LoadedModel, load_model
from pytest_evals.generation import GenerationParams

SHAPES: Mapping[str, Mapping[str, Any]] = {
    "tiny": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    "0.5b": {"vocab_size": 32_000, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 4},
    "1b": {"vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    "3b": {"vocab_size": 128_256, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24, "num_key_value_heads": 8},
    "8b": {"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}  # fmt: skip
"""Of models like llama."""
END = 1
_SPREAD = 0.04
"""Standard deviation of the weights: with transformers' own 0.02 logits lie so close that rounding decides often."""
_LENGTHS = {"tiny": (4, 40), "usual": (32, 512)}
_LIMITS = {"tiny": (4, 8, 16), "usual": (32, 64, 128, 256)}
_SHARED = 0.5
"""Share of the rows that begin alike."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured: a model (``shape``, ``config``: a file as ``config.json``, or ``model``: a folder) and its rows.

    ``checked`` rows are compared with fp32.
    """

    shape: str = "1b"
    config: str | None = None
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch: str = "auto"
    rows: int = 512
    checked: int = 16

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @property
    def resolved(self) -> Setting:
        """The setting with the device and the precision that ``auto`` means."""
        cuda = torch.cuda.is_available()
        device = ("cuda" if cuda else "cpu") if self.device == "auto" else self.device
        half = "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"
        return replace(self, device=device, dtype=half if self.dtype == "auto" else self.dtype)


def load(setting: Setting, dtype: str | None = None) -> LoadedModel:
    """Make or load the model, in another precision than the setting's if ``dtype`` says so."""
    dtype = dtype or setting.dtype
    if setting.model:
        spec = ModelSpec(setting.model, "hf", str(Path(setting.model).resolve()))
        options = {"device": setting.device, "dtype": setting.dtype}
        loaded = load_model(spec, options, print)
    else:
        loaded = _random(setting)
    if dtype != setting.dtype:
        # The weights of the measured precision, computed with in another one.
        loaded.model.to({"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype])
    return loaded


def _random(setting: Setting) -> LoadedModel:
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[setting.dtype]
    config = _config(setting)
    torch.manual_seed(0)
    with torch.device(setting.device):
        model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]  # transformers annotates it not
    model.to(setting.device).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = END, END
    identity = {"engine": "transformers", "weights": f"random {setting.shape}"}
    return LoadedModel(model, _words(config.vocab_size), setting.device, str(dtype).removeprefix("torch."), identity)


def _config(setting: Setting) -> Any:
    common: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": END, "pad_token_id": END, "initializer_range": _SPREAD}
    if setting.config:
        described = json.loads(Path(setting.config).read_text(encoding="utf-8"))
        return transformers.AutoConfig.for_model(**{**described, **common})
    return transformers.LlamaConfig(
        **SHAPES[setting.shape], **common, max_position_embeddings=8192, tie_word_embeddings=False
    )


def _words(vocabulary: int) -> Any:
    """A tokenizer whose words are its tokens, and a chat template that is the first message."""
    tokenizer = Tokenizer(models.WordLevel({f"t{number}": number for number in range(vocabulary)}, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # None of them is special: what ends a text is the model's to say.
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # type: ignore[no-untyped-call]  # transformers annotates it not
    fast.chat_template = "{{ messages[0]['content'] }}"
    return fast


def make_requests(setting: Setting, vocabulary: int) -> list[Request]:
    """Return the rows, always the same: prompts of many lengths, and limits that most rows of a random model reach."""
    kind = "tiny" if setting.shape == "tiny" else "usual"
    chance = random.Random(0)
    limits = [chance.choice(_LIMITS[kind]) for _ in range(setting.rows)]
    if setting.model:
        texts = short_questions(setting.rows)
    else:
        texts = [_prompt(chance, *_LENGTHS[kind], vocabulary) for _ in limits]
    return [
        Request(f"r{number}", "m", ({"role": "user", "content": text},), GenerationParams(max_new_tokens=limit))
        for number, (text, limit) in enumerate(zip(texts, limits, strict=True))
    ]


def _prompt(chance: random.Random, least: int, most: int, vocabulary: int) -> str:
    length = chance.randint(least, most)
    tokens = [chance.randrange(3, vocabulary) for _ in range(length)]
    if chance.random() < _SHARED:
        common = random.Random(1)
        tokens = [*(common.randrange(3, vocabulary) for _ in range(most // 4)), *tokens]
    return " ".join(f"t{token}" for token in tokens)
