"""What is measured: five workloads, always the same rows in the same order."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Row
from benchmarks.questions import short_questions

ROOT = Path(__file__).resolve().parent.parent
_GSM8K = ROOT / "example_suites" / "gsm8k" / "gsm8k.jsonl"
_SHOTS = slice(144, 152)
_CALCULATION = re.compile(r"<<.*?>>")
"""The data set's notes for a calculator, as ``<<48/2=24>>``."""
_SEED = 7


@dataclass(frozen=True, slots=True)
class Workload:
    """Rows with a name. All are to be completed, or all are to be scored. ``limited``: there are more of them."""

    name: str
    title: str
    rows: tuple[Row, ...]
    limited: bool = False

    @property
    def scored(self) -> bool:
        """Tell whether choices are scored instead of completions generated."""
        return bool(self.rows[0].choices)

    @property
    def alike(self) -> int:
        """How many rows at most have the same limit of new tokens."""
        return max(Counter(row.max_new_tokens for row in self.rows).values())


def make_workload(name: str, rows: int | None = None) -> Workload:
    """Return the workload ``name`` (one of `NAMES`), with its first ``rows`` rows only where that is given."""
    title, count, make = _WORKLOADS[name]
    made = tuple(make(count))
    return Workload(name, title, made[:rows], limited=rows is not None and rows < len(made))


def short_answers(count: int) -> list[Row]:
    """Return ``count`` distinct short questions, to be answered in at most 8 tokens."""
    return [_ask(f"short-{n:04}", question, 8) for n, question in enumerate(short_questions(count))]


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in _GSM8K.read_text(encoding="utf-8").splitlines()]


def _ask(key: str, question: str, max_new_tokens: int, *before: dict[str, str]) -> Row:
    return Row(key, (*before, {"role": "user", "content": question}), max_new_tokens)


def _questions(count: int) -> list[Row]:
    return [_ask(row["id"], row["question"], 96) for row in _read()[:count]]


def _few_shot(count: int) -> list[Row]:
    """Eight worked examples, of questions that are not asked, open every conversation."""
    rows = _read()
    shots = "\n\n".join(
        f"Question: {row['question']}\nAnswer: {_CALCULATION.sub('', row['solution'])}" for row in rows[_SHOTS]
    )
    system = {"role": "system", "content": f"Solve the problem as in these examples.\n\n{shots}"}
    return [_ask(row["id"], row["question"], 96, system) for row in rows[:count]]


def _choices(count: int) -> list[Row]:
    """The right number among three wrong ones: close by, a multiple, and one of another question."""
    rows = _read()
    chosen = []
    for number, row in enumerate(rows[:count]):
        draw = random.Random(f"{_SEED}-{number}")
        right = int(row["answer"])
        numbers = [right, right + draw.randint(1, 5), right * 2 + 10, int(rows[number - 1]["answer"])]
        while len(set(numbers)) < len(numbers):
            numbers[-1] += 1
        draw.shuffle(numbers)
        context = f"Question: {row['question']}\nAnswer: The answer is"
        chosen.append(Row(row["id"], context=context, choices=tuple(f" {n}" for n in numbers), answer=f" {right}"))
    return chosen


def _long_tail(count: int) -> list[Row]:
    """Limits of 8 to 512 tokens with a mean of 80: the quantiles of a Pareto distribution, shuffled."""
    limits = [round(8 / (1 - 0.75 * (n + 0.5) / count) ** 3) for n in range(count)]
    random.Random(_SEED).shuffle(limits)
    return [_ask(row["id"], row["question"], limit) for row, limit in zip(_read()[:count], limits, strict=True)]


_WORKLOADS: dict[str, tuple[str, int, Callable[[int], list[Row]]]] = {
    "W1": ("64 GSM8K questions, 96 new tokens", 64, _questions),
    "W2": ("the same questions after eight worked examples that all share, 96 new tokens", 64, _few_shot),
    "W3": ("500 short questions, 8 new tokens", 500, short_answers),
    "W4": ("200 choices among four, by log-likelihood", 200, _choices),
    "W5": ("128 GSM8K questions, 8 to 512 new tokens each (mean 80)", 128, _long_tail),
}
NAMES = tuple(_WORKLOADS)
