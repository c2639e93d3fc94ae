"""What is judged, in the case that runs: the answer, the question it answers, and what belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pytest_evals.completion import Completion, Message
from pytest_evals.errors import SuiteError
from pytest_evals.graders.judges.fences import fenced, neutral
from pytest_evals.graders.judges.names import WHOLE, items_only, names_in
from pytest_evals.graders.judges.verdicts import strip_thoughts
from pytest_evals.templates.locators import locate
from pytest_evals.templates.rendering import render, render_text

FROM_COMPLETION = frozenset({"completion", "question", "conversation", "turns"})
"""Names of a judge's templates that are made of the fixture ``completion``."""
OWN = FROM_COMPLETION | {"item", "metadata", "reference", "context", "documents", "output_schema"}
"""Names of a judge's templates that are not fixtures."""
_TEXT_FIELDS = ("text", "content", "page_content")


class Fenced(str):
    """A text between markers, to be inserted in a prompt; ``text`` is the text itself."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, name: str, text: str) -> Self:
        """Put ``text`` between markers."""
        made = super().__new__(cls, fenced(name, text))
        made.text = text
        return made


@dataclass(frozen=True, slots=True)
class Subject:
    """The texts of one case: raw, as models and data have them. `None` where the grader has no such thing."""

    answer: str
    question: str | None = None
    reference: str | None = None
    documents: tuple[str, ...] = ()

    def blocks(self) -> list[str]:
        """Return them between markers, as a prompt shows them."""
        parts = []
        if self.question is not None:
            parts.append(f"Question:\n{fenced('QUESTION', self.question)}")
        if self.documents:
            parts.append(f"Context:\n{fenced('CONTEXT', join_documents(self.documents))}")
        if self.reference is not None:
            parts.append(f"Reference answer:\n{fenced('REFERENCE', self.reference)}")
        return [*parts, f"Answer to judge:\n{fenced('ANSWER', self.answer)}"]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the texts of a subject come from: templates, `None` for the default (answer, question) or for nothing."""

    answer: str | None = None
    question: str | None = None
    reference: str | None = None
    context: str | None = None

    @property
    def templates(self) -> dict[str, str]:
        """Return those that were given, by name."""
        given = {name: getattr(self, name) for name in self.__slots__}
        return {name: template for name, template in given.items() if template is not None}

    def settings(self) -> dict[str, str]:
        """Return those that depend on nothing but the row: what collection can check."""
        return {name: template for name, template in self.templates.items() if items_only(template)}


def fixtures_for(sources: Sources, templates: Iterable[str] = (), *, needs_answer: bool = True) -> tuple[str, ...]:
    """Return the fixtures that a judge needs to render its templates: ``completion`` and names of tasks and graders."""
    used = frozenset[str]().union(*map(names_in, (*sources.templates.values(), *templates)))
    wanted = set(used - OWN)
    if (needs_answer and sources.answer is None) or used & FROM_COMPLETION:
        wanted.add("completion")
    return tuple(sorted(wanted))


def check_names(kind: str, sources: Sources, templates: Iterable[str], own: Collection[str] = ()) -> None:
    """Raise `SuiteError` for a template that uses a text which the judge does not have. ``own``: further names it has."""
    used = frozenset[str]().union(*map(names_in, templates))
    for name, source in (("reference", "reference"), ("context", "context"), ("documents", "context")):
        if name in used and getattr(sources, source) is None:
            raise SuiteError(f"{kind}: the template uses {name!r}; say with {source}= where it comes from")
    if "output_schema" in used and "output_schema" not in own:
        raise SuiteError(f"{kind}: 'output_schema' is that of judge(template, response=...), and there is none here")


def check_sources(rendered: Mapping[str, Any]) -> None:
    """Raise `SuiteError` for a reference or context of a row that says nothing."""
    if "context" in rendered:
        as_documents(rendered["context"])
    for name in ("reference", "question", "answer"):
        value = rendered.get(name, "-")
        if value is None or (isinstance(value, str) and not value.strip()):
            raise SuiteError(f"the {name} is {'null' if value is None else 'empty'}; a judge cannot do without it")


