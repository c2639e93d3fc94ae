"""A conversation -> token ids, as the model was trained to see it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import transformers

from pytest_evals.errors import ModelError

# Newer transformers can tell the control tokens that a template writes from those that stand in a message.
_SANITIZE = "sanitize_control_tokens"
_can_sanitize = _SANITIZE in inspect.signature(transformers.PreTrainedTokenizerBase.apply_chat_template).parameters


def encode(tokenizer: Any, messages: Sequence[Mapping[str, Any]], variables: Mapping[str, Any]) -> list[int]:
    """Return the token ids of the conversation, ready for the answer.

    With a chat template, the template alone places special tokens; control tokens written inside a message are
    encoded as text where transformers can do that.
    A conversation that ends in the assistant's turn is continued. Without one (``?template=none``) the contents are
    joined by newlines and the tokenizer adds its own special tokens.

    Raises `ModelError` when the template refuses the conversation.
    """
    if tokenizer.chat_template is None:
        ids = tokenizer("\n".join(str(message["content"]) for message in messages))["input_ids"]
    else:
        ids = _apply(tokenizer, [dict(message) for message in messages], variables)
    if not ids:
        raise ModelError("the prompt is empty: it has no tokens")
    return list(ids)


def encode_continuations(
    tokenizer: Any,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any],
    texts: Sequence[str],
    *,
    apart: bool = False,
) -> list[tuple[list[int], list[int]]]:
    """Return, for each of ``texts``, the token ids of the conversation and of the text as its continuation.

    Both are tokenised in one piece and then divided, as lm-evaluation-harness does: a token may hold the end of one and
    the beginning of the other, and spaces at the end of the conversation belong to the continuation. ``apart`` is for
    encoder-decoders, which read one and write the other.

    Raises `ModelError` when a text comes to no tokens of its own.
    """
    context = encode(tokenizer, messages, variables)
    special, tail = False, ""
    if apart:
        written, alone = "", []
    elif tokenizer.chat_template is None:
        special = True
        written = "\n".join(str(message["content"]) for message in messages)
        head = written.rstrip()
        written, tail = (head, written[len(head) :]) if head else (written, "")
        alone = context = list(tokenizer(written)["input_ids"])
    else:
        conversation = _decode(tokenizer, context)
        while len(context) > 1 and not _decode(tokenizer, context[-1:]).strip(" \t"):
            context.pop()
        written = _decode(tokenizer, context)
        tail = conversation[len(written) :]
        alone = list(tokenizer(written, add_special_tokens=False)["input_ids"])
    pairs = []
    for text in texts:
        whole = list(tokenizer(written + tail + text, add_special_tokens=special)["input_ids"])
        continuation = whole[len(alone) :]
        if not continuation:
            raise ModelError(f"the choice {text!r} comes to no tokens after this prompt")
        pairs.append((context, continuation))
    return pairs


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _apply(tokenizer: Any, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> list[int]:
    try:
        return _render(tokenizer, messages, variables)
    except jinja2.TemplateError as error:
        if messages[0]["role"] != "system" or len(messages) < 2:
            raise ModelError(f"the model's chat template refuses this conversation: {error}") from error
    # Some templates know no system role. What it says then opens the first turn, as their authors advise.
    system, first, *rest = messages
    merged = {**first, "content": f"{system['content']}\n\n{first['content']}"}
    try:
        return _render(tokenizer, [merged, *rest], variables)
    except jinja2.TemplateError as error:
        raise ModelError(f"the model's chat template refuses this conversation: {error}") from error


def _render(tokenizer: Any, messages: list[dict[str, Any]], variables: Mapping[str, Any]) -> list[int]:
    continued = messages[-1]["role"] == "assistant"
    options: dict[str, Any] = {
        "add_generation_prompt": not continued,
        "continue_final_message": continued,
        "tokenize": True,
        "return_dict": False,
        **({_SANITIZE: True} if _can_sanitize else {}),
        **variables,
    }
    try:
        ids: list[int] = tokenizer.apply_chat_template(messages, **options)
    except ValueError as error:
        if "sanitize" not in str(error):
            raise
        # The model makes a control token of plain text (of a role's name, say): there is nothing that a message could forge.
        ids = _without_plain_controls(tokenizer).apply_chat_template(messages, **options)
    return ids


@functools.lru_cache(maxsize=8)
def _without_plain_controls(tokenizer: Any) -> Any:
    """Return the tokenizer with no other control tokens than those that it never makes of plain text."""
    usual = tokenizer._get_control_tokens  # noqa: SLF001 - there is no public way to say which tokens are control tokens

    def never_plain(token: str) -> bool:
        plain = tokenizer.encode(f"\n{token}", add_special_tokens=False, split_special_tokens=True)
        return tokenizer.convert_tokens_to_ids(token) not in plain

    lenient = copy.copy(tokenizer)
    lenient._get_control_tokens = lambda template: tuple(filter(never_plain, usual(template)))  # noqa: SLF001 - as above
    return lenient
