"""A model of transformers as ``from_pretrained`` gives it, for the contenders that use it directly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from benchmarks.job import Answer, Job, Row


@dataclass(frozen=True, slots=True)
class Plain:
    """A loaded model; ``ends`` are the ids that end a completion, ``pad`` fills what is not looked at."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    pad: int


def load_plain(job: Job) -> Plain:
    """Load model and tokenizer."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[job.dtype]
    tokenizer = transformers.AutoTokenizer.from_pretrained(job.model)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype)
    model.eval()
    ends = model.generation_config.eos_token_id
    ends = frozenset(ends if isinstance(ends, list) else [ends])
    return Plain(model, tokenizer, ends, model.generation_config.pad_token_id)


def encode(tokenizer: Any, row: Row) -> list[int]:
    """Return the token ids of the row's conversation, ready for the answer."""
    messages = [dict(message) for message in row.messages]
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return ids


def make_answer(tokenizer: Any, ends: frozenset[int], row: Row, generated: Sequence[int]) -> Answer:
    """Return the answer in ``generated``: up to the row's limit, and up to the first token that ends it."""
    tokens = list(generated)[: row.max_new_tokens]
    end = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    tokens = tokens[: end + 1]
    return Answer(row.id, tokenizer.decode(tokens, skip_special_tokens=True), tuple(tokens), len(tokens))


def pad(sequences: Sequence[Sequence[int]], fill: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sequences as one tensor, padded to the longest, and the mask that tells what is real."""
    width = max(len(ids) for ids in sequences)
    ids = torch.full((len(sequences), width), fill)
    mask = torch.zeros_like(ids)
    for number, sequence in enumerate(sequences):
        place = slice(width - len(sequence), width) if left else slice(0, len(sequence))
        ids[number, place] = torch.tensor(sequence)
        mask[number, place] = 1
    return ids, mask


def batches(rows: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Cut ``rows`` into groups of ``size``."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
