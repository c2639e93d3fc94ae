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
    """Graders that ask a model. ``judge.binary``, ``judge.labels``, ``judge.scale``, ``judge.rubric`` and ``judge.pairwise`` bring their prompts.

    ``judge(template, response=Model)`` takes your own prompt; the reply is an object of the pydantic model ``Model``. Its ``template`` may use
    ``item``, ``metadata``, ``completion``, ``question``, ``conversation``, ``turns``, ``reference``, ``context``, ``documents``,
    ``output_schema``, and tasks and graders by name. ``score`` names the field that is the grade's value, or a list of fields for a grade each,
    or is a function of the response; ``reason`` names the field with the judge's reasons.

    All judges take these options (``common``):

    - ``model``: the judge's model, instead of that of ``--evals-judge``; a list is a panel.
    - ``how``: the answer of a panel or of several votes: their ``majority`` or their ``mean``.
    - ``votes``: the number of sampled replies of each model.
    - ``examples``: judged answers that are shown before the case's; not for ``judge.rubric`` and ``judge.pairwise``.
    - ``system``: another system message; ``""`` sends none.
    - ``reasoning``: whether the judge reasons before it decides.
    - ``generation``: parameters of its replies. Judges are greedy by default.
    - ``answer``, ``question``, ``reference``, ``context``: templates of what is judged and shown.
    - ``images``: images that the judge is shown, as for `cases`.
    - ``threshold``: the lowest value that passes.
    - ``run_if``: an expression over the case. Where it is false, the judge does not apply.
    - ``name``: the fixture's name.
    - ``preflight``: a `Preflight` that the judge must pass before anything is generated.

    ``judge.binary``, ``judge.labels`` and ``judge.rubric`` take two more, and ``judge.scale`` documents its own:

    - ``by``: ``text``, what the judge writes; or ``probability``, the probability of each verdict right after the prompt.
    - ``abstain``: a band of probabilities, as ``(0.4, 0.6)``, within which the grade does not apply.

    A wrong option raises `SuiteError`.
    """

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
        """Whether the answer meets ``criterion``: PASS is 1, FAIL is 0, NA does not apply.

        Args:
            criterion: What the answer must do, a template; or a yes-or-no `question`, whose choices of True, False and None are PASS, FAIL and NA.
            not_applicable: `False` does not offer NA.
            common: The options of all judges. With ``by="probability"`` the value is the probability of PASS among PASS and FAIL, and it
                passes from ``threshold`` on, 0.5 by default.
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
        """The judge answers a question with one of ``labels``; the grade is the label's value.

        Args:
            asked: The question, a template; or a `question` of choices, which brings its labels.
            labels: Labels with their values: True and False are verdicts, `None` does not apply. In a list, labels are worth 0 (the first) to
                1 (the last).
            common: The options of all judges. With ``by="probability"`` the value is the mean of the labels' values, weighted by their
                probabilities.
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
        """How far the answer meets ``criterion``, from ``low`` to ``high``.

        Args:
            criterion: What the answer is rated for, a template; or a `question` of ratings, which brings scale, ends and threshold.
            low: The lowest score; 1 by default.
            high: The highest score; 5 by default.
            levels: What scores mean, by score.
            normalize: Whether the value is mapped to 0 to 1.
            by: ``auto``: the expected score under the judge's probabilities of all scores, as in G-Eval (Liu et al., EMNLP 2023), if the engine
                gives likelihoods, else the score that it writes. ``likelihood`` and ``text`` insist on one of them. ``probability`` writes
                nothing.
            abstain: With ``by="probability"``, the band of values within which the grade does not apply.
            common: The options of all judges.
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
        """The weighted mean of criteria, each PASS (1) or FAIL (0), and a grade for each: ``grader.name``.

        Criteria that do not apply are left out, and the other weights renormalised.

        Args:
            criteria: ``{criterion: weight}``, ``{name: (criterion, weight)}``, or a list of equal weight. A criterion may be a yes-or-no
                `question`; a form of them is a rubric of equal weight.
            calls: Ask for ``each`` criterion in its own call, or for all in ``one``.
            common: The options of all judges.
        """
        from pytest_evals.graders.judges.rubric import rubric

        return rubric(criteria, calls=calls, **common)

    def pairwise(self, criterion: str, *, against: str, **common: Unpack[Common]) -> Fixture:
        """Whether the answer meets ``criterion`` better than ``against``: 1 for a win, 0.5 for a tie, 0 for a loss.

        Both orders are judged, and the grade is their mean. ``grader.consistent`` is whether they agree. ``grader.first_wins`` is how often the
        first answer won: its mean over the cases is 0.5 for a judge without a position bias.

        Args:
            criterion: What the better answer does, a template.
            against: A template of the other answer.
            common: The options of all judges.
        """
        from pytest_evals.graders.judges.pairwise import pairwise

        return pairwise(criterion, against=against, **common)


judge = Judge()
