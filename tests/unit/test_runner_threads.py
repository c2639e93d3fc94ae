"""Plain functions run in threads, and what blocks the loop of the others is told of."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.runner.threads import STEP, BlockingDetector, DaemonThreads, RunningStep, blocking_note

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who")


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(main(), 120)

    asyncio.run(limited())


def test_functions_run_together_in_threads_that_see_what_their_coroutine_sees() -> None:
    everybody = threading.Barrier(5)

    def step() -> str:
        everybody.wait(60)
        assert threading.current_thread().daemon
        return WHO.get()

    async def main() -> None:
        threads = DaemonThreads(most=5)

        async def one(name: str) -> str:
            WHO.set(name)
            return str(await threads.run(step, nullcontext()))

        assert await asyncio.gather(*map(one, "abcde")) == list("abcde")

    run(main)


def test_no_more_run_at_a_time_than_there_is_room_for_and_the_others_are_known_to_wait() -> None:
    events: list[str] = []

    @contextmanager
    def waiting(name: str) -> Iterator[None]:
        events.append(f"{name} waits")
        yield
        events.append(f"{name} goes")

    async def main() -> None:
        threads = DaemonThreads(most=1)
        names = ("one", "two", "three")
        await asyncio.gather(*(threads.run(lambda name=name: events.append(name), waiting(name)) for name in names))  # type: ignore[misc]  # a lambda's default

    run(main)
    # The first may run already while the others come.
    assert [event for event in events if not event.endswith("waits")] == [
        "one goes", "one", "two goes", "two", "three goes", "three"
    ]  # fmt: skip
    assert all(events.index(f"{name} waits") < events.index(f"{name} goes") for name in ("one", "two", "three"))


@pytest.mark.parametrize("error", [LookupError("x"), SystemExit(3), pytest.fail.Exception("no")])
def test_what_a_function_raises_is_raised_where_it_is_waited_for(error: BaseException) -> None:
    def step() -> None:
        raise error

    async def main() -> None:
        with pytest.raises(type(error)) as caught:
            await DaemonThreads().run(step, nullcontext())
        assert caught.value is error

    run(main)


def test_a_function_that_does_not_end_keeps_neither_its_coroutine_nor_its_place() -> None:
    gate, begun = threading.Event(), threading.Event()

    def step() -> None:
        begun.set()
        gate.wait(100)

    async def main() -> None:
        threads = DaemonThreads(most=1)
        stuck = asyncio.create_task(threads.run(step, nullcontext()))
        await asyncio.to_thread(begun.wait, 60)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await stuck
        # Where it was when nobody waited any more.
        assert "step" in [entry.name for entry in caught.traceback]
        assert await threads.run(lambda: "next", nullcontext()) == "next"
        gate.set()

    run(main)


# -- what blocks


class Clock:
    """Goes on when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_turn_that_takes_too_long_is_told_with_the_step_that_took_it() -> None:
    clock, watch = Clock(), None

    async def slow() -> None: ...

    async def block(seconds: float) -> None:
        clock.now += seconds
        await asyncio.sleep(0)

    async def step(name: str, *turns: float) -> str:
        STEP.set(RunningStep(name, FixtureSpec("task", slow), "", 0))
        for seconds in turns:
            await block(seconds)
        return name

    async def child(name: str) -> None:
        STEP.set(RunningStep(name, FixtureSpec("grader", slow), "", 0))
        # What a step starts is the step's.
        await asyncio.gather(block(0.125), block(2.5))

    async def main() -> None:
        nonlocal watch
        watch = BlockingDetector(clock)
        watch.watch(asyncio.get_running_loop())
        steps = [step("short", *[0.875] * 5), step("long", 0.125, 1.5, 3.25, 2), child("parent"), block(9)]
        assert (await asyncio.gather(*steps))[:2] == ["short", "long"]

        async def fails() -> None:
            clock.now += 1.25
            raise LookupError("x")

        async def failing() -> None:
            STEP.set(RunningStep("fails", FixtureSpec("task", slow), "", 0))
            await asyncio.sleep(0)
            await fails()

        with pytest.raises(LookupError):
            await asyncio.create_task(failing())
        waiting = asyncio.create_task(asyncio.sleep(60), name="waiting")
        assert "sleep" in repr(waiting)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(main)
    assert watch is not None
    line = slow.__code__.co_firstlineno
    where = f"(test_runner_threads.py:{line})"
    assert watch.held == {
        f"task 'long' {where}": 3.25, f"grader 'parent' {where}": 2.5, f"task 'fails' {where}": 1.25
    }  # fmt: skip
    assert blocking_note("task 'long'", 3.25) == (
        "task 'long' kept all cases waiting for 3.2 s: it blocks the event loop; make it a plain def, which runs in a thread, "
        "or await asyncio.to_thread(...) where it blocks"
    )
