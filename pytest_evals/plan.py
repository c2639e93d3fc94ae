"""What the requests of a session amount to: its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.engines.footprint import Footprint, footprint
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.slot import request_key
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.settings import Settings
from pytest_evals.suites.info import SuiteInfo

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
    judge: str


def make_plan(infos: Mapping[str, SuiteInfo], requests: Sequence[Request], selected: int, settings: Settings) -> Plan:
    """Sum up the requests of the selected cases, model by model."""
    models = []
    for model in dict.fromkeys(request.model for request in requests):
        mine = [request for request in requests if request.model == model]
        models.append(_model_plan(parse_spec(model, settings.root), mine))
    return Plan(tuple(infos.values()), selected, tuple(models), settings.dtype, settings.judge_name)


def _model_plan(spec: ModelSpec, requests: Sequence[Request]) -> ModelPlan:
    distinct: dict[str, Request] = {}
    for request in requests:
        shared = spec.deduplicates and request.repeatable
        distinct[request_key(request) if shared else request.id] = request
    lengths = [_tokens(request) for request in distinct.values()]
    return ModelPlan(
        spec=spec,
        requests=len(requests),
        distinct=len(distinct),
        prompt_tokens=sum(lengths),
        longest_tokens=max(lengths),
        max_new_tokens=sum(_most_new_tokens(request) for request in distinct.values()),
        footprint=footprint(spec),
    )


def _most_new_tokens(request: Request) -> int:
    return 0 if request.choices else request.params.max_new_tokens * request.params.n


def _tokens(request: Request) -> int:
    choices = sum(len(choice) for choice in request.choices) // CHARACTERS_PER_TOKEN
    return choices + sum(len(str(message["content"])) for message in request.messages) // CHARACTERS_PER_TOKEN + 1
