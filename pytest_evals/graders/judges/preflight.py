"""A golden set that a judge must agree with before anything is generated: a judge that cannot do its job stops the run."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.case import Case
from pytest_evals.completion import Completion, Message
from pytest_evals.datasets.loading import load
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.fixtures.declaration import PreflightResult
from pytest_evals.hashing import row_id
from pytest_evals.questions.scales import Scale
from pytest_evals.suites.conversation import check_messages
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pytest_evals.runner.model import Model


class Preflight:
    """A golden set that a judge must agree with before anything is generated. If it does not, the run stops.

    Args:
        data: A path relative to the calling file, or rows, as for `cases`. A row has a ``completion``, people's label, ``messages`` or
            ``prompt`` for the question, and the fields that the judge's templates name.
        label: The field with people's labels, on the judge's scale.
        agreement: The share of rows on which judge and people must agree, above 0 and up to 1.

    Raises:
        SuiteError: ``label`` or ``agreement`` is wrong.
    """

    def __init__(self, data: object, *, label: str = "label", agreement: float = 0.8) -> None:
        frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's file
        self.base = Path(frame.f_code.co_filename).parent
        self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        if isinstance(agreement, bool) or not isinstance(agreement, (int, float)) or not 0 < agreement <= 1:
            raise SuiteError(f"Preflight: agreement must be a share above 0 and up to 1, not {agreement!r}")
        if not isinstance(label, str) or not label:
            raise SuiteError(f"Preflight: label must be the name of a field, not {label!r}")
        self.data = data
        self.label = label
        self.agreement = agreement


@dataclass(frozen=True, slots=True)
class Golden:
    """One row of a golden set, ready to be judged; ``worth`` is what people's label is worth, `None` for nothing to judge."""

    case: Case
    completion: Completion
    worth: float | None


class JudgePreflight:
    """The preflight of one judge. ``judged`` is the judge's function, ``settings`` and ``check`` those of its fixture."""

    def __init__(
        self,
        preflight: Preflight,
        scale: Scale,
        judged: Callable[..., Any],
        settings: Mapping[str, str],
        check: Callable[[Mapping[str, Any]], object],
    ) -> None:
        self._preflight = preflight
        self._scale = scale
        self._judged = judged
        self._settings = settings
        self._check = check
        self._rows: tuple[Golden, ...] | None = None

    def rows(self) -> Sequence[Golden]:
        """Return the golden set. Raises an `EvalsError` that says what is wrong with it, and where."""
        if self._rows is None:
            preflight = self._preflight
            try:
                dataset = load(preflight.data, preflight.base)
                found = zip(dataset.rows, dataset.places, strict=True)
                self._rows = tuple(self._golden(row, place) for row, place in found)
            except EvalsError as error:
                raise type(error)(f"{preflight.place}: preflight: {error}") from error
        return self._rows

    def _golden(self, row: Mapping[str, Any], place: str) -> Golden:
        try:
            text, label = row.get("completion"), row.get(self._preflight.label)
            if not isinstance(text, str):
                raise SuiteError("the field 'completion' must be the text that people judged")
            if label is None:
                raise SuiteError(f"no label in the field {self._preflight.label!r} (fields: {', '.join(row)})")
            case = Case(row_id(row, None), row, files={}, metadata=row.get("metadata") or {}, place=place)
            self._check(render(dict(self._settings), case.scope))
            messages: list[Message] = [*_question(row), {"role": "assistant", "content": text}]
            completion = Completion(text, tuple(messages), "recorded", model="recorded")
            return Golden(case, completion, self._scale.read(label))
        except EvalsError as error:
            raise type(error)(f"{place}: {error}") from error

    async def run(self, grader: str, judge_for: Callable[[str], Model]) -> PreflightResult:
        """Have all rows judged, at the same time; ``judge_for`` gives the judge for a row, by its id."""
        rows = self.rows()
        differences = await asyncio.gather(*(self._difference(row, judge_for(row.case.id)) for row in rows))
        wrong = [difference for difference in differences if difference is not None]
        return PreflightResult(grader, len(rows) - len(wrong), len(rows), self._preflight.agreement, tuple(wrong[:3]))

    async def _difference(self, row: Golden, judge: Model) -> str | None:
        """Return where judge and people differ, `None` where they agree. A judge without a verdict does not agree."""
        grade = await self._judged(case=row.case, judge=judge, completion=row.completion)
        people = "nothing to judge" if row.worth is None else f"{row.worth:g}"
        if grade.status == "error":
            return one_line(f"{row.case.place}: people {people}, the judge nothing: {grade.reasoning}", 200)
        said = None if grade.value is None else _nearest(grade.value, self._scale.categories)
        if said == (None if row.worth is None else _nearest(row.worth, self._scale.categories)):
            return None
        judged = "nothing to judge" if said is None else f"{said:g}"
        return one_line(f"{row.case.place}: people {people}, the judge {judged}", 200)


def _nearest(value: float, categories: Sequence[float]) -> float:
    return min(categories, key=lambda category: (abs(category - value), category))


def _question(row: Mapping[str, Any]) -> list[Message]:
    if "messages" in row:
        return check_messages(row["messages"])
    prompt = row.get("prompt")
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) and prompt else []
