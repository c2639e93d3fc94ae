"""What the process that runs tests needs of engines, wherever they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pytest_evals.engines.protocol import Request, Result

Deliver = Callable[[list[Result]], None]
"""Takes results as they finish. It is called in a thread that must not wait, so it hands them on at once."""


class Generation(Protocol):
    """`EnginePool` itself, or a connection to the controller's (`RemotePool`)."""

    def prepare(self, model: str) -> None:
        """Start loading ``model`` if its turn is now; returns at once."""
        ...

    def submit(self, requests: Sequence[Request]) -> None:
        """Hand in requests; those handed in before are left alone. Returns at once."""
        ...

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """Wait for the result of ``request`` (submitted if it was not); `None` when ``timeout`` seconds pass first."""
        ...

    def subscribe(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """Have the results of requests (submitted if they were not) handed to ``deliver``, several at a time where
        several are there; then `result` does not know them. Returns at once; ``deliver`` may be called before that.
        """
        ...
