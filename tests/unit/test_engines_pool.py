"""The pool with processes that only pretend: who is started, who is sent what, and what a death costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure, Message
from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.deferred_loading import DeferredLoading
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.pool import ENDED, LOAD_ATTEMPTS, EnginePool, Results
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.replica import Replica
from pytest_evals.engines.replica_set import MOST_LOSSES
from pytest_evals.errors import EvalsError
from pytest_evals.generation import GenerationParams

ROOM = 10**12
THEN = {"engine": "some", "loop": "packed"}
FORETOLD = EngineInfo(identity=THEN)
BIG, SMALL = "smollm2", "smollm2?dtype=bf16"
"""Two models of the same name whose size is known."""


class FakeProcess:
    """A process that ends when it is told to."""

    pid = 0
    stays = False
    lost = False

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self._status: int | None = None
        self._ended = threading.Event()
        self._reason = ""

    def wait(self, seconds: float) -> int | None:
        self._ended.wait(seconds)
        return self._status

    def die(self, status: int = -9) -> None:
        self._status = status
        self._ended.set()

    def kill(self, reason: str) -> None:
        self._reason = reason
        self.die()

    def end(self, *, patient: bool) -> None:
        self.die(0 if patient else -15)

    def exit_report(self, status: int) -> str:
        return f"ended with {status}{self._reason and f' ({self._reason})'}"

    def forget(self) -> None: ...


class FakeChannel:
    """Keeps the ids that the process was sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, message: dict[str, Any]) -> None:
        self.sent += [request["id"] for request in message.get("requests", ())]


class Stage:
    """A pool, and the hands to move its processes with."""

    def __init__(self, root: Path) -> None:
        self.pool = EnginePool(root, {"device": "cpu"})
        self.free: int | None = ROOM
        self.processes: list[FakeProcess] = []

    def make_process(self, orders: dict[str, Any]) -> FakeProcess:
        self.processes.append(FakeProcess(orders))
        return self.processes[-1]

    def copies(self, model: str) -> list[Replica]:
        return self.pool.replica_sets()[model].replicas

    def hear(self, replica: Replica, **message: Any) -> None:
        with self.pool._changed:
            self.pool.heard(replica, message)

    def ready(self, model: str, number: int = 0, identity: Mapping[str, str] | None = None) -> None:
        replica = self.copies(model)[number]
        replica.channel = FakeChannel()  # type: ignore[assignment]  # all that is used of a channel
        self.hear(replica, type="ready", info=asdict(EngineInfo("cpu", rows=1, identity=identity or {})))

    def sent(self, model: str, number: int = 0) -> list[str]:
        channel: Any = self.copies(model)[number].channel
        return channel.sent if channel else []

    def finish(self, model: str, *keys: str, number: int = 0) -> None:
        results = [Result(key, Completion(f"text of {key}")).to_dict() for key in keys]
        self.hear(self.copies(model)[number], type="results", results=results)

    def gone(self, model: str, status: int = -9, number: int = 0) -> None:
        """Let a process die, and wait until the pool knows."""
        replica = self.copies(model)[number]
        process: Any = replica.process
        process.die(status)
        wait_until(lambda: replica.process is not process)

    def states(self, *models: str) -> list[str]:
        return [replica.state for model in models for replica in self.copies(model)]

    def answer(self, request: Request) -> Result:
        result = self.pool.result(request, timeout=60)
        assert result is not None
        return result


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    monkeypatch.setattr("pytest_evals.engines.supervisor.EngineProcess", stage.make_process)
    monkeypatch.setattr("pytest_evals.engines.device_scheduler.free_memory", lambda: stage.free)
    monkeypatch.setattr("pytest_evals.engines.replica_set.gpu_count", lambda: 0)
    monkeypatch.setattr(stage.pool._processes, "listen", lambda: ("here", "secret"))
    yield stage
    stage.pool.close()


def ask(key: str, model: str = BIG, text: str | None = None, tokens: int = 10) -> Request:
    messages: tuple[Message] = ({"role": "user", "content": key if text is None else text},)
    return Request(key, model, messages, GenerationParams(max_new_tokens=tokens))


# -- one model


