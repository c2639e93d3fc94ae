"""Runs a model on a Ray cluster of two nodes on this machine, and kills one of them in the middle.

    python -m campaigns.ray_cluster              # the embedded model; some minutes
    python -m campaigns.ray_cluster --cases 40   # fewer requests
    python -m campaigns.ray_cluster --scripted   # a function that takes a tenth of a second: no model is loaded

Needs ray: pip install 'pytest-evals-hf[ray]'. Each trial asks the same requests, and compares the texts with those of one process
on this machine. The table says how long each took, from the first request to the last answer; loading is told apart.
"""

from __future__ import annotations

import argparse
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_evals.completion import Message
from pytest_evals.engines import kinds
from pytest_evals.engines.pool import EnginePool
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.generation import GenerationParams

OPTIONS = {"device": "cpu", "dtype": "fp32", "batch": "auto", "exact": False}
SECONDS = 900.0
_STARTS = 5
_STORE = 80 * 2**20


@dataclass
class Trial:
    """What became of the requests. ``texts`` by their id; ``seconds`` without the load, ``delivered`` is how often each was answered."""

    name: str
    texts: dict[str, str] = field(default_factory=dict)
    delivered: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    loading: float = 0.0
    shares: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def check(self, expected: Trial) -> str:
        """Say what is wrong, compared with one process here."""
        lost = expected.texts.keys() - self.texts.keys()
        twice = [key for key, times in self.delivered.items() if times > 1]
        other = [key for key, text in self.texts.items() if expected.texts.get(key) != text]
        problems = [(len(lost), "lost"), (len(twice), "twice"), (len(other), "other texts")]
        return ", ".join(f"{count} {what}" for count, what in problems if count) or "the same texts"


def ask(model: str, requests: Sequence[Request], name: str, after: tuple[int, Any] | None = None) -> Trial:
    """Ask a model everything. ``after``: so many answers, do something."""
    trial, over, lock = Trial(name), threading.Event(), threading.Lock()
    began: list[float] = []
    pool = EnginePool(Path.cwd(), OPTIONS, stall_seconds=120.0)
    pool.on_first_request = lambda: began.append(time.monotonic())
    started = time.monotonic()

    def deliver(results: list[Result]) -> None:
        with lock:
            before = len(trial.texts)
            for result in results:
                trial.delivered[result.id] += 1
                trial.texts[result.id] = result.completion.text if result.completion else f"({result.error})"
            if after and before < after[0] <= len(trial.texts):
                threading.Thread(target=after[1], daemon=True).start()
            if len(trial.texts) == len(requests):
                over.set()

    try:
        pool.subscribe([_named(request, model) for request in requests], deliver)
        over.wait(SECONDS)
        trial.seconds = time.monotonic() - (began[0] if began else started)
        trial.loading = (began[0] if began else time.monotonic()) - started
        trial.shares = [replica.done for replica in pool.all_replicas()]
        trial.said = list(pool.incidents)
    finally:
        pool.close()
    return trial


def _named(request: Request, model: str) -> Request:
    return Request(request.id, model, request.messages, request.params)


def requests_of(cases: int, tokens: int) -> list[Request]:
    """Return so many different requests."""
    things = ("rain", "a river", "bread", "winter", "a dog", "the sea", "tea", "a book", "music", "a train")
    found = []
    for number in range(cases):
        text = f"Write {number + 2} words about {things[number % len(things)]}."
        message: Message = {"role": "user", "content": text}
        found.append(Request(f"c{number}", "", (message,), GenerationParams(max_new_tokens=tokens)))
    return found


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Run a cluster of nodes with one processor each on this machine, and join it."""
    import ray
    from ray.cluster_utils import Cluster

    terms = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": _STORE}
    for left in reversed(range(_STARTS)):
        found = Cluster()
        try:
            found.add_node(**terms, **_ports(), include_dashboard=False)
            break
        except Exception:  # on a busy machine a node may not start in the 30 s that Ray gives it
            found.shutdown()
            if not left:
                raise
    try:
        for _ in range(nodes - 1):
            found.add_node(**terms, **_ports())
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR", namespace="pytest-evals")
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def _ports() -> dict[str, int]:
    """Return free ports for the agents of a node: then it does not wait until they have found some, which a busy machine takes long for."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in names]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return dict(zip(names, (each.getsockname()[1] for each in sockets), strict=True))


