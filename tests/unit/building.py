"""What several tests of this shelf are made of."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import text_of
from pytest_evals.errors import EvalsError
from pytest_evals.scores.records import CaseRecord, GradeRecord, Outcome
from pytest_evals.suites.declaration import EvalDeclaration, cases
from pytest_evals.suites.suite import Prepared, Suite, build_suite

_NUMBERS = itertools.count(1)
ROWS = [
    {"country": "France", "capital": "Paris", "level": "easy"},
    {"country": "Chad", "capital": "N'Djamena", "level": "hard"},
]
PROMPT = "Capital of {{item.country}}?"


def declare(data: object, **arguments: Any) -> EvalDeclaration:
    """Return what ``@cases(...)`` keeps of its arguments."""
    declaration = cases(data, **arguments).mark.args[0]
    assert isinstance(declaration, EvalDeclaration)
    return declaration


def suite_of(data: object, base: Path = Path(), option_limit: int | None = None, **arguments: Any) -> Suite:
    """Return the suite that ``@cases(data, **arguments)`` declares; ``option_limit`` is that of ``--evals-limit``."""
    return build_suite(declare(data, **arguments), base, option_limit)


def refusal(kind: type[EvalsError], data: object = ROWS, **arguments: Any) -> str:
    """Return what the error says with which the suite is refused that ``@cases(data, **arguments)`` declares."""
    with pytest.raises(kind) as caught:
        suite_of(data, **arguments)
    assert type(caught.value) is kind
    return str(caught.value)


def first(data: object = ROWS, **arguments: Any) -> Prepared:
    """Return the first case of the suite."""
    return next(iter(suite_of(data, **arguments).cases.values()))


def talk(prepared: Prepared) -> list[tuple[str, str]]:
    """Return the conversation of a case: who says what."""
    return [(message["role"], text_of(message)) for message in prepared.prompt]


def grade_record(
    value: float | None,
    grader: str = "exact",
    passed: bool | None = None,
    status: str = "graded",
    bounds: tuple[float, float] | None = None,
) -> GradeRecord:
    """Return the record of one grade."""
    return GradeRecord(grader, value, passed, status, bounds=bounds)


def case_record(
    *grades: GradeRecord,
    suite: str = "capitals",
    model: str = "smollm2",
    case_id: str | None = None,
    outcome: Outcome = "passed",
    finish_reason: str | None = "stop",
    repeat: int = 1,
    content: Mapping[str, str] | None = None,
    cluster: str | None = None,
    tokens: int | None = None,
    latency: float | None = None,
    **fields: Any,
) -> CaseRecord:
    """Return the record of one finished case, of its own unless it has an id; ``fields`` are those of its row."""
    case_id = case_id or f"c{next(_NUMBERS)}"
    measured: dict[str, Any] = {"cluster": cluster, "tokens": tokens, "latency": latency}
    return CaseRecord(suite, model, case_id, outcome, grades, fields, finish_reason, repeat, content or {}, **measured)


def model_folder(folder: Path, *, without: str = "", **config: Any) -> Path:
    """Make a folder that looks like a saved model; ``without`` names a file to leave out."""
    folder.mkdir(parents=True)
    files = {
        "config.json": json.dumps(config),
        "model.safetensors": "\x02\0\0\0\0\0\0\0{}",
        "tokenizer.json": "{}",
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}),
    }
    for name, text in files.items():
        if name != without:
            (folder / name).write_text(text, encoding="utf-8")
    return folder
