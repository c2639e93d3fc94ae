"""A judge that gives a score from ``low`` to ``high``: the expected value under its own probabilities, where it has some."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.completion import Message
from pytest_evals.errors import ModelCallError, SuiteError
from pytest_evals.fixtures.grader import Fixture
from pytest_evals.graders.judges.asking import able, ask, together, unable
from pytest_evals.graders.judges.decisions import (
    LONG,
    SHORT,
    Ballot,
    abstaining,
    decide_by_value,
    judges_of,
    reminder,
    verdict_reader,
)
from pytest_evals.graders.judges.grader import Scene, check_text, judge_fixture, messages_of, read_examples
from pytest_evals.graders.judges.labels import check_band
from pytest_evals.graders.judges.options import Options, read_options
from pytest_evals.graders.judges.probability import exclusive, rounded, weigh
from pytest_evals.graders.judges.prompts import follow_up
from pytest_evals.graders.judges.questions import asked_steps, question_for, templates_of, told
from pytest_evals.graders.judges.reading.quotation import Material
from pytest_evals.graders.judges.reading.thoughts import strip_thoughts
from pytest_evals.questions.question import Question
from pytest_evals.questions.scales import Scale

if TYPE_CHECKING:
    from pytest_evals.runner.model import Model

ScaleReading = Literal["auto", "likelihood", "text", "probability"]
_MOST_STEPS = 20


def scale(
    criterion: str | Question,
    *,
    low: int | None = None,
    high: int | None = None,
    levels: Mapping[int, str] | None = None,
    normalize: bool = False,
    by: ScaleReading = "auto",
    abstain: tuple[float, float] | None = None,
    **common: Any,
) -> Fixture:
    """See `Judge.scale`."""
    kind = "judge.scale"
    question = question_for(kind, criterion, "rating", low=low, high=high, levels=levels)
    text = check_text(kind, "criterion", criterion if question is None else question.text)
    if question is not None:
        low, high, levels = _ends_of(question)
        common = _with_threshold(kind, question, common, normalize=normalize)
    common = {**common, "by": "probability" if by == "probability" else "text", "abstain": abstain}
    options = read_options(kind, common, how="mean")
    low, high = 1 if low is None else low, 5 if high is None else high
    scores = _check_range(low, high)
    meanings = _check_levels(levels or {}, scores)
    method = _check_method(by, options)
    offered = [str(score) for score in scores]
    examples = read_examples(options, offered)
    request = f"a whole number from {low} to {high}"
    head, tail = _words(request, scores, options, question)
    given = Scale(low=low, high=high, normalized=normalize, threshold=options.threshold)
    check_band(options, {str(worth): worth for worth in given.categories})
    asked = asked_steps(question, text, given, options)

    async def run(scene: Scene) -> Any:
        said = scene.render(text) if question is None else told(scene, question)
        messages = messages_of(scene, f"{head}{said}{meanings}", tail, examples)
        models = [model for model in judges_of(scene.judge, options) for _ in range(options.votes)]
        follow = f"Now the score: {request} and nothing else."
        material = scene.material()
        ballots = await together(
            _score(model, options, messages, offered, given, follow, method, material) for model in models
        )
        unit = "" if normalize else f" of {high}"
        decision = abstaining(decide_by_value(ballots, options, unit), options)
        return (decision if asked is None else asked.noted(decision)).grade()

    return judge_fixture(
        options, run, templates_of(text, question, "criterion"), scale=given, doc=f"A judge, {low} to {high}: {text}"
    )


def _words(request: str, scores: Sequence[int], options: Options, question: Question | None) -> tuple[str, str]:
    """Return what comes before the criterion or question, and what comes after the material."""
    low, high = scores[0], scores[-1]
    if question is None:
        head = f"Judge how far one answer meets a criterion, with {request}: {low} is the worst, {high} the best.\nCriterion: "
        tail = "How far does the answer meet the criterion?"
    else:
        head, tail = (
            f"Answer one question about an answer, with {request}.\nQuestion: ",
            "Answer the question about the answer.",
        )
    if options.reasoning:
        return head, f"{tail} Reason in at most three sentences, without a number yet."
    return head, f"{tail} Reply with {request} and nothing else."


def _ends_of(question: Question) -> tuple[int, int, dict[int, str]]:
    low, high = int(question.low or 0), int(question.high or 0)
    if low < 0:
        raise SuiteError(
            f"judge.scale: the question of {question.place or 'question(...)'} goes from {low}: a judge's scale starts at 0 or above"
        )
    return low, high, dict(zip((low, high), question.ends or (), strict=False))


def _with_threshold(kind: str, question: Question, common: Mapping[str, Any], *, normalize: bool) -> dict[str, Any]:
    """Return the options with the question's own threshold, on the scale of the grade."""
    if question.threshold is None:
        return dict(common)
    question_for(kind, question, "rating", threshold=common.get("threshold"))
    given = Scale(low=question.low or 0.0, high=question.high or 0.0, normalized=normalize)
    return {**common, "threshold": given.to_value(question.threshold)}


