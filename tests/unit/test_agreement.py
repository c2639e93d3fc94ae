"""Agreement of those who answered one question, from what their grades say; and how it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_evals.agreement.raters import Agreement, agreements, decision
from pytest_evals.artifacts.sample import to_record
from pytest_evals.grades import Grade
from pytest_evals.questions.answers import answer_metadata, question_metadata, said_of
from pytest_evals.questions.declaration import make_question
from pytest_evals.questions.question import Question
from pytest_evals.reports.agreement import agreement_lines, agreement_texts
from pytest_evals.scores.records import CaseRecord

from .recorded import sample_line

POLITE = make_question("Is it polite?", "choice", choices={"yes": True, "no": False, "n/a": None})
WARM = make_question("How warm?", "rating")
LONG = make_question("How long, in words?", "number")
GRADED = {"yes": (1.0, True, "graded"), "no": (0.0, False, "graded")}


def people(question: Question, grader: str, **answers: Any) -> Grade:
    """Return the grade of a grader that asks people; it waits for an answer."""
    given = [{"reviewer": name, "value": value} for name, value in answers.items()]
    value, passed, status = GRADED.get(next(iter(answers.values()), ""), (None, None, "pending"))
    return Grade(value, grader, None, passed, status, {"shown": "x", "answers": given, **question_metadata(question)})  # type: ignore[arg-type]  # a status


def judged(question: Question, grader: str, *answers: Any, decided: Any = None, status: Any = "graded") -> Grade:
    """Return the grade of a judge, of several models if it has several answers."""
    said = answer_metadata([(f"model{number}", value) for number, value in enumerate(answers)], decided)
    value = None if status != "graded" else 1.0
    return Grade(value, grader, None, None, status, {**question_metadata(question), **said})


def records(*cases: Sequence[Grade], repeats: int = 1, **changes: Any) -> list[CaseRecord]:
    return [
        to_record(json.loads(json.dumps(sample_line(f"c{number}", *grades, repeat=repeat + 1, **changes))))
        for number, grades in enumerate(cases)
        for repeat in range(repeats)
    ]


def by_raters(found: Sequence[Agreement]) -> dict[tuple[str, ...], Agreement]:
    return {each.raters: each for each in found}


def test_people_judges_and_panels_are_compared_where_both_answered() -> None:
    rows = [("yes", "yes", "yes"), ("no", "yes", "no"), ("yes", "no", "n/a"), ("no", "no", "no")]
    cases: list[tuple[Grade, ...]] = [
        (people(POLITE, "human", ana=ana, ben=ben), judged(POLITE, "judge", judge, decided=judge))
        for ana, ben, judge in rows
    ]
    cases += [
        (people(POLITE, "human", ana="yes"), judged(POLITE, "judge", status="error")),
        (people(POLITE, "human"), judged(POLITE, "judge", "yes", decided="yes")),
        (Grade(True, "exact", ""),),
    ]
    found = by_raters(agreements(records(*cases)))
    assert list(found) == [("ana", "ben"), ("people (human)", "judge")]
    both = found["ana", "ben"]
    assert (both.suite, both.question, both.grader, both.measure, both.n) == (
        "capitals", "Is it polite?", "human", "nominal", 4,
    )  # fmt: skip
    assert both.agreement == 0.5
    assert both.pairs[0].kappa.value == pytest.approx(0.0)
    # Ana and Ben differ in two cases, in which people decided nothing; an error decides nothing either.
    graders = found["people (human)", "judge"]
    assert (graders.n, graders.agreement) == (2, 1.0)
    assert Agreement.from_dict(json.loads(json.dumps(graders.to_dict()))) == graders
    assert said_of({"asks": {"key": 3}}) is said_of({"asks": "what?"}) is said_of(None) is None, "a user's own metadata"
    assert said_of({**question_metadata(POLITE), "answers": [{"judge": "m", "value": "perhaps"}, 3]}) is not None


def test_ratings_go_by_their_order_and_numbers_by_their_distance() -> None:
    rows = [(1, 2), (2, 2), (4, 5), (5, 4), (3, 1), (5, 5)]
    (warm,) = agreements(records(*[(people(WARM, "human", ana=one), judged(WARM, "judge", two)) for one, two in rows]))
    metrics = pytest.importorskip("sklearn.metrics")
    kappa = metrics.cohen_kappa_score(*zip(*rows, strict=True), weights="quadratic", labels=[1, 2, 3, 4, 5])
    assert warm.measure == "ordinal"
    assert warm.pairs[0].kappa.value == pytest.approx(kappa)
    (length,) = agreements(records(*[(people(LONG, "human", ana=one, ben=two),) for one, two in rows]))
    library = pytest.importorskip("krippendorff")
    assert length.alpha.value == pytest.approx(
        library.alpha(list(zip(*rows, strict=True)), level_of_measurement="interval")
    )
    assert length.pairs[0].kappa.value is None
    assert agreement_texts([length])[0].startswith(
        "agreement on 'How long, in words?' in capitals: ana and ben (human) agree on 33% (n=6); alpha 0.77 ["
    )


@pytest.mark.parametrize(
    ("codes", "kind", "expected"),
    [
        ([], "choice", None),
        (["yes", "yes", "no"], "choice", "yes"),
        (["yes", "no"], "choice", None),
        ([2.0, 3.0], "rating", 2.0),
        ([2.0, 3.0, 3.0], "rating", 3.0),
        ([1.0, 2.5], "number", 1.75),
    ],
)
def test_what_several_answers_come_to(codes: list[Any], kind: str, expected: Any) -> None:
    assert decision(codes, kind) == expected


def test_repeats_of_a_case_are_no_further_evidence() -> None:
    answers = [("yes", "yes"), ("no", "no"), ("yes", "no"), ("no", "no"), ("yes", "yes"), ("no", "yes")] * 3
    cases = [(people(POLITE, "human", ana=one, ben=two),) for one, two in answers]
    (once,) = agreements(records(*cases))
    (often,) = agreements(records(*cases, repeats=4))
    assert (often.n, often.agreement) == (4 * once.n, once.agreement)
    for each in (once.alpha.interval, once.pairs[0].kappa.interval):
        assert each is not None
    widths = [
        [interval[1] - interval[0] for interval in (each.alpha.interval, each.pairs[0].kappa.interval) if interval]
        for each in (once, often)
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_of_many_pairs_the_card_names_those_that_agree_least() -> None:
    votes: list[Mapping[str, str]] = [
        {name: ("yes" if (number * step) % 5 < 3 else "no") for step, name in enumerate(["a", "b", "c", "d"], 1)}
        for number in range(20)
    ]
    (found,) = agreements(records(*[(people(POLITE, "human", **vote, e="yes"),) for vote in votes]))
    assert len(found.pairs) == 10
    lines = [line.text for line in agreement_lines([found], 60, whole=False)]
    assert lines == [
        "agreement on 'Is it polite?' in capitals:",
        "    a, b, c, d and e (human) agree on 52% of pairs (n=20);",
        "        alpha -0.09 [-0.20, 0.02]",
        "    a and d on 20% (n=20); kappa -0.67 [-0.91, -0.42]",
        "    b and c on 20% (n=20); kappa -0.67 [-0.91, -0.42]",
        *(f"    {name} and e on 60% (n=20); kappa 0.00" for name in "abcd"),
        "    and 4 pairs in better agreement",
    ]
    assert len(agreement_texts([found])) == 11
