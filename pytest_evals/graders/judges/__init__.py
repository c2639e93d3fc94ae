"""Judges: graders that ask a model what it thinks of an answer.

``judge.binary``, ``judge.labels``, ``judge.scale``, ``judge.rubric`` and ``judge.pairwise`` bring their prompts;
``judge(template, response=...)`` takes one of your own. What is judged is put in the prompt between markers that it
cannot forge; a reply counts only when it is clearly one of the verdicts on offer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Unpack

from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.options import Common, Verdicts
from pytest_evals.graders.judges.preflight import Preflight
from pytest_evals.questions.question import Question

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pytest_evals.graders.judges.custom import CustomScore
    from pytest_evals.graders.judges.scale import ScaleReading

__all__ = ["Judge", "Preflight", "judge"]


class Judge:
    """See the module. All kinds take the options of `Common`."""

    def __call__(
        self,
        template: str,
        *,
        response: type[BaseModel],
        score: CustomScore = "score",
        reason: str | None = None,
        **common: Unpack[Common],
    ) -> Fixture:
        """Judge with a prompt of your own; the reply is an object of the pydantic model ``response``.

        ``template`` may use ``item``, ``metadata``, ``completion``, ``question``, ``conversation``, ``turns``,
        ``reference``, ``context``, ``documents``, ``output_schema``, and tasks and graders by name. ``score``: the field that
        is the grade's value, a list of fields for a grade each, or a function of the response. ``reason``: the field
        that holds the judge's reasons.
        """
        from pytest_evals.graders.judges.custom import custom

        return custom(template, response=response, score=score, reason=reason, **common)

    def binary(
        self, criterion: str | Question, *, not_applicable: bool | None = None, **common: Unpack[Verdicts]
    ) -> Fixture:
        """The answer meets ``criterion``: PASS is 1, FAIL is 0, and NA (unless ``not_applicable`` is off) does not apply.

        Of a yes-or-no ``question(...)`` PASS is the choice that is True, FAIL the one that is False, NA the one that is None.
        With ``by="probability"`` the value is the probability of PASS among PASS and FAIL, and it passes from ``threshold`` (0.5) on.
        """
        from pytest_evals.graders.judges.labels import binary

        return binary(criterion, not_applicable=not_applicable, **common)

    def labels(
        self,
        asked: str | Question,
        /,
        labels: Mapping[str, float | bool | None] | Sequence[str] | None = None,
        **common: Unpack[Verdicts],
    ) -> Fixture:
        """The judge answers a question with one of ``labels``, whose values are the grade's.

        A value of True or False is a verdict, `None` does not apply. Labels in a list are worth their place in it, from 0 for
        the first to 1 for the last. A ``question(...)`` of choices brings them. With ``by="probability"`` the value is what the
        labels are worth, weighted by their probabilities.
        """
        from pytest_evals.graders.judges.labels import labels as make

        return make(asked, labels, **common)

    def scale(
        self,
        criterion: str | Question,
        *,
        low: int | None = None,
        high: int | None = None,
        levels: Mapping[int, str] | None = None,
        normalize: bool = False,
        by: ScaleReading = "auto",
        abstain: tuple[float, float] | None = None,
        **common: Unpack[Common],
    ) -> Fixture:
        """How far the answer meets ``criterion``: a number from ``low`` to ``high`` (1 to 5), or from 0 to 1 with
        ``normalize``.

        Where the engine tells likelihoods, the value is the expected score under the judge's probabilities of all scores, as in
        G-Eval (Liu et al., EMNLP 2023); elsewhere, and with ``by="text"``, the score that it writes. ``by="probability"`` asks for
        probabilities alone, with the question after the material, so that all questions about a case share it; ``abstain``
        goes with it. ``levels`` says what scores mean. A rating ``question(...)`` brings scale, ends and threshold.
        """
        from pytest_evals.graders.judges.scale import scale

        return scale(
            criterion, low=low, high=high, levels=levels, normalize=normalize, by=by, abstain=abstain, **common
        )

    def rubric(
        self,
        criteria: Mapping[Any, Any] | Sequence[str | Question] | Question,
        *,
        calls: Literal["one", "each"] = "each",
        **common: Unpack[Verdicts],
    ) -> Fixture:
        """Weighted criteria: ``{criterion: weight}``, ``{name: (criterion, weight)}``, or a list of equal weight. A
        criterion may be a yes-or-no ``question(...)``; a form of them is a rubric of equal weight.

        The grade is the weighted mean of PASS (1) and FAIL (0); criteria that do not apply leave, and the weights of the others
        count. Each criterion has a grade of its own, ``grader.name``. ``calls``: ask for all in one call, or for each in
        its own.
        """
        from pytest_evals.graders.judges.rubric import rubric

        return rubric(criteria, calls=calls, **common)

    def pairwise(self, criterion: str, *, against: str, **common: Unpack[Common]) -> Fixture:
        """The answer meets ``criterion`` better than ``against``, a template: 1 for a win, 0.5 for a tie, 0 for a loss.

        Both orders are judged, and the grade is their mean. ``grader.consistent``: both orders agree. ``grader.first_wins``:
        how often the answer shown first won; its mean over the cases is 0.5 for a judge without a liking for a place.
        """
        from pytest_evals.graders.judges.pairwise import pairwise

        return pairwise(criterion, against=against, **common)


judge = Judge()
