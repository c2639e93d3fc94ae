"""A request -> the rows that answer it, or why it cannot be answered."""

from __future__ import annotations

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Capabilities, EngineInfo, Request, refusal
from pytest_evals.engines.transformers.chat_templates import Tokenizers
from pytest_evals.engines.transformers.grammar import Guides
from pytest_evals.engines.transformers.loop import AnyRow
from pytest_evals.engines.transformers.prompts import encode, encode_continuations
from pytest_evals.engines.transformers.row import Row, ScoredRow
from pytest_evals.engines.transformers.weights import Loaded, end_tokens
from pytest_evals.errors import ModelError, UnsupportedError


class Intake:
    """Checks and tokenises requests for one model."""

    def __init__(self, loaded: Loaded, info: EngineInfo, capabilities: Capabilities) -> None:
        config = loaded.model.config
        self._tokenizers = Tokenizers(loaded.tokenizer, loaded.template)
        self._context = info.context
        self._capabilities = capabilities
        self._ends = end_tokens(loaded.model, loaded.tokenizer)
        self._guides = Guides(loaded.tokenizer, config.get_text_config(decoder=True).vocab_size, self._ends)
        self._reads_and_writes = bool(config.is_encoder_decoder)

    def accept(self, request: Request) -> list[AnyRow] | Failure:
        """Return the rows of a request."""
        refused = refusal(request, self._capabilities)
        if refused:
            return refused
        try:
            return self._choices(request) if request.choices else self._samples(request)
        except UnsupportedError as error:
            return Failure("unsupported", str(error))
        except ModelError as error:
            return Failure("model", str(error))
        except Exception as error:  # noqa: BLE001 - templates are programs: what they do with odd content is theirs
            return Failure("model", f"the prompt cannot be encoded: {type(error).__name__}: {error}")

    def _samples(self, request: Request) -> list[AnyRow]:
        tokenizer = self._tokenizers.of(request.model)
        prompt = encode(tokenizer, request.messages, request.params.template)
        self._check_room(len(prompt), request.params.max_new_tokens)
        return [
            Row(
                request,
                prompt,
                tokenizer,
                self._ends,
                sample=sample,
                guide=self._guides.guide(request.params),
            )
            for sample in range(request.params.n)
        ]

    def _choices(self, request: Request) -> list[AnyRow]:
        pairs = encode_continuations(
            self._tokenizers.of(request.model),
            request.messages,
            request.params.template,
            request.choices,
            apart=self._reads_and_writes,
        )
        for context, continuation in pairs:
            if self._reads_and_writes:
                self._check_both_rooms(len(context), len(continuation), "the choice")
            else:
                self._check_room(len(context) + len(continuation) - 1, 0)
        return [ScoredRow(request, context, continuation, index) for index, (context, continuation) in enumerate(pairs)]

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
