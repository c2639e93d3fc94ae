"""Runs the steps of all cases of this process, in one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pytest

from pytest_evals.collection.item import PARAMETER
from pytest_evals.engines.protocol import ModelService
from pytest_evals.errors import EvalsError
from pytest_evals.fixtures.declaration import FixtureSpec
from pytest_evals.fixtures.dependencies import TaskNode
from pytest_evals.fixtures.limits import TimeLimitExceeded
from pytest_evals.fixtures.watchdog import Watchdog, current, hearing_signals
from pytest_evals.runner.case_tasks import CaseTaskRun
from pytest_evals.runner.dispatcher import Dispatcher
from pytest_evals.runner.threads import BlockingDetector

_POLL_SECONDS = 0.5
_END_SECONDS = 2.0
T = TypeVar("T")


class News(Protocol):
    """Tells a person what goes on."""

    def tick(self) -> None:
        """Tell what is new; called often."""
        ...

    def rest(self) -> None:
        """Be quiet: pytest is going to print."""
        ...


class TaskRunner:
    """See the module. ``news`` is told while a thread waits; ``watch`` knows which steps held up the others."""

    def __init__(self, engines: ModelService, news: News | None) -> None:
        self._engines = engines
        self._news = news
        self._loop = asyncio.new_event_loop()
        self.watch = BlockingDetector()
        self.watch.watch(self._loop)
        self._dispatcher = Dispatcher(engines, self._loop)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waiting: dict[Hashable, list[CaseTaskRun]] = {}

    def start(self, flows: Iterable[CaseTaskRun]) -> None:
        """Start the steps of these cases, together."""
        flows = list(flows)
        if not flows:
            return
        for flow in flows:
            for step in flow.workflow.steps.values():
                if step.fixtures:
                    self._waiting.setdefault(_fixtures_of(flow, step), []).append(flow)
        self._start_thread()
        self._loop.call_soon_threadsafe(self._begin, flows)

    def _start_thread(self) -> None:
        if self._thread is None:
            watchdog = current()
            if watchdog is not None:
                watchdog.start()
            self._thread = threading.Thread(target=self._run, name="evals-steps", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except TimeLimitExceeded:
                # It was meant for a step that ended at the same moment.
                continue
            return

    def compute(self, make: Callable[[Dispatcher], Coroutine[Any, Any, T]]) -> T:
        """Run something that belongs to no case in the loop of the steps, and wait for its result."""
        self._start_thread()
        future = asyncio.run_coroutine_threadsafe(make(self._dispatcher), self._loop)
        future.add_done_callback(lambda _: self.tell())
        self.wait(future.done)
        return future.result()

    def _begin(self, flows: Iterable[CaseTaskRun]) -> None:
        for flow in flows:
            flow.begin(self._dispatcher, self._loop)

    def tell(self) -> None:
        """Something was finished: the threads that wait should look."""
        with self._changed:
            self._changed.notify_all()

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until ``done()``. Raises `EvalsError` when nothing goes on any more."""
        watchdog = current()
        try:
            with hearing_signals():
                self._wait(done, watchdog)
        finally:
            if self._news:
                self._news.rest()

    def _wait(self, done: Callable[[], bool], watchdog: Watchdog | None) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(done, timeout=_POLL_SECONDS):
                    return
            if watchdog is not None and watchdog.held is not None:
                raise EvalsError(watchdog.held)
            if self._thread is None or not self._thread.is_alive():
                raise EvalsError("the steps of this case were stopped before they ended")
            if self._news:
                self._news.tick()

    def hand_over(self, flow: CaseTaskRun, name: str, declaration: FixtureSpec, given: Mapping[str, Any]) -> Any:
        """Return the result of a step, or raise what it raised; see `pytest_evals.fixtures.declaration.CaseTasks`."""
        __tracebackhide__ = True
        step = flow.workflow.find(name, declaration)
        if step is None:
            raise EvalsError(
                f"{declaration.kind} {name!r} is not a step of {flow.item.nodeid}: name it among the arguments of the test"
            )
        if step.fixtures:
            self._provide(flow, step, {fixture: given[fixture] for fixture in step.fixtures})
        self.wait(lambda: step.key in flow.results.outcomes)
        outcome = flow.results.outcomes[step.key]
        if outcome.failure is not None and declaration.kind == "task":
            raise outcome.failure
        return outcome.value

    def _provide(self, flow: CaseTaskRun, step: TaskNode, values: Mapping[str, Any]) -> None:
        """Fixtures of a step exist now: all cases that have the same ones go on with it, so that their calls meet."""
        flows = [flow, *self._waiting.pop(_fixtures_of(flow, step), ())]
        self._loop.call_soon_threadsafe(lambda: [other.provide(step, values) for other in flows])

    def drop(self, flow: CaseTaskRun) -> None:
        """A case is over: what still runs of it is of no use."""
        if self._thread is not None and not flow.finished:
            self._loop.call_soon_threadsafe(flow.stop)

    def close(self) -> None:
        """End everything."""
        if self._thread is None:
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(self._end)
        self._thread.join(_END_SECONDS)
        if not self._thread.is_alive():
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def _end(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        gathered = asyncio.gather(*tasks, return_exceptions=True)
        gathered.add_done_callback(lambda _: self._loop.stop())


def _fixtures_of(flow: CaseTaskRun, step: TaskNode) -> Hashable:
    fixtures = tuple(fixture_instance_key(flow.item, definition) for definition in step.fixtures.values())
    return id(step.declaration), fixtures


# -- Which cases this process is going to run: all of the session, or those in the queue of a worker of pytest-xdist.


def upcoming_items(item: pytest.Item, nextitem: pytest.Item | None, *, first: bool) -> Sequence[pytest.Item]:
    """Return ``item`` and what this process will run that it may not have known before: all of the session for the ``first``
    item; in a worker what it was given.
    """
    if not hasattr(item.config, "workerinput"):
        return item.session.items if first else [item]
    following = [] if nextitem is None else [nextitem]
    return [item, *following, *_queued(item)]


def _queued(item: pytest.Item) -> list[pytest.Item]:
    """Return what comes after the next item in the worker's queue."""
    # The queue is not public in pytest-xdist; without it the next item is all that is known.
    queue: Any = next(
        (plugin.torun for plugin in item.config.pluginmanager.get_plugins() if hasattr(plugin, "torun")), None
    )
    if queue is None or not hasattr(queue, "lock"):
        return []
    items = item.session.items
    with queue.lock() as entries:
        return [items[index] for index in entries if isinstance(index, int) and index < len(items)]


# -- Which cases have a fixture in common: those for which pytest makes one instance of it.

_NODES: dict[str, type[pytest.Item | pytest.Collector]] = {
    "session": pytest.Session,
    "package": pytest.Package,
    "module": pytest.Module,
    "class": pytest.Class,
}


def fixture_instance_key(item: pytest.Item, definition: Any) -> Hashable:
    """Return what is equal for the items of one process that share the instance of a fixture (a ``FixtureDef``)."""
    # Without such a parent the fixture is the item's own; a test outside of classes has a class-scoped one for itself.
    node: Any = item.getparent(_NODES[definition.scope]) if definition.scope in _NODES else None
    if node is None and definition.scope == "package":
        node = item.session
    return id(definition), id(node or item), _parameters(item)


def _parameters(item: pytest.Item) -> Hashable:
    """Return the item's parameters: a fixture may be parametrized, or build on one that is."""
    spec = getattr(item, "callspec", None)
    indices: dict[str, int] = dict(getattr(spec, "indices", {}))
    return tuple(sorted((name, index) for name, index in indices.items() if name != PARAMETER))
