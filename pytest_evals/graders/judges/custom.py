"""A judge with a template of the author's own, and a pydantic model of its reply."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_evals.completion import Message
from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.asking import ask, together
from pytest_evals.graders.judges.decisions import Ballot, broken_decision, decide_by_value, judges_of
from pytest_evals.graders.judges.grader import Scene, check_text, judge_fixture
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.prompts import SYSTEM
from pytest_evals.graders.judges.reading.objects import objects
from pytest_evals.graders.judges.reading.quotation import NOTHING, Material, Quotations
from pytest_evals.graders.judges.reading.spelling import normalized
from pytest_evals.graders.judges.reading.thoughts import answer_start
from pytest_evals.graders.judges.subject import neutral
from pytest_evals.templates.rendering import render_text
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pytest_evals.runner.model import Model

CustomScore = str | Sequence[str] | Callable[[Any], Any]
_TOKENS = 512


def custom(
    template: str, *, response: type[BaseModel], score: CustomScore = "score", reason: str | None = None, **common: Any
) -> Fixture:
    """See `Judge.__call__`."""
    kind = "judge"
    check_text(kind, "the template", template)
    fields = _fields(response)
    names = _check_score(score, fields)
    if reason is not None and reason not in fields:
        raise SuiteError(f"judge: reason names the field that holds the reasons, one of {', '.join(fields)}")
    options = read_options(kind, common, how="mean", refused=("examples", "reasoning", "by", "abstain"))
    schema = response.model_json_schema()
    shown = readable(schema)
    limits = declared_limits(schema)

    async def run(scene: Scene) -> Any:
        messages = scene.shown(_messages(scene, template, shown))
        models = [model for model in judges_of(scene.judge, options) for _ in range(options.votes)]
        found = await together(
            _respond(model, options, messages, response, schema, shown, scene.material()) for model in models
        )
        broken = broken_decision([ballot for ballot, _ in found])
        if broken is not None:
            return broken.grade()
        values = [value for _, value in found]
        if callable(score):
            return _by_function(score, values)
        reasons = "; ".join(str(getattr(value, reason)) for value in values) if reason else ""
        grades = {name: _field(name, found, options, reasons, limits.get(name)) for name in names}
        return grades if not isinstance(score, str) else grades[score]

    fixture_templates = {"template": template, **({"system": options.system} if options.system else {})}
    return judge_fixture(
        options,
        run,
        fixture_templates,
        doc="A judge with a template of its own.",
        needs_answer=False,
        own=("output_schema",),
    )


def _messages(scene: Scene, template: str, shown: str) -> list[Message]:
    scope = {**scene.scope, "output_schema": shown}
    system = SYSTEM if scene.options.system is None else scene.options.system
    opening: list[Message] = [{"role": "system", "content": neutral(render_text(system, scope))}] if system else []
    return [*opening, {"role": "user", "content": neutral(render_text(template, scope))}]


async def _respond(
    model: Model,
    options: Options,
    messages: Sequence[Message],
    response: type[BaseModel],
    schema: Mapping[str, Any],
    shown: str,
    material: Material,
) -> tuple[Ballot, Any]:
    answered = await ask(
        model,
        messages,
        lambda reply: read_response(reply.text, response, NOTHING if reply.held else material),
        guide={"json_schema": schema},
        generation=options.sampling(_TOKENS),
        remind=f"I could not read that. Reply with one JSON object of this form and nothing else:\n{shown}",
        guided_first=options.votes == 1,
    )
    return Ballot(model.name, None, problem=answered.problem, replies=answered.replies), answered.value


def read_response(reply: str, response: type[BaseModel], material: Material = NOTHING) -> tuple[Any, str | None]:
    """Return the reply as an object of the response model, or what is wrong with it.

    The last object of the right form counts. One that only repeats what is in the ``material`` is a quotation.
    """
    from pydantic import ValidationError

    quotations = Quotations(normalized(reply), material)
    start = answer_start(reply, material)
    if start is None or not reply[start:].strip():
        return None, "the reply is empty"
    found = [entry.value for entry in objects(reply, start)]
    own = [value for value in found if not _repeats(value, quotations)]
    problem = "the reply holds no JSON object"
    if found and not own:
        problem = "the only JSON object in the reply is a quotation of what was judged"
    for value in reversed(own):
        try:
            return response.model_validate(value), None
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "the object"
            problem = f"{place}: {one_line(first['msg'], 160)}" if value is own[-1] else problem
    return None, problem


def _repeats(value: Mapping[str, Any], quotations: Quotations) -> bool:
    """Tell whether all that an object says appears in what was judged, each value after its key."""
    return bool(value) and all(
        quotations.together(key, given if isinstance(given, str) else json.dumps(given)) for key, given in value.items()
    )


def declared_limits(schema: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Return the bounds of the fields that have both, as ``Field(ge=1, le=5)`` gives them."""
    ends = {name: (given.get("minimum"), given.get("maximum")) for name, given in schema.get("properties", {}).items()}
    return {name: (low, high) for name, (low, high) in ends.items() if None not in (low, high) and low < high}


