"""Engines that stay when their run has ended: who finds them, whom they answer, and when they end."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_evals.completion import Completion
from pytest_evals.engines import warm_registry
from pytest_evals.engines.ipc import Channel, Packet
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.replica_set import weights_of
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.warm_clients import WarmClients, WarmInbox
from pytest_evals.engines.warm_process import is_alive, stop
from pytest_evals.engines.warm_registry import WarmEntry, claim, entries, forget, read_entry, warm_folder, warm_keys
from pytest_evals.errors import EvalsError
from pytest_evals.generation import GenerationParams

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="models stay loaded where there are Unix sockets")
MODEL = "scripted:echoes:answer?warm=true"
SCRIPT = "import os\n\ndef answer(messages):\n    return f'{messages[-1][\"content\"]} {os.getpid()}'\n"
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder, in which no engine is left behind."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(folder))
    yield folder
    for entry in list(entries()):
        stop(entry)


def keys(root: Path, model: str = MODEL, date: str = "2026-11-30") -> tuple[str, str]:
    found = warm_keys(weights_of(parse_spec(model, root)), {"device": "cpu"}, [str(root)], date)
    assert found is not None
    return found


def entry(**changed: Any) -> WarmEntry:
    return replace(
        WarmEntry("key", "slot", "model", os.getpid(), "/nowhere/socket", "00", time.time(), 60.0), **changed
    )


def asked(text: str, key: str | None = None) -> Request:
    return Request(key or text, MODEL, ({"role": "user", "content": text},), GenerationParams())


def answer(root: Path, text: str, warm: float = 60.0) -> tuple[str, list[str]]:
    """Return what a run of its own is answered, and what it has to report."""
    pool = EnginePool(root, {"device": "cpu"}, warm=warm)
    try:
        result = pool.result(asked(text), PATIENCE)
        assert result is not None
        return result.answer.text, pool.incidents
    finally:
        pool.close()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- entries


def test_an_engine_is_found_by_what_it_is_loaded_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    key, slot = keys(tmp_path)
    assert keys(tmp_path) == (key, slot)
    # The same asked for, made of something else: a later version.
    assert keys(tmp_path, date="2026-12-01")[1] == slot
    assert keys(tmp_path, date="2026-12-01")[0] != key
    (tmp_path / "echoes.py").write_text(f"{SCRIPT}\n")
    assert keys(tmp_path)[1] == slot
    assert keys(tmp_path)[0] != key
    # Something else asked for.
    assert keys(tmp_path, f"{MODEL}&reasoning=none")[1] != slot
    monkeypatch.setenv("OMP_NUM_THREADS", "77")
    assert keys(tmp_path)[1] != slot


def test_an_engine_of_another_version_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    key, slot = keys(tmp_path)
    monkeypatch.setattr(warm_registry, "_installed", lambda: [["torch", "0.1"]])
    assert keys(tmp_path)[0] != key
    assert keys(tmp_path)[1] == slot


def test_what_only_importing_can_tell_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "echoes.py").write_text("answer = print\n")
    assert warm_keys(weights_of(parse_spec(MODEL, tmp_path)), {}, [str(tmp_path)], "2026-11-30") is None


def test_the_first_of_two_engines_is_the_one_that_is_found() -> None:
    first, second = entry(), entry(pid=1)
    assert claim(first)
    assert not claim(second)
    assert list(entries()) == [first]
    forget(second)
    assert list(entries()) == [first]
    forget(first)
    assert list(entries()) == []


def test_damaged_entries_are_passed_by(cache: Path) -> None:
    assert claim(entry())
    for name, text in (("a", ""), ("b", "{"), ("c", "[]"), ("d", '{"key": 1}'), ("e", "\x00\xff")):
        (cache / "warm" / f"{name}.json").write_text(text)
    assert list(entries()) == [entry(started=next(entries()).started)]


def test_entries_are_the_owners_alone(cache: Path) -> None:
    assert claim(entry())
    (path,) = (cache / "warm").glob("*.json")
    assert path.stat().st_mode & 0o777 == 0o600
    assert (cache / "warm").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("text", ["", "{", '{"key": 1}', "null"])
def test_an_entry_that_cannot_be_read_does_not_keep_its_place(cache: Path, text: str) -> None:
    assert claim(entry())
    (path,) = (cache / "warm").glob("*.json")
    path.write_text(text)
    assert claim(entry())
    assert read_entry(path) is not None


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o702])
def test_a_folder_that_others_can_enter_is_refused(cache: Path, mode: int) -> None:
    (cache / "warm").mkdir(parents=True)
    (cache / "warm").chmod(mode)
    with pytest.raises(EvalsError, match="no one else can enter; run: chmod 700"):
        warm_folder()
    (cache / "warm").chmod(0o700)


def test_a_link_in_the_place_of_the_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (cache / "warm").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EvalsError, match="must be a folder of yours"):
        warm_folder()
    (cache / "warm").unlink()


# -- runs


class FakeChannel:
    """Says what a test has it say, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Packet] = []
        self._says: list[Packet] = []
        self._changed = threading.Condition()
        self._closed = False

    def say(self, *messages: Packet) -> None:
        with self._changed:
            self._says.extend(messages)
            self._changed.notify_all()

    def receive(self) -> Packet | None:
        with self._changed:
            self._changed.wait_for(lambda: self._says or self._closed)
            return self._says.pop(0) if self._says else None

    def send(self, message: Packet) -> None:
        self.told.append(message)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def answers(self) -> list[str]:
        return [result["id"] for message in self.told if message["type"] == "results" for result in message["results"]]


