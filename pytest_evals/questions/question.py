"""What is asked about a case, which answers there are, and what they are worth. People and judges answer the same. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.hashing import content_hash

if TYPE_CHECKING:
    from pytest_evals.statistics.agreement import AlphaMetric

QuestionKind = Literal["choice", "rating", "number", "text", "form"]
KINDS = get_args(QuestionKind)
Worth: TypeAlias = float | bool | None
"""Of a choice: a number, a verdict, or `None` for one that says that the question does not apply."""
LONGEST_TEXT = 100_000


@dataclass(frozen=True, slots=True)
class Question:
    """A question. ``choices`` are those of a choice, ``low`` and ``high`` the ends of a rating or the limits of a number,
    ``ends`` what the ends of a rating mean, ``fields`` the questions of a form, by name. From ``threshold`` on a number passes.
    ``guidance`` is what who answers should know. ``place`` is the file and line of the author's.
    """

    text: str
    kind: QuestionKind
    choices: tuple[tuple[str, Worth], ...] = ()
    low: float | None = None
    high: float | None = None
    ends: tuple[str, str] | None = None
    threshold: float | None = None
    fields: tuple[tuple[str, Question], ...] = ()
    guidance: str = ""
    place: str = field(default="", compare=False, repr=False)

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
            data["fields"] = {name: inner.to_data() for name, inner in self.fields}
        return {**data, "guidance": self.guidance} if self.guidance else data

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Question:
        """Return the question that `to_data` described. Raises `SuiteError` for what is none."""
        try:
            return cls(
                text=str(data["text"]),
                kind=known_kind(data["kind"]),
                choices=tuple((str(label), worth) for label, worth in data.get("choices", ())),
                low=data.get("low"),
                high=data.get("high"),
                ends=(str(data["ends"][0]), str(data["ends"][1])) if "ends" in data else None,
                threshold=data.get("threshold"),
                fields=tuple((str(name), cls.from_data(inner)) for name, inner in data.get("fields", {}).items()),
                guidance=str(data.get("guidance", "")),
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
        problems = ((name, inner.problem(answer[name])) for name, inner in self.fields)
        return next((f"{name}: {problem}" for name, problem in problems if problem), None)

    def worth(self, answer: Any) -> Worth:
        """Return what a valid answer is worth: `None` for a text, and for a choice that does not apply."""
        if self.kind == "choice":
            return dict(self.choices)[answer]
        return None if self.kind in ("text", "form") else float(answer)

    @property
    def measure(self) -> AlphaMetric | None:
        """How answers are compared: choices as the same or not, or by their order where three or more are worth different
        numbers; ratings by their order; numbers by their distance. `None` for texts and forms, which are not.
        """
        if self.kind == "choice":
            return "ordinal" if _ordered([worth for _, worth in self.choices]) else "nominal"
        return {"rating": "ordinal", "number": "interval"}.get(self.kind)  # type: ignore[return-value]  # of Measure, as written

    def code(self, answer: Any) -> float | str | None:
        """Return a valid answer as it is compared; `None` where it cannot be: of ordered choices, one that does not apply."""
        if self.measure is None:
            return None
        if self.kind != "choice":
            return float(answer)
        if self.measure == "nominal":
            return str(answer)
        worth = self.worth(answer)
        worths = sorted(float(each) for _, each in self.choices if each is not None)
        return None if worth is None else float(worths.index(float(worth)))


def _ordered(worths: Sequence[Worth]) -> bool:
    numbers = [worth for worth in worths if worth is not None]
    return len(set(numbers)) == len(numbers) > 2 and not any(isinstance(worth, bool) for worth in numbers)


def known_kind(kind: object) -> QuestionKind:
    """Return a kind of question. Raises `SuiteError` for what is none."""
    for known in KINDS:
        if kind == known:
            return known  # type: ignore[no-any-return]  # one of the literals above
    raise SuiteError(f"kind is one of {', '.join(KINDS)}, not {kind!r:.60}{did_you_mean(str(kind), KINDS)}")
