"""Graders that are models of their own kind: sequence classifiers and reward models, computed for all cases in batches."""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_evals.completion import Completion, Message
from pytest_evals.engines.encoder_kind import HeadConfig, check_head, encoder_text, find_label, head_config
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.judges.subject import OWN, Sources, check_names, insert, items_only, names_in, scope_of
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pytest_evals.case import Case
    from pytest_evals.engines.spec import ModelSpec
    from pytest_evals.runner.model import Encoders

ANSWER = "{{completion}}"
Side = Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One case before an encoder: whom to ask, what templates may use, and the completion where it is needed."""

    encoders: Encoders
    model: str
    scope: Mapping[str, Any]
    completion: Completion | None = None

    def text(self, template: str) -> str:
        """Return a template rendered for the case: the bare text."""
        return insert(template, self.scope)

    async def scores(self, *texts: str) -> Completion:
        """Ask about a text, or about a pair."""
        messages: list[Message] = [{"role": "user", "content": text} for text in texts]
        return await self.asked(messages)

    async def asked(self, messages: Sequence[Message]) -> Completion:
        """Ask about a conversation, or what stands for a text or a pair."""
        found = await self.encoders.ask(self.model, messages)
        if found.scores is None:
            raise SuiteError(f"{self.model} gives no scores; a classifier returns {{'scores': {{'label': 0.9}}}}")
        return found


Graded = Callable[[Subject], Awaitable[Any]]


def encoder_fixture(
    kind: str,
    model: str,
    grade: Graded,
    templates: Mapping[str, str],
    *,
    check_config: Callable[[HeadConfig, str], object],
    bounds: tuple[float, float] | None,
    run_if: str | None,
    name: str | None,
    doc: str,
    completion: bool = False,
    check: Callable[[Mapping[str, Any]], object] | None = None,
) -> Fixture:
    """Return the grader that asks an encoder about each case.

    ``model`` is a specification of `encoder_text`. ``templates`` are what is rendered, by the names of their arguments;
    ``completion``: the answer is read whether or not they name it. ``check_config`` raises `SuiteError` for a model, by what its
    files say and its name, that cannot grade so.
    """
    check_names(kind, Sources(), templates.values())
    used = frozenset[str]().union(*map(names_in, templates.values()))
    wanted = {
        *(used - OWN),
        *(("completion",) if completion or used & {"completion", "question", "conversation"} else ()),
    }

    async def encoded(*, case: Case, _evals_encoder: Encoders, **given: Any) -> Any:
        scope = scope_of(case.scope, {**given, **({"case": case} if "case" in wanted else {})}, case.metadata)
        answer = given.get("completion")
        return await grade(Subject(_evals_encoder, model, scope, answer if isinstance(answer, Completion) else None))

    names = dict.fromkeys(("case", "_evals_encoder", *sorted(wanted)))
    parameters = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in names]
    encoded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by pytest and by the plugin
    encoded.__doc__ = doc

    def check_model(spec: ModelSpec) -> None:
        if spec.engine == "scripted":
            return
        head = head_config(spec)
        if head is not None:
            check_head(spec, head)
            check_config(head, f"{kind}: model {spec.name}")

    return grader_fixture(
        encoded,
        name=name,
        bounds=bounds,
        settings={each: template for each, template in templates.items() if items_only(template)},
        check=check or check_texts,
        run_if=run_if,
        models=(model,),
        check_model=check_model,
        encodes=True,
    )


def check_texts(rendered: Mapping[str, Any]) -> None:
    """Raise `SuiteError` for a text of a row that is none."""
    for name, value in rendered.items():
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise SuiteError(f"{name} is {one_line(repr(value), 60)} for this row, and a classifier reads text")


def classifier(
    model: str,
    *,
    label: str,
    text: str = ANSWER,
    pair: str | None = None,
    threshold: float | None = None,
    passes: Side = "above",
    truncate: bool = False,
    run_if: str | None = None,
    name: str | None = None,
) -> Fixture:
    """The probability of ``label`` by a sequence classifier, from 0 to 1: of toxicity, injection, entailment.

    Labels that exclude each other share their probability (softmax). With one label, or if the model's ``problem_type`` is
    multi_label_classification, each has its own (sigmoid), as in transformers' pipeline.

    Args:
        model: A transformers model with a classification head: a name on the hub, a folder relative to pytest's root, or a script.
        label: One of the labels in the model's configuration (``id2label``).
        text: A template of the text; by default the completion's answer.
        pair: A template of a second text, for models that read two. For NLI, the text is the premise, the pair the hypothesis.
        threshold: The probability that decides whether the grade passes; `None` for no verdict.
        passes: Whether it passes from the threshold on (``above``) or up to it (``below``), as for toxicity.
        truncate: Whether texts that are too long for the model are cut, which the grade says; otherwise they are errors.
        run_if: An expression over the case. Where it is false, the grader does not apply.
        name: The fixture's name.

    Raises:
        SuiteError: A setting is wrong, or the model has no such label.
    """
    kind = "classifier"
    if not isinstance(label, str) or not label.strip():
        raise SuiteError(f"{kind}: label must be one of the model's labels, not {label!r:.60}")
    line = check_line(kind, threshold, (0, 1))
    side = _side(kind, passes, line)
    templates = {
        "text": check_template(kind, "text", text),
        **({"pair": check_template(kind, "pair", pair)} if pair is not None else {}),
    }
    spec = encoder_spec(kind, model, truncate=truncate)

    def check(head: HeadConfig, who: str) -> None:
        find_label(head.labels, label, who)
        if head.regresses:
            raise SuiteError(
                f"{who} gives a number that is not a probability (problem_type regression); use graders.reward"
            )

    async def grade(subject: Subject) -> Any:
        from pytest_evals.grades import Grade

        found = await subject.scores(*(subject.text(template) for template in templates.values()))
        scores = dict(found.scores or {})
        chosen = find_label(list(scores), label, f"{kind}: {model}")
        value = scores[chosen]
        passed = None if line is None else value >= line if side == "above" else value <= line
        likeliest = max(scores, key=scores.__getitem__)
        beside = "" if likeliest == chosen else f", {likeliest} {scores[likeliest]:.1%}"
        reason = f"{chosen} {value:.1%}{beside}{_cut_reason(found)}"
        details = {"by": "probability", "label": chosen, "scores": rounded(scores), **cut_details(found)}
        return Grade(value, "", reason, passed, metadata=details)

    return encoder_fixture(
        kind,
        spec,
        grade,
        templates,
        check_config=check,
        bounds=(0, 1),
        run_if=run_if,
        name=name,
        doc=f"How likely a classifier finds {label}.",
    )


def reward(
    model: str,
    *,
    text: str = ANSWER,
    prompt: str | None = None,
    label: str | None = None,
    threshold: float | None = None,
    truncate: bool = False,
    run_if: str | None = None,
    name: str | None = None,
) -> Fixture:
    """The output of a reward model for the answer: without bounds, and higher is better.

    The model reads the conversation with the answer through its chat template. A model without one reads a pair: the conversation and the
    answer.

    Args:
        model: A reward model of transformers: a name on the hub, a folder relative to pytest's root, or a script.
        text: A template of the answer; by default the completion's.
        prompt: A template of the question, as one user turn; by default the case's conversation.
        label: Which output counts, for a model with several.
        threshold: The lowest value that passes; `None` for no verdict.
        truncate: Whether conversations that are too long lose their beginning; otherwise they are errors.
        run_if: An expression over the case. Where it is false, the grader does not apply.
        name: The fixture's name.

    Raises:
        SuiteError: A setting is wrong, or the model has no such label.
    """
    kind = "reward"
    if label is not None and (not isinstance(label, str) or not label.strip()):
        raise SuiteError(f"{kind}: label must be one of the model's labels, not {label!r:.60}")
    line = check_line(kind, threshold)
    templates = {
        "text": check_template(kind, "text", text),
        **({"prompt": check_template(kind, "prompt", prompt)} if prompt is not None else {}),
    }
    spec = encoder_spec(kind, model, truncate=truncate, input="conversation", values="logits")

    def output(labels: Sequence[str], who: str) -> str:
        if label is not None:
            return find_label(labels, label, who)
        if len(labels) == 1:
            return labels[0]
        raise SuiteError(
            f"{who} has {len(labels)} outputs; say with label= which one counts ({', '.join(labels[:20])})"
        )

    async def grade(subject: Subject) -> Any:
        from pytest_evals.grades import Grade

        found = await subject.asked(_conversation(subject, templates))
        scores = dict(found.scores or {})
        value = scores[output(list(scores), f"{kind}: {model}")]
        details = {"scores": scores, **cut_details(found)}
        reason = f"{value:.3g}{_cut_reason(found)}"
        return Grade(value, "", reason, None if line is None else value >= line, metadata=details)

    return encoder_fixture(
        kind,
        spec,
        grade,
        templates,
        check_config=lambda head, who: output(head.labels, who),
        bounds=None,
        run_if=run_if,
        name=name,
        doc="What a reward model gives the answer.",
        completion=prompt is None,
    )


def _conversation(subject: Subject, templates: Mapping[str, str]) -> list[Message]:
    answer: Message = {"role": "assistant", "content": subject.text(templates["text"])}
    if "prompt" in templates:
        return [{"role": "user", "content": subject.text(templates["prompt"])}, answer]
    before = subject.completion.messages[:-1] if subject.completion is not None else ()
    if not before:
        raise SuiteError("reward: the case has no conversation before its answer; give prompt=")
    return [*before, answer]


# -- What the graders of this module check, and what their grades keep.


def check_line(kind: str, value: float | None, within: tuple[float, float] | None = None) -> float | None:
    """Return a threshold. Raises `SuiteError` for one that is not a number, or outside what values can be."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SuiteError(f"{kind}: threshold must be a finite number, not {value!r}")
    if within is not None and not within[0] <= value <= within[1]:
        raise SuiteError(
            f"{kind}: threshold must be from {within[0]:g} to {within[1]:g}, as its values are, not {value:g}"
        )
    return float(value)


