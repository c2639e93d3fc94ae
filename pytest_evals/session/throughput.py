"""What the engines did, as the score card tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_evals.engines.resident import merged_usage
from pytest_evals.engines.team import Team
from pytest_evals.scores.card import ModelUse


@dataclass(slots=True)
class Tokens:
    """Completions that reached their case, also by calls of tasks and graders, and their tokens."""

    completions: int = 0
    prompt: int = 0
    generated: int = 0

    def count(self, prompt: int, generated: int) -> None:
        """Count one completion."""
        self.completions += 1
        self.prompt += prompt
        self.generated += generated


def model_use(model: str, team: Team, tokens: Sequence[Tokens]) -> ModelUse:
    """Sum up the replicas of a model. ``tokens``: of each model that shares its weights."""
    info = next((resident.info for resident in team.replicas if resident.info is not None), None)
    if info is None:
        return _unloaded(model, team)
    usage: dict[str, float] = {}
    for resident in team.replicas:
        usage = merged_usage(usage, resident.all_usage)
    return ModelUse(
        model=model,
        short=team.spec.short,
        device=info.device,
        dtype=info.dtype,
        completions=sum(each.completions for each in tokens),
        prompt_tokens=sum(each.prompt for each in tokens),
        completion_tokens=sum(each.generated for each in tokens),
        seconds=max(resident.seconds for resident in team.replicas),
        duplicates=sum(resident.duplicates for resident in team.replicas),
        replicas=len(team.replicas),
        loading_seconds=max(resident.loading_seconds for resident in team.replicas),
        rows=info.rows,
        usage=usage,
    )


def _unloaded(model: str, team: Team) -> ModelUse:
    """Return the use of a model of which everything that was asked was known: it had no device, and computed nothing."""
    recalled = sum(resident.done for resident in team.replicas)
    return ModelUse(model, team.spec.short, None, None, 0, 0, 0, 0.0, replicas=0, recalled=recalled)