def test_a_model_is_loaded_when_it_is_announced_and_sent_what_was_asked_meanwhile(stage: Stage) -> None:
    stage.pool.prepare(BIG)
    (process,) = stage.processes
    assert process.orders["spec"]["name"] == "smollm2"
    assert process.orders["options"] == {"device": "cpu", "replica": 0, "replicas": 1}
    stage.pool.submit([ask("a"), ask("b")])
    assert stage.sent(BIG) == []
    stage.ready(BIG)
    assert stage.sent(BIG) == ["a", "b"]
    stage.finish(BIG, "b", "a")
    assert stage.answer(ask("a")).answer.text == "text of a"
    assert len(stage.processes) == 1


def test_what_was_asked_before_is_not_asked_again(stage: Stage) -> None:
    stage.pool.submit([ask("a")])
    stage.pool.submit([ask("a"), ask("b")])
    stage.ready(BIG)
    assert stage.sent(BIG) == ["a", "b"]
    stage.finish(BIG, "a")
    stage.pool.submit([ask("a")])
    assert stage.answer(ask("a")).answer.text == "text of a"
    stage.pool.submit([ask("a")])
    assert stage.sent(BIG) == ["a", "b"]


def test_a_result_that_was_taken_is_computed_again_for_who_asks_again(stage: Stage) -> None:
    stage.pool.submit([ask("a")])
    stage.ready(BIG)
    stage.finish(BIG, "a")
    stage.answer(ask("a"))
    assert stage.pool.result(ask("a"), timeout=0) is None
    assert stage.sent(BIG) == ["a", "a"]
    stage.finish(BIG, "a")
    stage.answer(ask("a"))


def test_a_process_that_dies_at_work_is_replaced_and_sent_the_rest(stage: Stage) -> None:
    stage.pool.submit([ask("a"), ask("b")])
    stage.ready(BIG)
    stage.finish(BIG, "a")
    stage.gone(BIG)
    assert len(stage.processes) == 2
    assert stage.pool.incidents == ["smollm2: an engine process ended with -9"]
    stage.ready(BIG)
    assert stage.sent(BIG) == ["b"]
    stage.finish(BIG, "b")
    assert [stage.answer(ask(key)).answer.text for key in "ab"] == ["text of a", "text of b"]


def test_what_a_process_that_died_had_used_is_kept(stage: Stage) -> None:
    stage.pool.submit([ask("a")])
    stage.ready(BIG)
    stage.hear(stage.copies(BIG)[0], type="working", tokens=3, usage={"decodes": 3, "most_rows": 2})
    # Not every piece of news brings an account.
    stage.hear(stage.copies(BIG)[0], type="working", tokens=1, usage=None)
    stage.gone(BIG)
    stage.ready(BIG)
    stage.hear(stage.copies(BIG)[0], type="working", tokens=1, usage={"decodes": 2, "most_rows": 1})
    assert stage.copies(BIG)[0].all_usage == {"decodes": 5, "most_rows": 2}
    assert stage.copies(BIG)[0].unfinished_tokens == 5


def test_a_model_that_cannot_be_loaded_is_the_answer_to_everything(stage: Stage) -> None:
    stage.pool.submit([ask("a"), ask("b")])
    stage.hear(stage.copies(BIG)[0], type="failed", message="no such revision")
    stage.gone(BIG, 0)
    stage.pool.submit([ask("later")])
    for key in ("a", "b", "later", "never announced"):
        assert stage.answer(ask(key)).error == Failure("engine", "no such revision", unloadable=True)
    assert len(stage.processes) == 1
    assert stage.pool.incidents == []


def test_a_process_that_dies_while_it_loads_is_tried_again_and_then_given_up(stage: Stage) -> None:
    stage.pool.submit([ask("a")])
    for _ in range(LOAD_ATTEMPTS):
        stage.gone(BIG, 7)
    assert len(stage.processes) == LOAD_ATTEMPTS
    error = stage.answer(ask("a")).error
    assert error is not None
    assert error.message == "model 'hf:smollm2': the engine's process ended with 7"


# -- turns


