"""Engines on the nodes of a cluster, with the few calls of Ray that are made replaced by threads of this process."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Completion
from pytest_evals.engines.ipc import Packet, connect
from pytest_evals.engines.protocol import Result
from pytest_evals.engines.ray import cluster, node, process
from pytest_evals.engines.ray.cluster import Wish, no_room, wish_of
from pytest_evals.engines.ray.node import check_node, shared_node
from pytest_evals.engines.ray.process import RayProcess
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.errors import ModelError
from tests.unit.building import model_folder


class NodeGoneError(Exception):
    """What Ray raises when an actor is gone."""


class FakeRay:
    """Ray, as far as it is used: actors are objects of this process, and calls run in threads."""

    def __init__(self) -> None:
        self.room = True
        self.terms: dict[str, Any] = {}
        self.init_error: Exception | None = None
        self.joined = False
        self.address: str | None = None
        self.gone = threading.Event()
        self._threads = ThreadPoolExecutor(8)
        self.actor: Any = None

    def is_initialized(self) -> bool:
        return self.joined

    def init(self, address: str, **_more: Any) -> None:
        self.address = address
        if self.init_error is not None:
            raise self.init_error
        self.joined = True

    def remote(self, **terms: Any) -> Callable[[type], Any]:
        self.terms = terms
        return lambda kind: _Remote(lambda: self._make(kind))

    def _make(self, kind: type) -> Any:
        self.actor = kind()
        return _Actor(self, self.actor)

    def call(self, method: Callable[..., Any], *arguments: Any) -> Future[Any]:
        def run() -> Any:
            found = method(*arguments)
            if self.gone.is_set():
                raise NodeGoneError("the node went")
            return found

        return self._threads.submit(run) if self.room else Future()

    def get(self, future: Future[Any]) -> Any:
        return future.result(timeout=60)

    def wait(self, futures: list[Future[Any]], timeout: float) -> tuple[list[Any], list[Any]]:
        done, left = wait(futures, timeout=timeout)
        return list(done), list(left)

    def kill(self, actor: Any) -> None:
        actor.held.end(patient=False)
        self.gone.set()

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 2.0}}, {"Alive": False, "Resources": {"CPU": 64.0}}]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def available_resources(self) -> dict[str, float]:
        return {}


class _Remote:
    def __init__(self, call: Callable[..., Any]) -> None:
        self.remote = call


class _Actor:
    def __init__(self, ray: FakeRay, held: Any) -> None:
        self.ray, self.held = ray, held

    def __getattr__(self, name: str) -> _Remote:
        method = getattr(self.held, name)
        return _Remote(lambda *arguments: self.ray.call(method, *arguments))


class FakeEngine:
    """The process of an engine on the node: it listens as a real one does, and ends when it is told to."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.orders = orders
        self.heard: list[Packet] = []
        self._status: int | None = None
        self._ended = threading.Event()
        self.channel = connect(orders["address"], orders["key"])
        self.channel.send({"role": "engine", "token": orders["token"]})
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while (message := self.channel.receive()) is not None:
            self.heard.append(message)
            if message["type"] == "close":
                self.die(0)
            for data in message.get("requests", ()):
                answer = Result(data["id"], Completion(f"text of {data['id']}")).to_dict()
                self.channel.send({"type": "results", "results": [answer]})

    def die(self, status: int) -> None:
        self._status = status
        self.channel.close()
        self._ended.set()

    def wait(self, seconds: float) -> int | None:
        self._ended.wait(seconds)
        return self._status

    def end(self, *, patient: bool) -> None:
        self.die(0 if patient else -15)

    def exit_report(self, status: int) -> str:
        return f"ended with {status}"

    def forget(self) -> None: ...


class Stage:
    """A replica's process on a cluster, and what is heard of it."""

    def __init__(self, ray: FakeRay, folder: Path) -> None:
        self.ray = ray
        self.engines: list[FakeEngine] = []
        self.heard: list[Packet] = []
        self.progress: list[Packet] = []
        self.channel: Any = None
        self.connected = threading.Event()
        self.over = threading.Event()
        self.journal = folder / "run.journal"
        self.journal.touch()

    def make(self, orders: dict[str, Any]) -> FakeEngine:
        self.engines.append(FakeEngine(orders))
        return self.engines[-1]

    def start(self, options: str = "replicas=4&wait=0.2", name: str = "smollm2") -> RayProcess:
        spec = parse_spec(f"ray:{name}?{options}", Path())
        orders = {
            "address": "here",
            "key": "secret",
            "token": "t",
            "spec": {"name": spec.name},
            "options": {"device": "auto", "replica": 3, "replicas": 4},
            "date": "2026-01-01",
            "journal": str(self.journal),
            "path": [],
        }
        return RayProcess(orders, spec, self._connected)

    def _connected(self, role: str, hello: Packet, channel: Any) -> None:
        assert (role, hello) == ("engine", {"token": "t"})
        self.channel = channel
        self.connected.set()
        while (message := channel.receive()) is not None:
            (self.progress if message["type"] == "progress" else self.heard).append(message)
        self.over.set()

    def ended(self, found: RayProcess) -> int | None:
        status = found.wait(30)
        assert self.over.wait(30)
        return status

    def until(self, condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.005)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stage]:
    ray = FakeRay()
    stage = Stage(ray, tmp_path)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    monkeypatch.setattr(node, "EngineProcess", stage.make)
    monkeypatch.setattr(node, "_POLL_SECONDS", 0.01)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield stage
    for engine in stage.engines:
        engine.die(0)


