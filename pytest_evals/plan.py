"""Items -> requests, and what they amount to: the plan of a session."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from pytest_evals.collection import EVAL, RECORDED, EvalItem, SuiteInfo
from pytest_evals.engines.footprint import Footprint, footprint
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.slot import request_key
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.settings import Settings

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English; a plan loads no tokenizer."""


def request_seed(base: int, suite: str, case_id: str, repeat: int) -> int:
    """Return the seed of a case's request: it depends on the case and the base seed, never on what else runs."""
    digest = hashlib.sha256(f"{base}/{suite}/{case_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def request_of(item: pytest.Item, base_seed: int) -> Request | None:
    """Return the request of an item, `None` when no model is to be asked."""
    found = item.stash.get(EVAL, None)
    if found is None or not found.needs_completion or found.key.model in (None, RECORDED):
        return None
    return make_request(item.nodeid, found, found.key.model, base_seed)


def make_request(nodeid: str, found: EvalItem, model: str | None, base_seed: int) -> Request:
    """Return the request for one case, asked of ``model``."""
    params = found.prepared.params
    if params.seed is None and not params.greedy:
        seed = request_seed(base_seed, found.info.name, found.key.case_id, found.key.repeat)
        params = dataclasses.replace(params, seed=seed)
    return Request(nodeid, str(model), found.prepared.prompt, params)


def requests_of(items: Iterable[pytest.Item], base_seed: int) -> dict[str, Request]:
    """Return the requests of all items that will run, by nodeid in their order; items marked to be skipped ask nothing."""
    found = {}
    for item in items:
        request = request_of(item, base_seed)
        # A name among the keywords is cheaper to find than a mark; what a fixture asks for all the same is made then.
        if request is not None and "skip" not in item.keywords:
            found[item.nodeid] = request
    return found


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
