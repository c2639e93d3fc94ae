"""A conversation -> token ids, as the model was trained to see it."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jinja2
import transformers

from pytest_evals.completion import Failure, Message, text_of
from pytest_evals.engines.protocol import Capabilities, EngineInfo, Request, refusal
from pytest_evals.engines.transformers.backends.media import attach_media
from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.chat_templates import (
    check_variables,
    pin_date,
    reads_date,
    special_stops,
    template_of,
    turn_ends,
)
from pytest_evals.engines.transformers.conversations import after_prompt, arranged, turn_text
from pytest_evals.engines.transformers.grammar import GrammarCompiler
from pytest_evals.engines.transformers.loading import LoadedModel, all_end_tokens, end_tokens
from pytest_evals.engines.transformers.model_sampling import own_sampling
from pytest_evals.engines.transformers.multimodal import MediaEncoder
from pytest_evals.engines.transformers.prompt_options import PromptOptions, ReplyReaders
from pytest_evals.engines.transformers.sequence import NOTHING_HIDDEN, HiddenTokens, ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.template_choice import Tokenizers
from pytest_evals.engines.transformers.thinking import ThoughtTracker, before_answer, thought_budget
from pytest_evals.engines.transformers.tool_calling import offered_tools, required_call_of
from pytest_evals.errors import ModelError, UnsupportedError
from pytest_evals.media.parts import media_of

# Newer transformers can tell the control tokens that a template writes from those that appear in a message.
_SANITIZE = "sanitize_control_tokens"
_can_sanitize = _SANITIZE in inspect.signature(transformers.PreTrainedTokenizerBase.apply_chat_template).parameters


def encode(
    tokenizer: Any, messages: Sequence[Message], variables: Mapping[str, Any], *, apart: bool = False
) -> list[int]:
    """Return the token ids of the conversation, ready for the answer.

    With a chat template, the template alone places special tokens; control tokens written inside a message are
    encoded as text where transformers can do that.
    A conversation that ends in the assistant's turn is continued. Without one (``?template=none``) the contents are
    joined by newlines and the tokenizer adds its own special tokens; those that it adds at the end only for encoder-decoders
    (``apart``), which read a text that is over. To a decoder, which continues it, they would say that nothing follows.

    Raises `ModelError` when the template refuses the conversation.
    """
    if tokenizer.chat_template is None:
        text = "\n".join(map(text_of, messages))
        ids = tokenizer(text)["input_ids"] if apart else _open_ended(tokenizer, text)
    else:
        ids = _apply(tokenizer, messages, variables)
    if not ids:
        raise ModelError("the prompt is empty: it has no tokens")
    return list(ids)


def _open_ended(tokenizer: Any, text: str) -> list[int]:
    """Return the token ids of a text with the special tokens that the tokenizer adds before it, without those after it."""
    whole = list(tokenizer(text)["input_ids"])
    bare = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if not bare:
        # Which of them come before a text shows only where there is one.
        probe = list(tokenizer("a", add_special_tokens=False)["input_ids"])
        return _open_ended(tokenizer, "a")[: -len(probe)] if probe else whole
    starts = range(len(whole) - len(bare) + 1)
    start = next((start for start in starts if whole[start : start + len(bare)] == bare), None)
    return whole if start is None else whole[: start + len(bare)]


def encode_continuations(
    tokenizer: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    texts: Sequence[str],
    *,
    apart: bool = False,
    before: Callable[[Sequence[int]], Sequence[int]] | None = None,
) -> list[tuple[list[int], list[int]]]:
    """Return, for each of ``texts``, the token ids of the conversation and of the text as its continuation.

    Both are tokenised in one piece and then divided, as lm-evaluation-harness does: a token may hold the end of one and
    the beginning of the other, and spaces at the end of the conversation belong to the continuation. ``apart`` is for
    encoder-decoders, which read one and write the other. Where an empty plain prompt has no tokens, the text comes after
    the token that begins texts, or else ends them, as in lm-evaluation-harness. ``before`` gives what comes between a prompt and
    the answer of a model that thinks.

    Raises `ModelError` when a text has no tokens of its own.
    """
    plain = tokenizer.chat_template is None and not apart
    context = [] if plain else encode(tokenizer, messages, variables, apart=apart)
    if context and before is not None and not apart:
        context += before(context)
    special, tail = False, ""
    if apart:
        written, alone = "", []
    elif plain:
        special = True
        written = "\n".join(map(text_of, messages))
        head = written.rstrip()
        written, tail = (head, written[len(head) :]) if head else (written, "")
        alone = _open_ended(tokenizer, written)
        context = alone or _beginning(tokenizer)
    else:
        conversation = _decode(tokenizer, context)
        while len(context) > 1 and not _decode(tokenizer, context[-1:]).strip(" \t"):
            context.pop()
        written = _decode(tokenizer, context)
        tail = conversation[len(written) :]
        alone = list(tokenizer(written, add_special_tokens=False)["input_ids"])
    pairs = []
    for text in texts:
        whole = (
            _open_ended(tokenizer, written + tail + text)
            if special
            else list(tokenizer(written + tail + text, add_special_tokens=False)["input_ids"])
        )
        continuation = whole[len(alone) :]
        if not continuation:
            raise ModelError(f"the choice {text!r} comes to no tokens after this prompt")
        pairs.append((context, continuation))
    return pairs


def windows(beginning: Sequence[int], text: Sequence[int], size: int) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Divide a text into parts that a model with a context of ``size`` tokens can read, each token in one of them; give
    each part with what the model reads before it.

    These are lm-evaluation-harness's rolling windows: a part is as long as the context, and the last one is read with as
    many tokens before it as there is room for.
    """
    done = max(size - len(beginning) + 1, 1)
    yield beginning, text[:done]
    while done < len(text):
        end = min(done + size, len(text))
        yield text[max(end - size - 1, 0) : done], text[done:end]
        done = end


