"""The engines of this session, shared by everything that runs in it.

The pool knows who asked for what: it sends requests, keeps results until they are taken, and says which processes are
started and ended. `replica_set` has the models that were named and decides which replica gets a request; `device_scheduler`
and `device_policy` decide which model works, `request_tracker` what a crash means; `supervisor` starts, watches and ends
the processes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_evals.completion import Failure
from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.deferred_loading import DeferredLoading
from pytest_evals.engines.device_scheduler import DeviceScheduler
from pytest_evals.engines.ipc import Channel, Packet
from pytest_evals.engines.journal import journal_results
from pytest_evals.engines.protocol import Deliver, EngineInfo, Request, Result
from pytest_evals.engines.replica import Replica
from pytest_evals.engines.replica_set import ReplicaRegistry, ReplicaSet
from pytest_evals.engines.supervisor import ProcessSupervisor
from pytest_evals.errors import EvalsError

LOAD_ATTEMPTS = 2
ENDED = "the run has ended"


@dataclass
class EnginePool:
    """See the module.

    ``options`` are what every engine is told; ``root`` resolves paths and modules. An engine that has work and gives no
    sign of life for ``stall_seconds`` is ended (0: never), and one that takes ``load_seconds`` to load its model (0: never).
    ``memory`` answers what is known from before. Engines stay for ``warm`` seconds when no run uses them. ``journal`` is the file in which engines keep their answers.
    """

    root: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    stall_seconds: float = 0.0
    memory: AnswerCache | None = None
    load_seconds: float = 0.0
    journal: Path | None = None
    warm: float = 0.0

    def __post_init__(self) -> None:
        self.notes: deque[str] = deque()
        """What a person who waits should know, in order: loading, loaded, restarted."""
        self.incidents: list[str] = []
        """What belongs in the report also where all went well afterwards: deaths of processes, ways of running."""
        self.on_first_request: Callable[[], None] | None = None
        """Called once, with the lock held, before anything is asked of an engine."""
        self._registry = ReplicaRegistry(self.root, str(self.options.get("device", "auto")))
        self._results = Results()
        self._expiring = False
        self._expired: Failure | None = None
        self._changed = threading.Condition()
        self._processes = ProcessSupervisor(self.root, self._changed, self, self.journal, self.warm)
        self._scheduler = DeviceScheduler(self._registry, self._processes, self)
        self._deferred = DeferredLoading(self.root, self.options, self.memory, self._changed, self._scheduler.schedule)

    # -- what others ask for

    def prepare(self, model: str) -> None:
        """See `Generation.prepare`."""
        with self._changed:
            replica_set = self._registry.replica_set(model)
            if not self._processes.closing and self._deferred.prepare(replica_set, model):
                replica_set.expect()
            self._scheduler.schedule()

    def submit(self, requests: Sequence[Request]) -> None:
        """See `Generation.submit`."""
        with self._changed:
            fresh = self._without_engine([request for request in requests if not self._known(request)])
            for model in dict.fromkeys(request.model for request in fresh):
                self._registry.replica_set(model).add([request for request in fresh if request.model == model])
                self._give_up_if_failed(self._registry.replica_set(model))
            self._scheduler.schedule()

    def at_hand(self, request: Request) -> bool:
        """Tell whether `result` would return at once."""
        with self._changed:
            return request.id in self._results

    def result(self, request: Request, timeout: float | None = None) -> Result | None:
        """See `Generation.result`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._results.ask_again(request.id)
            if not self._known(request):
                self.submit([request])
            while request.id not in self._results:
                left = None if deadline is None else deadline - time.monotonic()
                if self._expired is not None:
                    return Result(request.id, error=self._expired)
                if self._processes.closing and not self._expiring:
                    raise EvalsError(ENDED)
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            return self._results.take(request.id)

    def subscribe(self, requests: Sequence[Request], deliver: Deliver) -> None:
        """See `Generation.subscribe`."""
        with self._changed:
            if self._processes.closing and self._expired is None and not self._expiring:
                raise EvalsError(ENDED)
            self._results.subscribe(requests, deliver)
            self.submit([request for request in requests if self._results.unanswered(request)])
            if self._expired is not None:
                self._results.fail(self._expired)

    def replica_sets(self) -> dict[str, ReplicaSet]:
        """Return every model of the session by the text that names it, for progress and throughput."""
        with self._changed:
            return self._registry.by_name()

    def all_replicas(self) -> list[Replica]:
        """Return every copy of every model."""
        with self._changed:
            return self._registry.all_replicas()

    def serve(self, role: str, handler: Callable[[Packet, Channel], None]) -> tuple[str, str]:
        """Let ``handler`` answer connections of ``role`` (see `remote`); return the address and key to connect with."""
        with self._changed:
            return self._processes.serve(role, handler)

    def close(self) -> None:
        """End every process; unfinished requests get an error."""
        with self._changed:
            self._processes.closing = True
            replicas = [replica for replica in self.all_replicas() if replica.process]
            self._results.fail(Failure("engine", ENDED))
            self._changed.notify_all()
        self._processes.close(replicas)

    def expire(self, failure: Failure) -> None:
        """Ask no engine any more: end the processes, and answer with ``failure`` what they have not answered by then. Answers that
        are here, and those of a replay, are still given.
        """
        with self._changed:
            self._processes.closing = self._expiring = True
            replicas = [replica for replica in self.all_replicas() if replica.process]
        self._processes.end(replicas)
        with self._changed:
            for replica in replicas:
                # What was written down and not sent is finished too.
                self._recover(replica)
            self._expired, self._expiring = failure, False
            self._results.fail(failure)
            self._changed.notify_all()

    # -- requests

    def _known(self, request: Request) -> bool:
        return self._results.knows(request.id) or request in self._registry

    def _without_engine(self, requests: Sequence[Request]) -> list[Request]:
        """Answer the requests that need no engine, and return the others."""
        if self.memory is None:
            return list(requests)
        found = [(request, self.memory.replayed(request)) for request in requests]
        self._results.keep([result for _, result in found if result is not None])
        return [request for request, result in found if result is None]

    def _fail(self, replica: Replica, why: str) -> None:
        """A copy cannot be loaded: the others go on without it, if there are others."""
        replica.failure = why
        replica_set = self._registry.of(replica)
        if not all(other.failure for other in replica_set.replicas):
            self.incidents.append(f"{replica.label}: {why.splitlines()[0]}")
            replica_set.hand_over(replica)
            self._keep(replica, [])
        self._give_up_if_failed(replica_set)

    def _give_up_if_failed(self, replica_set: ReplicaSet) -> None:
        """Answer everything with the model's error if no copy of it can be loaded."""
        if not all(replica.failure for replica in replica_set.replicas):
            return
        for replica in replica_set.replicas:
            self._keep(replica, replica.tracker.give_up(str(replica.failure), unloadable=True))
        failure = Failure("engine", str(replica_set.replicas[0].failure), unloadable=True)
        self._keep(replica_set.replicas[0], [Result(request.id, error=failure) for request in replica_set.take_back()])

    def _keep(self, replica: Replica, results: Sequence[Result]) -> None:
        self._results.keep(results)
        for result in results:
            replica.done += 1
            replica.work.finished(result, time.monotonic())
            completion = result.completion
            if completion is not None and completion.likelihoods is not None:
                replica.scored += 1
                replica.texts += len(completion.likelihoods)
            if completion is not None and (completion.origin is None or completion.origin.source is None):
                replica.tokens += completion.completion_tokens or 0
        if replica.working_since is not None and not replica.tracker.busy:
            replica.seconds += time.monotonic() - replica.working_since
            replica.working_since = None
        self._changed.notify_all()

    def ready(self, replica_set: ReplicaSet) -> bool:
        """See `Sender.ready`."""
        known = self._deferred.answers(replica_set)
        for replica, results in replica_set.answered(known) if known else ():
            self._keep(replica, results)
        return not self._deferred.undecided(replica_set)

    def send(self, replica: Replica) -> None:
        """See `Sender.send`."""
        requests = self._unknown(replica, replica.tracker.next_to_send()) if replica.state == "ready" else []
        if not requests:
            return
        replica.heard = time.monotonic()
        if replica.working_since is None:
            replica.working_since = replica.heard
        begin, self.on_first_request = self.on_first_request, None
        if begin is not None:
            begin()
        replica.work.sent(requests)
        # A process that dies at this moment is noticed by its watcher, and what it was sent is sent again.
        replica.tell({"type": "generate", "requests": [self._to_wire(request) for request in requests]})

    def _to_wire(self, request: Request) -> Packet:
        key = self.memory.key_of(request) if self.memory is not None else None
        sent = {**request.to_dict(), "key": None if key is None else str(key)}
        adapter = self._registry.adapter(request.model)
        return sent if adapter is None else {**sent, "adapter": adapter}

    def _unknown(self, replica: Replica, requests: list[Request]) -> list[Request]:
        """Answer what is known from before, and return the rest."""
        if self.memory is None or replica.info is None:
            return requests
        found = [(request, self.memory.lookup(request, replica.info)) for request in requests]
        for known in [known for _, known in found if known is not None]:
            self._keep(replica, replica.tracker.finished(known))
            self._scheduler.again()
        return [request for request, known in found if known is None]

    def _learned(self, result: Result) -> Result:
        return result if self.memory is None else self.memory.store(result)

    # -- what the processes say: see `Owner`

    def heard(self, replica: Replica, message: Packet) -> None:
        """See `Owner.heard`."""
        kind = message["type"]
        replica.heard = time.monotonic()
        if kind == "results":
            found = [replica.tracker.finished(self._learned(Result.from_dict(data))) for data in message["results"]]
            self._keep(replica, [result for delivered in found for result in delivered])
            self._scheduler.schedule()
        elif kind == "started":
            replica.tracker.started(message["ids"])
            replica.work.started(message["ids"], replica.heard)
            replica.progress = None
        elif kind == "working":
            replica.unfinished_tokens += message["tokens"]
            if message["usage"]:
                replica.usage = message["usage"]
                replica.work.report(replica.usage, replica.heard)
        elif kind == "status":
            self.notes.append(f"{replica.label}: {message['text']}")
        elif kind == "progress":
            replica.progress = message["text"]
        elif kind == "noted":
            self._note(replica, [message["text"]])
        elif kind == "failed":
            self._fail(replica, message["message"])
        elif kind == "ready":
            self._ready(replica, message["info"])

    def _ready(self, replica: Replica, info: dict[str, Any]) -> None:
        if replica.state != "starting":
            # It was told to leave while it loaded, and had not heard of it yet.
            return
        replica.progress = None
        replica.info = EngineInfo(**{**info, "notes": tuple(info["notes"])})
        replica.state = "ready"
        replica.attempts = 0
        replica.loading_seconds += replica.info.seconds
        said = self._deferred.loaded(self._registry.of(replica), replica.info)
        self._note(replica, [*replica.info.notes, *([said] if said else [])])
        self._scheduler.schedule()

    def _note(self, replica: Replica, notes: Sequence[str]) -> None:
        known = [f"{replica.spec.short}: {note}" for note in notes]
        self.incidents.extend(note for note in known if note not in self.incidents)

    def ended(self, replica: Replica, crash: str | None, *, loading: bool) -> None:
        """See `Owner.ended`: do what it takes to go on."""
        replica.work.lost()
        replica.progress = None
        if crash is not None:
            self._bury(replica, crash, loading=loading)
        self._scheduler.schedule()

    def _bury(self, replica: Replica, how: str, *, loading: bool) -> None:
        self.notes.append(f"{replica.label}: the engine's process {how}")
        self.incidents.append(f"{replica.label}: an engine process {how.splitlines()[0]}")
        if loading:
            replica.attempts += 1
            if replica.attempts >= LOAD_ATTEMPTS or replica.load_hung:
                self._fail(replica, f"model {replica.spec.text!r}: the engine's process {how}")
            return
        self._recover(replica)
        lost = replica.lost
        self._keep(replica, self._registry.of(replica).hand_on(replica, how) if lost else replica.tracker.crashed(how))

    def _recover(self, replica: Replica) -> None:
        """Take the answers that a process had written down, and did not come to send."""
        if self.journal is not None:
            for result in journal_results(self.journal, replica.tracker.sent):
                self._keep(replica, replica.tracker.finished(self._learned(result)))


