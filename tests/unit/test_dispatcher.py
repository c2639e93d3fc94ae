"""Requests leave the dispatcher in parcels, and each answer comes back to whoever asked."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Deliver, Request, Result
from pytest_evals.engines.remote import RemotePool, serve_workers
from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.generation import GenerationParams
from pytest_evals.runner.dispatcher import Dispatcher, StepClock


def ask(key: str) -> Request:
    return Request(key, "scripted:m:f", ({"role": "user", "content": key},), GenerationParams())


class FakeEngines:
    """Answers each parcel from a thread, in two halves, the second one first."""

    def __init__(self) -> None:
        self.parcels: list[list[str]] = []
        self.gone = False

    def subscribe(self, requests: Sequence[Request], deliver: Deliver) -> None:
        if self.gone:
            raise EvalsError("gone")
        self.parcels.append([request.id for request in requests])
        results = [Result(request.id, Completion(request.id.upper())) for request in requests]
        half = len(results) // 2
        parts = [part for part in (results[half:], results[:half]) if part]

        def answer() -> None:
            for part in parts:
                deliver(part)

        threading.Thread(target=answer).start()

    def prepare(self, model: str) -> None: ...

    def submit(self, requests: Sequence[Request]) -> None: ...

    def result(self, request: Request, timeout: float | None = None) -> Result | None: ...


Main = Callable[[Dispatcher, FakeEngines], Coroutine[Any, Any, None]]


def run(main: Main) -> FakeEngines:
    engines = FakeEngines()

    async def running() -> None:
        await asyncio.wait_for(main(Dispatcher(engines, asyncio.get_running_loop()), engines), 120)

    asyncio.run(running())
    return engines


def test_what_is_asked_together_leaves_together_whatever_way_it_took() -> None:
    async def step(dispatcher: Dispatcher, number: int) -> None:
        # Some need a turn of the loop or two before they ask.
        for _ in range(number % 3):
            await asyncio.sleep(0)
        assert (await dispatcher.ask(ask(f"first {number}")).wait()).answer.text == f"FIRST {number}"
        texts = await asyncio.gather(*(dispatcher.ask(ask(f"{letter} {number}")).wait() for letter in "xy"))
        assert [result.answer.text for result in texts] == [f"X {number}", f"Y {number}"]

    async def main(dispatcher: Dispatcher, _: FakeEngines) -> None:
        await asyncio.gather(*(step(dispatcher, number) for number in range(200)))

    first, *others = run(main).parcels
    assert sorted(first) == sorted(f"first {number}" for number in range(200))
    # What follows comes in the two halves in which the answers came.
    assert sum(map(len, others)) == 400
    assert len(others) <= 4


def test_ten_thousand_calls_may_be_open_and_need_no_threads() -> None:
    async def main(dispatcher: Dispatcher, _: FakeEngines) -> None:
        answers = [dispatcher.ask(ask(f"n{number}")) for number in range(10_000)]
        before = threading.active_count()
        results = await asyncio.gather(*(answer.wait() for answer in answers))
        assert [result.answer.text for result in results] == [f"N{number}" for number in range(10_000)]
        assert threading.active_count() <= before + 1

    started = time.monotonic()
    assert [len(parcel) for parcel in run(main).parcels] == [10_000]
    assert time.monotonic() - started < 100


def test_the_same_id_is_asked_once_and_a_sync_asker_waits_in_its_own_thread() -> None:
    async def main(dispatcher: Dispatcher, engines: FakeEngines) -> None:
        one, two = dispatcher.ask(ask("a")), dispatcher.ask(ask("a"))
        in_thread = asyncio.to_thread(lambda: dispatcher.ask(ask("b")).result())
        assert [result.answer.text for result in await asyncio.gather(one.wait(), two.wait(), in_thread)] == [
            "A",
            "A",
            "B",
        ]
        assert (await one.wait()).answer.text == "A"
        assert sorted(key for parcel in engines.parcels for key in parcel) == ["a", "b"]
        with pytest.raises(SuiteError, match="await the call"):
            dispatcher.ask(ask("c")).result()
        # One that stops waiting takes nothing from others who wait for the same answer.
        answer = dispatcher.ask(ask("d"))
        waiting = asyncio.create_task(answer.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        assert (await answer.wait()).answer.text == "D"

    run(main)


def test_engines_that_are_gone_are_an_error_of_each_call() -> None:
    async def main(dispatcher: Dispatcher, engines: FakeEngines) -> None:
        engines.gone = True
        assert (await dispatcher.ask(ask("a")).wait()).error == Failure("engine", "gone")

    run(main)


def test_waiting_for_a_model_does_not_count_as_a_step_s_own_time() -> None:
    async def main(_: Dispatcher, __: FakeEngines) -> None:
        loop = asyncio.get_running_loop()

        async def step(clock_of: list[StepClock]) -> str:
            try:
                with clock_of[0]:
                    with clock_of[0].paused(), clock_of[0].paused():
                        await asyncio.sleep(0.1)
                    await asyncio.sleep(60)
            except asyncio.CancelledError:
                return "cancelled"
            return "done"

        clocks: list[StepClock] = []
        task = loop.create_task(step(clocks))
        clocks.append(StepClock(0.05, task, loop))
        started = loop.time()
        assert await task == "cancelled"
        assert clocks[0].expired
        assert loop.time() - started >= 0.15

    run(main)


@pytest.fixture
def pool() -> Iterator[EnginePool]:
    """A pool of scripts."""
    pool = EnginePool(Path(sys.prefix))
    yield pool
    pool.close()


def test_a_subscriber_hears_of_what_is_there_and_of_what_comes_also_from_afar(pool: EnginePool) -> None:
    def echo(key: str) -> Request:
        return Request(
            key, "scripted:pytest_evals.testing:echo", ({"role": "user", "content": key},), GenerationParams()
        )

    heard: dict[str, str] = {}
    everything = threading.Event()

    def deliver(results: list[Result]) -> None:
        heard.update((result.id, result.answer.text) for result in results)
        if len(heard) == 6:
            everything.set()

    assert pool.result(echo("taken")) is not None
    pool.submit([echo("early")])
    remote = RemotePool(*serve_workers(pool, lambda _: None))
    pool.subscribe([echo("early"), echo("taken")], deliver)
    remote.subscribe([echo("far"), echo("away")], deliver)
    remote.subscribe([echo("later"), echo("latest")], deliver)
    assert everything.wait(120)
    assert heard == {key: key for key in ("early", "taken", "far", "away", "later", "latest")}
    # What was handed to a subscriber is computed anew for one who asks.
    assert pool.result(echo("early")) is not None
    remote.close()
    with pytest.raises(EvalsError, match="is gone"):
        remote.subscribe([echo("too late")], deliver)
