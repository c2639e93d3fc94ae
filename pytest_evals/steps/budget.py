"""What one case may ask of models: a step that calls for ever must not keep the run for ever."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from _pytest.outcomes import Failed


class LimitExceeded(Failed):
    """A case asked for more than it may. Not an `Exception`, so that an ``except Exception`` in a loop that never ends cannot
    swallow it; one of pytest's own (``pytest.fail.Exception``), so that it may leave a fixture.
    """


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls and tokens (of prompts and answers) that a case may use, and seconds that a step of it may take for itself,
    without its waiting for models; 0 is no limit.
    """

    calls: int = 0
    tokens: int = 0
    step_seconds: float = 0.0


class Budget:
    """What a case has used of its limits."""

    def __init__(self, limits: Limits, calls: int = 0, tokens: int = 0) -> None:
        # Steps of one case may run in several threads.
        self._lock = threading.Lock()
        self.limits = limits
        self.calls = calls
        self.tokens = tokens

    def count_call(self) -> None:
        """Count one more call. Raises `LimitExceeded` when it may not be made."""
        __tracebackhide__ = True
        self._check_tokens()
        with self._lock:
            self.calls += 1
        if 0 < self.limits.calls < self.calls:
            raise LimitExceeded(
                f"this case called models more than {self.limits.calls} times (evals_case_calls); end the loop that does so, or "
                "raise the limit"
            )

    def count_tokens(self, tokens: int) -> None:
        """Count the tokens of an answer. Raises `LimitExceeded` when they are too many."""
        __tracebackhide__ = True
        with self._lock:
            self.tokens += tokens
        self._check_tokens()

    def _check_tokens(self) -> None:
        __tracebackhide__ = True
        if 0 < self.limits.tokens < self.tokens:
            raise LimitExceeded(
                f"the calls of this case used {self.tokens} tokens, more than {self.limits.tokens} (evals_case_tokens); end the "
                "loop that does so, or raise the limit"
            )
