"""Tiny random models, built here: real code of transformers, no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.engine import TransformersEngine, load
from pytest_evals.generation import GenerationParams

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message.role }}>{{ message.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
SPECIAL = ["<bos>", "<end>", "<system>", "<user>", "<assistant>"]
CORPUS = [
    "the quick brown fox jumps over the lazy dog 0123456789",
    "What is the capital of France? Paris.",
    "abcdefghijklmnopqrstuvwxyz",
]
OPTIONS = {"device": "cpu", "dtype": "fp32", "batch": "auto"}


def make_tokenizer(template: str | None = TEMPLATE) -> Any:
    """A byte-level BPE of about 300 tokens that can encode any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<end>")
    fast.chat_template = template
    return fast


COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**COMMON, num_key_value_heads=2, max_position_embeddings=256),
    "qwen2": lambda: transformers.Qwen2Config(**COMMON, num_key_value_heads=2, max_position_embeddings=256),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=256),
    "opt": lambda: transformers.OPTConfig(
        vocab_size=320, hidden_size=32, ffn_dim=64, num_hidden_layers=3, num_attention_heads=4, word_embed_proj_dim=32,
        max_position_embeddings=256,
    ),
    "mistral-sliding": lambda: transformers.MistralConfig(
        **COMMON, num_key_value_heads=2, max_position_embeddings=256, sliding_window=16
    ),
    "gemma2-sliding": lambda: transformers.Gemma2Config(
        **COMMON, num_key_value_heads=2, head_dim=8, max_position_embeddings=256, sliding_window=16
    ),
}  # fmt: skip


def save_model(folder: Path, config: Any, tokenizer: Any | None = None, ends: Sequence[int] = (1,)) -> Path:
    """Save a random model with its tokenizer."""
    torch.manual_seed(0)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, list(ends), 1
    model = transformers.AutoModelForCausalLM.from_config(config)
    # Larger weights than usual: the logits differ clearly, and so do the texts.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.generation_config.eos_token_id = list(ends)
    model.save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Loading bars have no place in a test's output."""
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with a chat template."""
    return save_model(tmp_path_factory.mktemp("tiny-llama"), FAMILIES["llama"]())


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny gpt2. Like ``tiny`` made once, before any ``pytester``: that one unloads what a test imports, and torch cannot
    be imported in part again.
    """
    return save_model(tmp_path_factory.mktemp("tiny-gpt"), FAMILIES["gpt2"]())


@pytest.fixture
def engine(tiny: Path) -> TransformersEngine:
    """An engine on the tiny llama."""
    return open_engine(tiny)


def open_engine(folder: Path, query: str = "", **options: str) -> TransformersEngine:
    """Load an engine in this process."""
    return load(parse_spec(f"{folder}{query}", folder), {**OPTIONS, **options}, lambda _text: None)


def request(key: str, content: str, **params: Any) -> Request:
    """A request with one user message."""
    return Request(key, "m", ({"role": "user", "content": content},), GenerationParams(**params))


def answers(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, Result]:
    """Run requests to their end."""
    events = engine.generate(Inbox(requests, closed=True))
    return {event.id: event for event in events if isinstance(event, Result)}


def reference(folder: Path, requests: Sequence[Request]) -> dict[str, str]:
    """What ``model.generate`` answers, greedy, one prompt at a time."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = {}
    for entry in requests:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in entry.messages],
            add_generation_prompt=True,
            return_dict=False,
            return_tensors="pt",
        )
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=entry.params.max_new_tokens
        )
        generated = output[0, ids.shape[1] :].tolist()
        if generated[-1] in model.generation_config.eos_token_id:
            generated.pop()
        texts[entry.id] = tokenizer.decode(generated, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts
