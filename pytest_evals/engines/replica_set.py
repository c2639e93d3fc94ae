"""The replicas of one model, and the requests that none of them has been given yet."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pytest_evals.completion import Failure, text_of
from pytest_evals.engines.device_policy import ModelStatus
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.replica import Replica, ReplicaState
from pytest_evals.engines.request_tracker import RequestTracker, request_key
from pytest_evals.engines.resources import gpu_count
from pytest_evals.engines.spec import ModelSpec, parse_spec

MOST_LOSSES = 5
"""Machines that may go while they compute a request; then it may be what ends them."""
AHEAD = 2
"""Batches that a replica is given at a time: enough to keep it busy, few enough that the others share the rest."""


class ReplicaSet:
    """One model. With a single replica every request is its at once; several take from a common backlog, longest first.

    ``members`` are the specifications under which the model is asked: those that differ only in how prompts are written
    share one copy of the weights.
    """

    def __init__(self, spec: ModelSpec, replicas: int) -> None:
        self.spec = spec
        self.replicas = [
            Replica(spec, RequestTracker(deduplicates=spec.deduplicates), number) for number in range(replicas)
        ]
        # What is on other machines takes nothing of this one.
        self._need = None if spec.on_ray else spec.kind.footprint(spec)
        self._losses: Counter[str] = Counter()
        self._backlog = Backlog()
        self._turns: dict[str, int] = {}
        self.predicted_info: EngineInfo | None = None
        """What answers were taken for, from before, while the model was not loaded."""
        self.adapters: dict[str, str | None] = {}
        """By the models that are these weights: the adapter that is asked beside them, `None` for the weights alone."""
        self.announced: set[str] = set()
        """Members that will be asked, while it is being found out what the model would be loaded as."""

    @property
    def loaded(self) -> bool:
        """Tell whether a copy is there, or about to be."""
        return any(replica.state != "stopped" for replica in self.replicas)

    def expect(self) -> None:
        """Take note that a caller will ask."""
        for replica in self.replicas:
            replica.wanted = True

    @property
    def busy(self) -> bool:
        """Tell whether a caller waits for a result."""
        return bool(self._backlog) or any(replica.tracker.busy for replica in self.replicas)

    @property
    def needs_start(self) -> bool:
        """Tell whether a caller waits, or will, and there is no copy."""
        wanted = self.busy or any(replica.wanted for replica in self.replicas)
        return wanted and all(replica.state == "stopped" for replica in self.replicas)

    def status(self, name: str) -> ModelStatus:
        """Return what the policy of turns needs to know."""
        states = {replica.state for replica in self.replicas}
        order: tuple[ReplicaState, ...] = ("ready", "starting", "stopping", "stopped")
        dtype = self.spec.options.get("dtype", "fp32").replace("auto", "fp32")
        return ModelStatus(
            name,
            next(state for state in order if state in states),
            self.busy,
            wanted=any(replica.wanted for replica in self.replicas),
            failed=all(replica.failure for replica in self.replicas),
            need=len(self.replicas) * self._need.weights_bytes(dtype) if self._need else None,
        )

    def __contains__(self, key: str) -> bool:
        return key in self._backlog or any(key in replica.tracker for replica in self.replicas)

    def add(self, requests: Sequence[Request]) -> None:
        """Take new requests."""
        first = self.replicas[0]
        first.asked += len(requests)
        for request in requests:
            if request.choices:
                first.scored_asked += 1
                first.texts_asked += len(request.choices)
        if len(self.replicas) == 1:
            first.duplicates += len(requests) - first.tracker.add(requests)
            return
        self._put_off(requests)

    def _put_off(self, requests: Sequence[Request]) -> None:
        for request in requests:
            # Identical ones stay together, so that one computation answers them all.
            key = request_key(request) if request.repeatable and self.spec.deduplicates else request.id
            # With adapters, requests of one stay together: a replica has one adapter in at a time.
            turn = self._turns.setdefault(request.model, len(self._turns)) if any(self.adapters.values()) else 0
            self._backlog.put(key, request, turn)

    def feed(self) -> None:
        """Give replicas that are ready and short of work some of the backlog."""
        if not self._backlog:
            return
        ready = [replica for replica in self.replicas if replica.state == "ready"]
        # Those that are about to be there get their share too: the first one does not take what would keep all of them busy.
        at_work = [replica for replica in self.replicas if replica.state in ("ready", "starting")]
        # One that starts again may have what it had before it died.
        work = len(self._backlog) + sum(replica.tracker.unfinished for replica in at_work)
        share = math.ceil(work / max(1, len(at_work)))
        # The replica with the least work comes first.
        open_to = [(replica.tracker.unfinished, replica.number, replica) for replica in ready]
        heapq.heapify(open_to)
        while self._backlog and open_to:
            unfinished, number, replica = open_to[0]
            if unfinished >= min(share, AHEAD * (replica.rows or 1)):
                heapq.heappop(open_to)
                continue
            requests = self._backlog.take()
            replica.duplicates += len(requests) - replica.tracker.add(requests)
            heapq.heapreplace(open_to, (replica.tracker.unfinished, number, replica))

    @property
    def fallen(self) -> list[Replica]:
        """Replicas that ended with work left while others go on; when all did, it is a matter of turns."""
        if not any(replica.state in ("starting", "ready") for replica in self.replicas):
            return []
        return [
            replica
            for replica in self.replicas
            if replica.state == "stopped" and not replica.failure and (replica.tracker.busy or self._backlog)
        ]

    def hand_over(self, replica: Replica) -> None:
        """Leave the work of a replica that cannot be loaded again to the others."""
        self._put_off(replica.tracker.take_back())

    def hand_on(self, replica: Replica, how: str) -> list[Result]:
        """Leave the work of a replica whose machine went to whichever is free first; return the errors of requests during which that
        happened `MOST_LOSSES` times.
        """
        self._losses.update(replica.tracker.started_ids)
        given_up: list[Request] = []
        going_on: list[Request] = []
        for request in replica.tracker.take_back():
            (given_up if self._losses[request.id] >= MOST_LOSSES else going_on).append(request)
        self._put_off(going_on)
        message = f"{MOST_LOSSES} machines went while they computed this request; the last process {how}"
        return [Result(request.id, error=Failure("engine", message)) for request in given_up]

    def pending(self) -> list[Request]:
        """Return what no copy has been sent, without what an identical request will answer."""
        sent = [request for replica in self.replicas for request in replica.tracker.pending()]
        return [*sent, *(requests[0] for requests in self._backlog.groups())]

    def answered(self, results: Iterable[Result]) -> list[tuple[Replica, list[Result]]]:
        """Take the answers to all that is `pending`; return them for each request that waits for them, and who had it."""
        known = {result.id: result for result in results}
        slots = [(replica, replica.tracker) for replica in self.replicas]
        found = [(replica, slot.answered([known[each.id] for each in slot.pending()])) for replica, slot in slots]
        shared = [(known[requests[0].id], request.id) for requests in self._backlog.groups() for request in requests]
        self.take_back()
        return [*found, (self.replicas[0], [dataclasses.replace(result, id=key) for result, key in shared])]

    def take_back(self) -> list[Request]:
        """Return the whole backlog, since no replica is left to compute it."""
        requests = [request for group in self._backlog.groups() for request in group]
        self._backlog = Backlog()
        return requests


class Backlog:
    """Requests that wait for a replica, in groups that one computation answers. Those of the first turn are taken first, of these the
    longest, and of equals the oldest.

    Putting and taking one costs the logarithm of their number: a run may have a million of them.
    """

    def __init__(self) -> None:
        self._groups: dict[str, list[Request]] = {}
        self._order: list[tuple[int, int, int, str]] = []
        self._waiting: set[str] = set()
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._groups)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def put(self, key: str, request: Request, turn: int = 0) -> None:
        """Add a request to the group of this key."""
        group = self._groups.get(key)
        if group is None:
            self._groups[key] = [request]
            heapq.heappush(self._order, (turn, -_length(request), next(self._numbers), key))
        else:
            group.append(request)
        self._waiting.add(request.id)

    def take(self) -> list[Request]:
        """Remove and return the group whose turn it is. Raises `IndexError` where there is none."""
        group = self._groups.pop(heapq.heappop(self._order)[3])
        self._waiting.difference_update(request.id for request in group)
        return group

    def groups(self) -> list[list[Request]]:
        """Return all groups, in the order in which they would be taken."""
        return [self._groups[key] for *_, key in sorted(self._order)]


def _length(request: Request) -> int:
    return request.params.max_new_tokens * 4 + sum(len(text_of(message)) for message in request.messages)


def weights_of(spec: ModelSpec) -> ModelSpec:
    """Return the specification of what is loaded: without the options that only say how prompts are written."""
    options = {name: value for name, value in sorted(spec.options.items()) if not spec.kind.options[name].of_prompts}
    query = "&".join(f"{name}={_written(value)}" for name, value in options.items())
    revision = f"@{spec.revision}" if spec.revision else ""
    text = f"{spec.engine}:{spec.name}{revision}" + (f"?{query}" if query else "")
    return dataclasses.replace(spec, text=text, options=options)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else quote(str(value), safe="/:@~\\")


def replicas_of(spec: ModelSpec, device: str, gpus: int) -> int:
    """Return how many copies of a model are loaded: ``?replicas=N``, or one for each GPU where the device is left to us."""
    wish = spec.options.get("replicas", "auto")
    if wish != "auto":
        return int(wish)
    alone = (
        spec.on_ray
        or not spec.kind.on_each_gpu
        or spec.options.get("device", device) not in ("auto", "cuda")
        or "tp" in spec.options
    )
    return 1 if alone else max(1, gpus)


# -- The models of a session, by the text that names each. Texts that mean the same weights mean one replica_set.


class ReplicaRegistry:
    """Makes a replica_set of a model when it is first named. ``root`` resolves paths; ``device`` is the option."""

    def __init__(self, root: Path, device: str) -> None:
        self._root = root
        self._device = device
        self._sets: dict[str, ReplicaSet] = {}
        self._set_of: dict[str, ReplicaSet] = {}

    def replica_set(self, model: str) -> ReplicaSet:
        """Return the replica_set of the model that a text names."""
        if model not in self._set_of:
            written = parse_spec(model, self._root)
            spec = weights_of(written)
            if spec.text not in self._sets:
                self._sets[spec.text] = ReplicaSet(spec, replicas_of(spec, self._device, gpu_count()))
            self._set_of[model] = self._sets[spec.text]
            self._set_of[model].adapters[model] = written.options.get("adapter")
        return self._set_of[model]

    def adapter(self, model: str) -> str | None:
        """Return the adapter that a model is, beside the weights of its replica_set."""
        return self._set_of[model].adapters[model] if model in self._set_of else None

    def of(self, replica: Replica) -> ReplicaSet:
        """Return the replica_set of a copy."""
        return self._sets[replica.spec.text]

    def replica_sets(self) -> dict[str, ReplicaSet]:
        """Return every replica_set by its weights."""
        return dict(self._sets)

    def by_name(self) -> dict[str, ReplicaSet]:
        """Return the replica_set of every text that was used."""
        return dict(self._set_of)

    def all_replicas(self) -> list[Replica]:
        """Return every copy of every model."""
        return [replica for replica_set in self._sets.values() for replica in replica_set.replicas]

    def __contains__(self, request: Request) -> bool:
        """Tell whether a request waits, or is computed."""
        return request.model in self._set_of and request.id in self._set_of[request.model]