def _beginning(tokenizer: Any) -> list[int]:
    """Return what precedes a text that has nothing before it."""
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return [token]
    raise ModelError("the prompt is empty: it has no tokens, and the tokenizer has none that begins or ends a text")


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _apply(tokenizer: Any, messages: Sequence[Message], variables: Mapping[str, Any]) -> list[int]:
    template = template_of(tokenizer, tools=bool(variables.get("tools")))
    if reads_date(template):
        pin_date(template)
    turns = arranged(tokenizer, template, messages, variables)
    options = {**variables, "chat_template": template}
    try:
        return _render(tokenizer, turns, options)
    except jinja2.TemplateError as error:
        raise ModelError(f"the model's chat template refuses this conversation: {error}") from error
    except ValueError as error:
        if "continue_final_message" not in str(error):
            raise
    # The template writes the last turn otherwise than it is given, as one does that takes thoughts out of it.
    *before, last = turns
    prompt = _render(tokenizer, before, options)
    begun = after_prompt(_decode(tokenizer, prompt), turn_text(last))
    return [*prompt, *tokenizer(begun, add_special_tokens=False)["input_ids"]]


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


def _begun(messages: Sequence[Message]) -> str:
    """Return what is given of the last turn, where the model goes on with one."""
    return text_of(messages[-1]) if messages and messages[-1]["role"] == "assistant" else ""


# -- A request -> the rows that answer it, or why it cannot be answered.


