"""Structured output: which tokens a completion may go on with. The work is xgrammar's, one matcher a row."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection
from typing import Any

import torch

from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams
from pytest_evals.tool_calls.required import RequiredCall

_BITS = 32
"""Tokens of a number of a bitmask."""


class GrammarState:
    """Follows the grammar of one row: says what is allowed next, and is told what was chosen."""

    def __init__(self, matcher: Any, bitmask: torch.Tensor) -> None:
        self._matcher = matcher
        self._bitmask = bitmask
        self._lost = False

    def hide(self, logits: torch.Tensor, but: int | None = None) -> None:
        """Set the logits (``[vocabulary]``) of tokens that are not allowed to minus infinity, in place. ``but``: a token that is
        allowed too, though it leads away from the grammar.
        """
        beside = None if but is None else logits[but].clone()
        if self._lost:
            logits[:] = -torch.inf
        else:
            self._hide(logits)
        if but is not None and beside is not None:
            logits[but] = beside

    def _hide(self, logits: torch.Tensor) -> None:
        import xgrammar

        self._matcher.fill_next_token_bitmask(self._bitmask)
        # Logits may be padded beyond the vocabulary: xgrammar would leave these alone, and warn of it for every token.
        covered = min(len(logits), _BITS * self._bitmask.shape[-1])
        logits[covered:] = -torch.inf
        xgrammar.apply_token_bitmask_inplace(logits[:covered].unsqueeze(0), self._bitmask.to(logits.device))

    def accept(self, token: int) -> bool:
        """Take the chosen token; return whether the grammar has come to its end."""
        if not self._allows(token):
            # It was allowed beside the grammar.
            self._lost = True
            return False
        self._matcher.accept_token(token)
        ended: bool = self._matcher.is_terminated()
        return ended

    def restart(self) -> None:
        """Begin again: what was taken so far was not part of the text that the grammar describes."""
        self._matcher.reset()
        self._lost = False

    def _allows(self, token: int) -> bool:
        if self._lost or token >= _BITS * self._bitmask.shape[-1]:
            return False
        return bool(int(self._bitmask[0, token // _BITS]) >> (token % _BITS) & 1)


class GrammarCompiler:
    """Compiles grammars for one tokenizer; equal ones are compiled once."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._ends = list(ends)
        self._compiler: Any = None

    def guide(self, params: GenerationParams, required: RequiredCall | None = None) -> GrammarState | None:
        """Return the guide for a row, `None` when it may write anything. ``required`` is a call of a tool that it has to make.

        Raises `UnsupportedError` when xgrammar is not installed or cannot do what the grammar asks.
        """
        if not params.guided and required is None:
            return None
        try:
            import xgrammar
        except ImportError as error:
            raise UnsupportedError(
                "structured output needs xgrammar: pip install 'pytest-evals-hf[structured]'"
            ) from error
        try:
            compiled = self._compile(params, required)
        except RuntimeError as error:
            reason = (str(error).strip() or "no reason given").splitlines()[-1]
            raise UnsupportedError(f"this structured output cannot be enforced: {reason}") from error
        # Without a token that ends a text, the end of the grammar is the end.
        matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=not self._ends)
        return GrammarState(matcher, xgrammar.allocate_token_bitmask(1, self._vocabulary))

    def _compile(self, params: GenerationParams, required: RequiredCall | None) -> Any:
        import xgrammar

        if self._compiler is None:
            with warnings.catch_warnings():
                # That a tokenizer has no end-of-text token is known here.
                warnings.filterwarnings("ignore", message="When constructing TokenizerInfo")
                info = xgrammar.TokenizerInfo.from_huggingface(
                    self._tokenizer, vocab_size=self._vocabulary, stop_token_ids=self._ends or None
                )
            self._compiler = xgrammar.GrammarCompiler(info)
        if required is not None:
            call = xgrammar.Grammar.from_json_schema(json.dumps(required.schema), any_whitespace=False)
            around = [
                xgrammar.Grammar.from_ebnf(f"root ::= {json.dumps(text)}") for text in (required.before, required.after)
            ]
            return self._compiler.compile_grammar(xgrammar.Grammar.concat(around[0], call, around[1]))
        if params.json_schema is not None:
            # One line: a small model that may write white space anywhere writes it for ever.
            return self._compiler.compile_json_schema(json.dumps(dict(params.json_schema)), any_whitespace=False)
        if params.regex is not None:
            return self._compiler.compile_regex(params.regex)
        return self._compiler.compile_grammar(
            "root ::= " + " | ".join(json.dumps(text, ensure_ascii=False) for text in params.choice)
        )
