"""What is judged, in the case that runs: the answer, the question it answers, and what belongs to them."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pytest_evals.completion import Completion, Message
from pytest_evals.errors import SuiteError, TemplateError
from pytest_evals.graders.judges.reading.quotation import Material
from pytest_evals.media.parts import shown_text
from pytest_evals.templates.locators import locate
from pytest_evals.templates.rendering import render, render_text
from pytest_evals.tool_calls.made_calls import MadeCalls

FROM_COMPLETION = frozenset({"completion", "question", "conversation", "turns"})
"""Names of a judge's templates that are made of the fixture ``completion``."""
OWN = FROM_COMPLETION | {"item", "metadata", "reference", "context", "documents", "output_schema"}
"""Names of a judge's templates that are not fixtures."""
_TEXT_FIELDS = ("text", "content", "page_content")


class Delimited(str):
    """A text between markers, to be inserted in a prompt; ``text`` is the text itself."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, name: str, text: str) -> Self:
        """Put ``text`` between markers."""
        made = super().__new__(cls, delimited(name, text))
        made.text = text
        return made


class DelimitedCompletion(Delimited):
    """The answer between markers, whose other parts templates name as its fields: ``{{completion.reasoning}}``."""

    __slots__ = ("fields",)
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, completion: Completion) -> Self:
        """Put a completion between markers."""
        made = cls("ANSWER", completion.text)
        fields = completion.fields()
        made.fields = {**fields, "tool_calls": MadeCalls(fields["tool_calls"])}
        return made

    def __getitem__(self, name: Any) -> Any:
        if not isinstance(name, str):
            return super().__getitem__(name)
        value = self.fields[name]
        return Delimited(name.upper(), value) if name in ("text", "reasoning", "raw") else value

    def __getattr__(self, name: str) -> Any:
        if name in _COMPLETION_PARTS:
            return self[name]
        raise AttributeError(name)


_COMPLETION_PARTS = frozenset(Completion().fields()) - {"text"}


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
            parts.append(f"Question:\n{delimited('QUESTION', self.question)}")
        if self.documents:
            parts.append(f"Context:\n{delimited('CONTEXT', join_documents(self.documents))}")
        if self.reference is not None:
            parts.append(f"Reference answer:\n{delimited('REFERENCE', self.reference)}")
        return [*parts, f"Answer to judge:\n{delimited('ANSWER', self.answer)}"]

    def material(self, *judged: str) -> Material:
        """Return the texts by what they are to a reader of verdicts. ``judged``: what is judged in place of the answer."""
        beside = tuple(text for text in (self.question, self.reference) if text is not None)
        return Material((*(judged or (self.answer,)), *self.documents), beside)


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
        scope["completion"] = DelimitedCompletion.of(completion)
        scope["question"] = Delimited("QUESTION", last_user_turn(before))
        scope["conversation"] = Delimited("CONVERSATION", as_conversation(before))
        scope["turns"] = [{"role": turn["role"], "content": neutral(_said(turn))} for turn in completion.messages]
    return scope


def with_subject(scope: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """Return the scope with the reference and the context, where there are such."""
    found: dict[str, Any] = {**scope, "documents": list(subject.documents)}
    if subject.documents:
        found["context"] = Delimited("CONTEXT", join_documents(subject.documents))
    if subject.reference is not None:
        found["reference"] = Delimited("REFERENCE", subject.reference)
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
    return Subject(answer, question, texts.get("reference"), documents)


def insert(template: str, scope: Mapping[str, Any]) -> str:
    """Render a template whose result is shown between markers: what it inserts is the bare text."""
    bare = {name: _bare(template, value) for name, value in scope.items()}
    return render_text(template, bare)


def _bare(template: str, value: Any) -> Any:
    if isinstance(value, DelimitedCompletion) and _PART.search(template):
        return value.fields
    return value.text if isinstance(value, Delimited) else value


_PART = re.compile(r"\bcompletion\s*[.\[]")


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
        return shown_text(messages[0], named=False)
    return "\n\n".join(f"{message['role']}: {_said(message)}" for message in messages)


def _said(message: Message) -> str:
    """Return what a turn says: its text, and the calls of tools as the conversation has them."""
    calls = [json.dumps(call["function"], ensure_ascii=False) for call in message.get("tool_calls") or ()]
    text = shown_text(message, named=False)
    return "\n".join([*([text] if text or not calls else []), *calls])


def last_user_turn(messages: Sequence[Message]) -> str:
    """Return what the user said last, nothing where no user spoke."""
    return next((shown_text(message, named=False) for message in reversed(messages) if message["role"] == "user"), "")


# -- Which names a judge's template uses: what must be known before the template can be rendered.

_LOCATOR = re.compile(r"\Aitem(?:\.\w+)+\Z")
WHOLE = re.compile(r"\A\{\{\s*([A-Za-z_]\w*(?:\.\w+)*)\s*\}\}\Z")
_PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z_]\w*)(?:\.\w+)*\s*\}\}")
_MARKUP = ("{{", "{%", "{#", "}}")


@functools.lru_cache(maxsize=1024)
def names_in(template: str) -> frozenset[str]:
    """Return the names that ``template`` (or locator) takes from outside. Raises `TemplateError` when it is not well
    formed.
    """
    if _LOCATOR.match(template):
        return frozenset({"item"})
    rest = _PLACEHOLDER.sub("", template)
    if not any(mark in rest for mark in _MARKUP):
        return frozenset(_PLACEHOLDER.findall(template))
    # Jinja takes 30 ms to import: only templates that do more than insert values pay for it.
    import jinja2
    import jinja2.meta

    try:
        return frozenset(jinja2.meta.find_undeclared_variables(jinja2.Environment().parse(template)))  # noqa: S701 - parsed only
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {template!r} is not well formed: {error.message}") from error


def items_only(template: str) -> bool:
    """Tell whether ``template`` takes all that it inserts from the row, so that it can be checked before anything runs."""
    return names_in(template) <= {"item"}


# -- Text that is judged, put between markers that it cannot forge.
#
# What a model or a dataset wrote is material, never an instruction: it must not be able to end its block, to open
# another one, or to speak in the judge's or the user's turn.

# What chat templates take for the border of a turn or of the text, in the spelling of any family: <|im_end|>, <|eot_id|> (also
# with full-width lines), <start_of_turn>, [INST], <<SYS>>, <s>, <think>.
_OPENING = re.compile(
    r"<(?=[|\uff5c])|<(?=/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|im_start|im_end)>)", re.IGNORECASE
)
_CLOSING = re.compile(r"(?<=[|\uff5c])>")
_BRACKETS = re.compile(r"\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])")
_DOUBLE = re.compile(r"<(?=</?SYS>>)")
_MARKER = re.compile(r"\[(?=\s*(?:BEGIN|END)\b)", re.IGNORECASE)
_TOKEN_LENGTH = 12


def neutral(text: str) -> str:
    """Return ``text`` with everything broken up by a space that a chat template or a tokenizer could take for a border."""
    for pattern, opening in ((_OPENING, "< "), (_CLOSING, " >"), (_BRACKETS, "[ "), (_DOUBLE, "< ")):
        text = pattern.sub(opening, text)
    return text


def delimited(name: str, text: str) -> str:
    """Return ``text`` between ``[BEGIN NAME token]`` and ``[END NAME token]``.

    The token follows from the text and does not appear in it, so the text cannot hold a marker of its own block. The
    same text has the same token, so equal prompts stay equal. What looks like a marker in the text becomes one of
    round brackets.
    """
    safe = _MARKER.sub("(", neutral(text))
    token = token_for(safe)
    return f"[BEGIN {name} {token}]\n{safe}\n[END {name} {token}]"


def token_for(*texts: str, length: int = _TOKEN_LENGTH) -> str:
    """Return hexadecimal digits that follow from the texts and appear in none of them."""
    digest = "\0".join(texts).encode("utf-8", "surrogatepass")
    while True:
        digest = hashlib.sha256(digest).digest()
        token = digest.hex()[:length]
        if not any(token in text.casefold() for text in texts):
            return token
