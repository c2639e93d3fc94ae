"""Finds steps that hold up the event loop which runs the steps of all cases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any

from pytest_evals.steps.step import Declaration

MOST_SECONDS = 1.0
"""What a step may do between two awaits before it is told of."""

# The step that runs, in whatever it starts too.
STEP: ContextVar[tuple[str, Declaration] | None] = ContextVar("evals_step", default=None)


class LoopWatch:
    """Takes the time that each step held a loop without a pause. ``held``: by who it is, the longest one of those that were too
    long. ``clock`` gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.held: dict[str, float] = {}
        self._clock = clock

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch all tasks that are made in a loop from now on."""
        loop.set_task_factory(self._make_task)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        watched = _Watched(coroutine, self) if isinstance(coroutine, Coroutine) else coroutine
        return asyncio.Task(watched, loop=loop, **options)

    def begin(self) -> float:
        """A step goes on."""
        return self._clock()

    def end(self, since: float) -> None:
        """It paused, or ended."""
        seconds = self._clock() - since
        found = STEP.get() if seconds > MOST_SECONDS else None
        if found is not None:
            name, declaration = found
            who = declaration.called(name)
            self.held[who] = max(seconds, self.held.get(who, 0.0))


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose every turn is timed."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watch: LoopWatch) -> None:
        self._coroutine = coroutine
        self._watch = watch

    def send(self, value: Any) -> Any:
        since = self._watch.begin()
        try:
            return self._coroutine.send(value)
        finally:
            self._watch.end(since)

    def throw(self, *error: Any) -> Any:
        since = self._watch.begin()
        try:
            return self._coroutine.throw(*error)
        finally:
            self._watch.end(since)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        # What a task shows of its coroutine: its name, its frames.
        return getattr(self._coroutine, name)


def blocking_note(who: str, seconds: float) -> str:
    """Return what the score card says of a step that held the loop."""
    return (
        f"{who} kept all cases waiting for {seconds:.1f} s: it blocks the event loop; make it a plain def, which runs in a "
        "thread, or await asyncio.to_thread(...) where it blocks"
    )
