"""Threads for the steps that are plain functions: they may block without keeping the steps of other cases waiting."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, TracebackType
from typing import Any

from pytest_evals.fixtures.debugging import debugging
from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.fixtures.watchdog import current
from pytest_evals.fixtures.watchdog_table import LOOP

MOST = 128
"""Functions that run at a time: as many can have their calls of a model computed together."""


class DaemonThreads:
    """Runs functions for coroutines of one event loop, each in a thread that dies with the process.

    `asyncio.to_thread` has few threads, and waits for them when the interpreter ends: a function that never returns, and whose
    time was up long ago, would keep pytest from ending.
    """

    def __init__(self, most: int = MOST) -> None:
        self._room = asyncio.Semaphore(most)

    async def run(self, function: Callable[[], Any], waiting: AbstractContextManager[None]) -> Any:
        """Return what the function returns, or raise what it raises. It sees the context variables of the coroutine. ``waiting``
        is entered until there is room.

        One whose coroutine is cancelled goes on to its end, its outcome is dropped; the traceback says where it was.
        """
        __tracebackhide__ = True
        with waiting:
            await self._room.acquire()
        try:
            return await _in_thread(function)
        finally:
            self._room.release()


async def _in_thread(function: Callable[[], Any]) -> Any:
    __tracebackhide__ = True
    loop = asyncio.get_running_loop()
    done: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if not done.done():
            done.set_result((value, error))

    step, watchdog = STEP.get(), current()

    def call() -> None:
        value, error = None, None
        watch = watchdog.in_thread(step.label, step.seconds) if watchdog and step else contextlib.nullcontext()
        try:
            with watch:
                value = context.run(function)
        except BaseException as caught:  # noqa: BLE001 - it is raised again where it is waited for
            error = caught
        with contextlib.suppress(RuntimeError):  # a loop that was closed wants nothing
            loop.call_soon_threadsafe(settle, value, error)

    thread = threading.Thread(target=call, name="evals-step", daemon=True)
    thread.start()
    try:
        value, error = await done
    except asyncio.CancelledError as cancelled:
        raise cancelled.with_traceback(_whereabouts(thread, call.__code__)) from None
    if error is not None:
        raise error
    return value


def _whereabouts(thread: threading.Thread, outermost: CodeType) -> TracebackType | None:
    """Return where a thread is, from what ``outermost`` called on."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way to another thread's frames
    found = None
    while frame is not None and frame.f_code is not outermost:
        found = TracebackType(found, frame, frame.f_lasti, frame.f_lineno)
        frame = frame.f_back
    return found


# -- Finds steps that hold up the event loop which runs the steps of all cases.

MOST_SECONDS = 1.0
"""What a step may do between two awaits before it is told of."""


@dataclass(frozen=True, slots=True)
class RunningStep:
    """A step of a case: ``label`` names both, ``seconds`` is what it may take for itself (0: no limit)."""

    name: str
    declaration: FixtureSpec
    label: str
    seconds: float


# The step that runs, in whatever it starts too.
STEP: ContextVar[RunningStep | None] = ContextVar("evals_step", default=None)


def watch_turn(step: RunningStep) -> None:
    """Have the code of a step watched that goes on in the loop, until it pauses."""
    watchdog = current()
    if watchdog is not None:
        watchdog.enter(LOOP, step.label, step.seconds)


class BlockingDetector:
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
        step = STEP.get()
        if step is not None:
            watch_turn(step)
        return self._clock()

    def end(self, since: float) -> None:
        """It paused, or ended."""
        seconds = self._clock() - since
        watchdog = current()
        if watchdog is not None:
            watchdog.leave(LOOP)
        found = STEP.get() if seconds > MOST_SECONDS and not debugging() else None
        if found is not None:
            who = found.declaration.called(found.name)
            self.held[who] = max(seconds, self.held.get(who, 0.0))


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose every turn is timed."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], watch: BlockingDetector) -> None:
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
