"""A judge with several weighted criteria: one grade for each, and their weighted mean."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.completion import Message
from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.asking import ask, together
from pytest_evals.graders.judges.decisions import (
    LONG,
    Ballot,
    Decision,
    decide,
    decide_by_label,
    judges_of,
)
from pytest_evals.graders.judges.fixture import Scene, check_text, judge_fixture, messages_of
from pytest_evals.graders.judges.labelled import MEANINGS, PASS_FAIL_NA, closing
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.prompts import described
from pytest_evals.graders.judges.replies import last_object
from pytest_evals.graders.judges.verdicts import read_verdict, strip_thoughts
from pytest_evals.grading.fixture import Fixture

if TYPE_CHECKING:
    from pytest_evals.grades import Grade
    from pytest_evals.model import Model

_OFFERED = list(PASS_FAIL_NA)
_TOKENS_A_CRITERION = 16


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of a rubric."""

    name: str
    text: str
    weight: float


def rubric(
    criteria: Mapping[str, Any] | Sequence[str], *, calls: Literal["one", "each"] = "each", **common: Any
) -> Fixture:
    """See `Judge.rubric`."""
    kind = "judge.rubric"
    rows = check_criteria(criteria)
    if calls not in ("one", "each"):
        raise SuiteError(f"{kind}: calls must be 'one' or 'each', not {calls!r}")
    options = read_options(kind, common, how="majority", refused=("examples",))
    if calls == "one" and options.reasoning:
        raise SuiteError(f"{kind}: a judge that reasons does so for each criterion; use calls='each'")

    async def run(scene: Scene) -> Any:
        texts = [scene.render(row.text) for row in rows]
        judge_all = _in_one_call if calls == "one" else _one_call_each
        return grades_of(rows, await judge_all(scene, rows, texts), options.threshold)

    templates = {f"criterion {row.name}": row.text for row in rows}
    return judge_fixture(options, run, templates, doc=f"A judge with {len(rows)} criteria.")


def check_criteria(criteria: object) -> tuple[Criterion, ...]:
    """Return the criteria, from texts to weights, from names to (text, weight), or a list of texts of equal weight.

    Raises `SuiteError` for weights that are not above 0, and for names that are not different.
    """
    if isinstance(criteria, (list, tuple)):
        criteria = dict.fromkeys(criteria, 1)
    if not isinstance(criteria, Mapping) or not criteria:
        raise SuiteError(f"judge.rubric: criteria is a mapping of criteria to weights, not {criteria!r:.80}")
    rows = tuple(_criterion(key, value) for key, value in criteria.items())
    names = [row.name for row in rows]
    if len(set(names)) < len(names):
        raise SuiteError(
            f"judge.rubric: two criteria come to the same name ({', '.join(names)}); name them: {{'name': ('criterion', weight)}}"
        )
    return rows


def _criterion(key: object, value: object) -> Criterion:
    text, weight, name = key, value, None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        name, (text, weight) = key, value
    text = check_text("judge.rubric", "a criterion", text)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
        raise SuiteError(f"judge.rubric: the weight of {text!r:.60} must be a number above 0, not {weight!r}")
    return Criterion(_name_of(str(name) if name is not None else text), text, float(weight))


def _name_of(text: str) -> str:
    words = re.findall(r"\w+", text.lower())
    return "_".join(words[:5])[:40] or "criterion"


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


async def _one_call_each(scene: Scene, _rows: Sequence[Criterion], texts: Sequence[str]) -> list[Decision]:
    ending = closing("Does the answer meet the criterion", _OFFERED, scene.options)
    meanings = described(MEANINGS)
    asked = []
    for text in texts:
        messages = messages_of(scene, f"Judge one answer by one criterion.\nCriterion: {text}\n{meanings}", ending)
        asked.append(decide(scene.judge, scene.options, PASS_FAIL_NA, messages))
    return await together(asked)


async def _in_one_call(scene: Scene, rows: Sequence[Criterion], texts: Sequence[str]) -> list[Decision]:
    names = [row.name for row in rows]
    listing = "\n".join(f"{name}: {text}" for name, text in zip(names, texts, strict=True))
    head = f"Judge one answer by several criteria, each on its own.\n{described(MEANINGS)}\nCriteria:\n{listing}"
    pattern = json.dumps(dict.fromkeys(names, "PASS, FAIL or NA"))
    tail = f"Reply with one JSON object and nothing else, with a verdict for each criterion: {pattern}"
    messages = messages_of(scene, head, tail)
    models = [model for model in judges_of(scene.judge, scene.options) for _ in range(scene.options.votes)]
    sheets = await together(_one_sheet(model, scene.options, names, messages) for model in models)
    return [decide_by_label([sheet[name] for sheet in sheets], PASS_FAIL_NA, scene.options) for name in names]


async def _one_sheet(
    model: Model, options: Options, names: Sequence[str], messages: Sequence[Message]
) -> dict[str, Ballot]:
    """Return a ballot for each criterion, of one reply."""
    answered = await ask(
        model,
        messages,
        lambda reply: read_sheet(reply, names),
        guide={"json_schema": _schema(names)},
        generation=options.sampling(LONG + _TOKENS_A_CRITERION * len(names)),
        remind=f"I could not read that. Reply with one JSON object that has {', '.join(names)}, each PASS, FAIL or NA.",
        guided_first=options.votes == 1,
    )
    if answered.value is None:
        lost = Ballot(model.name, None, problem=answered.problem, replies=answered.replies)
        return dict.fromkeys(names, lost)
    verdicts = {name: (label, PASS_FAIL_NA[label]) for name, label in answered.value.items()}
    return {name: Ballot(model.name, None if v is None else float(v), label) for name, (label, v) in verdicts.items()}


def read_sheet(reply: str, names: Sequence[str]) -> tuple[dict[str, str] | None, str | None]:
    """Return the verdict on each criterion, from a JSON object or from lines ``name: VERDICT``, or what is wrong."""
    text = strip_thoughts(reply)
    if not text:
        return None, "the reply is empty"
    given = last_object(text)
    if given is None:
        lines = (line.strip(" \t*_`-").partition(":") for line in text.splitlines())
        given = {name.strip(" *_`\"'"): value for name, _, value in lines}
    found = {}
    for name in names:
        reading = read_verdict(str(given[name]), _OFFERED) if name in given else None
        if reading is None or reading.verdict is None:
            return None, f"{name}: {reading.problem if reading else 'the reply holds no verdict on it'}"
        found[name] = reading.verdict
    return found, None


def _schema(names: Sequence[str]) -> dict[str, Any]:
    verdict = {"type": "string", "enum": _OFFERED}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, verdict),
        "required": list(names),
        "additionalProperties": False,
    }
