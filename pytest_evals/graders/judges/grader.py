"""From a judge's declaration to its fixture: an async grader that gets its case, its material and the judge."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pytest_evals.case import Case
from pytest_evals.completion import Completion, Message, text_of
from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.judges.options import Options
from pytest_evals.graders.judges.preflight import JudgePreflight
from pytest_evals.graders.judges.prompts import Example, conversation
from pytest_evals.graders.judges.reading.quotation import Material
from pytest_evals.graders.judges.subject import (
    OWN,
    Subject,
    check_names,
    check_sources,
    fixtures_for,
    items_only,
    read_subject,
    scope_of,
    with_subject,
)
from pytest_evals.questions.scales import Scale, set_scale
from pytest_evals.suites.media import images_of
from pytest_evals.templates.rendering import render_text

if TYPE_CHECKING:
    from pytest_evals.runner.model import Model


@dataclass(frozen=True, slots=True)
class Scene:
    """One case before the judge: what templates may use, and the texts that are judged."""

    judge: Model
    options: Options
    scope: Mapping[str, Any]
    subject: Subject

    def render(self, template: str) -> str:
        """Render a template of the author's: what it inserts of the conversation is put between markers."""
        return render_text(template, self.scope)

    def shown(self, messages: Sequence[Message]) -> list[Message]:
        """Return a conversation with the images of the case before the text of its last message."""
        images = images_of(self.options.images, self.scope)
        if not images:
            return list(messages)
        parts = [
            *({"type": "image", "image": image} for image in images),
            {"type": "text", "text": text_of(messages[-1])},
        ]
        return [*messages[:-1], cast("Message", {**messages[-1], "content": parts})]

    def material(self, *judged: str) -> Material:
        """Return the texts that the judge is shown and that are not its author's. ``judged``: those judged in place of the
        answer.
        """
        shown = self.subject.material(*judged)
        tasks = [value for name, value in self.scope.items() if name not in OWN]
        texts = [value.text if isinstance(value, Completion) else value for value in tasks]
        return Material((*shown.judged, *(text for text in texts if isinstance(text, str))), shown.beside)


JudgeFunction = Callable[[Scene], Awaitable[Any]]


def judge_fixture(
    options: Options,
    run: JudgeFunction,
    templates: Mapping[str, str],
    *,
    scale: Scale | None = None,
    bounds: tuple[float, float] | None = None,
    doc: str = "",
    needs_answer: bool = True,
    own: Collection[str] = (),
) -> Fixture:
    """Return the grader that judges a case with ``run``.

    ``bounds`` are those of its grades; with a ``scale``, its ends. ``templates``, by the names of their arguments, are those that ``run`` renders: what they insert from rows is checked at
    collection, and tasks or graders that they name are asked for. ``needs_answer``: an answer is judged even where no
    template names it. ``own``: names that ``run`` adds to the scope.
    """
    check_names(options.kind, options.sources, templates.values(), own)
    fixtures = fixtures_for(options.sources, templates.values(), needs_answer=needs_answer)

    async def judged(*, case: Case, judge: Model, **given: Any) -> Any:
        fixtures_given = {
            **given,
            **{name: value for name, value in (("case", case), ("judge", judge)) if name in fixtures},
        }
        scope = scope_of(case.scope, fixtures_given, case.metadata)
        subject = read_subject(options.sources, scope)
        return await run(Scene(judge, options, with_subject(scope, subject), subject))

    names = dict.fromkeys(("case", "judge", *fixtures))
    parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    judged.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by pytest and by the plugin
    judged.__doc__ = doc
    if scale is not None:
        set_scale(judged, scale)
        worth = scale.categories
        bounds = (worth[0], worth[-1]) if len(worth) > 1 else None
    settings = {name: template for name, template in templates.items() if items_only(template)}
    settings |= options.sources.settings()
    settings |= {f"images.{number}": image for number, image in enumerate(options.images)}
    return grader_fixture(
        judged,
        name=options.name,
        bounds=bounds,
        settings=settings,
        check=check_sources,
        run_if=options.run_if,
        models=options.models,
        preflight=_preflight(judged, options, scale, fixtures, settings),
    )


def _preflight(
    judged: Any, options: Options, scale: Scale | None, fixtures: Sequence[str], settings: Mapping[str, str]
) -> JudgePreflight | None:
    kind, preflight = options.kind, options.preflight
    if preflight is None:
        return None
    if scale is None:
        raise SuiteError(
            f"{kind}: a preflight compares with labels, and this judge has no scale; use binary, labels or scale"
        )
    tasks = [name for name in fixtures if name not in ("completion", "case", "judge")]
    if tasks:
        raise SuiteError(f"{kind}: a preflight judges rows, for which there is no {tasks[0]!r}; judge the completion")
    return JudgePreflight(preflight, scale, judged, settings, check_sources)


def check_text(kind: str, name: str, text: object) -> str:
    """Return a text that an author gave. Raises `SuiteError` unless it says something."""
    if not isinstance(text, str) or not text.strip():
        raise SuiteError(f"{kind}: {name} must be a text, not {text!r:.80}")
    return text


_EXAMPLE = ("answer", "verdict", "question", "reference", "context", "reasoning")


def read_examples(options: Options, offered: Sequence[str]) -> tuple[Example, ...]:
    """Return the examples as turns. Raises `SuiteError` for one that lacks something, or whose verdict is not on offer."""
    return tuple(_example(options, number, given, offered) for number, given in enumerate(options.examples, start=1))


def _example(options: Options, number: int, given: Mapping[str, Any], offered: Sequence[str]) -> Example:
    where = f"{options.kind}: example {number}"
    unknown = [name for name in given if name not in _EXAMPLE]
    if unknown:
        raise SuiteError(f"{where} has an unknown field {unknown[0]!r} (fields: {', '.join(_EXAMPLE)})")
    texts = {name: check_text(where, name, given[name]) for name in _EXAMPLE if name != "verdict" and name in given}
    verdict = str(given.get("verdict", "")).strip()
    by_fold = {label.casefold(): label for label in offered}
    if "answer" not in texts or verdict.casefold() not in by_fold:
        raise SuiteError(f"{where} needs an 'answer' and a 'verdict' of {', '.join(offered)}, not {dict(given)!r:.100}")
    if options.reasoning and "reasoning" not in texts:
        raise SuiteError(f"{where} needs a 'reasoning', because the judge is to reason")
    context = (texts["context"],) if "context" in texts else ()
    subject = Subject(texts["answer"], texts.get("question"), texts.get("reference"), context)
    label = by_fold[verdict.casefold()]
    reply = f"{texts['reasoning']}\nVerdict: {label}" if options.reasoning else label
    return Example(tuple(subject.blocks()), reply)


def messages_of(
    scene: Scene, head: str, tail: str, examples: Sequence[Example] = (), blocks: Sequence[str] | None = None
) -> list[Message]:
    """Return the conversation in which the judge is asked about the case; of one that judges by probability all questions of a
    case share the material before them.
    """
    shown = scene.subject.blocks() if blocks is None else blocks
    first = scene.options.by == "probability"
    return scene.shown(conversation(head, shown, tail, examples, scene.options.system, material_first=first))