async def _score(
    model: Model,
    options: Options,
    messages: Sequence[Message],
    offered: Sequence[str],
    given: Scale,
    request: str,
    method: ScaleReading,
    material: Material,
) -> Ballot:
    if options.by == "probability":
        return await _expected(model, options, messages, offered, given, request)
    replies: tuple[str, ...] = ()
    if options.reasoning:
        reasons = (await model.generate(messages, **options.sampling(LONG))).text
        replies = (reasons,)
        messages = follow_up(messages, strip_thoughts(reasons), request)
    if method != "text" and able(model, "likelihoods"):
        try:
            chosen = await model.choose(offered, messages)
        except ModelCallError as error:
            if error.kind != "unsupported" or method == "likelihood":
                raise
            unable(model, "likelihoods")
        else:
            shares, _ = exclusive(chosen.likelihoods)
            value, probabilities = _expectation(dict(zip(offered, shares, strict=True)))
            details = {"by": "likelihood", "probabilities": probabilities}
            return Ballot(model.name, given.to_value(value), replies=replies, details=details)
    return await _score_in_words(model, options, messages, offered, given, replies, material)


async def _expected(
    model: Model,
    options: Options,
    messages: Sequence[Message],
    offered: Sequence[str],
    given: Scale,
    request: str,
) -> Ballot:
    shares, mass, replies = await weigh(model, options, offered, messages, request)
    value, probabilities = _expectation(shares)
    details = {"by": "probability", "probabilities": probabilities, "mass": round(mass, 6)}
    return Ballot(model.name, given.to_value(value), replies=replies, details=details)


def _expectation(shares: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """Return the expected score, between the ends of the scale, and the probabilities as a grade keeps them."""
    scores = [int(score) for score in shares]
    value = math.fsum(int(score) * share for score, share in shares.items())
    return min(max(value, scores[0]), scores[-1]), rounded(shares)


async def _score_in_words(
    model: Model,
    options: Options,
    messages: Sequence[Message],
    offered: Sequence[str],
    given: Scale,
    replies: tuple[str, ...],
    material: Material,
) -> Ballot:
    generation = {**options.sampling(SHORT), **({"temperature": 0.0, "max_new_tokens": SHORT} if replies else {})}
    answered = await ask(
        model,
        messages,
        verdict_reader(offered, material),
        guide={"choice": list(offered)},
        generation=generation,
        remind=reminder(offered, material),
        guided_first=options.votes == 1,
    )
    replies = (*replies, *answered.replies)
    if answered.value is None:
        return Ballot(model.name, None, problem=answered.problem, replies=replies)
    value = given.to_value(int(answered.value))
    return Ballot(model.name, value, replies=replies, details={"by": "text", "score": int(answered.value)})


def _check_range(low: object, high: object) -> list[int]:
    for name, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise SuiteError(f"judge.scale: {name} must be a whole number, not {value!r}")
    first, last = int(low), int(high)  # type: ignore[call-overload]  # both are int, as just checked
    if first < 0 or not first < last <= first + _MOST_STEPS:
        raise SuiteError(
            f"judge.scale: {first} to {last} is not a scale; it starts at 0 or above and has at most {_MOST_STEPS} steps upwards"
        )
    return list(range(first, last + 1))


def _check_levels(levels: object, scores: Sequence[int]) -> str:
    if not isinstance(levels, Mapping):
        raise SuiteError(f"judge.scale: levels is a mapping of scores to what they mean, not {levels!r:.60}")
    for score, meaning in levels.items():
        if score not in scores:
            raise SuiteError(f"judge.scale: levels: {score!r} is not a score from {scores[0]} to {scores[-1]}")
        check_text("judge.scale", f"levels: {score}", meaning)
    return "".join(f"\n{score}: {levels[score]}" for score in scores if score in levels)


def _check_method(by: object, options: Options) -> ScaleReading:
    if by == "text":
        return "text"
    if by == "probability":
        return "probability"
    if by not in ("auto", "likelihood"):
        raise SuiteError(f"judge.scale: by must be 'auto', 'likelihood', 'probability' or 'text', not {by!r}")
    if options.votes > 1 and not options.reasoning:
        if by == "likelihood":
            raise SuiteError("judge.scale: votes of likelihoods are all the same; use reasoning=True, or by='text'")
        return "text"
    return "likelihood" if by == "likelihood" else "auto"
