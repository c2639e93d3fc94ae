"""How a loaded model writes its replies: told by its response template, its chat template, its special tokens, or its family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import jinja2

from pytest_evals.engines.transformers.chat_templates import special_tokens
from pytest_evals.replies.form import HARMONY_TOKENS, KNOWN_DELIMITERS, Delimiters, ReplyForm

_THOUGHT, _ANSWER = "evalsthought", "evalsanswer"
_FIELD = "reasoning_content"
_OFF = {"enable_thinking": False, "thinking": False}
"""What templates read to have no thoughts written."""


def form_of(tokenizer: Any, model_type: str | None) -> ReplyForm:
    """Return the form of the replies of a model with this tokenizer.

    Of these the first that knows delimiters of thoughts: the tokenizer's response template, as for its ``parse_response``; the
    chat template and the special tokens; the response templates that transformers keeps for families.
    """
    special = special_tokens(tokenizer)
    if {"<|channel|>", "<|message|>"} <= set(special.values()):
        return ReplyForm(channels=True)
    template = tokenizer.chat_template
    found = (
        _of_response_template(getattr(tokenizer, "response_template", None))
        or _written(template, special)
        or _of_response_template(_of_family(model_type) if template else None)
    )
    marked = tuple(replace(each, control=_is_control(each, special)) for each in found)
    form = ReplyForm(marked, unopened=True)
    return _as_template_writes(tokenizer, form) if template and found else form


def control_tokens(tokenizer: Any, form: ReplyForm) -> dict[int, str]:
    """Return the special tokens that delimit the parts of a reply, by id: they are seen before special tokens are dropped."""
    borders = [border for each in form.thoughts for border in (each.opening, each.closing)]
    known = HARMONY_TOKENS if form.channels else ()
    found = special_tokens(tokenizer).items()
    return {token: text for token, text in found if text in known or any(text in border for border in borders)}


def _of_response_template(template: Any) -> tuple[Delimiters, ...]:
    """Return the delimiters of thoughts that a response template names explicitly."""
    fields = template.get("fields") if isinstance(template, Mapping) else getattr(template, "fields", None)
    field = fields.get(_FIELD) if isinstance(fields, Mapping) else None
    openings, closings = (
        _texts(field.get(name) if isinstance(field, Mapping) else getattr(field, name, None))
        for name in ("open", "close")
    )
    return tuple(Delimiters(opening, closings[0]) for opening in openings if closings)


def _texts(value: Any) -> list[str]:
    found = [value] if isinstance(value, str) else value if isinstance(value, (list, tuple)) else []
    return [text for text in found if isinstance(text, str) and text]


def _of_family(model_type: str | None) -> Any:
    try:
        from transformers.cli.serving import utils
    except ImportError:  # the table is private, and its module wants the packages of a server
        return None
    templates = getattr(utils, "_RESPONSE_TEMPLATE_FALLBACKS", {})
    return next((template for types, template in templates.items() if model_type in types), None)


def _written(template: Any, special: Mapping[int, str]) -> tuple[Delimiters, ...]:
    """Return the delimiters that appear in the chat template, else those that are special tokens."""
    text = "\n".join(template.values()) if isinstance(template, Mapping) else template or ""
    tokens = set(special.values())
    in_template = [each for each in KNOWN_DELIMITERS if _names(text, each)]
    in_tokens = [each for each in KNOWN_DELIMITERS if _is_control(each, special) and each.closing in tokens]
    return tuple(in_template or in_tokens)


def _is_control(delimiters: Delimiters, special: Mapping[int, str]) -> bool:
    return any(delimiters.opening.startswith(text) for text in special.values())


def _names(template: str, delimiters: Delimiters) -> bool:
    # One that takes thoughts out of earlier turns may name their end alone, one that opens a block its beginning.
    return delimiters.closing in template or delimiters.opening.rstrip() in template


def _as_template_writes(tokenizer: Any, form: ReplyForm) -> ReplyForm:
    """Return the form with what the chat template writes around thoughts and answer in the last turn."""
    asked = {"role": "user", "content": "evalsquestion"}
    told = [asked, {"role": "assistant", _FIELD: _THOUGHT, "content": _ANSWER}]
    plain = [asked, {"role": "assistant", "content": _ANSWER}]
    separator, always = "", False
    text = _rendered(tokenizer, told)
    for each in form.thoughts:
        after = text.partition(_THOUGHT)[2].partition(each.closing)[2].partition(_ANSWER)
        if after[1]:
            separator = after[0]
        always = always or any(
            _is_empty_block(before, each)
            for before in (
                _rendered(tokenizer, plain).rpartition(_ANSWER)[0],
                _rendered(tokenizer, [asked], add_generation_prompt=True, **_OFF),
            )
        )
    return replace(form, separator=separator if not separator.strip() else "", always=always)


def _is_empty_block(before: str, delimiters: Delimiters) -> bool:
    head, closing, tail = before.rpartition(delimiters.closing)
    return bool(closing) and not tail.strip() and head.rstrip().endswith(delimiters.opening.rstrip())


def _rendered(tokenizer: Any, messages: Iterable[Mapping[str, Any]], **options: Any) -> str:
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError, KeyError):
        return ""  # a template that wants other conversations says nothing here
