"""Answers in their file, and what becomes of them: neither two writers nor a crash cost one."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.errors import ArtifactError
from pytest_evals.questions.declaration import make_question
from pytest_evals.questions.question import Question
from pytest_evals.review.answers import AnswerBook, HumanAnswer, answers_path
from pytest_evals.review.cases import ReviewCase, ReviewQuestion
from pytest_evals.review.merging import merge
from pytest_evals.review.reviewer import agreements

RUN = "20261102T090000-abc123"
POLITE = make_question("Is it polite?", "choice", choices={"yes": True, "no": False, "n/a": None})
RATING = make_question("How good?", "rating", threshold=3)


def answer(
    value: Any, reviewer: str = "ana", sample: str = "s1", question: Question = POLITE, **more: Any
) -> HumanAnswer:
    return HumanAnswer(sample, "polite", reviewer, value, question=question.digest, shown="shown", **more)


def test_the_last_answer_of_a_reviewer_counts_and_survives(tmp_path: Path) -> None:
    book = AnswerBook(answers_path(tmp_path / "run.jsonl.gz"), RUN)
    assert book.path == tmp_path / "run.answers.jsonl"
    assert not book.path.exists()
    for given in (
        answer("no"),
        answer("yes", comment="\ud800 <b>"),
        answer("no", "ben"),
        answer(None, sample="s2", skipped=True),
    ):
        book.add(given)
    again = AnswerBook(book.path, RUN)
    assert again.all() == book.all()
    assert [(each.reviewer, each.value) for each in again.at(("s1", "polite"))] == [("ana", "yes"), ("ben", "no")]
    assert list(again.by_place()) == [("s1", "polite")]
    assert len(again) == 2


@pytest.mark.parametrize("left", [b'{"type": "answer", "sample": "s', b"\x00\x00", b"{"])
def test_what_a_crash_cut_off_is_dropped_and_the_next_answer_is_whole(tmp_path: Path, left: bytes) -> None:
    path = tmp_path / "run.answers.jsonl"
    AnswerBook(path, RUN).add(answer("yes"))
    with path.open("ab") as file:
        file.write(left)
    book = AnswerBook(path, RUN)
    assert len(book) == 1
    book.add(answer("no", "ben"))
    assert [json.loads(line)["type"] for line in path.read_text(encoding="utf-8").splitlines()] == [
        "answers",
        "answer",
        "answer",
    ]
    assert len(AnswerBook(path, RUN)) == 2


def write_many(path: Path, reviewer: str, count: int) -> None:
    book = AnswerBook(path, RUN)
    for number in range(count):
        book.add(answer("yes", reviewer, f"s{number}"))


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.answers.jsonl"
    method = multiprocessing.get_context("spawn")
    writers = [method.Process(target=write_many, args=(path, name, 50)) for name in ("ana", "ben")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(AnswerBook(path, RUN)) == 100
    assert path.read_text(encoding="utf-8").count('"type": "answers"') == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'{{"type": "answers", "schema": 1, "run_id": "{RUN}"}}\nnonsense\n', "are damaged after byte 69"),
        (f'{{"type": "answers", "schema": 1, "run_id": "{RUN}"}}\n{{"type": "other"}}\n', "a line is not an answer"),
        ('{"type": "answers", "schema": 1, "run_id": "other"}\n', "holds answers to the run 'other', and this run is"),
        ('{"type": "answers", "schema": 2, "run_id": "x"}\n', "newer than schema 1"),
        ('{"type": "run", "schema": 1}\n', "holds no answers of pytest-evals annotate"),
        ("[]\n", "holds no answers of pytest-evals annotate"),
    ],
)
def test_a_file_that_holds_no_answers_to_this_run_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "run.answers.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=said):
        AnswerBook(path, RUN)
    assert path.read_text(encoding="utf-8") == content


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_answers_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = answers_path(tmp_path / "run.jsonl")
    AnswerBook(path, RUN).check_writable()
    assert not path.exists()
    AnswerBook(path, RUN).add(answer("no"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    AnswerBook(path, RUN).add(answer("yes"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_in_the_place_of_answers_is_refused(tmp_path: Path) -> None:
    path = answers_path(tmp_path / "run.jsonl")
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match=r"answers\.jsonl is a pipe; give the path of a file"):
        AnswerBook(path, RUN)


def test_a_place_that_cannot_be_written_is_known_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="answers go beside the artifact"):
        AnswerBook(tmp_path / "missing" / "run.answers.jsonl", RUN).check_writable()
    book = AnswerBook(tmp_path / "run.answers.jsonl", RUN)
    book.check_writable()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - names are what counts


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], ("pending", None, None)),
        ([answer(None, skipped=True)], ("pending", None, None)),
        ([answer("yes")], ("graded", 1.0, True)),
        ([answer("no")], ("graded", 0.0, False)),
        ([answer("n/a")], ("not_applicable", None, None)),
        ([answer("yes"), answer("no", "ben")], ("pending", None, None)),
        ([answer("yes"), answer("no", "ben"), answer("yes", "cy")], ("graded", 1.0, True)),
        ([answer("yes", question=RATING)], ("pending", None, None)),
        ([answer("perhaps")], ("pending", None, None)),
    ],
)
def test_choices_are_decided_by_the_majority(
    answers: list[HumanAnswer], expected: tuple[str, float | None, bool | None]
) -> None:
    merged = merge(POLITE, answers, "shown")
    assert (merged.status, merged.value, merged.passed) == expected


def test_ratings_are_averaged_once_enough_people_answered() -> None:
    two = [answer(2, question=RATING, comment="dull\nslow"), answer(5, "ben", question=RATING)]
    merged = merge(RATING, two, "shown", reviewers=2)
    assert (merged.status, merged.value, merged.passed) == ("graded", 3.5, True)
    assert merged.reasoning == "ana: 2 (dull slow); ben: 5"
    assert [record["reviewer"] for record in merged.answers] == ["ana", "ben"]
    assert merge(RATING, two[:1], "shown", reviewers=2).reasoning == "waits for 1 more of 2 reviewers"


def test_a_text_has_no_value_and_is_the_reasoning() -> None:
    why = make_question("Why?", "text")
    merged = merge(why, [answer("It rhymes.", question=why)], "shown")
    assert (merged.status, merged.value, merged.reasoning) == ("not_applicable", None, "ana: It rhymes.")


@pytest.mark.parametrize(
    ("question", "shown", "what"), [(RATING, "shown", "the question"), (POLITE, "other", "what the case shows")]
)
def test_an_answer_to_something_else_does_not_count_and_says_so(question: Question, shown: str, what: str) -> None:
    merged = merge(question, [answer("yes")], shown)
    assert merged.reasoning == f"answered by ana, but {what} changed since; ask again with pytest-evals annotate"


def test_agreement_is_over_cases_that_several_answered() -> None:
    cases = [
        ReviewCase(
            f"s{number}",
            "test_tone",
            f"c{number}",
            "shown",
            {},
            (ReviewQuestion((f"s{number}", "polite"), POLITE, "shown", True, 1),),
        )
        for number in range(5)
    ]
    ana = [answer(value, "ana", f"s{number}") for number, value in enumerate(["yes", "yes", "no", "no", "yes"])]
    ben = [answer(value, "ben", f"s{number}") for number, value in enumerate(["yes", "no", "no", "no"])]
    (found,) = agreements(cases, [*ana, *ben])
    assert (found.suite, found.grader, found.raters, found.n) == ("test_tone", "polite", ("ana", "ben"), 4)
    assert found.agreement == 0.75
    # By hand: 4 units of two, coincidences yes-yes 2, no-no 4, yes-no 1 each way; alpha = 1 - 7 * 2 / (2 * 3 * 5).
    assert found.alpha.value == pytest.approx(1 - 7 * 2 / 30)
    assert found.pairs[0].kappa.value == pytest.approx(0.5)
    assert agreements(cases, ana) == []
    assert agreements(cases, [answer("yes"), answer("yes", "ben", question=RATING)]) == [], "to another question"
