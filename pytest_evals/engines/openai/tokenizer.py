"""A tokenizer of transformers for a served model: it writes prompts as the server's model reads them, and counts their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pytest_evals.completion import Message, text_of
from pytest_evals.errors import ModelError
from pytest_evals.text import one_line

if TYPE_CHECKING:
    from pytest_evals.engines.protocol import Request


def chat_renderer(name: str) -> Callable[[Sequence[Message]], str]:
    """Return what writes a conversation as a text, without a first special token that a server adds itself.

    Raises `ModelError` if the tokenizer cannot be found, or has no chat template.
    """
    tokenizer = _with_template(name)
    # The server may add the first special token itself; then the prompt would begin with two.
    adds_start = tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    start = tokenizer.bos_token if adds_start else ""

    def render(messages: Sequence[Message]) -> str:
        text = _written(tokenizer, messages, {})
        return text.removeprefix(start) if start else text

    return render


def token_counter(name: str, *, plain: bool) -> Callable[[Request], int]:
    """Return what counts the tokens of a request's prompt; of choices, those of the prompt with each of them behind it.

    ``plain``: prompts are sent without a template. Images are not counted. Raises `ModelError` as `chat_renderer` does.
    """
    tokenizer = _loaded(name) if plain else _with_template(name)

    def count(request: Request) -> int:
        if plain:
            text = "\n".join(map(text_of, request.messages))
        else:
            params = request.params
            offered = [dict(tool) for tool in params.tools] if params.tool_choice != "none" else []
            messages: list[Message] = [{**message, "content": text_of(message)} for message in request.messages]
            variables = {**params.chat_template_kwargs, **({"tools": offered} if offered else {})}
            try:
                text = _written(tokenizer, messages, variables)
            except Exception as error:  # a template may raise anything
                raise ModelError(f"tokenizer={name}: its chat template fails: {one_line(str(error), 200)}") from error
        texts = [text + choice for choice in request.choices] or [text]
        return sum(len(tokenizer(each, add_special_tokens=plain)["input_ids"]) for each in texts)

    return count


def _loaded(name: str) -> Any:
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(f"tokenizer={name}: there is no tokenizer: {one_line(str(error), 200)}") from error


def _with_template(name: str) -> Any:
    tokenizer = _loaded(name)
    if not tokenizer.chat_template:
        raise ModelError(f"tokenizer={name}: it has no chat template, which is what writes the prompt")
    return tokenizer


def _written(tokenizer: Any, messages: Sequence[Message], variables: dict[str, Any]) -> str:
    continued = messages[-1]["role"] == "assistant"
    return str(
        tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=not continued,
            continue_final_message=continued,
            **variables,
        )
    )
