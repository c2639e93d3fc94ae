"""One reviewer's sitting: which cases are asked, what they answered, what is left. Knows nothing of HTTP."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_evals.agreement.raters import Agreement, Unit, agree
from pytest_evals.errors import ArtifactError
from pytest_evals.questions.answers import Code
from pytest_evals.questions.question import Question
from pytest_evals.reports.agreement import agreement_texts
from pytest_evals.review.answers import AnswerBook, HumanAnswer
from pytest_evals.review.cases import ReviewCase, ReviewQuestion

LONGEST_COMMENT = 10_000


class BadAnswer(ArtifactError):  # noqa: N818 - it is the answer that is bad
    """What a page sent is not an answer to a question of this run."""


class ReviewSession:
    """The cases of a run (of one queue), and the book in which the answers of ``reviewer`` are kept."""

    def __init__(self, cases: Sequence[ReviewCase], book: AnswerBook, reviewer: str) -> None:
        self.cases = cases
        self.reviewer = reviewer
        self._book = book
        self._asked = {asked.place: asked for case in cases for asked in case.asked}
        # Requests are served in threads.
        self._lock = threading.Lock()

    def page_data(self, run: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the page starts with."""
        return {
            "run_id": run["run_id"],
            "reviewer": self.reviewer,
            "cases": [case.to_data() for case in self.cases],
            **self.state(),
        }

    def state(self) -> dict[str, Any]:
        """Return this reviewer's answers, and how far the reviewers agree."""
        with self._lock:
            self._book.refresh()
            every = self._book.all()
        mine = [
            answer
            for answer in every
            if answer.reviewer == self.reviewer and (answer.sample, answer.grader) in self._asked
        ]
        return {
            "answers": [_to_data(answer) for answer in mine],
            "agreement": self.agreement(every),
        }

    def agreement(self, answers: Sequence[HumanAnswer] | None = None) -> list[str]:
        """Say how far all reviewers agree so far."""
        return agreement_texts(agreements(self.cases, self._book.all() if answers is None else answers))

    def counts(self) -> tuple[int, int]:
        """Return how many questions this reviewer has answered, and how many there are."""
        with self._lock:
            self._book.refresh()
            every = self._book.all()
        done = [
            a
            for a in every
            if a.reviewer == self.reviewer and a.value is not None and (a.sample, a.grader) in self._asked
        ]
        return len(done), len(self._asked)

    def take(self, data: Any) -> None:
        """Keep what a page sent: an answer, a skipped question, or a `None` that takes an answer back.

        Raises `BadAnswer` for what answers no question of this run, `ArtifactError` when it cannot be written.
        """
        answer = self._checked(data)
        with self._lock:
            self._book.add(answer)

    def _checked(self, data: Any) -> HumanAnswer:
        if not isinstance(data, Mapping):
            raise BadAnswer("an answer is an object")
        sample, grader, value = data.get("sample"), data.get("grader"), data.get("value")
        asked = self._asked.get((str(sample), str(grader)))
        if asked is None:
            raise BadAnswer(f"this run asks nothing of {grader!r:.60} about {sample!r:.60}")
        if data.get("question") != asked.question.digest or data.get("shown") != asked.shown:
            raise BadAnswer("the answer is to another version of the question: reload the page")
        problem = None if value is None else asked.question.problem(value)
        if problem is not None:
            raise BadAnswer(problem)
        comment = data.get("comment", "")
        if not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
            raise BadAnswer(f"a comment is text of at most {LONGEST_COMMENT} characters")
        skipped, flagged = data.get("skipped") is True and value is None, data.get("flagged") is True
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        return HumanAnswer(
            asked.place[0],
            asked.place[1],
            self.reviewer,
            value,
            skipped,
            flagged,
            comment,
            asked.question.digest,
            asked.shown,
            now,
        )


def _to_data(answer: HumanAnswer) -> dict[str, Any]:
    names = ("sample", "grader", "value", "skipped", "flagged", "comment")
    return {name: getattr(answer, name) for name in names}


# -- How far the people who answered so far agree, while more answers come.


def agreements(cases: Sequence[ReviewCase], answers: Iterable[HumanAnswer]) -> list[Agreement]:
    """Return the agreement about each question of each suite that several people answered in the same case; a form's
    fields each.
    """
    given: dict[tuple[str, str], list[HumanAnswer]] = {}
    for answer in answers:
        given.setdefault((answer.sample, answer.grader), []).append(answer)
    units: dict[tuple[str, str], list[Unit]] = {}
    questions: dict[tuple[str, str], Question] = {}
    for case in cases:
        for asked in case.asked:
            for grader, question, codes in _coded(asked, given.get(asked.place, ())):
                questions[case.suite, grader] = question
                units.setdefault((case.suite, grader), []).append(Unit(case.case_id, codes))
    found = (
        agree(units[suite, grader], question.measure, suite, question.text, grader)
        for (suite, grader), question in questions.items()
        if question.measure is not None
    )
    return [agreement for agreement in found if agreement is not None]


def _coded(asked: ReviewQuestion, answers: Iterable[HumanAnswer]) -> Iterator[tuple[str, Question, dict[str, Code]]]:
    """Yield each question with the answers of people: the one that was asked, or the fields of a form."""
    question, grader = asked.question, asked.place[1]
    valid = [each for each in answers if each.value is not None and each.question == question.digest]
    parts: list[tuple[str, Question, dict[str, Any]]] = [
        (grader, question, {each.reviewer: each.value for each in valid})
    ]
    if question.kind == "form":
        parts = [
            (f"{grader}.{name}", field, {each.reviewer: each.value[name] for each in valid if name in each.value})
            for name, field in question.fields
        ]
    for name, each, values in parts:
        codes = {who: each.code(value) for who, value in values.items()}
        yield name, each, {who: code for who, code in codes.items() if code is not None}
