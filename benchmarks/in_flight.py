"""A model that keeps a state, in flight and in batches of ``generate``: ``python -m benchmarks.in_flight [--type NAME] [--rows N]``.

Prompts of many lengths below a common beginning, answers of many lengths. Texts must be the same; the table has seconds and forwards.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from benchmarks.architecture_trial import SCALE
from benchmarks.tiny_models import config_class_of, make_tokenizer, shrunk
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.engine import load
from pytest_evals.generation import GenerationParams

PREFIX = "You answer questions about countries in one short sentence. France: its capital is Paris. " * 4
REQUESTS = 96
WIDTH = 256


def main() -> None:
    """Run both ways and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--type", default="qwen3_next", help="a type of causal model")
    parser.add_argument("--rows", default="16", help="rows of a batch")
    arguments = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    with tempfile.TemporaryDirectory() as place:
        folder = _model(arguments.type, Path(place))
        found = {}
        for label, query in (("generate", "?loop=generate"), ("in flight", "")):
            seconds, usage, texts, note = _run(folder, query, arguments.rows)
            found[label] = texts
            sys.stdout.write(
                f"{label:10} {seconds:6.1f} s  {usage['forwards']:5} forwards  {usage['prompt_tokens']:6} prompt tokens  "
                f"{usage['generated_tokens'] / seconds:6.1f} tokens/s  {note}\n"
            )
        same = sum(found["generate"][key] == text for key, text in found["in flight"].items())
        sys.stdout.write(f"{same} of {REQUESTS} texts are the same\n")
    sys.exit(same != REQUESTS)


def _model(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    config = shrunk(config_class_of(name), hidden_size=WIDTH, intermediate_size=2 * WIDTH)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() > 1 and "conv" not in key:
                parameter.mul_(SCALE)
    model.generation_config.eos_token_id = [1]
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def _requests() -> list[Request]:
    return [
        Request(
            str(number),
            "m",
            ({"role": "user", "content": f"{PREFIX}{'and so on ' * (number % 7)}{number * 7919}:"},),
            GenerationParams(max_new_tokens=4 + 13 * number % 60),
        )
        for number in range(REQUESTS)
    ]


def _run(folder: Path, query: str, rows: str) -> tuple[float, dict[str, Any], dict[str, str], str]:
    options = {"device": "cpu", "dtype": "fp32", "batch": rows}
    engine = load(parse_spec(f"{folder}{query}", folder), options, lambda _text: None)
    started = time.perf_counter()
    results = [event for event in engine.generate(Inbox(_requests(), closed=True)) if isinstance(event, Result)]
    seconds = time.perf_counter() - started
    texts = {result.id: result.answer.text for result in results if result.answer is not None}
    return seconds, engine._meter.snapshot(), texts, " | ".join(engine.info.notes)  # noqa: SLF001 - what it counts is sent to the session


if __name__ == "__main__":
    main()
