"""``--evals-plan``: what would run, without loading anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_evals.collection import SuiteInfo
from pytest_evals.engines.footprint import Footprint, footprint
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.slot import request_key
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.plan import requests_of
from pytest_evals.settings import Settings

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English; a plan loads no tokenizer."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The work of one model. Tokens are estimated from characters; ``distinct`` are the requests that are computed."""

    spec: ModelSpec
    requests: int
    distinct: int
    prompt_tokens: int
    longest_tokens: int
    max_new_tokens: int
    footprint: Footprint | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session would do."""

    suites: tuple[SuiteInfo, ...]
    selected: int
    models: tuple[ModelPlan, ...]
    dtype: str


def make_plan(infos: Mapping[str, SuiteInfo], requests: Sequence[Request], selected: int, settings: Settings) -> Plan:
    """Sum up the requests of the selected cases, model by model."""
    models = []
    for model in dict.fromkeys(request.model for request in requests):
        mine = [request for request in requests if request.model == model]
        models.append(_model_plan(parse_spec(model, settings.root), mine))
    return Plan(tuple(infos.values()), selected, tuple(models), settings.dtype)


def _model_plan(spec: ModelSpec, requests: Sequence[Request]) -> ModelPlan:
    distinct: dict[str, Request] = {}
    for request in requests:
        shared = spec.deduplicates and request.params.greedy
        distinct[request_key(request) if shared else request.id] = request
    lengths = [_tokens(request) for request in distinct.values()]
    return ModelPlan(
        spec=spec,
        requests=len(requests),
        distinct=len(distinct),
        prompt_tokens=sum(lengths),
        longest_tokens=max(lengths),
        max_new_tokens=sum(request.params.max_new_tokens for request in distinct.values()),
        footprint=footprint(spec),
    )


def _tokens(request: Request) -> int:
    return sum(len(str(message["content"])) for message in request.messages) // CHARACTERS_PER_TOKEN + 1


class PlanPrinter:
    """Runs nothing and prints the plan."""

    def __init__(self, settings: Settings, infos: Mapping[str, SuiteInfo]) -> None:
        self._settings = settings
        self._infos = infos

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Print instead of running; errors of collection are left to pytest."""
        if session.testsfailed:
            return None
        from pytest_evals.render.plan import plan_lines

        selected = {item.nodeid for item in session.items}
        cases = sum(nodeid in selected for info in self._infos.values() for nodeid in info.items)
        plan = make_plan(
            self._infos, list(requests_of(session.items, self._settings.seed).values()), cases, self._settings
        )
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("eval plan")
            for line in plan_lines(plan):
                reporter.write_line(line)
        return True
