"""Results on their way from an engine to whoever asked: kept until they are taken. The pool's lock guards them."""

from __future__ import annotations

from pytest_evals.engines.protocol import Result


class Results:
    """Results by the id of their request."""

    def __init__(self) -> None:
        self._kept: dict[str, Result] = {}
        self._taken: set[str] = set()

    def keep(self, result: Result) -> None:
        """Have a result ready for whoever asks for it."""
        self._kept[result.id] = result

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
