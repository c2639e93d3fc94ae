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
    """Make a test function, or every test of a class or module, an eval with one case per row of ``data``.

    A row with a field ``completion`` is graded as it is: no model is asked.

    Args:
        data: A path relative to the test file (``.jsonl .json .csv .tsv .xlsx .parquet .yaml``, each also ``.gz``), a list of dicts, a
            function that returns one, a Hugging Face dataset, or a pandas frame.
        prompt: Template of the user's message, such as ``"What is the capital of {{item.country}}?"``.
        messages: Template of the whole conversation, a list of ``{"role", "content"}``, or a locator of one. With neither ``prompt`` nor
            ``messages``, each row's field ``messages`` is the conversation.
        system: Template of the system message; it replaces one of the conversation.
        model: The suite's model, or a list of models, unless ``--evals-model`` names others.
        generation: Generation parameters by name, such as ``{"max_new_tokens": 64, "temperature": 0.7}``; values may be templates.
        id: The field that identifies a row; by default a short hash of its content.
        name: The suite's name; by default the test function's.
        limit: Use only the first rows.
        repeat: How many times each case runs, each with its own seed, unless ``--evals-repeat`` says otherwise.
        cluster: The field that says which rows belong together, such as ``"document_id"``. Intervals and comparisons then count documents.
        label: The field with people's labels of the recorded answer, on the scale of the test's judge; or a mapping of graders to
            fields. The score card then says how far judge and people agree.
        gates: What the scores must meet, such as ``"exact.mean >= 0.8"``: an expression or a list.
        tags: A label of the suite, or a list, for the artifact.
        files: Files of the rows: a list, in the order of ``data``, with a mapping of names to paths for each.
        images: What the user's message shows before its text: a locator of an image or of a list of images, such as ``"item.photo"``, or
            a list of locators. They fill parts ``{"type": "image"}`` of messages that name none, in their order.
        metadata: Values for ``case.metadata``, the same for every case.
        tools: Functions that the model may call: JSON schemas, or Python functions with annotations and a docstring; or a locator.
        fewshot: Examples before each question, such as ``{"data": "train.jsonl", "k": 5, "answer": "{{item.answer}}"}``: the first ``k`` rows
            of ``data`` (by default of the suite itself, without the case's own row), or with ``seed`` random ones. ``style`` is ``turns``
            (the default) or ``text``, with ``delimiter`` between examples (an empty line) and ``target_delimiter`` before an answer (a
            space). ``prompt`` asks the questions.
        skip: An expression over the row, such as ``"item.status == 'draft'"``. Cases for which it is true are skipped; a text that it gives
            is the reason. Or a mapping of expressions to reasons.

    Returns:
        A pytest mark.

    Raises:
        SuiteError: An argument is wrong. Mistakes that depend on the rows are collection errors.
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