def test_with_room_for_both_models_stay_loaded_and_work_in_turns(stage: Stage) -> None:
    stage.pool.submit([ask("a1"), ask("b1", SMALL), ask("a2")])
    assert stage.states(BIG, SMALL) == ["starting", "stopped"]
    stage.ready(BIG)
    assert stage.sent(BIG) == ["a1", "a2"]
    stage.finish(BIG, "a1")
    assert stage.states(BIG, SMALL) == ["ready", "stopped"]
    stage.finish(BIG, "a2")
    assert stage.states(BIG, SMALL) == ["ready", "starting"]
    # What comes meanwhile waits for its turn, and needs no loading.
    stage.ready(SMALL)
    stage.pool.submit([ask("a3")])
    assert (stage.sent(BIG), stage.sent(SMALL)) == (["a1", "a2"], ["b1"])
    stage.finish(SMALL, "b1")
    assert stage.sent(BIG) == ["a1", "a2", "a3"]
    assert len(stage.processes) == 2


@pytest.mark.parametrize("free", [0, None])
def test_without_room_a_model_leaves_before_the_next_one_is_loaded(stage: Stage, free: int | None) -> None:
    stage.free = free
    stage.pool.submit([ask("a"), ask("b", SMALL)])
    stage.ready(BIG)
    stage.finish(BIG, "a")
    wait_until(lambda: stage.states(BIG, SMALL) == ["stopped", "starting"])
    assert list(stage.pool.notes) == [
        "smollm2: starting the engine",
        "smollm2: done, unloading",
        "smollm2: starting the engine",
    ]
    assert stage.pool.incidents == []
    # Asked again, the first one has to be loaded again.
    stage.pool.submit([ask("later")])
    stage.ready(SMALL)
    stage.finish(SMALL, "b")
    wait_until(lambda: stage.states(BIG, SMALL) == ["starting", "stopped"])
    stage.ready(BIG)
    assert stage.sent(BIG) == ["later"]


def test_a_model_that_leaves_while_it_loads_does_not_come_back(stage: Stage) -> None:
    stage.free = 0
    ends = threading.Event()
    stage.pool.prepare(BIG)
    process: Any = stage.processes[0]
    process.end = lambda **_how: ends.wait(60) and process.die(0)
    stage.pool.submit([ask("b", SMALL)])
    assert stage.states(BIG, SMALL) == ["stopping", "stopped"]
    # It had not heard yet that it should leave.
    stage.ready(BIG)
    assert stage.states(BIG, SMALL) == ["stopping", "stopped"]
    assert list(stage.pool.notes) == ["smollm2: starting the engine", "smollm2: done, unloading"]
    # Somebody needs it after all: a process of its own is started for that.
    stage.pool.submit([ask("a")])
    assert stage.sent(BIG) == []
    ends.set()
    wait_until(lambda: len(stage.processes) == 2)
    assert stage.pool.incidents == []


def test_scripts_run_beside_everything(stage: Stage) -> None:
    stage.pool.submit([ask("a"), ask("s", "scripted:m:f")])
    assert stage.states(BIG, "scripted:m:f") == ["starting", "starting"]
    stage.ready("scripted:m:f")
    assert stage.sent("scripted:m:f") == ["s"]


# -- specifications that share a copy


def test_specifications_that_differ_in_their_template_share_one_process_and_no_answers(stage: Stage) -> None:
    plain = "smollm2?template=none"
    stage.pool.submit([ask("a", text="same"), ask("b", plain, text="same"), ask("c", plain, text="same")])
    assert len(stage.processes) == 1
    assert "template" not in stage.processes[0].orders["spec"]["options"]
    assert stage.copies(BIG) == stage.copies(plain)
    stage.ready(BIG)
    assert stage.sent(BIG) == ["a", "b"]
    stage.finish(BIG, "a", "b")
    assert [stage.answer(ask(key, plain)).answer.text for key in "bc"] == ["text of b"] * 2


# -- replicas

TWO = "smollm2?replicas=2"


def started_twice(stage: Stage, count: int) -> None:
    # The longest first: a has the most tokens.
    stage.pool.submit([ask(chr(97 + number), TWO, tokens=100 - number) for number in range(count)])
    assert [process.orders["options"]["replica"] for process in stage.processes] == [0, 1]
    assert {process.orders["options"]["replicas"] for process in stage.processes} == {2}
    for number in range(2):
        stage.ready(TWO, number)


def test_replicas_share_the_work(stage: Stage) -> None:
    started_twice(stage, 6)
    # The first one was ready first, with room for two batches of one row.
    assert (stage.sent(TWO), stage.sent(TWO, 1)) == (["a", "b"], ["c", "d"])
    stage.finish(TWO, "c", number=1)
    stage.finish(TWO, "a")
    assert (stage.sent(TWO), stage.sent(TWO, 1)) == (["a", "b", "f"], ["c", "d", "e"])


