"""``--evals-resume RUN``: what an earlier run finished is taken over where nothing that it depends on has changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pytest_evals.completion import Completion
from pytest_evals.engines.answer_cache import AnswerKey
from pytest_evals.engines.protocol import Request
from pytest_evals.reuse.recorded_run import Recorded, RecordedTurn

_CHANGES = {"model": "another model", "prompt": "another prompt", "parameters": "other parameters"}


class Resumed:
    """Answers by key, from a recorded run; and why there were none."""

    name = "resume"

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self._missing: dict[str, str] = {}

    def find(self, key: AnswerKey, request: Request) -> Completion | None:
        """Return the answer to the same request."""
        found = self.recorded.answers.get(str(key))
        if found is None:
            self._missing[request.id] = _why(key, self.recorded.turns.get(request.id))
        return found

    def has(self, model: str) -> bool:
        """Tell whether there is an answer of the model with this digest."""
        return any(key.startswith(f"{model}-") for key in self.recorded.answers)

    def note(self, taken: str, cases: Mapping[str, object]) -> str:
        """Say what was ``taken`` over, how many of ``cases`` were generated, and why."""
        reasons = Counter(why for nodeid, why in self._missing.items() if nodeid in cases)
        listed = ", ".join(f"{number} {why}" for why, number in sorted(reasons.items()))
        again = f", {sum(reasons.values())} generated ({listed})" if reasons else ", none generated"
        return f"resumed from {self.recorded.shown}: {taken} taken over{again}"


def _why(key: AnswerKey, turn: RecordedTurn | None) -> str:
    """Return what hinders a completion from being taken over, to be said after a number."""
    if turn is None:
        return "not in it"
    if turn.answer is None or turn.key is None:
        return "without a completion there"
    changed = [words for part, words in _CHANGES.items() if getattr(key, part) != getattr(turn.key, part)]
    return f"with {' and '.join(changed)}" if changed else "without a completion there"
