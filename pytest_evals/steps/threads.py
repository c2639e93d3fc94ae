"""Threads for the steps that are plain functions: they may block without keeping the steps of other cases waiting."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import CodeType, TracebackType
from typing import Any

MOST = 128
"""Functions that run at a time: as many can have their calls of a model computed together."""


class StepThreads:
    """Runs functions for coroutines of one event loop, each in a thread that dies with the process.

    `asyncio.to_thread` has few threads, and waits for them when the interpreter ends: a function that never returns, and whose
    time was up long ago, would keep pytest from ending.
    """

    def __init__(self, most: int = MOST) -> None:
        self._room = asyncio.Semaphore(most)

    async def run(self, function: Callable[[], Any], waiting: AbstractContextManager[None]) -> Any:
        """Return what the function returns, or raise what it raises. It sees the context variables of the coroutine. ``waiting``
        is entered until there is room.

        One whose coroutine is cancelled goes on to its end, and nobody hears of it; the traceback says where it was.
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

    def call() -> None:
        value, error = None, None
        try:
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