def scope_of(row: Mapping[str, Any], fixtures: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates may use: ``item``, ``metadata``, the fixtures, and what is made of the completion."""
    scope = {"item": row.get("item", row), "metadata": metadata, **fixtures}
    completion = fixtures.get("completion")
    if isinstance(completion, Completion):
        before = completion.messages[:-1]
        scope["completion"] = Fenced("ANSWER", strip_thoughts(completion.text))
        scope["question"] = Fenced("QUESTION", last_user_turn(before))
        scope["conversation"] = Fenced("CONVERSATION", as_conversation(before))
        scope["turns"] = [{"role": turn["role"], "content": neutral(turn["content"])} for turn in completion.messages]
    return scope


def with_subject(scope: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """Return the scope with the reference and the context, where there are such."""
    found: dict[str, Any] = {**scope, "documents": list(subject.documents)}
    if subject.documents:
        found["context"] = Fenced("CONTEXT", join_documents(subject.documents))
    if subject.reference is not None:
        found["reference"] = Fenced("REFERENCE", subject.reference)
    return found


def read_subject(sources: Sources, scope: Mapping[str, Any]) -> Subject:
    """Return the texts of the case. Raises `TemplateError` and `SuiteError` for what it does not have.

    Without a completion, which a template of the author's own may not need, the answer is empty.
    """
    completion = scope.get("completion")
    texts = {name: insert(template, scope) for name, template in sources.templates.items() if name != "context"}
    answer = texts.get("answer", "" if completion is None else str(getattr(completion, "text", completion)))
    question = texts.get("question")
    if question is None and sources.answer is None and "conversation" in scope:
        question = scope["conversation"].text or None
    documents = () if sources.context is None else as_documents(raw(sources.context, scope))
    return Subject(strip_thoughts(answer), question, texts.get("reference"), documents)


def insert(template: str, scope: Mapping[str, Any]) -> str:
    """Render a template whose result is shown between markers: what it inserts is the bare text."""
    bare = {name: value.text if isinstance(value, Fenced) else value for name, value in scope.items()}
    return render_text(template, bare)


def raw(template: str, scope: Mapping[str, Any]) -> Any:
    """Return the value of a whole-value template, its type kept; text of any other."""
    whole = WHOLE.match(template)
    return locate(whole.group(1), scope) if whole else render(template, scope)


def as_documents(value: object) -> tuple[str, ...]:
    """Return documents: a text, or a list of texts or of objects with a field ``text``, ``content`` or ``page_content``.

    Raises `SuiteError` for anything else, and when there is nothing in them.
    """
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    found = tuple(_document(entry) for entry in entries)
    if not found or not all(text.strip() for text in found):
        raise SuiteError("the context is empty; leave such rows out with run_if=, or give another context=")
    return found


def _document(entry: object) -> str:
    found = next((entry[name] for name in _TEXT_FIELDS if name in entry), None) if isinstance(entry, Mapping) else entry
    if isinstance(found, str):
        return found
    what = (
        f"an object with {', '.join(map(str, entry)) or 'nothing'}"
        if isinstance(entry, Mapping)
        else type(entry).__name__
    )
    raise SuiteError(
        f"the context holds {what}; it is a text, or a list of texts or of objects with a field "
        f"{', '.join(_TEXT_FIELDS)}"
    )


def join_documents(documents: Sequence[str]) -> str:
    """Return documents as one text; several are numbered."""
    if len(documents) == 1:
        return documents[0]
    return "\n\n".join(f"[{number}] {text}" for number, text in enumerate(documents, start=1))


def as_conversation(messages: Sequence[Message]) -> str:
    """Return turns as one text: a single user's turn as it is, several with their roles."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return str(messages[0]["content"])
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def last_user_turn(messages: Sequence[Message]) -> str:
    """Return what the user said last, nothing where no user spoke."""
    return next((str(message["content"]) for message in reversed(messages) if message["role"] == "user"), "")
