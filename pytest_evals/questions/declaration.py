"""What an author writes -> the question. Raises `SuiteError` for what makes none."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.questions.question import Question, QuestionKind, Worth, known_kind

MOST_CHOICES, MOST_STEPS = 50, 20
YES_OR_NO: Mapping[str, Worth] = {"yes": True, "no": False}
_ARGUMENTS: Mapping[QuestionKind, tuple[str, ...]] = {
    "choice": ("choices", "passing"),
    "rating": ("scale", "ends", "threshold"),
    "number": ("minimum", "maximum", "threshold"),
    "text": (),
    "form": ("fields",),
}


class DeclaredQuestion(TypedDict, total=False):
    """How a question may be answered: arguments of ``question`` and ``human``.

    ``kind``: ``choice`` (the default), ``rating``, ``number``, ``text`` (no value; what was written is the reasoning) or ``form``.
    ``choices``: of a choice, labels with their values (True and False are verdicts, `None` does not apply), or a list of
    labels, worth their place in it from 0 to 1; yes and no by default. ``passing``: in a list of choices, the labels that
    pass; the others do not. ``scale``: lowest and highest rating, ``(1, 5)`` by default. ``ends``: what they mean.
    ``minimum``, ``maximum``: of a number. ``threshold``: a rating or number passes from here on. ``fields``: of a form, its
    questions by name, each a question or ``{"question": "Is it polite?"}`` with these arguments. ``guidance``: what who
    answers should know beside the question, a template: shown below it, and told to a judge.
    """

    kind: QuestionKind
    choices: Mapping[str, Worth] | Sequence[str] | None
    passing: str | Sequence[str] | None
    scale: tuple[int, int] | None
    ends: tuple[str, str] | None
    minimum: float | None
    maximum: float | None
    threshold: float | None
    fields: Mapping[str, Question | Mapping[str, Any]] | None
    guidance: str


def question(text: str, **terms: Unpack[DeclaredQuestion]) -> Question:
    """A question that people (`human`) and judges (`judge`) answer alike: the score card then says how far they agree.

    Judges answer choices, ratings, and forms of yes-or-no questions.

    Args:
        text: The question, a template.
        terms: How it may be answered. ``kind`` is ``choice`` (the default), ``rating``, ``number``, ``text`` (the answer is the grade's
            reasoning; there is no value) or ``form``. A choice has ``choices``: labels with their values (True and False are verdicts, `None`
            does not apply; yes and no by default), or a list of labels, worth 0 to 1 by their place; ``passing`` names the labels of a
            list that pass. A rating has ``scale``, lowest and highest, ``(1, 5)`` by default, and ``ends``, their meanings. A number has
            ``minimum`` and ``maximum``. ``threshold`` is the lowest rating or number that passes. A form has ``fields``: questions by name,
            each a `question` or its arguments, as ``{"question": "Is it polite?"}``. ``guidance`` is a template of what to know
            beside the question; people see it below the question, and judges are given it.

    Raises:
        SuiteError: The arguments do not make a question.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the documented way to the caller's file
    made = make_question(text, who="question", **terms)
    return replace(made, place=f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")


def make_question(text: object, kind: object = "choice", *, who: str = "human", **terms: Any) -> Question:
    """Return the question that the arguments describe, see `DeclaredQuestion`. Raises `SuiteError`, which begins with ``who``."""
    try:
        return _made(text, {**terms, "kind": kind})
    except SuiteError as error:
        raise SuiteError(f"{who}: {error}") from error


def _made(text: object, terms: Mapping[str, Any]) -> Question:
    if not isinstance(text, str) or not text.strip():
        raise SuiteError(f"the question is text, not {text!r:.60}")
    known_terms = list(DeclaredQuestion.__annotations__)
    for name in terms:
        if name not in known_terms:
            raise SuiteError(
                f"unknown setting {name!r} (known: {', '.join(known_terms)}){did_you_mean(name, known_terms)}"
            )
    guidance = terms.get("guidance", "")
    if not isinstance(guidance, str):
        raise SuiteError(f"guidance is text, not {guidance!r:.60}")
    known = known_kind(terms.get("kind", "choice"))
    belong = _ARGUMENTS[known]
    for name, value in terms.items():
        if value is not None and name not in ("kind", "guidance", *belong):
            raise SuiteError(
                f"{name} makes no sense for a question of the kind {known!r} (it takes {', '.join(belong) or 'none'})"
            )
    plain = Question(text, known, threshold=_number("threshold", terms.get("threshold")), guidance=guidance)
    if known == "choice":
        choices = terms.get("choices")
        return replace(plain, choices=_choices(YES_OR_NO if choices is None else choices, terms.get("passing")))
    if known == "rating":
        scale = terms.get("scale")
        low, high = _scale((1, 5) if scale is None else scale)
        return replace(plain, low=low, high=high, ends=_ends(terms.get("ends")))
    if known == "number":
        return replace(
            plain, low=_number("minimum", terms.get("minimum")), high=_number("maximum", terms.get("maximum"))
        )
    return replace(plain, fields=_fields(terms.get("fields"))) if known == "form" else plain


def _choices(choices: Any, passing: Any) -> tuple[tuple[str, Worth], ...]:
    """Labels in a list are worth their place in it, from 0 for the first to 1 for the last, unless some are said to pass."""
    if not isinstance(choices, (Mapping, list, tuple)) or not 2 <= len(choices) <= MOST_CHOICES:
        raise SuiteError(
            f"choices is a list of 2 to {MOST_CHOICES} labels, or a dict of them with their values, not {choices!r:.60}"
        )
    labels = list(choices)
    if not all(isinstance(label, str) and label.strip() for label in labels) or len(set(labels)) < len(labels):
        raise SuiteError(f"the labels of choices are different texts, not {labels!r:.120}")
    if isinstance(choices, Mapping):
        if passing is not None:
            raise SuiteError("passing goes with a list of choices; in a dict, True and False say which pass")
        for label, worth in choices.items():
            if worth is not None and (not isinstance(worth, (bool, int, float)) or not math.isfinite(worth)):
                raise SuiteError(
                    f"the choice {label!r} is worth a finite number, True, False or None, not {worth!r:.60}"
                )
        return tuple(choices.items())
    if passing is None:
        return tuple((label, place / (len(labels) - 1)) for place, label in enumerate(labels))
    named = [passing] if isinstance(passing, str) else list(passing)
    for label in named:
        if label not in labels:
            raise SuiteError(f"passing names {label!r}, which is not among the choices {', '.join(labels)}")
    return tuple((label, label in named) for label in labels)


def _scale(scale: Any) -> tuple[int, int]:
    pair = tuple(scale) if isinstance(scale, (list, tuple)) else ()
    if len(pair) != 2 or not all(type(end) is int for end in pair) or not 0 < pair[1] - pair[0] < MOST_STEPS:
        raise SuiteError(
            f"scale is the lowest and the highest whole number, as (1, 5), at most {MOST_STEPS} steps, not {scale!r:.60}"
        )
    return pair[0], pair[1]


def _ends(ends: Any) -> tuple[str, str] | None:
    if ends is None:
        return None
    if not isinstance(ends, (list, tuple)) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise SuiteError(f"ends is what the ends of the scale mean, as ('poor', 'good'), not {ends!r:.60}")
    return ends[0], ends[1]


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SuiteError(f"{name} is a finite number, not {value!r:.60}")
    return float(value)


def _fields(fields: Any) -> tuple[tuple[str, Question], ...]:
    if not isinstance(fields, Mapping) or not fields:
        raise SuiteError("a form has fields, as {'tone': {'question': 'Is it polite?', 'kind': 'choice'}, ...}")
    for name in fields:
        if not isinstance(name, str) or not name.isidentifier():
            raise SuiteError(f"the field {name!r:.60} of a form is not a name; use letters, digits and underscores")
    return tuple((name, _field(name, spec)) for name, spec in fields.items())


def _field(name: str, spec: Any) -> Question:
    if isinstance(spec, Question) and spec.kind != "form":
        return spec
    if not isinstance(spec, (Mapping, Question)) or (isinstance(spec, Mapping) and "question" not in spec):
        raise SuiteError(f"the field {name!r} of a form is a question, or a dict with 'question', not {spec!r:.60}")
    if isinstance(spec, Question) or spec.get("kind") == "form":
        raise SuiteError(f"the field {name!r} of a form cannot be a form itself")
    terms = {key: value for key, value in spec.items() if key != "question"}
    try:
        return _made(spec["question"], terms)
    except SuiteError as error:
        raise SuiteError(f"the field {name!r} of a form: {error}") from error