def test_a_replica_that_dies_at_work_is_started_again_and_the_other_goes_on(stage: Stage) -> None:
    started_twice(stage, 5)
    stage.gone(TWO, number=1)
    assert stage.states(TWO) == ["ready", "starting"]
    assert len(stage.processes) == 3
    stage.finish(TWO, "a")
    assert stage.sent(TWO) == ["a", "b", "e"]
    stage.ready(TWO, 1)
    assert stage.sent(TWO, 1) == ["c", "d"]
    stage.finish(TWO, "b", "e")
    stage.finish(TWO, "c", "d", number=1)
    assert {stage.answer(ask(key, TWO)).answer.text for key in "abcde"} == {f"text of {key}" for key in "abcde"}


def test_a_replica_that_dies_for_good_leaves_its_work_to_the_other(stage: Stage) -> None:
    started_twice(stage, 5)
    for _ in range(1 + LOAD_ATTEMPTS):
        stage.gone(TWO, number=1)
    assert stage.states(TWO) == ["ready", "stopped"]
    stage.finish(TWO, "a", "b")
    assert stage.sent(TWO) == ["a", "b", "c", "d"]
    stage.finish(TWO, "c")
    stage.finish(TWO, "d", "e")
    assert {stage.answer(ask(key, TWO)).error for key in "abcde"} == {None}
    assert (
        "smollm2 (replica 2): model 'hf:smollm2?replicas=2': the engine's process ended with -9" in stage.pool.incidents
    )
    assert all(replica.working_since is None for replica in stage.copies(TWO))


def test_a_replica_that_cannot_be_loaded_is_reported_and_missed_by_nobody(stage: Stage) -> None:
    stage.pool.submit([ask("a", TWO), ask("b", TWO)])
    stage.ready(TWO)
    stage.hear(stage.copies(TWO)[1], type="failed", message="out of memory\ndetails")
    stage.gone(TWO, 0, number=1)
    assert stage.sent(TWO) == ["a", "b"]
    assert stage.pool.incidents == ["smollm2 (replica 2): out of memory"]


def test_when_no_replica_can_be_loaded_everything_gets_the_error(stage: Stage) -> None:
    stage.pool.submit([ask("a", TWO), ask("b", TWO)])
    for number in range(2):
        stage.hear(stage.copies(TWO)[number], type="failed", message="out of memory")
    assert [stage.answer(ask(key, TWO)).error for key in "ab"] == [
        Failure("engine", "out of memory", unloadable=True)
    ] * 2


# -- stalls


@pytest.mark.parametrize(("limit", "silent", "ended"), [(600.0, 601.0, True), (600.0, 300.0, False), (0.0, 1e6, False)])
def test_an_engine_that_has_work_and_gives_no_sign_of_life_is_ended(
    stage: Stage, limit: float, silent: float, ended: bool
) -> None:
    stage.pool.stall_seconds = limit
    stage.pool.submit([ask("a")])
    stage.ready(BIG)
    (replica,) = stage.copies(BIG)
    process: Any = replica.process
    replica.heard = time.monotonic() - silent
    stage.pool._processes.end_if_stalled(replica, process, replica.stall_seconds)
    assert (process.wait(0) is not None) == ended
    if ended:
        wait_until(lambda: stage.pool.incidents)
        assert stage.pool.incidents == [
            "smollm2: an engine process ended with -9 (it gave no sign of life for 600 s (evals_stall_timeout))"
        ]


def test_an_engine_that_loads_or_has_nothing_to_do_does_not_stall(stage: Stage) -> None:
    stage.pool.stall_seconds = 1.0
    stage.pool.submit([ask("a")])
    (replica,) = stage.copies(BIG)
    process: Any = replica.process
    replica.heard = time.monotonic() - 100
    stage.pool._processes.end_if_stalled(replica, process, replica.stall_seconds)
    stage.ready(BIG)
    stage.finish(BIG, "a")
    replica.heard = time.monotonic() - 100
    stage.pool._processes.end_if_stalled(replica, process, replica.stall_seconds)
    assert process.wait(0) is None


