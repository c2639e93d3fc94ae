"""Threads for the steps that are plain functions: they may block without keeping the steps of other cases waiting."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
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

    async def run(self, function: Callable[[], Any]) -> Any:
        """Return what the function returns, or raise what it raises. It sees the context variables of the coroutine.

        One whose coroutine is cancelled goes on to its end, and nobody hears of it.
        """
        __tracebackhide__ = True
        async with self._room:
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

            threading.Thread(target=call, name="evals-step", daemon=True).start()
            value, error = await done
            if error is not None:
                raise error
            return value
