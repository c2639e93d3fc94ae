"""Calls that a test makes itself, in its own time: each goes to the engines at once."""

from __future__ import annotations

import asyncio
from typing import Protocol

from pytest_evals.engines.protocol import Request, Result


class Waiting(Protocol):
    """Hands in requests and waits for their answers."""

    def submit(self, request: Request) -> None:
        """Hand in a request, without waiting."""
        ...

    def wait(self, request: Request) -> Result:
        """Wait for the answer to a request."""
        ...


class DirectAsker:
    """See `pytest_evals.steps.calls.Asker`."""

    def __init__(self, run: Waiting) -> None:
        self._run = run

    def ask(self, request: Request) -> DirectAnswer:
        """Hand in a request."""
        self._run.submit(request)
        return DirectAnswer(self._run, request)


class DirectAnswer:
    """See `pytest_evals.steps.calls.Pending`."""

    def __init__(self, run: Waiting, request: Request) -> None:
        self._run = run
        self._request = request
        self._result: Result | None = None

    def result(self) -> Result:
        """Wait for the answer; it is there at once the next time."""
        if self._result is None:
            self._result = self._run.wait(self._request)
        return self._result

    async def wait(self) -> Result:
        """Wait for the answer in the test's own event loop."""
        return await asyncio.to_thread(self.result)
