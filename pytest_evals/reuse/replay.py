"""``--evals-replay RUN``: the completions of a recorded run in the place of the models under test."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from pytest_evals.completion import Failure, Origin
from pytest_evals.engines.answer_cache import AnswerKey
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.reuse.recorded_run import CasePlace, Recorded, RecordedTurn
from pytest_evals.text import pluralize

NAME = "replay"
_PARTS = ("prompt", "parameters")


@dataclass
class Replay:
    """Answers in the place of models: those for which ``replaced`` holds are never asked, others where no call is recorded.

    ``place_of`` tells suite, case, model and repeat of a nodeid, `None` where it is not a case. ``strict``: what
    was asked differently in the recorded run gives no answer.
    """

    recorded: Recorded
    place_of: Callable[[str], CasePlace | None]
    replaced: Callable[[str], bool]
    strict: bool = False
    drifted: dict[str, str] = field(default_factory=dict)
    """Cases whose prompt or parameters are not those that were recorded, and which of the two."""

    def answer(self, request: Request, key: AnswerKey) -> Result | None:
        """See `ReplaySource.answer`."""
        place = self.place_of(request.id)
        if place is not None:
            return self._turn(request, key, self.recorded.turn(request.id, place))
        known = self.recorded.calls.get((request.model, key.asked))
        if known is not None:
            return Result(request.id, replace(known, origin=Origin(f"-{key.asked}", NAME)))
        if not self.replaced(request.model):
            return None
        return _failure(
            request,
            f"{self.recorded.shown} has no answer to this call, and in a replay the model under test is not asked",
        )

    def _turn(self, request: Request, key: AnswerKey, turn: RecordedTurn | None) -> Result:
        shown = self.recorded.shown
        if turn is None:
            return _failure(request, f"{shown} has no such case: it is new, or was not run then")
        if turn.failure is not None:
            return Result(request.id, error=turn.failure)
        if turn.answer is None:
            return _failure(request, f"{shown} has no completion of this case, which was {turn.outcome} there")
        drift = _drift(key, turn.key)
        if drift:
            self.drifted[request.id] = drift
            if self.strict:
                return _failure(request, f"{drift} changed since {shown} (evals_replay_strict)")
        return Result(request.id, replace(turn.answer, origin=Origin(str(turn.key or ""), NAME, drift)))

    def notes(self, cases: Iterable[CasePlace]) -> list[str]:
        """Say what is not as it was: prompts, cases that are gone."""
        shown = self.recorded.shown
        found = [f"replayed {shown}: no model under test was asked"]
        for part in _PARTS:
            number = sum(part in drift for drift in self.drifted.values())
            if number:
                what = "was refused" if self.strict else "was graded anyway"
                found.append(
                    f"{shown}: the {part} of {pluralize(number, 'case')} changed since then; what is recorded {what}"
                )
        return [*found, *self._gone(set(cases))]

    def _gone(self, cases: Collection[CasePlace]) -> list[str]:
        suites = {place[0] for place in cases}
        gone = [turn.place for turn in self.recorded.turns.values() if turn.place not in cases]
        missing = [place for place in gone if place[0] in suites and place[2]]
        if not missing:
            return []
        named = ", ".join(f"{suite}[{case}]" for suite, case, *_ in missing[:3])
        more = ", ..." if len(missing) > 3 else ""
        return [f"{pluralize(len(missing), 'case')} of {self.recorded.shown} gone from the suites: {named}{more}"]


def _drift(now: AnswerKey, then: AnswerKey | None) -> str | None:
    if then is None:
        return None
    changed = [part for part in _PARTS if getattr(now, part) != getattr(then, part)]
    return " and ".join(changed) or None


def _failure(request: Request, message: str) -> Result:
    return Result(request.id, error=Failure("replay", message))