# -- Results on their way from an engine to the caller: kept until they are taken, or handed to a subscriber at once.
# The pool's lock guards them.


class Results:
    """Results by the id of their request."""

    def __init__(self) -> None:
        self._kept: dict[str, Result] = {}
        self._taken: set[str] = set()
        self._subscribers: dict[str, list[Deliver]] = {}

    def keep(self, results: Iterable[Result]) -> None:
        """Hand results to their subscribers, all of one subscriber together; have the others ready to be taken."""
        parcels: dict[Deliver, list[Result]] = {}
        for result in results:
            # A worker may take over a case whose answer another one has asked for.
            delivers = self._subscribers.pop(result.id, None)
            if delivers is None:
                self._kept[result.id] = result
            for deliver in dict.fromkeys(delivers or ()):
                parcels.setdefault(deliver, []).append(result)
        for deliver, parcel in parcels.items():
            deliver(parcel)

    def subscribe(self, requests: Iterable[Request], deliver: Deliver) -> None:
        """Have ``deliver`` told of these; at once of those that are there."""
        here = []
        for request in requests:
            self._taken.discard(request.id)
            if request.id in self._kept:
                here.append(self._kept.pop(request.id))
            else:
                self._subscribers.setdefault(request.id, []).append(deliver)
        if here:
            deliver(here)

    def fail(self, failure: Failure) -> None:
        """Give all subscribers that still wait an error."""
        self.keep([Result(key, error=failure) for key in list(self._subscribers)])

    def unanswered(self, request: Request) -> bool:
        """Tell whether a subscriber waits for the answer."""
        return request.id in self._subscribers

    def __contains__(self, key: str) -> bool:
        """Tell whether the result is there to be taken."""
        return key in self._kept

    def knows(self, key: str) -> bool:
        """Tell whether there was such a result, taken or not: it need not be computed."""
        return key in self._kept or key in self._taken

    def take(self, key: str) -> Result:
        """Return a result that is there, and forget it."""
        self._taken.add(key)
        return self._kept.pop(key)

    def ask_again(self, key: str) -> None:
        """Take note that a caller wants a result. If it has been taken before, it must be computed anew."""
        if key not in self._kept:
            self._taken.discard(key)
