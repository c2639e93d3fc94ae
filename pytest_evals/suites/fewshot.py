"""Examples before the question of a case, from other rows: ``cases(fewshot=...)``."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_evals.case import Case
from pytest_evals.completion import Message
from pytest_evals.datasets.loading import load
from pytest_evals.datasets.rows import Dataset, Row
from pytest_evals.errors import EvalsError, SuiteError, did_you_mean
from pytest_evals.templates.rendering import render_text

_KEYS = ("data", "k", "answer", "seed", "style", "delimiter", "target_delimiter")


@dataclass(frozen=True)
class FewShot:
    """The examples of a suite, checked. ``own`` tells that they come from the rows of the suite itself: a case is then never an
    example for itself. ``style`` is ``turns`` (a turn of the user and one of the assistant for each) or ``text`` (all of them in
    front of the question, as lm-evaluation-harness writes them).
    """

    dataset: Dataset
    own: bool
    k: int
    prompt: str
    answer: str
    seed: int | None
    style: str
    delimiter: str
    target_delimiter: str

    @cached_property
    def _candidates(self) -> list[tuple[Row, tuple[str, str]]]:
        """The rows that may be examples, each with its question and answer: one more than needed where one may be the case's own."""
        rows = list(self.dataset.rows)
        if self.seed is not None:
            random.Random(self.seed).shuffle(rows)  # noqa: S311 - a draw that anyone can repeat, not a secret
        scopes = [(row, {"item": row}) for row in rows[: self.k + self.own]]
        return [(row, (render_text(self.prompt, scope), render_text(self.answer, scope))) for row, scope in scopes]

    def examples_for(self, case: Case) -> list[tuple[str, str]]:
        """Return question and answer of each example, rendered. Raises `TemplateError` for a row without a field that is named."""
        return [example for row, example in self._candidates if not (self.own and dict(row) == dict(case))][: self.k]

    def put_before(self, question: str, case: Case) -> list[Message]:
        """Return the conversation that asks ``question`` after the examples."""
        examples = self.examples_for(case)
        if self.style == "text":
            shown = [f"{asked}{self.target_delimiter}{answered}" for asked, answered in examples]
            return [{"role": "user", "content": self.delimiter.join([*shown, question])}]
        turns: list[Message] = []
        for asked, answered in examples:
            turns += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return [*turns, {"role": "user", "content": question}]


def read_fewshot(value: object, prompt: str | None, dataset: Dataset, base: Path) -> FewShot | None:
    """Return the examples that ``fewshot=`` describes, `None` where it is not given.

    Raises `SuiteError` for a mapping of another shape, and an `EvalsError` for rows that cannot be read.
    """
    if value is None:
        return None
    written = _mapping(value)
    if prompt is None:
        raise SuiteError("fewshot= needs prompt=, which also asks the questions of the examples")
    answer, k, seed = written.get("answer"), written.get("k", 5), written.get("seed")
    if not isinstance(answer, str):
        raise SuiteError("fewshot: 'answer' is the template of an example's answer, as '{{item.answer}}'")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise SuiteError(f"fewshot: 'k' is the number of examples, at least 1, not {k!r}")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise SuiteError(f"fewshot: 'seed' is a whole number, or left out for the first k rows, not {seed!r}")
    style = written.get("style", "turns")
    if style not in ("turns", "text"):
        raise SuiteError(f"fewshot: 'style' is 'turns' or 'text', not {style!r}")
    delimiters = [written.get("delimiter", "\n\n"), written.get("target_delimiter", " ")]
    if not all(isinstance(each, str) for each in delimiters):
        raise SuiteError("fewshot: 'delimiter' and 'target_delimiter' are texts")
    own = "data" not in written
    try:
        rows = dataset if own else load(written["data"], base)
    except EvalsError as error:
        raise type(error)(f"fewshot: {error}") from error
    if len(rows.rows) < k + own:
        besides = " besides the case's own" if own else ""
        raise SuiteError(f"fewshot: {rows.key} has {len(rows.rows)} rows, and {k} examples{besides} are asked for")
    return FewShot(rows, own, k, prompt, answer, seed, style, *delimiters)


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SuiteError(
            f"fewshot is a mapping, as {{'data': 'train.jsonl', 'k': 5, 'answer': '{{{{item.answer}}}}'}}, not {type(value).__name__}"
        )
    for key in value:
        if key not in _KEYS:
            raise SuiteError(f"fewshot: unknown key {key!r} (known: {', '.join(_KEYS)}){did_you_mean(str(key), _KEYS)}")
    return value