@pytest.mark.parametrize(
    "message",
    [
        {"type": "working", "tokens": 1, "usage": None},
        {"type": "started", "ids": ["a"]},
        {"type": "status", "text": "x"},
    ],
)
def test_everything_that_is_heard_is_a_sign_of_life(stage: Stage, message: dict[str, Any]) -> None:
    stage.pool.submit([ask("a"), ask("b")])
    stage.ready(BIG)
    (replica,) = stage.copies(BIG)
    replica.heard = 0.0
    stage.hear(replica, **message)
    assert time.monotonic() - replica.heard < 60


def test_work_that_is_sent_starts_the_clock(stage: Stage) -> None:
    stage.pool.submit([ask("a")])
    stage.ready(BIG)
    stage.finish(BIG, "a")
    (replica,) = stage.copies(BIG)
    replica.heard = 0.0
    stage.pool.submit([ask("b")])
    assert time.monotonic() - replica.heard < 60


# -- time


def test_an_engine_works_from_its_first_request_to_its_last_answer(stage: Stage) -> None:
    stage.pool.submit([ask("a"), ask("b")])
    (replica,) = stage.copies(BIG)
    assert replica.working_since is None
    stage.ready(BIG)
    assert replica.working_since is not None
    stage.finish(BIG, "a")
    assert replica.working_since is not None
    replica.working_since = time.monotonic() - 5
    stage.finish(BIG, "b")
    assert replica.working_since is None
    assert 5 <= replica.seconds < 65
    stage.pool.submit([ask("c")])
    assert replica.working_since is not None
    assert (replica.asked, replica.done) == (3, 2)


# -- what is known from before


class Known:
    """A source that knows the answers to these."""

    name = "cache"

    def __init__(self, *known: str) -> None:
        self.known = known

    def find(self, _key: object, request: Request) -> Completion | None:
        return Completion(f"known {request.id}", completion_tokens=7) if request.id in self.known else None

    def has(self, _model: str) -> bool:
        return bool(self.known)