def _side(kind: str, passes: object, line: float | None) -> Side:
    if passes == "above":
        return "above"
    if passes != "below":
        raise SuiteError(f"{kind}: passes must be 'above' or 'below' the threshold, not {passes!r}")
    if line is None:
        raise SuiteError(f"{kind}: passes='below' needs a threshold=")
    return "below"


def check_template(kind: str, argument: str, value: object) -> str:
    """Return a template. Raises `SuiteError` unless it says something."""
    if not isinstance(value, str) or not value.strip():
        raise SuiteError(f"{kind}: {argument} must be a template, as '{{{{completion}}}}', not {value!r:.60}")
    return value


def encoder_spec(kind: str, model: str, *, truncate: object, **prompt: str) -> str:
    """Return the specification of a grader's model. Raises `SuiteError` for what names none."""
    if not isinstance(truncate, bool):
        raise SuiteError(f"{kind}: truncate must be True or False, not {truncate!r}")
    try:
        return encoder_text(model, **prompt, **({"truncate": "true"} if truncate else {}))
    except SuiteError as error:
        raise SuiteError(f"{kind}: {error}") from None


def rounded(scores: Mapping[str, float]) -> dict[str, float]:
    """Return probabilities as a grade keeps them."""
    return {label: round(score, 6) for label, score in scores.items()}


def cut_details(found: Completion) -> dict[str, Any]:
    """Return what a grade keeps of a text that was cut."""
    return {"truncated": True} if found.finish_reason == "length" else {}


def _cut_reason(found: Completion) -> str:
    return f" (of the first {found.prompt_tokens} tokens)" if found.finish_reason == "length" else ""
