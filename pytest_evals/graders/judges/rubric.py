"""A judge with several weighted criteria: one grade for each, and their weighted mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.completion import Message
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.asking import Reply, ask, together
from pytest_evals.graders.judges.decisions import (
    AMBIGUOUS,
    LONG,
    Ballot,
    Decision,
    decide_by_label,
    judges_of,
    mark_for,
)
from pytest_evals.graders.judges.grader import Scene, check_text, judge_fixture, messages_of
from pytest_evals.graders.judges.labels import check_band, verdict
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.prompts import described
from pytest_evals.graders.judges.questions import (
    MEANINGS,
    PASS_FAIL,
    PASS_FAIL_NA,
    JudgeQuestion,
    Verdicts,
    asked_labels,
    criterion_verdicts,
    opening_of,
    question_for,
    question_verdicts,
    templates_of,
    told,
)
from pytest_evals.graders.judges.reading.quotation import NOTHING, Material
from pytest_evals.graders.judges.reading.sheet import read_sheet
from pytest_evals.questions.question import Question

if TYPE_CHECKING:
    from pytest_evals.grades import Grade
    from pytest_evals.runner.model import Model

_TOKENS_A_CRITERION = 16


def rubric(
    criteria: Mapping[Any, Any] | Sequence[str | Question] | Question,
    *,
    calls: Literal["one", "each"] = "each",
    **common: Any,
) -> Fixture:
    """See `Judge.rubric`."""
    kind = "judge.rubric"
    rows = check_criteria(criteria)
    if calls not in ("one", "each"):
        raise SuiteError(f"{kind}: calls must be 'one' or 'each', not {calls!r}")
    options = read_options(kind, common, how="majority", refused=("examples",))
    if calls == "one" and options.reasoning:
        raise SuiteError(f"{kind}: a judge that reasons does so for each criterion; use calls='each'")
    if calls == "one" and options.by == "probability":
        raise SuiteError(f"{kind}: by='probability' weighs the verdicts of each criterion; use calls='each'")
    check_band(options, PASS_FAIL)
    behind = [row.asked(options) for row in rows]

    async def run(scene: Scene) -> Any:
        decisions = await (_in_one_call if calls == "one" else _one_call_each)(scene, rows)
        noted = [
            decision if asked is None else asked.noted(decision)
            for asked, decision in zip(behind, decisions, strict=True)
        ]
        return grades_of(rows, noted, options.threshold)

    templates = {name: template for row in rows for name, template in row.templates().items()}
    return judge_fixture(options, run, templates, bounds=(0, 1), doc=f"A judge with {len(rows)} criteria.")


def grades_of(rows: Sequence[Criterion], decisions: Sequence[Decision], threshold: float | None) -> dict[str, Grade]:
    """Return a grade for each criterion, and under ``""`` the weighted mean of those that apply; an error stays an error."""
    from pytest_evals.grades import Grade

    found = {row.name: decision.grade() for row, decision in zip(rows, decisions, strict=True)}
    reasons = "; ".join(f"{name} {_shown(grade)}" for name, grade in found.items())
    broken = [name for name, grade in found.items() if grade.status == "error"]
    applying = [
        (row.weight, grade.value or 0.0) for row in rows for grade in [found[row.name]] if grade.status == "graded"
    ]
    if broken:
        total = Grade(None, "", f"no verdict on {', '.join(broken)}; {reasons}", status="error")
    elif not applying:
        total = Grade(None, "", "no criterion applies", status="not_applicable")
    else:
        weight = math.fsum(weight for weight, _ in applying)
        value = math.fsum(weight * value for weight, value in applying) / weight
        total = Grade(value, "", reasons, None if threshold is None else value >= threshold)
    return {"": total, **found}


def _shown(grade: Grade) -> str:
    return f"{grade.value:g}" if grade.value is not None else str(grade.status).replace("_", " ")


async def _one_call_each(scene: Scene, rows: Sequence[Criterion]) -> list[Decision]:
    asked = []
    # The threshold is that of the whole rubric.
    scene = replace(scene, options=replace(scene.options, threshold=None))
    for row in rows:
        opening, request = opening_of(row.question)
        verdicts = row.verdicts
        head = f"{opening}{row.told(scene)}\n{described(verdicts.meanings)}"
        asked.append(verdict(scene, head, request, verdicts.labels))
    return await together(asked)


async def _in_one_call(scene: Scene, rows: Sequence[Criterion]) -> list[Decision]:
    names = [row.name for row in rows]
    listing = "\n".join(row.listed(scene) for row in rows)
    head = f"Judge one answer by several criteria, each on its own.\n{described(MEANINGS)}\nCriteria:\n{listing}"
    pattern = json.dumps(dict.fromkeys(names, "PASS, FAIL or NA"))
    tail = f"Reply with one JSON object and nothing else, with a verdict for each criterion: {pattern}"
    messages = messages_of(scene, head, tail)
    models = [model for model in judges_of(scene.judge, scene.options) for _ in range(scene.options.votes)]
    sheets = await together(_one_sheet(model, scene.options, rows, messages, scene.material()) for model in models)
    return [decide_by_label([sheet[row.name] for sheet in sheets], row.verdicts.labels, scene.options) for row in rows]


async def _one_sheet(
    model: Model, options: Options, rows: Sequence[Criterion], messages: Sequence[Message], material: Material
) -> dict[str, Ballot]:
    """Return a ballot for each criterion, of one reply."""
    offered = {row.name: list(row.verdicts.labels) for row in rows}

    def read(reply: Reply) -> tuple[Mapping[str, str] | None, str | None]:
        sheet = read_sheet(reply.text, offered, NOTHING if reply.held else material)
        return (None, sheet.problem) if sheet.problem else (sheet.verdicts, None)

    answered = await ask(
        model,
        messages,
        read,
        guide={"json_schema": _schema(offered)},
        generation=options.sampling(LONG + _TOKENS_A_CRITERION * len(rows)),
        remind=lambda reply: _reminder(reply, offered, material),
        guided_first=options.votes == 1,
    )
    if answered.value is None:
        lost = Ballot(model.name, None, problem=answered.problem, replies=answered.replies)
        return dict.fromkeys(offered, lost)
    verdicts = {name: (label, PASS_FAIL_NA[label]) for name, label in answered.value.items()}
    return {name: Ballot(model.name, None if v is None else float(v), label) for name, (label, v) in verdicts.items()}


def _reminder(reply: str, offered: Mapping[str, Sequence[str]], material: Material) -> str:
    if not read_sheet(reply, offered, material).from_material:
        names = ", ".join(offered)
        return f"I could not read that. Reply with one JSON object that has {names}, each PASS, FAIL or NA."
    mark = mark_for(material)
    lines = "\n".join(f"{name} {mark}: {' or '.join(labels)}" for name, labels in offered.items())
    return f"{AMBIGUOUS} Reply with these lines and nothing else, each with one verdict:\n{lines}"


def _schema(offered: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "enum": list(labels)} for name, labels in offered.items()},
        "required": list(offered),
        "additionalProperties": False,
    }


# -- The lines of a rubric: what an author writes -> criteria with their names, weights and verdicts.

_KIND = "judge.rubric"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric; of a ``question`` its text is the criterion."""

    name: str
    text: str
    weight: float
    question: Question | None = None

    @property
    def verdicts(self) -> Verdicts:
        """The replies on offer."""
        return criterion_verdicts() if self.question is None else question_verdicts(_KIND, self.question)

    def asked(self, options: Options) -> JudgeQuestion | None:
        """Return the question that the verdict answers, where others may answer it too."""
        return asked_labels(self.question, self.text, self.verdicts.labels, self.verdicts.choices, options)

    def told(self, scene: Scene) -> str:
        """Return the criterion as the judge is told it."""
        return scene.render(self.text) if self.question is None else told(scene, self.question)

    def listed(self, scene: Scene) -> str:
        """Return it as a line of a list; of a question with what PASS and FAIL mean."""
        line = f"{self.name}: {self.told(scene)}"
        if self.question is None:
            return line
        return f"{line} ({', '.join(f'{label}: {choice}' for label, choice in self.verdicts.choices.items())})"

    def templates(self) -> dict[str, str]:
        """Return the templates to render, by names for messages."""
        found = templates_of(self.text, self.question, "criterion")
        return {f"{name} {self.name}": template for name, template in found.items()}


