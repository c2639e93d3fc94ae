"""Expressions over recorded cases: ``exact.value < 1 and item.level == 'hard'``.

They are those of templates, and as harmless. Names are checked against what the artifact holds before any case is
looked at; a case that lacks a field which others have has ``none`` there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_evals.artifacts.sample import cost_of
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.errors import TemplateError, did_you_mean
from pytest_evals.media.parts import shown_text
from pytest_evals.templates.expressions import compile_expression, literals_in, paths_of, weighed_in

PLAIN = (
    *("suite", "case_id", "model", "repeat", "outcome", "error", "error_kind", "prompt", "text", "finish_reason"),
    *("reasoning", "reasoning_tokens", "tool_calls", "tokens", "prompt_tokens", "latency", "cost", "cluster", "nodeid"),
)
"""Names of a case that every artifact has."""
MAPPINGS = ("item", "tasks", "label", "timing", "grades")
_GRADE = ("value", "passed", "status", "reasoning", "metadata")
_LITERALS = ("true", "false", "none", "True", "False", "None")


@dataclass(slots=True)
class Names:
    """What the cases of an artifact can be asked for, besides `PLAIN`."""

    graders: dict[str, None] = field(default_factory=dict)
    fields: dict[str, None] = field(default_factory=dict)
    tasks: dict[str, None] = field(default_factory=dict)
    labels: dict[str, None] = field(default_factory=dict)
    timing: dict[str, None] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Iterable[ParsedLine]) -> Names:
        """Collect them."""
        found = cls()
        for sample in samples:
            found.graders |= dict.fromkeys(grade["grader_key"] for grade in sample["grades"])
            found.fields |= dict.fromkeys(sample["interaction"]["metadata"])
            found.tasks |= dict.fromkeys(sample["tasks"])
            found.labels |= dict.fromkeys(sample.get("label") or ())
            found.timing |= dict.fromkeys(sample["timing"])
        return found

    def check(self, path: list[str], what: str) -> None:
        """Raise `TemplateError` unless a case can have the value at ``path``."""
        root, *rest = path
        if root in (*_LITERALS, *PLAIN):
            return
        held = {"item": self.fields, "tasks": self.tasks, "label": self.labels, "timing": self.timing}.get(root)
        if held is not None:
            if rest and rest[0] not in held:
                raise TemplateError(f"{what}: no case has {root}.{rest[0]}{_known(root, rest[0], held)}")
            return
        grader = rest if root == "grades" else path
        if grader and not self._is_grade(grader):
            known = [*PLAIN, *MAPPINGS, *self.graders]
            raise TemplateError(
                f"{what}: unknown name {'.'.join(path)!r}{self._meant(path) or _known('', path[0], known)}"
            )

    def check_weighed(self, path: list[str], what: str) -> None:
        """Raise `TemplateError` where ``path``, which `check` knows, is a whole grade or mapping: neither equals or is less
        than anything, and both are always true.
        """
        root, *rest = path
        name = ".".join(path)
        if root in MAPPINGS and not rest:
            raise TemplateError(f"{what}: {name} is not one value; write {name}.NAME")
        if root in (*_LITERALS, *PLAIN) or (root in MAPPINGS and root != "grades"):
            return
        grader = rest if root == "grades" else path
        below = [".".join(key[len(grader) :]) for key in map(_parts, self.graders) if key[: len(grader)] == grader]
        if below:
            one = f"{name}.{below[0]}" if "" not in below else name
            kind = "is a whole grade" if one == name else "has several grades"
            raise TemplateError(f"{what}: {name} {kind}; write {one}.value or {one}.passed")

    def _meant(self, path: list[str]) -> str:
        """Return what was probably meant by a name that is written alone and is that of a field or a task."""
        held = [name for name, known in (("item", self.fields), ("tasks", self.tasks)) if path[0] in known]
        return f"; write {held[0]}.{'.'.join(path)}" if held else ""

    def _is_grade(self, path: list[str]) -> bool:
        """Tell whether ``path`` is a grader, part of the name of one, or something that a grade has."""
        return any(
            parts[: len(path)] == path or (path[: len(parts)] == parts and path[len(parts)] in _GRADE)
            for parts in map(_parts, self.graders)
        )


def _parts(key: str) -> list[str]:
    return key.split(".")


def _known(prefix: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    shown = ", ".join(f"{prefix}.{each}" if prefix else each for each in names) or "none"
    return f" (known: {shown}){did_you_mean(name, names)}"


class Expression:
    """An expression that was checked. Raises `TemplateError` for one that is not well formed, names what no case has, or
    weighs what is not one value. ``shown``: its value is only shown, and a whole grade may be.
    """

    def __init__(self, text: str, names: Names, what: str, *, shown: bool = False) -> None:
        self.text = text
        self._what = what
        self._names = names
        self._compute = compile_expression(text, what)
        for path in paths_of(text):
            names.check(path, f"{what} {text!r}")
        for path in () if shown else weighed_in(text):
            names.check_weighed(path, f"{what} {text!r}")

    def value(self, sample: ParsedLine) -> Any:
        """Return its value for a case. Raises `TypeError` for what cannot be computed there: ``none < 1``."""
        try:
            return self._compute(scope_of(sample, self._names))
        except (TypeError, ArithmeticError) as error:
            raise TypeError(str(error)) from error
        except Exception as error:  # a filter or method called by the expression may raise anything
            raise TemplateError(f"{self._what} {self.text!r} failed: {type(error).__name__}: {error}") from error

    def value_or_none(self, sample: ParsedLine) -> Any:
        """Return its value, `None` where it cannot be computed."""
        try:
            return self.value(sample)
        except TypeError:
            return None


def scope_of(sample: ParsedLine, names: Names) -> dict[str, Any]:
    """Return what an expression may ask of a sample."""
    interaction = sample["interaction"]
    completion, error = interaction["completion"] or {}, sample["error"] or {}
    grades = _grades(sample, names)
    plain = {
        "error": error.get("message"),
        "error_kind": error.get("kind"),
        "model": interaction["source"],
        "prompt": prompt_of(sample),
        "text": completion.get("text"),
        "reasoning": completion.get("reasoning"),
        "reasoning_tokens": completion.get("reasoning_tokens"),
        "tool_calls": completion.get("tool_calls") or [],
        "finish_reason": completion.get("finish_reason"),
        "tokens": completion.get("completion_tokens"),
        "prompt_tokens": completion.get("prompt_tokens"),
        "latency": completion.get("latency"),
        "cost": cost_of(sample),
        "cluster": sample.get("cluster"),
        **{name: sample[name] for name in ("suite", "case_id", "repeat", "outcome", "nodeid")},
        "timing": {**dict.fromkeys(names.timing), **sample["timing"]},
        "item": {**dict.fromkeys(names.fields), **interaction["metadata"]},
        "tasks": {**dict.fromkeys(names.tasks), **sample["tasks"]},
        "label": {**dict.fromkeys(names.labels), **(sample.get("label") or {})},
        "grades": grades,
    }
    # A grader that is called like something else is reached as grades.NAME.
    return {**grades, **plain}


def _grades(sample: ParsedLine, names: Names) -> dict[str, Any]:
    """Return grades by their names; ``style.tone`` is in ``style``."""
    found: dict[str, Any] = {}
    by_key = {grade["grader_key"]: grade for grade in sample["grades"]}
    for key in names.graders:
        place = found
        for part in key.split("."):
            place = place.setdefault(part, {})
        grade: Mapping[str, Any] = by_key.get(key, {"status": "absent"})
        place.update({name: grade.get(name) for name in _GRADE})
    return found


def prompt_of(sample: ParsedLine) -> str | None:
    """Return the last thing that the model was asked, as text."""
    asked = [message for message in sample["interaction"]["thread"] if message["role"] not in ("assistant", "tool")]
    return shown_text(asked[-1]) if asked and asked[-1]["content"] is not None else None


def order(value: Any) -> tuple[int, Any]:
    """Return a sort key for values of any kinds: numbers, then texts, then others, then nothing."""
    if isinstance(value, (bool, int, float)):
        return (0, value)
    if value is None:
        return (3, 0)
    return (1, value) if isinstance(value, str) else (2, str(value))


# -- Why an expression chose no case: values that no case has, as the number 1 in a field of CSV, which holds texts.

_EQUAL, _ORDERED = ("eq", "in"), ("lt", "lteq", "gt", "gteq")
_SHOWN = 5


def why_none(expression: str, samples: Iterable[ParsedLine], names: Names) -> list[str]:
    """For an expression that is true for none of the ``samples``, say which of the values written in it no sample has, and
    what there is instead. An expression whose every part is true somewhere needs no words.
    """
    comparisons = [_Comparison(*each) for each in literals_in(expression) if each[1] in (*_EQUAL, *_ORDERED)]
    for sample in samples if comparisons else ():
        scope = scope_of(sample, names)
        for comparison in comparisons:
            comparison.meet(_at(scope, comparison.path))
    return [text for text in (comparison.puzzle() for comparison in comparisons) if text]


@dataclass(slots=True)
class _Comparison:
    """A path compared with values that are written out, and what the samples have there."""

    path: list[str]
    operator: str
    wanted: tuple[Any, ...]
    found: list[Any] = field(default_factory=list)
    met: bool = False
    texts: bool = True

    def meet(self, value: Any) -> None:
        """Take what a sample has."""
        if value is None:
            return
        self.met = self.met or value in self.wanted
        self.texts = self.texts and isinstance(value, str)
        if len(self.found) <= _SHOWN and value not in self.found:
            self.found.append(value)

    def puzzle(self) -> str:
        """Say why this is never true, or cannot be told; ``""`` where neither is so."""
        name = ".".join(self.path)
        if not self.found:
            return ""
        if self.operator in _ORDERED:
            numbers = all(isinstance(value, (int, float)) for value in self.wanted)
            return f"{name} is text, as {self.found[0]!r:.60}; compare {name}|float" if numbers and self.texts else ""
        if self.met:
            return ""
        shown = ", ".join(f"{value!r:.60}" for value in self.found[:_SHOWN])
        more = ", ..." if len(self.found) > _SHOWN else ""
        return f"{name} is never {' or '.join(map(repr, self.wanted))}; it is one of {shown}{more}"


def _at(scope: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = scope
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found
