"""Prompts for judging that other tools bring become judges with these prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.importing.python_source import Call, Code, source
from pytest_evals.importing.suite import Suite

_CLOSING = "\n\nReply with JSON of this form: {{ output_schema }}"
FACTUALITY = """\
How does the answer compare with the reference, in facts alone?
subset: all its facts are in the reference, which has more.
superset: it has all facts of the reference, and more that agree with them.
agree: both have the same facts.
disagree: a fact contradicts the reference.
immaterial: they differ in ways that do not matter for the facts."""
FACTUALITY_LABELS = {"subset": True, "superset": True, "agree": True, "disagree": False, "immaterial": True}


def label_judge(
    suite: Suite,
    wanted: str,
    template: str,
    scores: Mapping[str, Any],
    *,
    system: str | None = None,
) -> str:
    """Add a judge that is asked ``template`` and chooses one of the keys of ``scores``; return its name.

    A score of True or False is a verdict.
    """
    choices = ", ".join(source(choice) for choice in scores)
    reply = _reply(suite, wanted, [f"choice: Literal[{choices}]"])
    suite.uses("typing", "Literal")
    table = suite.constant(f"{wanted}_scores", dict(scores))
    score = Code(f"lambda reply: {table}[reply.choice]")
    return _judge(suite, wanted, template, {"response": Code(reply), "score": score}, system)


def score_judge(
    suite: Suite,
    wanted: str,
    template: str,
    span: Sequence[float],
    *,
    threshold: float | None = None,
    system: str | None = None,
) -> str:
    """Add a judge that is asked ``template`` and gives a number in ``span``; return its name."""
    low, high = span
    suite.uses("pydantic", "Field")
    reply = _reply(suite, wanted, [f"score: float = Field(ge={low!r}, le={high!r})"])
    options: dict[str, Any] = {"response": Code(reply), "reason": "reasoning"}
    if threshold is not None:
        options["threshold"] = threshold
    return _judge(suite, wanted, template, options, system)


def factuality(suite: Suite, wanted: str, reference: Any, extra: Mapping[str, Any]) -> str:
    """Add the judge that compares the facts of an answer with those of a reference; return its name."""
    call = Call(
        "graders.judge.labels",
        (suite.text(FACTUALITY, "factuality_question"), FACTUALITY_LABELS),
        {"reference": reference, **extra},
    )
    return suite.grader(wanted, call)


def _reply(suite: Suite, wanted: str, fields: Sequence[str]) -> str:
    """Add the class of a judge's reply; return its name."""
    suite.uses("pydantic", "BaseModel")
    name = "".join(part.title() for part in suite.name_for(f"{wanted}_reply").split("_"))
    lines = "".join(f"\n    {field}" for field in ["reasoning: str", *fields])
    suite.add_block(f"class {name}(BaseModel):{lines}")
    return name


def _judge(suite: Suite, wanted: str, template: str, options: dict[str, Any], system: str | None) -> str:
    if system is not None:
        options["system"] = suite.text(system, f"{wanted}_system")
    prompt = suite.text(template.rstrip() + _CLOSING, f"{wanted}_prompt")
    return suite.grader(wanted, Call("graders.judge", (prompt,), options))
