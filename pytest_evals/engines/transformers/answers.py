"""Rows -> the result of the request that they belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_evals.completion import Failure, Likelihood
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.transformers.loop import AnyRow
from pytest_evals.engines.transformers.row import Row, ScoredRow
from pytest_evals.ids import content_hash


class Answer:
    """A request in the making: one row for each sample or choice."""

    def __init__(self, request: Request, rows: Sequence[AnyRow], arrived: float, identity: Mapping[str, Any]) -> None:
        self._request = request
        self._rows = list(rows)
        self._arrived = arrived
        self._identity = identity
        self._open = {id(row) for row in rows}
        self._failure: Failure | None = None

    def take(self, row: AnyRow, failure: Failure | None) -> bool:
        """Take note that a row is done; return whether that was the last one."""
        self._open.discard(id(row))
        self._failure = self._failure or failure
        return not self._open

    def result(self, now: float) -> Result:
        """Return the result, at the time ``now``."""
        if self._failure is not None:
            return Result(self._request.id, error=self._failure)
        begun = min((row.started for row in self._rows if row.started is not None), default=now)
        latency, queued = now - begun, max(0.0, begun - self._arrived)
        first = self._rows[0]
        if isinstance(first, Row):
            return self._completion(first, latency, queued)
        scored = [row for row in self._rows if isinstance(row, ScoredRow)]
        likelihoods = tuple(map(_likelihood, self._request.choices, scored))
        return Result(
            self._request.id,
            prompt_tokens=first.shareable + 1,
            completion_tokens=0,
            likelihoods=likelihoods,
            fingerprint=self._fingerprint([row.tokens for row in scored]),
            latency=latency,
            queued=queued,
        )

    def _completion(self, first: Row, latency: float, queued: float) -> Result:
        samples = tuple(row.text for row in self._rows if isinstance(row, Row))
        return Result(
            self._request.id,
            text=first.text,
            finish_reason=first.finish_reason or "stop",
            prompt_tokens=first.prompt_tokens,
            completion_tokens=len(first.generated),
            logprobs=tuple(first.logprobs) if self._request.params.logprobs else None,
            samples=samples if len(samples) > 1 else None,
            fingerprint=self._fingerprint(first.prompt),
            latency=latency,
            queued=queued,
        )

    def _fingerprint(self, tokens: Any) -> str:
        """Cover weights, tokenizer, template, dtype, versions, token ids and parameters."""
        return content_hash(
            [dict(self._identity), tokens, self._request.params.to_dict(), self._request.choices], length=24
        )


def _likelihood(text: str, row: ScoredRow) -> Likelihood:
    return Likelihood(text, sum(row.logprobs), len(row.continuation), len(text.encode()), row.likeliest)