class RequestEncoder:
    """Checks and tokenises requests for one model."""

    def __init__(
        self, loaded: LoadedModel, info: EngineInfo, capabilities: Capabilities, media: MediaEncoder | None = None
    ) -> None:
        config = loaded.model.config
        self._tokenizers = Tokenizers(loaded.tokenizer, loaded.template)
        self._options = PromptOptions(loaded.prompts)
        self._readers = ReplyReaders(self._tokenizers.of, self._options, getattr(config, "model_type", None))
        self._context = info.context
        self._capabilities = capabilities
        self._configured = end_tokens(loaded.model, loaded.tokenizer)
        self._ends = all_end_tokens(loaded.model, loaded.tokenizer)
        self._guides = GrammarCompiler(loaded.tokenizer, config.get_text_config(decoder=True).vocab_size, self._ends)
        self._reads_and_writes = bool(config.is_encoder_decoder)
        self._own = own_sampling(loaded.model.generation_config)
        self._media = media

    def accept(self, request: Request) -> list[AnySequence] | Failure:
        """Return the rows of a request."""
        refused = refusal(request, self._capabilities)
        if refused:
            return refused
        try:
            rows = self._choices(request) if request.choices else self._samples(request)
            if self._media is not None and media_of(request.messages):
                tokenizer = self._tokenizers.of(request.model)
                prompt = self._media.prompt(tokenizer, request.messages, self._variables(tokenizer, request))
                attach_media(rows, prompt, len(self._encode(tokenizer, request)), self._check_room)
            return rows
        except UnsupportedError as error:
            return Failure("unsupported", str(error), error.parameter)
        except ModelError as error:
            return Failure("model", str(error))
        except Exception as error:  # noqa: BLE001 - templates are programs: what they do with odd content is theirs
            return Failure("model", f"the prompt cannot be encoded: {type(error).__name__}: {error}")

    def _samples(self, request: Request) -> list[AnySequence]:
        tokenizer, reader = self._tokenizers.of(request.model), self._readers.of(request.model)
        hidden = NOTHING_HIDDEN
        if request.params.sampling == "model":
            request = replace(request, params=self._own.applied(request.params))
            hidden = HiddenTokens(self._own.hidden, self._own.hidden_first)
        params = request.params
        tools = offered_tools(request, tokenizer)
        prompt = self._encode(tokenizer, request)
        reader = reader.offering(tools, prompt)
        opened = reader.opened_by(prompt, _begun(request.messages))
        self._check_room(len(prompt), params.max_new_tokens)
        bounded = self._context is not None and not self._reads_and_writes
        room = self._context - len(prompt) - params.max_new_tokens if bounded and self._context else None
        budget, allowance = thought_budget(request, reader, room)
        ends = self._configured | turn_ends(tokenizer) | special_stops(tokenizer, params.stop)
        required = None if tools is None or params.tool_choice != "required" else required_call_of(request, tools)
        guides = [self._guides.guide(params, required) for _ in range(params.n)]
        guided = params.guided or required is not None
        follows = reader.form.thinks and (budget is not None or guided or bool(params.stop))
        return [
            TokenSequence(
                request,
                prompt,
                tokenizer,
                ends,
                sample=sample,
                guide=guide,
                reader=reader,
                opened=opened,
                thinking=ThoughtTracker(reader, opened=opened, budget=budget, spaced=guide is not None)
                if follows
                else None,
                allowance=allowance,
                hidden=hidden,
            )
            for sample, guide in enumerate(guides)
        ]

    def _encode(self, tokenizer: Any, request: Request) -> list[int]:
        return encode(tokenizer, request.messages, self._variables(tokenizer, request), apart=self._reads_and_writes)

    def _variables(self, tokenizer: Any, request: Request) -> Mapping[str, Any]:
        """Return what the chat template is given. Raises `UnsupportedError` for what it never reads."""
        params = request.params
        offered = (
            {"tools": [dict(tool) for tool in params.tools]} if params.tools and params.tool_choice != "none" else {}
        )
        variables = {**self._options.variables(request.model), **params.chat_template_kwargs, **offered}
        if not variables:
            return variables
        if tokenizer.chat_template is None:
            raise UnsupportedError(f"chat_template_kwargs: {request.model} has no chat template that could read them")
        check_variables(template_of(tokenizer, tools=bool(variables.get("tools"))), variables, request.model)
        return variables

    def _choices(self, request: Request) -> list[AnySequence]:
        tokenizer, reader = self._tokenizers.of(request.model), self._readers.of(request.model)
        pairs = encode_continuations(
            tokenizer,
            request.messages,
            self._variables(tokenizer, request),
            request.choices,
            apart=self._reads_and_writes,
            before=lambda prompt: before_answer(reader, prompt, _begun(request.messages)),
        )
        # Nothing comes before it that would be lost where a part of the text is computed without its beginning.
        unconditional = tokenizer.chat_template is None and not any(map(text_of, request.messages))
        rows: list[AnySequence] = []
        for index, (context, continuation) in enumerate(pairs):
            if self._reads_and_writes:
                self._check_both_rooms(len(context), len(continuation), "the choice")
                divided: Iterable[tuple[Sequence[int], Sequence[int]]] = [(context, continuation)]
            elif unconditional and self._context is not None:
                divided = windows(context, continuation, self._context)
            else:
                self._check_room(len(context) + len(continuation) - 1, 0)
                divided = [(context, continuation)]
            rows.extend(ScoringSequence(request, before, part, index) for before, part in divided)
        return rows

    def _check_room(self, prompt: int, new: int) -> None:
        if self._reads_and_writes:
            self._check_both_rooms(prompt, new, "max_new_tokens")
            return
        if self._context is None or prompt + new <= self._context:
            return
        room = self._context - prompt
        counts = f"{prompt} tokens" + (f" and max_new_tokens {new}" if new else "")
        advice = f"max_new_tokens of at most {room}" if room > 0 else "a shorter prompt"
        raise ModelError(f"the prompt has {counts}, more than the model's context of {self._context}; use {advice}")

    def _check_both_rooms(self, read: int, written: int, what: str) -> None:
        """Check the tokens that an encoder reads and those that its decoder writes, each by itself."""
        # Where positions are learned, there are no more than these; a model that knows none has no limit.
        if self._context is not None and read > self._context:
            raise ModelError(f"the prompt has {read} tokens, more than the {self._context} that the model reads")
        if self._context is not None and written > self._context:
            raise ModelError(f"{what} comes to {written} tokens, more than the {self._context} that the model writes")
