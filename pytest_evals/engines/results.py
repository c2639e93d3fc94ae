"""Results on their way from an engine to whoever asked: kept until they are taken, or handed to a subscriber at once.
The pool's lock guards them.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.service import Deliver


class Results:
    """Results by the id of their request."""

    def __init__(self) -> None:
        self._kept: dict[str, Result] = {}
        self._taken: set[str] = set()
        self._subscribers: dict[str, Deliver] = {}

    def keep(self, results: Iterable[Result]) -> None:
        """Hand results to their subscribers, all of one subscriber together; have the others ready to be taken."""
        parcels: dict[Deliver, list[Result]] = {}
        for result in results:
            deliver = self._subscribers.pop(result.id, None)
            if deliver is None:
                self._kept[result.id] = result
            else:
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
                self._subscribers[request.id] = deliver
        if here:
            deliver(here)

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
        """Take note that somebody wants a result which may have been taken before: then it is to be computed anew."""
        if key not in self._kept:
            self._taken.discard(key)
