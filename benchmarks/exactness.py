"""Batched completions against ``model.generate`` one prompt at a time, greedy, fp32, on the questions of the gsm8k suite.

    python benchmarks/exactness.py [--rows 200] [--new-tokens 64]

Prints how many texts are identical, the margin between the two likeliest tokens where the first difference is (a tie by rounding is
below about 1e-3), and the wall time of both. One prompt at a time is slow: about a quarter of an hour for 200 rows on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.engine import TransformersEngine, load
from pytest_evals.generation import GenerationParams

DATA = Path(__file__).parent.parent / "example_suites" / "gsm8k" / "gsm8k.jsonl"


def read_requests(rows: int, new_tokens: int) -> list[Request]:
    """Return the first questions as requests."""
    lines = DATA.read_text(encoding="utf-8").splitlines()[:rows]
    params = GenerationParams(max_new_tokens=new_tokens)
    questions = [json.loads(line) for line in lines]
    return [Request(row["id"], "smollm2", ({"role": "user", "content": row["question"]},), params) for row in questions]


def batched(engine: TransformersEngine, requests: list[Request]) -> dict[str, str]:
    """Return the engine's texts."""
    results = engine.generate(Inbox(requests, closed=True))
    return {event.id: event.text for event in results if isinstance(event, Result)}


@torch.inference_mode()
def one_at_a_time(model: Any, tokenizer: Any, requests: list[Request]) -> dict[str, list[int]]:
    """Return the tokens of ``generate``, prompt by prompt."""
    tokens = {}
    for number, request in enumerate(requests, start=1):
        ids = encode(tokenizer, request)
        options = {"do_sample": False, "max_new_tokens": request.params.max_new_tokens}
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), pad_token_id=tokenizer.pad_token_id, **options
        )
        tokens[request.id] = output[0, ids.shape[1] :].tolist()
        if number % 20 == 0:
            print(f"  one at a time: {number}/{len(requests)}", flush=True)
    return tokens


def encode(tokenizer: Any, request: Request) -> torch.Tensor:
    """Return the prompt's token ids, ``[1, length]``."""
    messages = [dict(message) for message in request.messages]
    ids: torch.Tensor = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=False, return_tensors="pt"
    )
    return ids


@torch.inference_mode()
def margin(model: Any, tokenizer: Any, request: Request, expected: list[int], text: str) -> float:
    """Return the distance of the two largest logits at the first token where ``text`` leaves the expected tokens."""
    shared = 0
    while text.startswith(tokenizer.decode(expected[: shared + 1], skip_special_tokens=True)) and shared < len(
        expected
    ):
        shared += 1
    ids = torch.cat([encode(tokenizer, request), torch.tensor([expected[:shared]], dtype=torch.long)], dim=1)
    top = model(ids).logits[0, -1].topk(2).values
    return float(top[0] - top[1])


def main() -> None:
    """Run both and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    requests = read_requests(options.rows, options.new_tokens)
    engine = load(parse_spec("smollm2", DATA.parent), {"device": "cpu", "dtype": "fp32", "batch": "auto"}, print)
    started = time.perf_counter()
    texts = batched(engine, requests)
    fast = time.perf_counter() - started
    print(f"batched: {len(texts)} completions in {fast:.0f} s", flush=True)
    model, tokenizer = engine.model, engine.tokenizer
    started = time.perf_counter()
    expected = one_at_a_time(model, tokenizer, requests)
    slow = time.perf_counter() - started
    decoded = {key: tokenizer.decode(ids, skip_special_tokens=True) for key, ids in expected.items()}
    different = [request for request in requests if decoded[request.id] != texts[request.id]]
    print(f"one at a time: {slow:.0f} s, {slow / fast:.1f} times as long")
    print(f"identical texts: {len(requests) - len(different)} of {len(requests)}")
    for request in different:
        print(
            f"  {request.id}: margin {margin(model, tokenizer, request, expected[request.id], texts[request.id]):.2e}"
        )


if __name__ == "__main__":
    main()
