"""What all judges have in common, checked where it is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.generation import parse_generation
from pytest_evals.graders.judges.preflight import Preflight
from pytest_evals.graders.judges.subject import Sources

How = Literal["majority", "mean"]
By = Literal["text", "probability"]
OURS = ("json_schema", "regex", "choice", "n")
"""Generation parameters that a judge sets itself."""
THINKING = 1024
"""Tokens that a judge may think before its reply, where it is a model that thinks."""
SAMPLING_TEMPERATURE = 0.7


class Common(TypedDict, total=False):
    """Options of every judge.

    ``model``: the judge's model, instead of that of ``--evals-judge``; a list is a panel. ``how``: what a panel's or
    several votes' answer is, their ``majority`` or their ``mean``. ``votes``: sampled replies of each model.
    ``examples``: judged answers, shown before the case's. ``system``: a system message of your own; ``""`` sends none.
    ``reasoning``: let the judge reason before it decides. ``generation``: parameters of its replies. ``threshold``: from
    which value on the grade passes. ``run_if``: an expression over the case; where it is false, the judge does not apply.
    ``name``: the fixture's name. ``preflight``: a `Preflight` that the judge must pass before anything is generated.
    ``answer, question, reference, context``: templates of what is judged; see `Sources`. ``images``: what the judge is shown before
    it, as in ``cases(images=...)``.
    """

    model: str | Sequence[str] | None
    how: How | None
    votes: int
    examples: Sequence[Mapping[str, Any]]
    system: str | None
    reasoning: bool
    generation: Mapping[str, Any] | None
    threshold: float | None
    run_if: str | None
    name: str | None
    preflight: Preflight | None
    answer: str | None
    question: str | None
    reference: str | None
    context: str | None
    images: str | Sequence[str] | None


class Verdicts(Common, total=False):
    """Options of judges that choose one of several verdicts.

    ``by``: what the judge writes (``text``), or the ``probability`` of each verdict right after the prompt, which is then the
    grade's value. ``abstain``: from which to which value a judge by probability says nothing, as ``(0.4, 0.6)``: the grade
    does not apply.
    """

    by: By
    abstain: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Options:
    """The common options, checked."""

    kind: str
    sources: Sources
    models: tuple[str, ...] = ()
    how: How = "majority"
    votes: int = 1
    examples: tuple[Mapping[str, Any], ...] = ()
    system: str | None = None
    reasoning: bool = False
    generation: Mapping[str, Any] = field(default_factory=dict)
    threshold: float | None = None
    run_if: str | None = None
    name: str | None = None
    preflight: Preflight | None = None
    images: tuple[str, ...] = ()
    by: By = "text"
    abstain: tuple[float, float] | None = None

    @property
    def several(self) -> bool:
        """Tell whether more than one reply makes the grade."""
        return len(self.models) > 1 or self.votes > 1

    def sampling(self, max_new_tokens: int) -> dict[str, Any]:
        """Return the generation parameters of a first reply, of this length unless the author said otherwise."""
        base: dict[str, Any] = {"max_new_tokens": max_new_tokens, "thinking_allowance": THINKING}
        if self.votes > 1:
            base["temperature"] = SAMPLING_TEMPERATURE
        return {**base, **self.generation}


def read_options(kind: str, given: Mapping[str, Any], *, how: How, refused: Sequence[str] = ()) -> Options:
    """Check the common options of a judge of this ``kind``; ``refused`` are those that mean nothing for it.

    Raises `SuiteError` that names the option and what it may be.
    """
    known = [name for name in Verdicts.__annotations__ if name not in refused]
    for name in given:
        if name not in known:
            raise SuiteError(
                f"{kind}: unknown option {name!r} (options: {', '.join(known)}){did_you_mean(name, known)}"
            )
    texts = {
        name: given.get(name) for name in ("answer", "question", "reference", "context", "system", "run_if", "name")
    }
    for name, text in texts.items():
        if text is not None and (not isinstance(text, str) or (not text.strip() and name != "system")):
            raise SuiteError(f"{kind}: {name} must be a string, not {text!r:.60}")
    by = _by(kind, given.get("by", "text"))
    options = Options(
        kind=kind,
        sources=Sources(*(texts[name] for name in ("answer", "question", "reference", "context"))),
        models=_models(kind, given.get("model")),
        how=_how(kind, given.get("how"), "mean" if by == "probability" else how),
        votes=_votes(kind, given.get("votes", 1)),
        examples=_examples(kind, given.get("examples", ())),
        system=texts["system"],
        reasoning=_flag(kind, "reasoning", given.get("reasoning", False)),
        generation=_generation(kind, given.get("generation") or {}),
        threshold=_threshold(kind, given.get("threshold")),
        run_if=texts["run_if"],
        name=texts["name"],
        preflight=_preflight(kind, given.get("preflight")),
        images=_images(kind, given.get("images")),
        by=by,
        abstain=_abstain(kind, given.get("abstain"), by),
    )
    if by == "probability":
        _check_probability(options)
    if options.votes > 1 and options.sampling(1)["temperature"] == 0:
        raise SuiteError(
            f"{kind}: {options.votes} votes of a greedy judge are all the same; give a temperature above 0"
        )
    return options


def _models(kind: str, model: object) -> tuple[str, ...]:
    models = () if model is None else (model,) if isinstance(model, str) else model
    if not isinstance(models, (list, tuple)) or not all(isinstance(entry, str) and entry.strip() for entry in models):
        raise SuiteError(f"{kind}: model must be the name of a model or a list of names, not {model!r:.80}")
    if model is not None and not models:
        raise SuiteError(f"{kind}: the list of models is empty; leave model out for the judge of --evals-judge")
    if len(set(models)) < len(models):
        raise SuiteError(f"{kind}: a model is in the panel twice; several replies of one model are votes=")
    return tuple(models)


def _how(kind: str, value: object, default: How) -> How:
    if value is None:
        return default
    if value == "majority" or value == "mean":  # noqa: PLR1714 - mypy narrows only single comparisons
        return value
    raise SuiteError(f"{kind}: how must be 'majority' or 'mean', not {value!r}")


def _by(kind: str, value: object) -> By:
    if value == "text" or value == "probability":  # noqa: PLR1714 - mypy narrows only single comparisons
        return value
    raise SuiteError(f"{kind}: by must be 'text' or 'probability', not {value!r}")


def _abstain(kind: str, value: object, by: By) -> tuple[float, float] | None:
    if value is None:
        return None
    if by != "probability":
        raise SuiteError(f"{kind}: abstain is a band of probabilities; a judge has them with by='probability'")
    ends = list(value) if isinstance(value, (list, tuple)) else []
    if len(ends) != 2 or not all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in ends
    ):
        raise SuiteError(f"{kind}: abstain must be two numbers, as (0.4, 0.6), not {value!r:.60}")
    if ends[0] > ends[1]:
        raise SuiteError(
            f"{kind}: abstain begins at {ends[0]:g}, above its end {ends[1]:g}; give the lower number first"
        )
    return float(ends[0]), float(ends[1])


def _check_probability(options: Options) -> None:
    """Raise `SuiteError` for what means nothing where probabilities are read and nothing is written."""
    if options.votes > 1 and not options.reasoning:
        raise SuiteError(f"{options.kind}: votes of probabilities are all the same; use reasoning=True, or by='text'")
    if options.generation and not options.reasoning:
        raise SuiteError(
            f"{options.kind}: generation has parameters of replies, and by='probability' has none written; leave it out"
        )


def _votes(kind: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SuiteError(f"{kind}: votes must be a whole number of at least 1, not {value!r}")
    return value


def _examples(kind: str, value: object) -> tuple[Mapping[str, Any], ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(entry, Mapping) for entry in value):
        raise SuiteError(f"{kind}: examples must be a list of objects with 'answer' and 'verdict', not {value!r:.80}")
    return tuple(value)


def _images(kind: str, value: object) -> tuple[str, ...]:
    images = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(images, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in images):
        raise SuiteError(f"{kind}: images must be a locator as 'item.photo', or a list of locators, not {value!r:.60}")
    return tuple(images)


def _flag(kind: str, name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SuiteError(f"{kind}: {name} must be True or False, not {value!r}")
    return value


def _generation(kind: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SuiteError(f"{kind}: generation must be a mapping of parameters, not {value!r:.60}")
    for name in OURS:
        if name in value:
            raise SuiteError(
                f"{kind}: generation: {name} is set by the judge; leave it out (several replies are votes=)"
            )
    try:
        parse_generation(value)
    except SuiteError as error:
        raise SuiteError(f"{kind}: {error}") from error
    return dict(value)


def _threshold(kind: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SuiteError(f"{kind}: threshold must be a finite number, not {value!r}")
    return float(value)


def _preflight(kind: str, value: object) -> Preflight | None:
    if value is not None and not isinstance(value, Preflight):
        raise SuiteError(f"{kind}: preflight must be a Preflight(...), not {type(value).__name__}")
    return value
