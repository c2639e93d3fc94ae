"""The models of a session, by the text that names each. Texts that mean the same weights mean one team."""

from __future__ import annotations

from pathlib import Path

from pytest_evals.engines.machine import gpu_count
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.resident import Resident
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.team import Team, replicas_of, weights_of


class Roster:
    """Makes a team of a model when it is first named. ``root`` resolves paths; ``device`` is the option."""

    def __init__(self, root: Path, device: str) -> None:
        self._root = root
        self._device = device
        self._teams: dict[str, Team] = {}
        self._team_of: dict[str, Team] = {}

    def team(self, model: str) -> Team:
        """Return the team of the model that a text names."""
        if model not in self._team_of:
            spec = weights_of(parse_spec(model, self._root))
            if spec.text not in self._teams:
                self._teams[spec.text] = Team(spec, replicas_of(spec, self._device, gpu_count()))
            self._team_of[model] = self._teams[spec.text]
        return self._team_of[model]

    def of(self, resident: Resident) -> Team:
        """Return the team of a copy."""
        return self._teams[resident.spec.text]

    def teams(self) -> dict[str, Team]:
        """Return every team by its weights."""
        return dict(self._teams)

    def by_name(self) -> dict[str, Team]:
        """Return the team of every text that was used."""
        return dict(self._team_of)

    def residents(self) -> list[Resident]:
        """Return every copy of every model."""
        return [resident for team in self._teams.values() for resident in team.replicas]

    def __contains__(self, request: Request) -> bool:
        """Tell whether a request waits, or is computed."""
        return request.model in self._team_of and request.id in self._team_of[request.model]
