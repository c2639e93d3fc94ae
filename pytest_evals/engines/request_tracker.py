"""What is known of one model's requests: who waits, what was sent, who is suspected of killing the process.

Pure bookkeeping, without a process or a thread: `pool` tells it what happened and does what it says.

After a crash every request that was being computed is a suspect. Suspects are sent again one at a time, so that a
second crash names the one that caused it: that case gets an error, the others go on.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterable, Sequence

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import identified

MAX_CRASHES_PER_REQUEST = 2
"""Crashes during one request after which it is given up."""
MAX_CONSECUTIVE_CRASHES = 3
"""Crashes in a row, with no result in between and nothing else to blame, after which the engine is given up."""


class RequestTracker:
    """The requests of one model."""

    def __init__(self, *, deduplicates: bool) -> None:
        self._deduplicates = deduplicates
        self._unfinished: dict[str, Request] = {}
        self._unsent: deque[str] = deque()
        self._alone: deque[str] = deque()
        self._sent: dict[str, None] = {}
        self._started: set[str] = set()
        self._crashes: Counter[str] = Counter()
        self._crashes_in_a_row = 0
        self._leaders: dict[str, str] = {}
        self._followers: dict[str, list[str]] = {}

    @property
    def busy(self) -> bool:
        """Tell whether a caller waits for a result."""
        return bool(self._unfinished)

    @property
    def unfinished(self) -> int:
        """Requests that a caller waits for."""
        return len(self._unfinished)

    @property
    def computing(self) -> bool:
        """Tell whether the engine has something to do."""
        return bool(self._sent)

    @property
    def sent(self) -> list[str]:
        """The ids of the requests that the engine has and has not answered."""
        return list(self._sent)

    @property
    def has_news(self) -> bool:
        """Tell whether there may be something that the engine was not sent yet."""
        return bool(self._unsent or self._alone)

    @property
    def started_ids(self) -> list[str]:
        """The ids of the requests that are being computed."""
        return [key for key in self._sent if key in self._started and key in self._unfinished]

    def __contains__(self, key: str) -> bool:
        return key in self._unfinished

    def add(self, requests: Iterable[Request]) -> int:
        """Take new requests; return how many must be computed (identical greedy ones are computed once)."""
        fresh = 0
        for request in requests:
            self._unfinished[request.id] = request
            leader = self._leader(request)
            if leader == request.id:
                self._unsent.append(request.id)
                fresh += 1
            else:
                self._followers.setdefault(leader, []).append(request.id)
        return fresh

    def _leader(self, request: Request) -> str:
        if not self._deduplicates or not request.repeatable or request.alone:
            return request.id
        key = request_key(request)
        if self._leaders.get(key) not in self._unfinished:
            self._leaders[key] = request.id
        return self._leaders[key]

    def next_to_send(self) -> list[Request]:
        """Return what the engine should be sent now."""
        if self._alone or (self._sent and self._crashes.keys() & self._sent.keys()):
            if self._sent or not self._alone:
                return []
            ids = [self._alone.popleft()]
        else:
            ids = list(self._unsent)
            self._unsent.clear()
        live = [key for key in ids if key in self._unfinished]
        self._sent.update(dict.fromkeys(live))
        return [self._unfinished[key] for key in live]

    def pending(self) -> list[Request]:
        """Return what the engine has not been sent, without what an identical request will answer."""
        return [
            self._unfinished[key] for key in dict.fromkeys((*self._alone, *self._unsent)) if key in self._unfinished
        ]

    def answered(self, results: Iterable[Result]) -> list[Result]:
        """Take the answers to all that is `pending`; return them for each request that waits for them."""
        self._alone.clear()
        self._unsent.clear()
        return [delivered for result in results for delivered in self.finished(result)]

    def started(self, ids: Sequence[str]) -> None:
        """The engine computes these from now on."""
        self._started.update(ids)

    def finished(self, result: Result) -> list[Result]:
        """Take a result; return it for each request that waits for it (none: it is no longer wanted)."""
        self._sent.pop(result.id, None)
        self._started.discard(result.id)
        self._crashes.pop(result.id, None)
        self._crashes_in_a_row = 0
        return self._deliver(result)

    def _deliver(self, result: Result) -> list[Result]:
        ids = [result.id, *self._followers.pop(result.id, ())]
        waiting = [key for key in ids if self._unfinished.pop(key, None) is not None]
        return [result if key == result.id else dataclasses.replace(result, id=key) for key in waiting]

    def crashed(self, how: str) -> list[Result]:
        """The process died. Return the errors of those given up; everything else will be sent again."""
        suspects = self.started_ids
        self._crashes.update(suspects)
        self._crashes_in_a_row += 1
        guilty = [key for key in suspects if self._crashes[key] >= MAX_CRASHES_PER_REQUEST]
        self._alone.extend(key for key in suspects if key not in guilty)
        # What was suspected before and had not started yet stays apart from the others.
        innocent = [key for key in self._sent if key not in self._crashes]
        self._alone.extendleft(reversed([key for key in self._sent if key not in suspects and key in self._crashes]))
        self._unsent.extendleft(reversed(innocent))
        self._sent.clear()
        self._started.clear()
        errors = []
        for key in guilty:
            del self._crashes[key]
            message = f"this request ended the engine's process {MAX_CRASHES_PER_REQUEST} times; the process {how}"
            errors += self._deliver(Result(key, error=Failure("engine", message)))
        if self._crashes_in_a_row >= MAX_CONSECUTIVE_CRASHES and (
            not suspects or self._crashes_in_a_row >= 2 * MAX_CONSECUTIVE_CRASHES
        ):
            errors += self.give_up(f"the engine's process died {self._crashes_in_a_row} times in a row; it {how}")
        return errors

    def give_up(self, message: str, *, unloadable: bool = False) -> list[Result]:
        """Return an error for everything that is unfinished; ``unloadable`` where the model cannot be loaded."""
        failure = Failure("engine", message, unloadable=unloadable)
        return [Result(request.id, error=failure) for request in self.take_back()]

    def take_back(self) -> list[Request]:
        """Return everything that is unfinished, and forget it."""
        requests = list(self._unfinished.values())
        for waiting in (self._unfinished, self._unsent, self._alone, self._sent, self._started, self._followers):
            waiting.clear()
        return requests


def request_key(request: Request) -> str:
    """Return what makes two greedy requests the same: model (they may share weights), conversation, choices, and
    parameters without the seed.
    """
    params = request.params if request.params.seed is None else dataclasses.replace(request.params, seed=None)
    asked = [request.model, identified(request.messages), params.to_dict(), list(request.choices)]
    return content_hash(asked, length=32)
