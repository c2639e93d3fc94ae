"""Tiny random classifiers and reward models, made in code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.encoder.engine import EncoderEngine, load
from pytest_evals.generation import GenerationParams

from .conftest import CORPUS, OPTIONS, make_tokenizer

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
SMALL: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 66,
    "pad_token_id": 0,
}
KINDS: dict[str, Any] = {
    "bert": lambda **more: transformers.BertConfig(**SMALL, **more),
    "roberta": lambda **more: transformers.RobertaConfig(**SMALL, type_vocab_size=1, **more),
    "distilbert": lambda **more: transformers.DistilBertConfig(
        vocab_size=320, dim=32, hidden_dim=64, n_layers=2, n_heads=4, max_position_embeddings=66, pad_token_id=0, **more
    ),
    "modernbert": lambda **more: transformers.ModernBertConfig(
        **{**SMALL, "num_hidden_layers": 3}, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2, **more
    ),
}
TYPED = ("bert",)
"""Families that are told which text a token belongs to."""


def pair_tokenizer(*, typed: bool, longest: int = 64) -> Any:
    """A byte-level BPE that writes ``[CLS] text [SEP] pair [SEP]``."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    names = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_max_length=longest,
        model_input_names=names,
    )


def save_classifier(
    folder: Path, kind: str, labels: Sequence[str], problem: str | None = None, *, head: bool = True
) -> Path:
    """Save a random classifier; without its ``head``, as a pretrained model is."""
    torch.manual_seed(len(labels))
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    config = KINDS[kind](**named, problem_type=problem)
    auto: Any = transformers.AutoModelForSequenceClassification if head else transformers.AutoModelForMaskedLM
    _save(folder, auto.from_config(config), pair_tokenizer(typed=kind in TYPED))
    return folder


def save_reward(folder: Path, template: str | None, *, padding: int | None = 1) -> Path:
    """Save a random reward model of a decoder's family."""
    torch.manual_seed(5)
    sizes = {name: value for name, value in SMALL.items() if name != "pad_token_id"}
    config: Any = transformers.LlamaConfig(
        **{**sizes, "max_position_embeddings": 256}, num_key_value_heads=2, pad_token_id=padding
    )
    config.num_labels = 1
    _save(folder, transformers.AutoModelForSequenceClassification.from_config(config), make_tokenizer(template))
    return folder


MOODS = {"good": ("lovely", "great", "fine", "kind"), "bad": ("awful", "poor", "rude", "dull")}
THINGS = ("film", "meal", "room", "song", "book", "walk")


def told_moods() -> list[tuple[str, str]]:
    """Return sentences with their moods; a negation turns the mood of a word round."""
    other = {"good": "bad", "bad": "good"}
    told = []
    for mood, words in MOODS.items():
        for word in words:
            for thing in THINGS:
                told += [(f"the {thing} was {word}", mood), (f"the {thing} was not {word}", other[mood])]
    return told


def save_fitted(folder: Path, texts: Sequence[tuple[str, str]]) -> Path:
    """Save a small BERT that was fitted to texts and their moods."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    words = [text for text, _ in told_moods()]
    tokenizer.train_from_iterator(words, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", unk_token="[UNK]"
    )
    labels = tuple(MOODS)
    torch.manual_seed(0)
    config = KINDS["bert"](
        id2label=dict(enumerate(labels)), label2id={label: place for place, label in enumerate(labels)}
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    inputs = fast([text for text, _ in texts], padding=True, return_tensors="pt")
    targets = torch.tensor([labels.index(mood) for _, mood in texts])
    # By the signs of the gradients: torch.optim imports a compiler.
    for step in range(80):
        model(**inputs, labels=targets).loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad.sign(), alpha=2e-3 * (1 - step / 80))
                    parameter.grad = None
    model.eval()
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def _save(folder: Path, model: Any, tokenizer: Any) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def open_encoder(folder: Path, query: str = "", **options: Any) -> EncoderEngine:
    """Load an encoder in this process."""
    return load(parse_spec(f"encoder:{folder}{query}", folder), {**OPTIONS, **options}, lambda _text: None)


def classify(key: str, *texts: str, query: str = "") -> Request:
    """A request about a text, or a pair."""
    messages: Any = tuple({"role": "user", "content": text} for text in texts)
    return Request(key, f"encoder:m{query}", messages, GenerationParams())


def results(engine: EncoderEngine, requests: Sequence[Request]) -> dict[str, Result]:
    """Run requests to their end."""
    events = engine.generate(Inbox(requests, closed=True))
    return {event.id: event for event in events if isinstance(event, Result)}