def _field(
    name: str,
    found: Sequence[tuple[Ballot, Any]],
    options: Options,
    reasons: str,
    bounds: tuple[float, float] | None,
) -> Any:
    """Return the grade of one field: the mean over the panel; a single true or false is a verdict."""
    from pytest_evals.grades import Grade

    values = [getattr(value, name) for _, value in found]
    response = {"response": [value.model_dump(mode="json") for _, value in found]}
    if len(values) == 1 and isinstance(values[0], bool) and options.threshold is None:
        return Grade(values[0], "", reasons or None, metadata=response)
    ballots = []
    for (ballot, _), value in zip(found, values, strict=True):
        if value is not None and (not isinstance(value, (int, float)) or not math.isfinite(value)):
            return Grade(None, "", f"the field {name!r} is {value!r:.60}, not a finite number", status="error")
        ballots.append(Ballot(ballot.model, None if value is None else float(value)))
    decision = decide_by_value(ballots, options)
    reasoning = f"{decision.reasoning}: {reasons}" if reasons else decision.reasoning
    metadata = {**decision.metadata, **response}
    return Grade(decision.value, "", reasoning, decision.passed, decision.status, metadata, bounds)


def _by_function(score: Callable[[Any], Any], values: Sequence[Any]) -> Any:
    if len(values) == 1:
        return score(values[0])
    scored = [score(value) for value in values]
    numbers = [float(entry) for entry in scored if isinstance(entry, (bool, int, float))]
    if len(numbers) < len(scored):
        raise SuiteError("judge: with several replies the score function returns a number or a bool for each")
    return math.fsum(numbers) / len(numbers)


def _fields(response: Any) -> list[str]:
    if not isinstance(response, type) or not hasattr(response, "model_json_schema"):
        raise SuiteError(f"judge: response must be a pydantic model (a class), not {response!r:.60}")
    return list(response.model_fields)  # type: ignore[attr-defined]  # as pydantic models have


def _check_score(score: object, fields: Sequence[str]) -> list[str]:
    if callable(score):
        return []
    names = [score] if isinstance(score, str) else score
    if not isinstance(names, (list, tuple)) or not names:
        raise SuiteError(f"judge: score is the name of a field, a list of names, or a function, not {score!r:.60}")
    for name in names:
        if name not in fields:
            raise SuiteError(
                f"judge: the response has no field {name!r} for the score (fields: {', '.join(fields)}){did_you_mean(str(name), fields)}"
            )
    return list(names)


def readable(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema as a judge reads it best: without titles, on few lines."""
    return json.dumps(_without_titles(schema), ensure_ascii=False, indent=1)


def _without_titles(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: {name: _without_titles(entry) for name, entry in inner.items()}
            if key in ("properties", "$defs") and isinstance(inner, Mapping)
            else _without_titles(inner)
            for key, inner in value.items()
            if key != "title"
        }
    return [_without_titles(entry) for entry in value] if isinstance(value, (list, tuple)) else value
