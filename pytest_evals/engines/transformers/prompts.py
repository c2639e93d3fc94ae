"""A conversation -> token ids, as the model was trained to see it."""

from __future__ import annotations

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
    ids: list[int] = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=not continued,
        continue_final_message=continued,
        tokenize=True,
        return_dict=False,
        **({_SANITIZE: True} if _can_sanitize else {}),
        **variables,
    )
    return ids
