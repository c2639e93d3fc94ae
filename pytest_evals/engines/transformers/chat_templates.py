"""What a chat template reads: its variables, the date, its content; and which of a tokenizer's templates is meant."""

from __future__ import annotations

import datetime
import functools
import inspect
from collections.abc import Collection, Mapping
from typing import Any

import jinja2.defaults
import transformers
from transformers.utils import chat_template_utils

from pytest_evals.engines.run_date import run_date
from pytest_evals.errors import ModelError, UnsupportedError, did_you_mean

_OURS = frozenset({"messages", "add_generation_prompt", "raise_exception", "strftime_now", "bos_token", "eos_token"})
_SHARED = frozenset({"tools", "documents"})
"""Parameters of ``apply_chat_template`` that a template reads by the same name."""
_PARAMETERS = frozenset(inspect.signature(transformers.PreTrainedTokenizerBase.apply_chat_template).parameters)


def template_of(tokenizer: Any, *, tools: bool = False) -> str:
    """Return the chat template of a tokenizer that has one: of several that of tools where there are ``tools``, else the default
    one, else the only one.

    Raises `ModelError` where it has several under other names.
    """
    found = tokenizer.chat_template
    if not isinstance(found, Mapping):
        return str(found)
    if tools and "tool_use" in found:
        return str(found["tool_use"])
    if "default" in found or len(found) == 1:
        return str(found.get("default", next(iter(found.values()))))
    names = ", ".join(sorted(found))
    raise ModelError(
        f"the model has several chat templates and none by default; name one with ?template=NAME ({names})"
    )


def variables_of(template: str) -> frozenset[str]:
    """Return the variables that a template reads and that a suite may give."""
    # Private: there is no public way to parse a template with the tags that transformers knows.
    read: Collection[str] = chat_template_utils._get_template_variables(template)  # noqa: SLF001 - see above
    return frozenset(read) - _OURS - set(jinja2.defaults.DEFAULT_NAMESPACE) - (_PARAMETERS - _SHARED)


def check_variables(template: str, given: Mapping[str, Any], model: str) -> None:
    """Raise `UnsupportedError` for a variable that the template never reads, with those that it does."""
    read = variables_of(template)
    for name in given:
        if name not in read:
            known = ", ".join(sorted(read)) or "none"
            raise UnsupportedError(
                f"chat_template_kwargs: the chat template of {model} never reads {name!r} (it reads: {known})"
                f"{did_you_mean(str(name), sorted(read))}"
            )


def reads_date(template: str) -> bool:
    """Tell whether a prompt depends on the day."""
    return "strftime_now" in template


@functools.lru_cache(maxsize=64)
def pin_date(template: str) -> None:
    """Have the template read the date of the run, at midnight."""
    day = datetime.datetime.combine(run_date(), datetime.time())

    def strftime_now(form: str) -> str:
        return day.strftime(form)

    compiled = chat_template_utils._compile_jinja_template(template)  # noqa: SLF001 - what is given as a variable would be made plain data
    compiled.environment.globals["strftime_now"] = strftime_now


# -- Where a turn ends: with the token that the template writes behind an answer, whatever else a model is configured to end with.

_ANSWER = "evalsanswer"


def turn_ends(tokenizer: Any) -> frozenset[int]:
    """Return the token that the chat template writes behind an answer, if it writes one.

    None where turns are made of messages that end alike (harmony), or where the template cannot be asked.
    """
    if tokenizer.chat_template is None:
        return frozenset()
    try:
        return _turn_ends(tokenizer, template_of(tokenizer))
    except ModelError:
        return frozenset()


@functools.lru_cache(maxsize=32)
def _turn_ends(tokenizer: Any, template: str) -> frozenset[int]:
    asked = {"role": "user", "content": "evalsquestion"}
    told = [asked, {"role": "assistant", "content": _ANSWER}]
    try:
        text = str(tokenizer.apply_chat_template(told, chat_template=template, tokenize=False))
    except (jinja2.TemplateError, TypeError, ValueError, KeyError, AttributeError):
        return frozenset()
    _, found, tail = text.rpartition(_ANSWER)
    if not found or "<|channel|>" in text:
        return frozenset()
    first = list(tokenizer(tail.lstrip(), add_special_tokens=False)["input_ids"])[:1]
    return frozenset(token for token in first if token in special_tokens(tokenizer))


def special_stops(tokenizer: Any, stops: Collection[str]) -> frozenset[int]:
    """Return the tokens of the stop strings that are special tokens, which are not part of a text."""
    return (
        frozenset(token for token, text in special_tokens(tokenizer).items() if text in stops) if stops else frozenset()
    )


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Return the tokens that are dropped where a reply becomes text, by id."""
    added = {token: str(entry) for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return {**added, **dict(named)}


def ends_note(tokenizer: Any, configured: Collection[int]) -> str | None:
    """Say that chat template, tokenizer and generation config disagree on what ends a turn, if they do."""
    written = turn_ends(tokenizer)
    own = {tokenizer.eos_token_id} - {None} if tokenizer.chat_template is not None else set()
    if not written or (written | own) <= set(configured):
        return None

    def names(tokens: Collection[int]) -> str:
        return " and ".join(map(repr, tokenizer.convert_ids_to_tokens(sorted(tokens)))) or "nothing"

    return (
        f"its chat template ends turns with {names(written)}, its tokenizer with {names(own)}, its generation_config with "
        f"{names(configured)}: a completion ends with any that the template or the generation_config names"
    )
