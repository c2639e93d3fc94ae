"""Judges by probability: from the likelihoods of verdicts to values, verdicts and abstentions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from pytest_evals.completion import Likelihood
from pytest_evals.errors import ModelCallError, SuiteError
from pytest_evals.graders import faithfulness, question
from pytest_evals.graders.judges import judge
from pytest_evals.graders.judges.probability import exclusive
from pytest_evals.grades import Grade

from .judging import Graded, Handle

Making = Callable[[Callable[[], Any]], Graded]


@pytest.fixture
def grading(monkeypatch: pytest.MonkeyPatch) -> Making:
    return lambda make: Graded(make, monkeypatch)


def handle(shares: Mapping[str, float], replies: Any = (), **more: Any) -> Handle:
    """A judge that gives each text this probability; as small ones do, whatever is left goes to other replies."""
    return Handle(
        replies, able=["likelihoods"], logprobs={text: math.log(share) for text, share in shares.items()}, **more
    )


VERDICTS = {"PASS": 0.3, "FAIL": 0.1, "NA": 0.1}


def test_the_value_is_the_probability_of_a_pass_among_those_that_apply(grading: Making) -> None:
    grade = grading(lambda: judge.binary("names the city", by="probability"))(handle(VERDICTS))
    assert (grade.value, grade.passed, grade.status) == (pytest.approx(0.75), True, "graded")
    assert grade.metadata["probabilities"] == {"PASS": 0.6, "FAIL": 0.2, "NA": 0.2}
    assert (grade.metadata["by"], grade.metadata["verdict"], grade.metadata["mass"]) == ("probability", "PASS", 0.5)
    assert grade.reasoning == "PASS 60.0%, FAIL 20.0%, NA 20.0%"


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"PASS": 0.2, "FAIL": 0.3, "NA": 0.5}, (None, None, "not_applicable")),
        ({"PASS": 0.2, "FAIL": 0.31, "NA": 0.49}, (0.2 / 0.51, False, "graded")),
        ({"PASS": 1e-9, "FAIL": 1e-9, "NA": 1e-12}, (0.5, True, "graded")),
        ({"PASS": 1.0, "FAIL": 1e-300, "NA": 1e-300}, (1.0, True, "graded")),
    ],
)
def test_half_of_the_probability_for_na_does_not_apply(
    grading: Making, shares: Mapping[str, float], expected: tuple[Any, ...]
) -> None:
    grade = grading(lambda: judge.binary("names the city", by="probability"))(handle(shares))
    assert (grade.value if grade.value is None else pytest.approx(grade.value), grade.passed, grade.status) == expected


def test_the_threshold_decides_and_the_verdict_follows(grading: Making) -> None:
    graded = grading(lambda: judge.binary("names the city", by="probability", threshold=0.8))(handle(VERDICTS))
    assert (graded.passed, graded.metadata["verdict"]) == (False, "FAIL")


@pytest.mark.parametrize("band", [(0.7, 0.8), (0.75, 0.75), (0.75, 1), (0, 0.75)])
def test_a_value_in_the_band_is_an_abstention_with_its_probabilities(
    grading: Making, band: tuple[float, float]
) -> None:
    shares = {"PASS": 0.75, "FAIL": 0.25}
    make = lambda: judge.binary("is good", by="probability", not_applicable=False, abstain=band)  # noqa: E731 - read in place
    grade: Grade = grading(make)(handle(shares))
    assert (grade.status, grade.value, grade.passed) == ("not_applicable", None, None)
    assert grade.metadata["abstained"] == pytest.approx(0.75)
    assert grade.metadata["probabilities"] == shares
    assert str(grade.reasoning).startswith("abstains at 0.75")


def test_the_material_stands_before_the_question_so_that_questions_share_it(grading: Making) -> None:
    first, second = handle(VERDICTS), handle({"polite": 0.5, "rude": 0.5})
    grading(lambda: judge.binary("names the city", by="probability"))(first)
    grade = grading(lambda: judge.labels("How does it sound?", {"polite": 1, "rude": 0}, by="probability"))(second)
    assert grade.value == pytest.approx(0.5)
    one, other = (asked.asked[0][-1]["content"] for asked in (first, second))
    shared = next(place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    assert one[:shared].rstrip().endswith("]"), "everything up to the end of the answer is the same"
    assert "It is Paris" not in one[shared:]
    assert one.endswith("Does the answer meet the criterion? Reply with PASS, FAIL or NA and nothing else.")


def test_labels_are_worth_their_expectation(grading: Making) -> None:
    shares = {"poor": 0.1, "fair": 0.3, "good": 0.6}
    grade = grading(lambda: judge.labels("How good?", list(shares), by="probability"))(handle(shares))
    assert (grade.value, grade.passed, grade.metadata["verdict"]) == (pytest.approx(0.75), None, "good")
    mixed = {"yes": 0.2, "no": 0.2, "cannot tell": 0.1}
    make = lambda: judge.labels("Is it?", {"yes": True, "no": False, "cannot tell": None}, by="probability")  # noqa: E731 - read in place
    assert grading(make)(handle(mixed)).value == pytest.approx(0.5)


def test_a_scale_is_the_expected_score(grading: Making) -> None:
    shares = {"1": 0.1, "2": 0.1, "3": 0.2, "4": 0.2, "5": 0.4}
    grade = grading(lambda: judge.scale("is clear", by="probability", threshold=3))(handle(shares))
    assert (grade.value, grade.passed) == (pytest.approx(3.7), True)
    assert grade.metadata["by"] == "probability"
    assert grade.metadata["probabilities"]["5"] == pytest.approx(0.4)
    unsure = grading(lambda: judge.scale("is clear", by="probability", abstain=(2.5, 3.75)))(handle(shares))
    assert (unsure.status, unsure.metadata["abstained"]) == ("not_applicable", pytest.approx(3.7))
    normal = grading(lambda: judge.scale("is clear", by="probability", normalize=True))(handle(shares))
    assert normal.value == pytest.approx(2.7 / 4)


def test_a_rubric_weighs_the_probabilities_of_its_criteria(grading: Making) -> None:
    make = lambda: judge.rubric({"names it": 3, "is brief": 1}, by="probability", threshold=0.7)  # noqa: E731 - read in place
    grades = grading(make)(handle({"PASS": 0.6, "FAIL": 0.3, "NA": 0.1}))
    assert grades[""].value == pytest.approx(2 / 3)
    assert not grades[""].passed, "the threshold is that of the whole"
    assert grades["names_it"].passed, "a criterion passes from a half on"
    abstaining = lambda: judge.rubric(["names it"], by="probability", abstain=(0.6, 0.7))  # noqa: E731 - read in place
    assert grading(abstaining)(handle({"PASS": 0.6, "FAIL": 0.3, "NA": 0.1}))[""].status == "not_applicable"


def test_a_panel_is_the_mean_or_the_median_of_its_models(grading: Making) -> None:
    shares = {"a": 0.9, "b": 0.8, "c": 0.1}
    panel = Handle(others={name: handle({"PASS": p, "FAIL": 1 - p}, name=name) for name, p in shares.items()})
    mean = lambda: judge.binary("is good", by="probability", not_applicable=False, model=list("abc"))  # noqa: E731 - read in place
    grade = grading(mean)(panel)
    assert grade.value == pytest.approx(0.6)
    assert [ballot["value"] for ballot in grade.metadata["ballots"]] == pytest.approx([0.9, 0.8, 0.1])
    median = lambda: judge.binary("is good", by="probability", not_applicable=False, model=list("abc"), how="majority")  # noqa: E731 - read in place
    assert grading(median)(panel).value == pytest.approx(0.8)


def test_a_judge_that_reasons_is_asked_for_probabilities_after_its_reasons(grading: Making) -> None:
    reasoning = handle(VERDICTS, ["It names Paris."])
    grade = grading(lambda: judge.binary("names the city", by="probability", reasoning=True))(reasoning)
    assert "without a verdict yet" in reasoning.asked[0][-1]["content"]
    assert reasoning.asked[1][-1]["content"] == "Now the verdict: PASS, FAIL or NA and nothing else."
    assert (grade.value, grade.reasoning) == (pytest.approx(0.75), "PASS 60.0%, FAIL 20.0%, NA 20.0%: It names Paris.")


def test_an_answer_to_a_question_is_the_likelier_choice_and_an_abstention_is_none(grading: Making) -> None:
    asked = question("Is it good?", choices={"yes": True, "no": False})
    grade = grading(lambda: judge.binary(asked, by="probability"))(handle({"PASS": 0.7, "FAIL": 0.3}))
    assert grade.metadata["answer"] == "yes"
    unsure = grading(lambda: judge.binary(asked, by="probability", abstain=(0.6, 0.8)))
    assert "answers" not in unsure(handle({"PASS": 0.7, "FAIL": 0.3})).metadata


def test_a_judge_without_likelihoods_is_an_error_of_the_measurement(grading: Making) -> None:
    with pytest.raises(ModelCallError, match="by='probability' needs a judge that tells how likely its replies are"):
        grading(lambda: judge.binary("is good", by="probability"))(Handle(["PASS"]))


def test_a_verdict_that_begins_another_one_does_not_hold_its_probability() -> None:
    found = [Likelihood("good", math.log(0.5), 1, 4), Likelihood("good enough", math.log(0.2), 2, 11)]
    shares, mass = exclusive(found)
    assert [*shares, mass] == pytest.approx([0.6, 0.4, 0.5])


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: judge.binary("x", by="logits"), "by must be 'text' or 'probability', not 'logits'"),  # type: ignore[arg-type]  # what it refuses
    (lambda: judge.binary("x", by=None), "by must be 'text' or 'probability', not None"),  # type: ignore[arg-type]  # what it refuses
    (lambda: judge.binary("x", abstain=(0.4, 0.6)), "a judge has them with by='probability'"),
    (lambda: judge.scale("x", abstain=(2, 3)), "a judge has them with by='probability'"),
    (lambda: judge.binary("x", by="probability", abstain=0.5), "abstain must be two numbers"),  # type: ignore[arg-type]  # what it refuses
    (lambda: judge.binary("x", by="probability", abstain=(0.4, float("nan"))), "abstain must be two numbers"),
    (lambda: judge.binary("x", by="probability", abstain=(True, 1)), "abstain must be two numbers"),
    (lambda: judge.binary("x", by="probability", abstain=(0.6, 0.4)), "begins at 0.6, above its end 0.4"),
    (lambda: judge.binary("x", by="probability", abstain=(40, 60)), "outside of what the grade can be, 0 to 1"),
    (lambda: judge.scale("x", by="probability", abstain=(5.5, 6)), "outside of what the grade can be, 1 to 5"),
    (lambda: judge.labels("x", {"a": 1, "b": 3}, by="probability", abstain=(0, 0.5)), "can be, 1 to 3"),
    (lambda: judge.binary("x", by="probability", votes=3), "votes of probabilities are all the same"),
    (lambda: judge.binary("x", by="probability", generation={"temperature": 1}), "by='probability' has none written"),
    (lambda: judge.rubric(["x"], by="probability", calls="one"), "weighs the verdicts of each criterion"),
    (lambda: judge.scale("x", by="logits"), "must be 'auto', 'likelihood', 'probability' or 'text'"),  # type: ignore[arg-type]  # what it refuses
    (lambda: judge.pairwise("x", against="y", by="probability"), "unknown option 'by'"),  # type: ignore[call-arg]  # what it refuses
    (lambda: faithfulness(abstain=(0.4, 0.6)), "unknown option 'abstain'"),  # type: ignore[call-arg]  # what it refuses
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        make()
