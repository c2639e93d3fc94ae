"""Somebody at a breakpoint is noticed, whatever the debugger, and limits rest."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_evals.fixtures import debugging as module
from pytest_evals.fixtures.debugging import debugging, note_debugger
from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.runner import dispatcher, threads
from pytest_evals.runner.dispatcher import StepClock
from pytest_evals.runner.threads import STEP, BlockingDetector, RunningStep


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever debugs these tests is not what they are about."""
    monkeypatch.setattr(module, "_entered", [])
    monkeypatch.setattr(sys, "monitoring", SimpleNamespace(DEBUGGER_ID=0, get_tool=lambda _: None), raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)


def from_module(name: str) -> Any:
    """A trace function of a module that was compiled: its ``__module__`` is None, and that of its type is not."""
    return type("ThreadTracer", (), {"__module__": name, "__call__": lambda *_: None})()


def function_of(name: str, body: Callable[[], object]) -> Callable[[], object]:
    """A function in whose frame ``__name__`` is that of a debugger."""

    def call() -> object:
        return body()

    return FunctionType(call.__code__, {"__name__": name}, "call", None, call.__closure__)


def test_nobody_debugs() -> None:
    assert not debugging()


@pytest.mark.parametrize(
    "name",
    [
        *("_pydevd_bundle.pydevd_cython", "_pydevd_bundle_ext.pydevd_cython_x", "pydevd_tracing", "bdb", "pdb"),
        *("_pydevd_sys_monitoring._pydevd_sys_monitoring", "debugpy.server", "IPdb", "pudb.debugger"),
    ],
)
def test_a_trace_function_of_a_debugger(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = from_module(name)
    tracer.__module__ = None
    monkeypatch.setattr(sys, "gettrace", lambda: tracer)
    assert debugging()


@pytest.mark.parametrize("name", ["coverage.tracer", "pdbtools", "viztracer", "_pyinstrument", "builtins"])
def test_a_trace_function_of_something_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "gettrace", lambda: from_module(name))
    assert not debugging()


def test_a_debugger_that_uses_the_monitoring_of_newer_pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = {0: "pydevd", 1: "coverage"}
    monkeypatch.setattr(sys, "monitoring", SimpleNamespace(DEBUGGER_ID=0, get_tool=tools.get), raising=False)
    assert debugging()
    del tools[0]
    assert not debugging()


@pytest.mark.parametrize("connected", [True, False])
def test_a_debugger_counts_once_it_is_connected(connected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = ModuleType("_pydevd_bundle.pydevd_constants")
    constants.get_global_debugger = lambda: object() if connected else None  # type: ignore[attr-defined]  # as pydevd has it
    monkeypatch.setitem(sys.modules, "_pydevd_bundle.pydevd_constants", constants)
    assert debugging() is connected


@pytest.mark.parametrize(("name", "found"), [("pdb", True), ("bdb", True), ("_pydevd_bundle.x", True), ("json", False)])
def test_another_thread_is_at_a_prompt(name: str, found: bool) -> None:
    stop, ready = threading.Event(), threading.Event()

    def wait() -> None:
        ready.set()
        stop.wait(20)

    thread = threading.Thread(target=function_of(name, wait))
    thread.start()
    try:
        ready.wait(20)
        assert debugging() is found
    finally:
        stop.set()
        thread.join()


def test_somebody_was_at_the_prompt_of_pytest() -> None:
    note_debugger()
    assert debugging()


# -- What rests.


@pytest.fixture(params=[True, False], ids=["debugged", "not debugged"])
def debugged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    for user in (dispatcher, threads):
        monkeypatch.setattr(user, "debugging", lambda: request.param)
    return request.param


def test_the_time_of_a_step(debugged: bool) -> None:
    async def work() -> bool:
        task = asyncio.current_task()
        assert task is not None
        clock = StepClock(0.01, task, asyncio.get_running_loop())
        try:
            with clock:
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            task.uncancel()
        return clock.expired

    assert asyncio.run(work()) is not debugged


def test_the_note_that_a_step_blocks_the_others(debugged: bool) -> None:
    now = [0.0]
    detector = BlockingDetector(lambda: now[0])
    token = STEP.set(RunningStep("slow", FixtureSpec("task", lambda: None), "task slow", 0))
    try:
        since = detector.begin()
        now[0] = 100.0
        detector.end(since)
    finally:
        STEP.reset(token)
    assert bool(detector.held) is not debugged