class Runs:
    """Some runs at an engine that a test plays."""

    def __init__(self, keep: float = 60.0) -> None:
        self.clients = WarmClients(keep)
        self.inbox = WarmInbox(self.clients)
        self.clients.ready({"seconds": 3.0}, 2)

    def come(self, *texts: str) -> FakeChannel:
        channel, before, known = FakeChannel(), self.clients.state()["runs"], self._asked()
        options: dict[str, Any] = {"journal": None, "attached": True}
        arguments = cast("Channel", channel), self.inbox
        threading.Thread(target=self.clients.converse, args=arguments, kwargs=options, daemon=True).start()
        wait_until(lambda: self.clients.state()["runs"] > before)
        channel.say({"type": "generate", "requests": [{**asked(text).to_dict(), "key": None} for text in texts]})
        wait_until(lambda: self._asked() >= known + len(texts))
        return channel

    def _asked(self) -> int:
        return sum(len(each.asked) for each in self.clients._clients.values())

    def answered(self, request: Request) -> None:
        self.inbox.finished(request.id)
        self.clients.finished(Result(request.id, Completion("yes")))


def test_runs_take_turns_and_get_their_own_answers() -> None:
    runs = Runs()
    large, small = runs.come(*(f"l{number}" for number in range(9))), runs.come("l0")
    wait_until(lambda: sum(len(each.waiting) for each in runs.clients._clients.values()) == 10)
    taken = runs.inbox.take()
    # Two batches of two rows: as many of each run as there are.
    assert [request.id for request in taken] == ["1/l0", "2/l0", "1/l1", "1/l2"]
    assert runs.inbox.take(wait=False) == []
    for request in taken:
        runs.answered(request)
    wait_until(lambda: len(large.answers()) == 3 and small.answers())
    assert large.answers() == ["l0", "l1", "l2"]
    assert small.answers() == ["l0"]
    assert len(runs.inbox.take(wait=False)) == 4
    assert large.told[-1]["type"] == "results"


def test_what_a_run_that_is_gone_had_asked_for_is_dropped() -> None:
    runs = Runs()
    gone, other = runs.come("a", "b", "c", "d", "e", "f"), runs.come("x")
    taken = runs.inbox.take(3)
    assert {request.id for request in taken} == {"1/a", "2/x", "1/b"}
    gone.close()
    wait_until(lambda: runs.clients.state()["runs"] == 1)
    wait_until(lambda: runs.inbox._cancelled)
    assert runs.inbox.take_cancelled() == {"1/a", "1/b"}
    for request in taken:
        runs.answered(request)
    assert runs.inbox.take(wait=False) == []
    wait_until(other.answers)
    assert gone.answers() == []