def test_a_replica_is_placed_by_what_it_takes_and_answers_as_one_here(stage: Stage) -> None:
    found = stage.start("replicas=4&cpus=2")
    stage.until(lambda: stage.heard)
    assert stage.heard[0]["type"] == "status"
    assert stage.heard[0]["text"].startswith("placed on ")
    assert stage.ray.terms["num_cpus"] == 2
    assert stage.ray.terms["num_gpus"] == 0
    (engine,) = stage.engines
    # The journal is this machine's, and the node's engine has the node to itself as far as its number goes.
    assert engine.orders["journal"] is None
    assert engine.orders["options"]["replica"] == 0
    assert 1 <= engine.orders["options"]["replicas"] <= 4
    stage.channel.send({"type": "generate", "requests": [{"id": "a", "model": "m", "key": "k"}]})
    stage.until(lambda: len(stage.heard) == 2)
    assert Result.from_dict(stage.heard[1]["results"][0]).answer.text == "text of a"
    (line,) = stage.journal.read_text().splitlines()
    assert (json.loads(line)["key"], json.loads(line)["completion"]["text"]) == ("k", "text of a")
    stage.channel.send({"type": "close"})
    assert stage.ended(found) == 0
    assert not found.lost


def test_an_engine_that_dies_is_told_apart_from_a_node_that_does(stage: Stage) -> None:
    found = stage.start()
    stage.until(lambda: stage.heard)
    stage.engines[0].die(-11)
    assert stage.ended(found) == -11
    assert not found.lost
    assert found.exit_report(-11).endswith("ended with -11")
    assert found.exit_report(-11).startswith("on ")


def test_a_node_that_goes_is_a_loss(stage: Stage) -> None:
    found = stage.start()
    stage.until(lambda: stage.heard)
    stage.ray.gone.set()
    assert stage.ended(found) == -9
    assert found.lost
    assert found.exit_report(-9) == "was lost with its actor or node: NodeGoneError: the node went"


@pytest.mark.parametrize("patient", [True, False])
def test_a_process_that_is_ended_is_no_loss(stage: Stage, *, patient: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0.1)
    found = stage.start()
    stage.until(lambda: stage.heard)
    found.end(patient=patient)
    assert stage.ended(found) is not None
    assert not found.lost
    assert stage.ray.gone.is_set()


def test_one_that_is_killed_says_why(stage: Stage) -> None:
    found = stage.start()
    stage.until(lambda: stage.heard)
    found.kill("it gave no sign of life")
    status = stage.ended(found)
    assert status is not None
    assert found.exit_report(status).endswith("(it gave no sign of life)")


def test_a_cluster_without_room_is_an_error_that_says_what_is_missing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_NEWS_SECONDS", 0.01)
    stage.ray.room = False
    found = stage.start("replicas=4&wait=0.05&cpus=3")
    assert stage.ended(found) == 0
    assert [packet["type"] for packet in stage.heard] == ["failed"]
    assert stage.heard[0]["message"] == (
        "model 'ray:smollm2?replicas=4&wait=0.05&cpus=3': the Ray cluster had no room for this replica within 0.05 s: it wants 3 CPU on one "
        "node, and no node has as much; the cluster has 2 CPU on 1 node, of which 0 CPU are free; ask for fewer replicas, or for more "
        "time with wait=SECONDS"
    )
    news = [packet["text"] for packet in stage.progress]
    assert news[0] == "joining the Ray cluster"
    assert "waiting for a node of the Ray cluster with 3 CPU free (0 of 0.05 s)" in news
    assert stage.ray.gone.is_set(), "it must not take the room that comes later"


def test_where_there_is_no_cluster_the_model_cannot_be_loaded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.ray.init_error = ConnectionError("Could not find any running Ray instance.")
    assert stage.ended(stage.start()) == 0
    assert stage.ray.address == "auto"
    assert (
        "there is no Ray cluster: start one with 'ray start --head', or name one in RAY_ADDRESS"
        in stage.heard[0]["message"]
    )
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(ModelError, match=r"the Ray cluster at RAY_ADDRESS=10.0.0.1:6379 cannot be joined \(Conn"):
        cluster.joined_ray()
    assert stage.ray.address == "10.0.0.1:6379"


