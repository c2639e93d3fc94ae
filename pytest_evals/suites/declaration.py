"""``cases(...)``: the mark that turns a test function into an eval."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.tools import ToolFunction

MARK = "evals"


@dataclass(frozen=True, slots=True, eq=False)
class EvalDeclaration:
    """What a suite's author wrote, and where. Checked when the suite is collected; compared by identity."""

    data: object
    prompt: str | None
    messages: str | Sequence[Mapping[str, Any]] | None
    system: str | None
    model: str | Sequence[str] | None
    generation: Mapping[str, Any] | None
    id: str | None
    name: str | None
    limit: int | None
    repeat: int | None
    cluster: str | None
    label: str | Mapping[str, str] | None
    gates: Sequence[str]
    tags: Sequence[str]
    files: Sequence[Mapping[str, str]] | None
    images: str | Sequence[str] | None
    metadata: Mapping[str, Any] | None
    tools: str | Sequence[Mapping[str, Any] | ToolFunction | str] | None
    fewshot: Mapping[str, Any] | None
    skip: str | Mapping[str, str] | None
    path: Path
    line: int

    @property
    def place(self) -> str:
        """``file:line`` of the declaration, for errors."""
        return f"{self.path.name}:{self.line}"


def cases(
    data: object,
    *,
    prompt: str | None = None,
    messages: str | Sequence[Mapping[str, Any]] | None = None,
    system: str | None = None,
    model: str | Sequence[str] | None = None,
    generation: Mapping[str, Any] | None = None,
    id: str | None = None,  # noqa: A002 - the name that users know from their data
    name: str | None = None,
    limit: int | None = None,
    repeat: int | None = None,
    cluster: str | None = None,
    label: str | Mapping[str, str] | None = None,
    gates: str | Sequence[str] = (),
    tags: str | Sequence[str] = (),
    files: Sequence[Mapping[str, str]] | None = None,
    images: str | Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tools: str | Sequence[Mapping[str, Any] | ToolFunction | str] | None = None,
    fewshot: Mapping[str, Any] | None = None,
    skip: str | Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Make a test function (or every test of a class or module) an eval with one case a row of ``data``.

    Args:
        data: A path relative to the test file (``.jsonl .json .csv .tsv .xlsx .parquet .yaml``, each also ``.gz``), a list of
            dicts, a function that returns one, or a Hugging Face dataset.
        prompt: Template of the user's message, as ``"What is the capital of {{item.country}}?"``.
        messages: Template of the whole conversation: a list of ``{"role", "content"}``, or a locator of such a list.
            With neither ``prompt`` nor ``messages``, each row's own ``messages`` field is the conversation.
        system: Template of the system message; it replaces one that the conversation brings.
        model: The model (or models) of this suite, unless ``--evals-model`` says otherwise.
        generation: Generation parameters by name, as ``{"max_new_tokens": 64, "temperature": 0.7}``; templates are allowed.
        id: The field that identifies a row; by default a short hash of its content.
        name: The suite's name; by default the test function's.
        limit: Use only the first rows.
        repeat: How often to run each case, each time with a seed of its own, unless ``--evals-repeat`` says otherwise.
        cluster: The field that tells which rows belong together, as ``"document_id"`` for questions about the same
            document: intervals and comparisons then count documents, not questions.
        label: The field that holds what people think of the recorded answer, on the scale of the test's judge, or a mapping
            of graders to such fields: the score card says how far judge and people agree.
        gates: What the scores must meet, as ``"exact.mean >= 0.8"``.
        tags: One label of the suite or several, kept in the artifact.
        files: Files of the rows, one mapping of name to path a row, in the order of ``data``.
        images: What the user's message shows before its text: a locator of an image or of a list of them (``"item.photo"``,
            ``"item.files.photo"``), or a list of locators. Parts of messages that say ``{"type": "image"}`` and name none are
            filled with them in their order.
        metadata: Values for ``case.metadata``, the same for every case.
        tools: Functions that the model may call: JSON schemas, or Python functions with annotations and a docstring, which are
            made into schemas; or a locator of a row's own, as ``"item.tools"``.
        fewshot: Examples before each question, as ``{"data": "train.jsonl", "k": 5, "answer": "{{item.answer}}"}``: the first ``k``
            rows of ``data`` (without it, of this suite's own rows, never the case's own), or with ``seed`` rows that it draws.
            ``style`` is ``turns`` (the default) or ``text``, with ``delimiter`` between examples (an empty line) and
            ``target_delimiter`` before an answer (a space). The questions are asked by ``prompt``.
        skip: An expression over the row, as ``"item.status == 'draft'"``: the cases for which it is true are skipped. A text that it
            gives is the reason, as of ``"item.skip"``; a mapping of expressions to reasons has several.

    A row with a ``completion`` field is graded as it is: no model is asked.
    """
    if isinstance(data, type) or (isinstance(data, FunctionType) and data.__name__.startswith("test")):
        raise SuiteError(
            f"@cases is above {data.__name__} without data; write @cases(data, ...), as @cases('data.jsonl', prompt=...)"
        )
    if isinstance(gates, Mapping):
        written = ", ".join(f"'{grader}.mean >= {bound}'" for grader, bound in gates.items())
        raise SuiteError(f"gates are expressions, not a mapping of graders to numbers: write gates=[{written}]")
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's line
    declaration = EvalDeclaration(
        data=data,
        prompt=prompt,
        messages=messages,
        system=system,
        model=model,
        generation=generation,
        id=id,
        name=name,
        limit=limit,
        repeat=repeat,
        cluster=cluster,
        label=label,
        gates=(gates,) if isinstance(gates, str) else tuple(gates),
        tags=(tags,) if isinstance(tags, str) else tuple(tags),
        files=files,
        images=images,
        metadata=metadata,
        tools=tools,
        fewshot=fewshot,
        skip=skip,
        path=Path(frame.f_code.co_filename),
        line=frame.f_lineno,
    )
    mark: pytest.MarkDecorator = getattr(pytest.mark, MARK)
    return mark.with_args(declaration)