def kill_one(found: Any) -> None:
    """Kill the node that is not the head, as if its power had gone."""
    found.remove_node(found.worker_nodes.copy().pop(), allow_graceful=False)


SLOW = "scripted:campaigns.ray_cluster:slow_answer"


def slow_answer(messages: list[dict[str, Any]]) -> str:
    """Answer as a model that takes a while."""
    time.sleep(0.1)
    return f"Said on a node: {messages[-1]['content']}"


def let_scripts_run_on_ray() -> None:
    """Give scripted models the options that models have on Ray: a script shows what becomes of requests as well, and is there at once."""
    options = {name: kinds.RAY.options[name] for name in ("replicas", "cpus", "wait")}
    scripted = replace(kinds.SCRIPTED, options={**options, "on": kinds.HF.options["on"]}, heavy=True)
    kinds.BUILT_IN = {**kinds.BUILT_IN, "scripted": lambda: scripted}


@dataclass
class Campaign:
    """The trials so far: each row is printed as it comes, since a machine that is too busy may not get to the next one."""

    model: str
    requests: list[Request]
    local: Trial
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    wrong: int = 0

    def on_ray(self, options: str) -> str:
        """Return the model's specification on Ray."""
        if self.model == SLOW:
            return f"{SLOW}?on=ray&{options}"
        return f"ray:{self.model}{'&' if '?' in self.model else '?'}{options}"

    def keep(self, trial: Trial, *, refused: bool = False) -> None:
        """Take a trial; of one that is ``refused`` the error is what matters."""
        errors = [text for text in trial.texts.values() if text.startswith("(Failure")]
        verdict = next(iter(errors), "no error") if refused else trial.check(self.local)
        self.wrong += verdict != "the same texts" if not refused else not errors
        self.rows.append((trial.name, f"{trial.loading:.1f} s", f"{trial.seconds:.1f} s", trial.shares, verdict))
        print(*self.rows[-1], *trial.said, sep="\n  ", flush=True)

    def one_node(self) -> None:
        """One node, and more than it has room for."""
        with cluster(1):
            self.keep(ask(self.on_ray("replicas=1&wait=60"), self.requests, "Ray, one node"))
            self.keep(ask(self.on_ray("replicas=1&cpus=3&wait=5"), self.requests[:4], "Ray, no room"), refused=True)

    def two_nodes(self) -> None:
        """Two nodes."""
        with cluster(2):
            self.keep(ask(self.on_ray("replicas=2&wait=60"), self.requests, "Ray, two nodes"))

    def killed(self) -> None:
        """Two nodes, of which one is killed when a third of the answers is there."""
        with cluster(2) as found:
            after = (len(self.requests) // 3, lambda: kill_one(found))
            trial = ask(self.on_ray("replicas=2&wait=20"), self.requests, "Ray, two nodes, one killed", after=after)
            self.keep(trial)


def main(arguments: Sequence[str]) -> int:
    """Run the trials; the exit status tells whether one of them lost, doubled or changed a text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--cases", type=int, default=120)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--scripted", action="store_true")
    parser.add_argument("--trials", nargs="*", default=["one_node", "two_nodes", "killed"])
    told = parser.parse_args(arguments)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A busy machine takes longer than Ray expects; anyone who starts a cluster can set these.
    for name in ("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "RAY_gcs_server_port_wait_time_s"):
        os.environ.setdefault(name, "300")
    requests = requests_of(told.cases, told.tokens)
    if told.scripted:
        let_scripts_run_on_ray()
        told.model = SLOW
    campaign = Campaign(told.model, requests, ask(told.model, requests, "one process here"))
    campaign.keep(campaign.local)
    for trial in told.trials:
        getattr(campaign, trial)()
    print(tabulate(campaign.rows, headers=["trial", "until ready", "wall time", "answers of each replica", "compared"]))
    return int(campaign.wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