def check_criteria(criteria: object) -> tuple[Criterion, ...]:
    """Return the criteria, from texts (or yes-or-no questions) to weights, from names to (text, weight), a list of texts of
    equal weight, or a form of such questions.

    Raises `SuiteError` for weights that are not above 0, and for names that are not different.
    """
    if isinstance(criteria, Question):
        form = question_for(_KIND, criteria, "form")
        criteria = {name: (field, 1) for name, field in form.fields} if form is not None else {}
    if isinstance(criteria, (list, tuple)):
        criteria = dict.fromkeys(criteria, 1)
    if not isinstance(criteria, Mapping) or not criteria:
        raise SuiteError(f"{_KIND}: criteria is a mapping of criteria to weights, not {criteria!r:.80}")
    rows = tuple(_criterion(key, value) for key, value in criteria.items())
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise SuiteError(
            f"{_KIND}: two criteria come to the same name ({', '.join(names)}); name them: {{'name': ('criterion', weight)}}"
        )
    return rows


def _criterion(key: object, value: object) -> Criterion:
    given, weight, name = key, value, None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        name, (given, weight) = key, value
    question = question_for(_KIND, given, "choice")
    text = check_text(_KIND, "a criterion", given if question is None else question.text)
    if question is not None:
        question_verdicts(_KIND, question)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
        raise SuiteError(f"{_KIND}: the weight of {text!r:.60} must be a number above 0, not {weight!r}")
    return Criterion(_name_of(str(name) if name is not None else text), text, float(weight), question)


def _name_of(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    return "_".join(words[:5])[:40] or "criterion"