def test_a_folder_that_a_node_lacks_is_an_error_that_names_the_node(stage: Stage, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "here")
    started = threading.Event()

    def start(orders: dict[str, Any], version: str, cpus: int, gpus: int) -> str:
        del orders, cpus, gpus
        started.set()
        check_node(str(tmp_path / "elsewhere"), version, "node7")
        return "node7"

    stage.ray.remote = lambda **_terms: lambda _kind: _Remote(lambda: _Actor(stage.ray, _Started(start)))  # type: ignore[method-assign]  # another node
    assert stage.ended(stage.start(name=str(folder))) == 0
    assert started.is_set()
    assert f"the node node7 has no {tmp_path}/elsewhere: on Ray a model comes from the hub" in stage.heard[0]["message"]


class _Started:
    def __init__(self, start: Callable[..., str]) -> None:
        self.start = start

    def end(self, *, patient: bool) -> None: ...


def test_a_node_with_another_version_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"the node n has version .* of pytest-evals-hf, and the run 0\.0; install the same"
    ):
        check_node("org/name", "0.0", "n")


@pytest.mark.parametrize(
    ("options", "device", "resources", "wish"),
    [
        ("replicas=2", "auto", {"CPU": 8.0}, Wish(1, 0)),
        ("replicas=2&cpus=4", "auto", {"CPU": 8.0}, Wish(4, 0)),
        ("replicas=2", "auto", {"CPU": 8.0, "GPU": 4.0}, Wish(1, 1)),
        ("replicas=2&tp=2", "auto", {"CPU": 8.0, "GPU": 4.0}, Wish(1, 2)),
        ("replicas=2&device=cpu", "auto", {"CPU": 8.0, "GPU": 4.0}, Wish(1, 0)),
        ("replicas=2", "cpu", {"CPU": 8.0, "GPU": 4.0}, Wish(1, 0)),
        # Asked for, so that the error says that it is missing.
        ("replicas=2&device=cuda", "cpu", {"CPU": 8.0}, Wish(1, 1)),
    ],
)
def test_what_a_replica_takes(
    options: str, device: str, resources: dict[str, float], wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: True)
    assert wish_of(parse_spec(f"ray:smollm2?{options}", Path()), device, resources) == wish


def test_room_that_is_taken_is_told_apart_from_room_that_is_nowhere() -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    said = no_room(Wish(2, 1), 300, nodes, {"CPU": 9.0})
    assert (
        "it wants 2 CPU and 1 GPU, the cluster has 12 CPU and 1 GPU on 2 nodes, of which 9 CPU and 0 GPU are free"
        in said
    )
    assert "2 GPU on one node, and no node has as much" in no_room(Wish(1, 2), 300, nodes, {})


@pytest.mark.parametrize(
    ("cores", "cpus", "gpus", "replicas", "beside"),
    [(16, 4, 0, 8, 4), (16, 4, 0, 2, 2), (2, 4, 0, 8, 1), (16, 1, 2, 8, 1)],
)
def test_replicas_of_a_node_share_its_cores(
    cores: int, cpus: int, gpus: int, replicas: int, beside: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert shared_node({"replicas": replicas, "replica": 5}, cpus, gpus) == {"replica": 0, "replicas": beside}


# -- specifications


def spec_of(text: str, monkeypatch: pytest.MonkeyPatch, *, installed: bool = True) -> ModelSpec:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: installed or None)
    return parse_spec(text, Path())


def test_both_spellings_mean_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    first = spec_of("ray:org/name@v1?replicas=8", monkeypatch)
    second = spec_of("hf:org/name@v1?replicas=8&on=ray", monkeypatch)
    assert first.on_ray
    assert second.on_ray
    assert (first.name, first.revision, first.short, first.heavy) == (
        second.name,
        second.revision,
        second.short,
        second.heavy,
    )
    assert not spec_of("hf:org/name?replicas=8&on=local", monkeypatch).on_ray
    assert not spec_of("org/name", monkeypatch).on_ray


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ray:org/name?replicas=auto", "on Ray the number of replicas is said: replicas=8, say"),
        ("ray:org/name?device=cuda:1", "on Ray the cluster chooses the GPU: device=cuda"),
        ("ray:org/name?wait=0", "wait must be a number of seconds above 0"),
        ("ray:org/name?wait=never", "wait must be a number of seconds above 0"),
        ("ray:org/name?cpus=0", "cpus must be a whole number of at least 1"),
        ("ray:org/name?on=local", "unknown option 'on'"),
        ("org/name?on=slurm", "on must be local or ray"),
        ("org/name?cpus=4", "cpus is an option of models on Ray"),
        ("org/name?wait=4&on=local", "wait is an option of models on Ray"),
        ("ray:name", "neither 'smollm2', a folder"),
    ],
)
def test_what_cannot_be_is_refused(text: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=message):
        spec_of(text, monkeypatch)


@pytest.mark.parametrize("text", ["ray:org/name?replicas=2", "org/name?on=ray"])
def test_without_ray_the_package_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"Ray, which is not installed: pip install 'pytest-evals-hf\[ray\]'"):
        spec_of(text, monkeypatch, installed=False)