def test_a_run_is_accounted_for_from_when_it_came() -> None:
    runs = Runs()
    first = runs.come("a")
    runs.clients.working(5, {"forwards": 10, "peak_bytes": 7})
    second = runs.come("b", "c")
    runs.clients.working(5, {"forwards": 30, "peak_bytes": 9})
    of_first = [message["usage"] for message in first.told if message["type"] == "working"]
    assert of_first == [{"forwards": 10, "peak_bytes": 7}, {"forwards": 30, "peak_bytes": 9}]
    of_second = [message["usage"] for message in second.told if message["type"] == "working"]
    assert of_second == [{"forwards": 20, "peak_bytes": 9}]


def test_a_run_that_attaches_has_not_waited_for_the_load() -> None:
    told = Runs().come("a").told
    assert [message["type"] for message in told] == ["welcome", "noted", "status", "ready"]
    assert told[1]["text"].startswith("attached to a warm engine")
    assert told[3]["info"] == {"seconds": 0.0}


def test_an_idle_engine_gets_ready_once() -> None:
    runs, done = Runs(), threading.Event()
    times: list[int] = []
    runs.inbox.on_idle = lambda: (times.append(1), done.set())[0]  # type: ignore[func-returns-value]  # both are done
    taking = threading.Thread(target=runs.inbox.take, daemon=True)
    taking.start()
    assert done.wait(PATIENCE)
    runs.come("a")
    taking.join(PATIENCE)
    assert not taking.is_alive()
    assert times == [1]


# -- processes


def test_the_next_run_attaches_and_a_changed_script_does_not(tmp_path: Path) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    first, reported = answer(tmp_path, "one")
    assert reported == []
    second, reported = answer(tmp_path, "two")
    assert second.split()[1] == first.split()[1]
    assert [line.partition(", ")[0] for line in reported] == ["answer: attached to a warm engine"]
    (tmp_path / "echoes.py").write_text(f"{SCRIPT}# changed\n")
    third, reported = answer(tmp_path, "three")
    assert third.split()[1] != first.split()[1]
    assert reported == []
    # No run can ask for the old one any more.
    wait_until(lambda: not is_alive(int(first.split()[1])))
    assert [each.pid for each in entries()] == [int(third.split()[1])]


def test_an_engine_ends_when_its_time_is_over(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    process = int(answer(tmp_path, "one", warm=0.2)[0].split()[1])
    wait_until(lambda: not is_alive(process))
    assert list((cache / "warm").iterdir()) == []


def test_an_engine_that_dies_under_a_run_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "echoes.py").write_text(
        SCRIPT.replace(
            "    return", "    dies = messages[-1]['content'] == 'now' and not os.path.exists('died')\n    return"
        ).replace("return f'", "return (open('died', 'w'), os.kill(os.getpid(), 9)) if dies else f'")
    )
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        text, reported = answer(tmp_path, "now")
    finally:
        os.chdir(here)
    assert text.startswith("now ")
    assert len(reported) == 1
    assert "(kept warm, pid " in reported[0]


def test_a_stale_entry_costs_a_new_engine(tmp_path: Path) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    first = int(answer(tmp_path, "one")[0].split()[1])
    (left,) = entries()
    os.kill(first, 9)
    wait_until(lambda: not is_alive(first))
    second, reported = answer(tmp_path, "two")
    assert int(second.split()[1]) != first
    assert reported == []
    assert not Path(left.address).parent.exists()


def test_whoever_does_not_know_the_key_is_not_answered(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "echoes.py").write_text(SCRIPT)
    first = int(answer(tmp_path, "one")[0].split()[1])
    (path,) = (cache / "warm").glob("*.json")
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "secret": "00" * 32}))
    # The engine is there, and does not let this run in: a new one is started.
    second = int(answer(tmp_path, "two")[0].split()[1])
    assert second != first
    assert is_alive(first)
    stop(WarmEntry(**known))
    assert not is_alive(first)
