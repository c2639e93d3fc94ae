"""A judge with several weighted criteria: one grade for each, and their weighted mean."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.completion import Message
from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.asked import MEANINGS, PASS_FAIL_NA, opening_of
from pytest_evals.graders.judges.asking import ask, together
from pytest_evals.graders.judges.criteria import Criterion, check_criteria
from pytest_evals.graders.judges.decisions import (
    LONG,
    Ballot,
    Decision,
    decide,
    decide_by_label,
    judges_of,
)
from pytest_evals.graders.judges.fixture import Scene, judge_fixture, messages_of
from pytest_evals.graders.judges.labelled import closing
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.prompts import described
from pytest_evals.graders.judges.replies import last_object
from pytest_evals.graders.judges.verdicts import read_verdict, strip_thoughts
from pytest_evals.grading.fixture import Fixture
from pytest_evals.review.questions import Question

if TYPE_CHECKING:
    from pytest_evals.grades import Grade
    from pytest_evals.model import Model

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
    for row in rows:
        opening, request = opening_of(row.question)
        verdicts = row.verdicts
        head = f"{opening}{row.told(scene)}\n{described(verdicts.meanings)}"
        messages = messages_of(scene, head, closing(request, list(verdicts.labels), scene.options))
        asked.append(decide(scene.judge, scene.options, verdicts.labels, messages))
    return await together(asked)


async def _in_one_call(scene: Scene, rows: Sequence[Criterion]) -> list[Decision]:
    names = [row.name for row in rows]
    listing = "\n".join(row.listed(scene) for row in rows)
    head = f"Judge one answer by several criteria, each on its own.\n{described(MEANINGS)}\nCriteria:\n{listing}"
    pattern = json.dumps(dict.fromkeys(names, "PASS, FAIL or NA"))
    tail = f"Reply with one JSON object and nothing else, with a verdict for each criterion: {pattern}"
    messages = messages_of(scene, head, tail)
    models = [model for model in judges_of(scene.judge, scene.options) for _ in range(scene.options.votes)]
    sheets = await together(_one_sheet(model, scene.options, rows, messages) for model in models)
    return [decide_by_label([sheet[row.name] for sheet in sheets], row.verdicts.labels, scene.options) for row in rows]


async def _one_sheet(
    model: Model, options: Options, rows: Sequence[Criterion], messages: Sequence[Message]
) -> dict[str, Ballot]:
    """Return a ballot for each criterion, of one reply."""
    offered = {row.name: list(row.verdicts.labels) for row in rows}
    answered = await ask(
        model,
        messages,
        lambda reply: read_sheet(reply, offered),
        guide={"json_schema": _schema(offered)},
        generation=options.sampling(LONG + _TOKENS_A_CRITERION * len(rows)),
        remind=f"I could not read that. Reply with one JSON object that has {', '.join(offered)}, each PASS, FAIL or NA.",
        guided_first=options.votes == 1,
    )
    if answered.value is None:
        lost = Ballot(model.name, None, problem=answered.problem, replies=answered.replies)
        return dict.fromkeys(offered, lost)
    verdicts = {name: (label, PASS_FAIL_NA[label]) for name, label in answered.value.items()}
    return {name: Ballot(model.name, None if v is None else float(v), label) for name, (label, v) in verdicts.items()}


def read_sheet(reply: str, offered: Mapping[str, Sequence[str]]) -> tuple[dict[str, str] | None, str | None]:
    """Return the verdict on each criterion, from a JSON object or from lines ``name: VERDICT``, or what is wrong."""
    text = strip_thoughts(reply)
    if not text:
        return None, "the reply is empty"
    given = last_object(text)
    if given is None:
        lines = (line.strip(" \t*_`-").partition(":") for line in text.splitlines())
        given = {name.strip(" *_`\"'"): value for name, _, value in lines}
    found = {}
    for name, labels in offered.items():
        reading = read_verdict(str(given[name]), labels) if name in given else None
        if reading is None or reading.verdict is None:
            return None, f"{name}: {reading.problem if reading else 'the reply holds no verdict on it'}"
        found[name] = reading.verdict
    return found, None


def _schema(offered: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "enum": list(labels)} for name, labels in offered.items()},
        "required": list(offered),
        "additionalProperties": False,
    }