@pytest.fixture
def foresee(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the pool know these answers, and what a model that is not loaded would be loaded as."""

    def foresee(*known: str, info: EngineInfo | None = FORETOLD) -> None:
        pool = stage.pool
        pool.memory = AnswerCache(tmp_path, sources=[Known(*known)])
        pool._deferred = DeferredLoading(tmp_path, pool.options, pool.memory, pool._changed, pool._scheduler.schedule)
        monkeypatch.setattr("pytest_evals.engines.deferred_loading.cached_identity", lambda *_: info)

    return foresee


def test_what_is_known_is_not_sent_and_the_next_model_has_its_turn(stage: Stage, tmp_path: Path) -> None:
    stage.free = None
    stage.pool.memory = AnswerCache(tmp_path, sources=[Known("a", "b", "x")])
    twin = ask("c", text="a")
    stage.pool.submit([ask("a"), ask("b"), twin, ask("x", SMALL), ask("y", SMALL)])
    stage.ready(BIG)
    assert stage.sent(BIG) == []
    assert [stage.answer(request).answer.text for request in (ask("a"), ask("b"), twin)] == [
        "known a",
        "known b",
        "known a",
    ]
    # Nothing is left to do for it, so it has left, as it was told.
    wait_until(lambda: stage.states(BIG) == ["stopped"])
    stage.ready(SMALL)
    assert stage.sent(SMALL) == ["y"]
    stage.finish(SMALL, "y")
    origins = [stage.answer(ask(key, SMALL)).answer.origin for key in "xy"]
    assert [origin and origin.source for origin in origins] == ["cache", None]
    assert [copy.tokens for model in (BIG, SMALL) for copy in stage.copies(model)] == [0, 0]
    assert [copy.done for model in (BIG, SMALL) for copy in stage.copies(model)] == [3, 2]


def test_in_a_replay_no_model_is_started(stage: Stage, tmp_path: Path) -> None:
    failure = Failure("replay", "no such case")

    class Nobody:
        def answer(self, request: Request, _key: object) -> Result:
            return Result(request.id, error=failure)

    stage.pool.memory = AnswerCache(tmp_path, replay=Nobody())
    stage.pool.submit([ask("a")])
    assert [stage.answer(ask(key)).error for key in "ab"] == [failure, failure]
    assert (stage.processes, stage.pool.replica_sets()) == ([], {})


@pytest.mark.parametrize("model", [BIG, f"{BIG}?replicas=2"])
def test_a_model_of_which_all_is_known_is_not_loaded(stage: Stage, foresee: Callable[..., None], model: str) -> None:
    foresee("a", "b")
    stage.pool.prepare(model)
    asked = [ask("a", model), ask("b", model), ask("c", model, text="a")]
    stage.pool.submit(asked)
    assert [stage.answer(request).answer.text for request in asked] == ["known a", "known b", "known a"]
    replica_set = stage.pool.replica_sets()[model]
    assert (stage.processes, replica_set.busy, replica_set.predicted_info) == ([], False, FORETOLD)
    assert sum(copy.done for copy in replica_set.replicas) == 3
    # Who asks for it once more gets the same, and nothing is left to be sent.
    assert (stage.answer(asked[0]).answer.text, replica_set.pending()) == ("known a", [])


def test_a_model_is_loaded_for_what_is_not_known_and_then_tells_what_is(
    stage: Stage, foresee: Callable[..., None]
) -> None:
    foresee("a")
    stage.pool.submit([ask("a"), ask("b")])
    wait_until(lambda: stage.states(BIG) == ["starting"])
    # What it is loaded as decides, so nothing is answered before.
    assert stage.pool.result(ask("a"), timeout=0) is None
    stage.ready(BIG, identity=THEN)
    assert (stage.answer(ask("a")).answer.text, stage.sent(BIG)) == ("known a", ["b"])
    assert stage.pool.incidents == []


def test_a_model_that_is_loaded_late_as_another_one_is_told(stage: Stage, foresee: Callable[..., None]) -> None:
    foresee("a")
    stage.pool.submit([ask("a")])
    stage.answer(ask("a"))
    stage.pool.submit([ask("b")])
    assert stage.states(BIG) == ["starting"]
    stage.ready(BIG, identity={**THEN, "loop": "generate"})
    (incident,) = stage.pool.incidents
    assert incident.startswith(
        "smollm2: answers were taken from before while it was not loaded, and it is another model"
    )
    assert incident.endswith(" now: loop packed then, generate now")


@pytest.mark.parametrize(("known", "info"), [(("a",), None), ((), FORETOLD)])
def test_a_model_of_which_nothing_can_be_known_is_loaded_when_it_is_announced(
    stage: Stage, foresee: Callable[..., None], known: tuple[str, ...], info: EngineInfo | None
) -> None:
    foresee(*known, info=info)
    stage.pool.prepare(BIG)
    wait_until(lambda: stage.states(BIG) == ["starting"])


def test_all_who_asked_for_an_answer_get_it() -> None:
    heard: dict[str, list[Result]] = {"first": [], "second": []}
    results = Results()
    request = Request("a", BIG, (), GenerationParams())
    for who in ("first", "first", "second"):
        results.subscribe([request], heard[who].extend)
    results.keep([Result("a")])
    assert [[result.id for result in found] for found in heard.values()] == [["a"], ["a"]]
    assert not results.unanswered(request)


# -- the journal


def test_what_a_process_had_written_down_before_it_died_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path)
    journal = tmp_path / "run.jsonl.journal"
    journal.write_text('{"type": "journal", "run_id": "r1"}\n', encoding="utf-8")
    begun: list[list[str]] = []
    stage.pool = EnginePool(tmp_path, {"device": "cpu"}, memory=AnswerCache(tmp_path), journal=journal)
    stage.pool.on_first_request = lambda: begun.append(list(stage.sent(BIG)))
    monkeypatch.setattr("pytest_evals.engines.supervisor.EngineProcess", stage.make_process)
    monkeypatch.setattr("pytest_evals.engines.device_scheduler.free_memory", lambda: stage.free)
    monkeypatch.setattr("pytest_evals.engines.replica_set.gpu_count", lambda: 0)
    monkeypatch.setattr(stage.pool._processes, "listen", lambda: ("here", "secret"))
    stage.pool.submit([ask("a"), ask("b"), ask("c")])
    assert stage.processes[0].orders["journal"] == str(journal)
    stage.ready(BIG)
    # Whoever keeps answers hears of it before anything is asked, and once.
    assert begun == [[]]
    writer = JournalWriter(str(journal))
    for key in ("a", "other"):
        writer.add(Result(key, Completion(f"text of {key}")), BIG, "d-p-q")
    stage.gone(BIG)
    stage.ready(BIG)
    assert stage.sent(BIG) == ["b", "c"]
    assert stage.answer(ask("a")).answer.text == "text of a"
    stage.finish(BIG, "b")
    assert begun == [[]]
    # Whoever waits when all ends hears that it did.
    heard: list[Result] = []
    stage.pool.subscribe([ask("d")], heard.extend)
    stage.pool.close()
    assert [(result.id, result.error and result.error.message) for result in heard] == [("d", ENDED)]
    with pytest.raises(EvalsError, match=ENDED):
        stage.pool.result(ask("c"))
    with pytest.raises(EvalsError, match=ENDED):
        stage.pool.subscribe([ask("e")], heard.extend)


# -- machines that go


def lose(stage: Stage, model: str, number: int) -> None:
    process: Any = stage.copies(model)[number].process
    process.lost = True
    stage.gone(model, number=number)


def test_the_work_of_a_replica_whose_machine_goes_is_handed_on_at_once(stage: Stage) -> None:
    started_twice(stage, 5)
    stage.hear(stage.copies(TWO)[1], type="started", ids=["c", "d"])
    lose(stage, TWO, 1)
    assert stage.states(TWO) == ["ready", "starting"]
    stage.finish(TWO, "a", "b")
    # They are no suspects: two at a time, as before.
    assert stage.sent(TWO) == ["a", "b", "c", "d"]
    stage.finish(TWO, "c", "d")
    stage.finish(TWO, "e")
    assert {stage.answer(ask(key, TWO)).answer.text for key in "abcde"} == {f"text of {key}" for key in "abcde"}
    assert stage.copies(TWO)[1].done == 0


def test_an_answer_that_comes_twice_counts_once(stage: Stage) -> None:
    started_twice(stage, 3)
    lose(stage, TWO, 1)
    stage.finish(TWO, "a", "b")
    stage.finish(TWO, "c")
    stage.finish(TWO, "c")
    assert sum(replica.done for replica in stage.copies(TWO)) == 3


def test_the_only_machine_that_goes_is_replaced(stage: Stage) -> None:
    stage.pool.submit([ask("a"), ask("b")])
    stage.ready(BIG)
    stage.hear(stage.copies(BIG)[0], type="started", ids=["a", "b"])
    lose(stage, BIG, 0)
    assert stage.states(BIG) == ["starting"]
    stage.ready(BIG)
    assert sorted(stage.sent(BIG)) == ["a", "b"]
    stage.finish(BIG, "a", "b")
    assert stage.answer(ask("b")).answer.text == "text of b"


def test_a_request_during_which_machine_after_machine_goes_is_given_up(stage: Stage) -> None:
    stage.pool.submit([ask("bad", tokens=50)])
    for _ in range(MOST_LOSSES):
        assert stage.states(BIG) == ["starting"]
        stage.ready(BIG)
        stage.hear(stage.copies(BIG)[0], type="started", ids=["bad"])
        lose(stage, BIG, 0)
    error = stage.answer(ask("bad", tokens=50)).error
    assert error is not None
    assert (
        error.message == f"{MOST_LOSSES} machines went while they computed this request; the last process ended with -9"
    )
    assert stage.states(BIG) == ["stopped"]


# -- the time of the run is over


def test_once_the_time_is_over_answers_that_are_here_are_given_and_nothing_is_asked(stage: Stage) -> None:
    over = Failure("time_limit", "over")
    stage.pool.submit([ask("a"), ask("b"), ask("c"), ask("small", SMALL)])
    stage.ready(BIG)
    delivered: list[Result] = []
    stage.pool.subscribe([ask("c")], delivered.extend)
    stage.finish(BIG, "a")
    stage.pool.expire(over)
    assert [result.error for result in delivered] == [over]
    assert stage.answer(ask("a")).answer.text == "text of a"
    for request in (ask("b"), ask("small", SMALL), ask("later")):
        assert stage.answer(request).error == over
    stage.pool.subscribe([ask("d")], delivered.extend)
    assert [result.error for result in delivered] == [over, over]
    stage.pool.prepare(SMALL)
    stage.pool.submit([ask("e", SMALL)])
    assert len(stage.processes) == 1, "the other model is not loaded any more"
    wait_until(lambda: stage.states(BIG) == ["stopped"])
    assert stage.pool.incidents == []
