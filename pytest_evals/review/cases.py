"""An artifact -> what people are asked: each case that has questions, laid out, with its questions beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_evals.errors import ArtifactError, SuiteError
from pytest_evals.questions.question import Question
from pytest_evals.reports.cases import called, message_text
from pytest_evals.reports.html.media import PageMedia
from pytest_evals.review.answers import AnswerPlace, HumanAnswer


@dataclass(frozen=True, slots=True)
class ReviewQuestion:
    """One question about one case."""

    place: AnswerPlace
    question: Question
    shown: str
    required: bool
    reviewers: int

    def to_data(self) -> dict[str, Any]:
        """Return what the page needs of it."""
        return {
            "grader": self.place[1],
            "digest": self.question.digest,
            "required": self.required,
            **self.question.to_data(),
        }


@dataclass(frozen=True, slots=True)
class ReviewCase:
    """A case to be looked at. What would sway a reviewer (the model's name, other grades) is not in it."""

    sample: str
    suite: str
    case_id: str
    shown: str
    layout: Mapping[str, Any]
    asked: tuple[ReviewQuestion, ...]

    def to_data(self) -> dict[str, Any]:
        """Return what the page needs of it."""
        return {
            "sample": self.sample,
            "suite": self.suite,
            "case": self.case_id,
            "shown": self.shown,
            "layout": self.layout,
            "questions": [asked.to_data() for asked in self.asked],
        }


def review_cases(
    samples: Iterable[Mapping[str, Any]], queue: str | None = None, media: PageMedia | None = None
) -> Iterator[ReviewCase]:
    """Yield the cases with questions, those of one queue if it is named. ``media``: how the page shows images and audio. Raises
    `ArtifactError` for a question that cannot be read.
    """
    on_page = media or PageMedia(())
    for sample in samples:
        groups: dict[str, list[ReviewQuestion]] = {}
        layouts: dict[str, Mapping[str, Any]] = {}
        for key, data in _questions(sample):
            if queue is not None and data.get("queue") != queue:
                continue
            try:
                asked = ReviewQuestion(
                    (sample["id"], key),
                    Question.from_data(data["question"]),
                    data["shown"],
                    data["required"],
                    data["reviewers"],
                )
                layouts[asked.shown] = _with_parts(data["layout"], sample, on_page)
            except (SuiteError, KeyError, TypeError) as error:
                raise ArtifactError(
                    f"sample {sample['id']}: the question of {key!r} cannot be read: {error}"
                ) from error
            groups.setdefault(asked.shown, []).append(asked)
        for shown, questions in groups.items():
            yield ReviewCase(sample["id"], sample["suite"], sample["case_id"], shown, layouts[shown], tuple(questions))


def queues(samples: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many questions each queue has."""
    found: dict[str, int] = {}
    for sample in samples:
        for _, data in _questions(sample):
            found[str(data.get("queue"))] = found.get(str(data.get("queue")), 0) + 1
    return found


def _questions(sample: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield grader and metadata of each question; a form is in the grade of its first field."""
    for grade in sample["grades"]:
        metadata = grade.get("metadata") or {}
        if isinstance(metadata.get("question"), Mapping) and "shown" in metadata:
            field = metadata.get("field")
            yield grade["grader_key"].removesuffix(f".{field}") if field else grade["grader_key"], metadata


def _turn(message: Mapping[str, Any], media: PageMedia) -> dict[str, Any]:
    """Return a turn as the page shows it; the results of tools with the tool's name."""
    who = " ".join(filter(None, (str(message.get("role")), message.get("name"))))
    thoughts = message.get("reasoning_content")
    return {"role": who, "content": _said(message, media), **({"reasoning": thoughts} if thoughts else {})}


def _said(message: Mapping[str, Any], media: PageMedia) -> Any:
    """Return what a message says, as the page shows it: its text, or its parts."""
    content = message.get("content")
    return media.shown(content) if isinstance(content, list) else message_text(message)


def _with_parts(layout: Mapping[str, Any], sample: Mapping[str, Any], media: PageMedia) -> dict[str, Any]:
    """Return the layout with the parts that every sample has put in."""
    if "children" in layout:
        return {
            "direction": layout["direction"],
            "children": [_with_parts(child, sample, media) for child in layout["children"]],
        }
    interaction = sample["interaction"]
    completion = interaction["completion"] or {}
    answer = completion.get("text", "")
    if layout.get("part") == "completion":
        folded = {"reasoning": completion["reasoning"]} if completion.get("reasoning") else {}
        shown = "\n".join([*([answer] if answer else []), *map(called, completion.get("tool_calls") or ())])
        return {"label": layout["label"] or "Answer", "text": shown, **folded}
    if layout.get("part") == "conversation":
        thread = list(interaction["thread"])
        if thread and thread[-1].get("role") == "assistant" and (thread[-1].get("content") or "") == answer:
            thread.pop()
        messages = [_turn(message, media) for message in thread]
        return {"label": layout["label"], "messages": messages}
    return {"label": str(layout["label"]), "text": str(layout["text"])}


def outdated(cases: Iterable[ReviewCase], answers: Iterable[HumanAnswer]) -> list[HumanAnswer]:
    """Return the answers to questions that this run does not ask any more, or asks in other words."""
    now = {asked.place: asked for case in cases for asked in case.asked}
    given = [answer for answer in answers if answer.value is not None]
    return [
        answer
        for answer in given
        if (answer.sample, answer.grader) not in now
        or now[answer.sample, answer.grader].question.digest != answer.question
        or now[answer.sample, answer.grader].shown != answer.shown
    ]
