"""What a person is asked about a case, which answers there are, and what they are worth. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.ids import content_hash

Kind = Literal["choice", "rating", "number", "text", "form"]
KINDS = get_args(Kind)
Worth: TypeAlias = float | bool | None
"""Of a choice: a number, a verdict, or `None` for one that says that the question does not apply."""
MOST_CHOICES, MOST_STEPS, LONGEST_TEXT = 50, 20, 100_000
YES_OR_NO: Mapping[str, Worth] = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True)
class Question:
    """A question. ``choices`` are those of a choice, ``low`` and ``high`` the ends of a rating or the limits of a number,
    ``ends`` what the ends of a rating mean, ``fields`` the questions of a form, by name. From ``threshold`` on a number passes.
    """

    text: str
    kind: Kind
    choices: tuple[tuple[str, Worth], ...] = ()
    low: float | None = None
    high: float | None = None
    ends: tuple[str, str] | None = None
    threshold: float | None = None
    fields: tuple[tuple[str, Question], ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return plain data, without what is not set."""
        data: dict[str, Any] = {"text": self.text, "kind": self.kind}
        if self.choices:
            data["choices"] = [list(choice) for choice in self.choices]
        for name in ("low", "high", "threshold"):
            if getattr(self, name) is not None:
                data[name] = getattr(self, name)
        if self.ends:
            data["ends"] = list(self.ends)
        if self.fields:
            data["fields"] = {name: field.to_data() for name, field in self.fields}
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Question:
        """Return the question that `to_data` described. Raises `SuiteError` for what is none."""
        try:
            return cls(
                text=str(data["text"]),
                kind=_known_kind(data["kind"]),
                choices=tuple((str(label), worth) for label, worth in data.get("choices", ())),
                low=data.get("low"),
                high=data.get("high"),
                ends=(str(data["ends"][0]), str(data["ends"][1])) if "ends" in data else None,
                threshold=data.get("threshold"),
                fields=tuple((str(name), cls.from_data(field)) for name, field in data.get("fields", {}).items()),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SuiteError(f"not a question: {data!r:.200} ({type(error).__name__}: {error})") from error

    @property
    def digest(self) -> str:
        """Tell this question from another one: an answer belongs to the question as it was asked."""
        return content_hash(self.to_data())

    def problem(self, answer: Any) -> str | None:
        """Say why ``answer`` is none to this question; `None` if it is one."""
        if self.kind == "form":
            return self._form_problem(answer)
        if self.kind == "choice":
            labels = [label for label, _ in self.choices]
            return None if answer in labels else f"{answer!r:.60} is not one of {', '.join(labels)}"
        if self.kind == "text":
            fits = isinstance(answer, str) and len(answer.strip()) > 0 and len(answer) <= LONGEST_TEXT
            return None if fits else "an answer is text, and not empty"
        if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not math.isfinite(answer):
            return f"{answer!r:.60} is not a number"
        if self.kind == "rating" and answer != int(answer):
            return f"{answer} is not a whole number"
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return None if low <= answer <= high else f"{answer:g} is not between {low:g} and {high:g}"

    def _form_problem(self, answer: Any) -> str | None:
        if not isinstance(answer, Mapping) or set(answer) != {name for name, _ in self.fields}:
            return f"a form has an answer for each of {', '.join(name for name, _ in self.fields)}"
        problems = ((name, field.problem(answer[name])) for name, field in self.fields)
        return next((f"{name}: {problem}" for name, problem in problems if problem), None)

    def worth(self, answer: Any) -> Worth:
        """Return what a valid answer is worth: `None` for a text, and for a choice that does not apply."""
        if self.kind == "choice":
            return dict(self.choices)[answer]
        return None if self.kind in ("text", "form") else float(answer)


def make_question(
    text: object,
    kind: object,
    *,
    choices: Any = None,
    passing: Any = None,
    scale: Any = None,
    ends: Any = None,
    minimum: Any = None,
    maximum: Any = None,
    threshold: Any = None,
    fields: Any = None,
) -> Question:
    """Return the question that the arguments of ``graders.human`` describe. Raises `SuiteError` for those that make none."""
    if not isinstance(text, str) or not text.strip():
        raise SuiteError(f"human: the question is text, not {text!r:.60}")
    known = _known_kind(kind)
    given = {
        "choices": choices, "passing": passing, "scale": scale, "ends": ends, "minimum": minimum, "maximum": maximum,
        "threshold": threshold, "fields": fields,
    }  # fmt: skip
    belong = _ARGUMENTS[known]
    for name, value in given.items():
        if value is not None and name not in belong:
            raise SuiteError(
                f"human: {name} makes no sense for a question of the kind {known!r} (it takes {', '.join(belong) or 'none'})"
            )
    plain = Question(text, known, threshold=_number("threshold", threshold))
    if known == "choice":
        return replace(plain, choices=_choices(YES_OR_NO if choices is None else choices, passing))
    if known == "rating":
        low, high = _scale((1, 5) if scale is None else scale)
        return replace(plain, low=low, high=high, ends=_ends(ends))
    if known == "number":
        return replace(plain, low=_number("minimum", minimum), high=_number("maximum", maximum))
    return replace(plain, fields=_fields(fields)) if known == "form" else plain


_ARGUMENTS: Mapping[Kind, tuple[str, ...]] = {
    "choice": ("choices", "passing"),
    "rating": ("scale", "ends", "threshold"),
    "number": ("minimum", "maximum", "threshold"),
    "text": (),
    "form": ("fields",),
}


def _known_kind(kind: object) -> Kind:
    for known in KINDS:
        if kind == known:
            return known  # type: ignore[no-any-return]  # one of the literals above
    raise SuiteError(f"human: kind is one of {', '.join(KINDS)}, not {kind!r:.60}{did_you_mean(str(kind), KINDS)}")


def _choices(choices: Any, passing: Any) -> tuple[tuple[str, Worth], ...]:
    """Labels in a list are worth their place in it, from 0 for the first to 1 for the last, unless some are said to pass."""
    if not isinstance(choices, (Mapping, list, tuple)) or not 2 <= len(choices) <= MOST_CHOICES:
        raise SuiteError(
            f"human: choices is a list of 2 to {MOST_CHOICES} labels, or a dict of them with their values, not {choices!r:.60}"
        )
    labels = list(choices)
    if not all(isinstance(label, str) and label.strip() for label in labels) or len(set(labels)) < len(labels):
        raise SuiteError(f"human: the labels of choices are different texts, not {labels!r:.120}")
    if isinstance(choices, Mapping):
        if passing is not None:
            raise SuiteError("human: passing goes with a list of choices; in a dict, True and False say which pass")
        for label, worth in choices.items():
            if worth is not None and (not isinstance(worth, (bool, int, float)) or not math.isfinite(worth)):
                raise SuiteError(
                    f"human: the choice {label!r} is worth a finite number, True, False or None, not {worth!r:.60}"
                )
        return tuple(choices.items())
    if passing is None:
        return tuple((label, place / (len(labels) - 1)) for place, label in enumerate(labels))
    named = [passing] if isinstance(passing, str) else list(passing)
    for label in named:
        if label not in labels:
            raise SuiteError(f"human: passing names {label!r}, which is not among the choices {', '.join(labels)}")
    return tuple((label, label in named) for label in labels)


def _scale(scale: Any) -> tuple[int, int]:
    pair = tuple(scale) if isinstance(scale, (list, tuple)) else ()
    if len(pair) != 2 or not all(type(end) is int for end in pair) or not 0 < pair[1] - pair[0] < MOST_STEPS:
        raise SuiteError(
            f"human: scale is the lowest and the highest whole number, as (1, 5), at most {MOST_STEPS} steps, not {scale!r:.60}"
        )
    return pair[0], pair[1]


def _ends(ends: Any) -> tuple[str, str] | None:
    if ends is None:
        return None
    if not isinstance(ends, (list, tuple)) or len(ends) != 2 or not all(isinstance(end, str) for end in ends):
        raise SuiteError(f"human: ends is what the ends of the scale mean, as ('poor', 'good'), not {ends!r:.60}")
    return ends[0], ends[1]


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SuiteError(f"human: {name} is a finite number, not {value!r:.60}")
    return float(value)


def _fields(fields: Any) -> tuple[tuple[str, Question], ...]:
    if not isinstance(fields, Mapping) or not fields:
        raise SuiteError("human: a form has fields, as {'tone': {'question': 'Is it polite?', 'kind': 'choice'}, ...}")
    found = []
    for name, spec in fields.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise SuiteError(f"human: the field {name!r:.60} of a form is no name; use letters, digits and underscores")
        if not isinstance(spec, Mapping) or "question" not in spec:
            raise SuiteError(f"human: the field {name!r} of a form is a dict with 'question', not {spec!r:.60}")
        rest: dict[str, Any] = {key: value for key, value in spec.items() if key not in ("question", "kind")}
        unknown = sorted(set(rest) - {argument for arguments in _ARGUMENTS.values() for argument in arguments})
        if unknown or spec.get("kind") == "form":
            raise SuiteError(
                f"human: the field {name!r} of a form "
                + (f"has unknown settings: {', '.join(unknown)}" if unknown else "cannot be a form itself")
            )
        found.append((name, make_question(spec["question"], spec.get("kind", "choice"), **rest)))
    return tuple(found)
