"""Tiny random models, built here: real code of transformers, no download."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers import engine as engine_module
from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.engine import TransformersEngine, load
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
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


@functools.cache
def tokenizer_of_all() -> Any:
    """The tokenizer that all models have unless they are saved with another; not to be changed."""
    return make_tokenizer()


COMMON: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
GROUPED: dict[str, Any] = {**COMMON, "num_key_value_heads": 2, "max_position_embeddings": 256}
T5: dict[str, Any] = {
    "vocab_size": 320,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**GROUPED),
    "qwen2": lambda: transformers.Qwen2Config(**GROUPED),
    "gpt2": lambda: transformers.GPT2Config(vocab_size=320, n_embd=32, n_layer=3, n_head=4, n_positions=256),
    "gemma2": lambda: transformers.Gemma2Config(**GROUPED, head_dim=8, sliding_window=16),
    "mamba": lambda: transformers.MambaConfig(vocab_size=320, hidden_size=32, num_hidden_layers=3),
    "bloom": lambda: transformers.BloomConfig(vocab_size=320, hidden_size=32, n_layer=3, n_head=4),
    "t5": lambda: transformers.T5Config(**T5),
}


def save_model(
    folder: Path, config: Any, tokenizer: Any | None = None, ends: Sequence[int] = (1,), seed: int = 0
) -> Path:
    """Save a random model with its tokenizer."""
    torch.manual_seed(seed)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, list(ends), 1
    if config.is_encoder_decoder:
        config.decoder_start_token_id = 0
    kind: Any = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    model = kind.from_config(config)
    # Larger weights than usual: the logits differ clearly, and so do the texts.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.generation_config.eos_token_id = list(ends)
    # BART would end every text that reaches its limit.
    model.generation_config.forced_eos_token_id = None
    model.save_pretrained(folder)
    (tokenizer or tokenizer_of_all()).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def _quiet() -> Iterator[None]:
    """Loading bars have no place in a test's output, and the threads of tests are what the environment says."""
    transformers.utils.logging.disable_progress_bar()
    # A failed forward has garbage collected: all that was imported need not be looked at each time.
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module, "set_threads", lambda *_: torch.get_num_threads())
        yield
    gc.unfreeze()


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


def open_engine(folder: Path, query: str = "", **options: Any) -> TransformersEngine:
    """Load an engine in this process."""
    return load(parse_spec(f"{folder}{query}", folder), {**OPTIONS, **options}, lambda _text: None)


def set_budget(engine: TransformersEngine, **changes: Any) -> None:
    """Give the engine another budget, before it takes requests."""
    scheduler = scheduler_of(engine)
    scheduler.budget = replace(scheduler.budget, **changes)


def scheduler_of(engine: TransformersEngine) -> Scheduler[AnySequence]:
    """The scheduler of an engine on the fast path."""
    loop = engine._loops[0]
    assert isinstance(loop, PackedBackend)
    return loop._scheduler


def runner_of(engine: TransformersEngine) -> ModelRunner:
    """What computes the forwards of an engine on the fast path."""
    loop = engine._loops[0]
    assert isinstance(loop, PackedBackend)
    return loop._runner


def request(key: str, content: str, **params: Any) -> Request:
    """A request with one user message."""
    return Request(key, "m", ({"role": "user", "content": content},), GenerationParams(**params))


def weigh(key: str, content: str, *choices: str, alone: bool = False) -> Request:
    """A request for the likelihoods of choices."""
    return Request(key, "m", ({"role": "user", "content": content},), GenerationParams(), choices, alone)


def answers(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, Result]:
    """Run requests to their end."""
    events = engine.generate(Inbox(requests, closed=True))
    return {event.id: event for event in events if isinstance(event, Result)}


def texts(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, str]:
    """The texts of requests, none of which may be an error."""
    found = answers(engine, requests)
    assert {key: result.error for key, result in found.items() if result.error} == {}
    return {key: result.answer.text for key, result in found.items()}


def usage_of(engine: TransformersEngine) -> dict[str, Any]:
    """What the engine accounts for."""
    return engine._meter.snapshot()


def reference_model(folder: Path) -> Any:
    """The model as transformers loads it."""
    config = transformers.AutoConfig.from_pretrained(folder)
    kind: Any = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def prompt_ids(tokenizer: Any, entry: Request, *, template: bool = True) -> list[int]:
    """The token ids of a request's conversation."""
    messages = [dict(message) for message in entry.messages]
    if not template:
        ids: list[int] = tokenizer(messages[0]["content"])["input_ids"]
        return ids
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))


def reference(folder: Path, requests: Sequence[Request], *, template: bool = True) -> dict[str, str]:
    """What ``model.generate`` answers, greedy, one prompt at a time."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model = reference_model(folder)
    found = {}
    for entry in requests:
        ids = torch.tensor([prompt_ids(tokenizer, entry, template=template)])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=entry.params.max_new_tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.stack(output.logits)[:, 0].topk(2).values
        # Else the computer would decide whether a test passes. Another seed for the model, or other prompts, help.
        assert (best[:, 0] - best[:, 1]).min() > 2e-5 * best.abs().max(), f"a near tie in {entry.id}"
        generated = output.sequences[0, 1 if model.config.is_encoder_decoder else ids.shape[1] :].tolist()
        if generated[-1] in model.generation_config.eos_token_id:
            generated.pop()
        found[entry.id] = tokenizer.decode(generated, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's model, made once for a file of tests."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = save_model(tmp_path_factory.mktemp(name), FAMILIES[name]())
        return made[name]

    return make
