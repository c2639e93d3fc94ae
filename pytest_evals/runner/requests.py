"""Items -> requests: what each case asks of its model."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable

import pytest

from pytest_evals.collection.item import EVAL, RECORDED, EvalItem
from pytest_evals.engines.protocol import Request
from pytest_evals.generation import GenerationParams


def request_seed(base: int, suite: str, case_id: str, repeat: int) -> int:
    """Return the seed of a case's request: it depends on the case and the base seed, never on what else runs."""
    digest = hashlib.sha256(f"{base}/{suite}/{case_id}/{repeat}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def requests_for(item: pytest.Item, base_seed: int) -> list[Request]:
    """Return the requests of an item: its completion, then what its graders ask; none where no model is to be asked."""
    found = item.stash.get(EVAL, None)
    if found is None or found.key.model in (None, RECORDED):
        return []
    nodeid = item.nodeid
    requests = [make_request(nodeid, found, found.key.model, base_seed)] if found.needs_completion else []
    for grader, asks in found.asks.items():
        choices = asks(found.prepared.case.scope)
        key = choice_id(nodeid, grader)
        params = GenerationParams(chat_template_kwargs=found.prepared.params.chat_template_kwargs)
        requests.append(Request(key, str(found.key.model), found.prepared.prompt, params, choices))
    return requests


def choice_id(nodeid: str, grader: str) -> str:
    """Return the id of the request that a grader of a case makes."""
    return f"{nodeid}::{grader}"


def make_request(nodeid: str, found: EvalItem, model: str | None, base_seed: int) -> Request:
    """Return the request for one case, asked of ``model``."""
    params = seeded(found.prepared.params, found, base_seed)
    return Request(nodeid, str(model), found.prepared.prompt, params)


def seeded(params: GenerationParams, found: EvalItem, base_seed: int, call: str | None = None) -> GenerationParams:
    """Return the parameters with a seed of the case's own, where one is needed and none is given: that of its default turn,
    or that of the ``call`` of this name.
    """
    if found.key.repeat == 1 and (params.greedy or params.seed is not None):
        return params
    # Also where greedy: an engine that gives another answer each time is told apart by it.
    # A seed that the suite gives is the first repeat's; those of the others follow from it.
    base = base_seed if params.seed is None else params.seed
    # What else is collected changes no seed, so the name is the one that does not depend on it.
    name = found.info.own_name if call is None else f"{found.info.own_name}/{call}"
    seed = request_seed(base, name, found.key.case_id, found.key.repeat)
    return dataclasses.replace(params, seed=seed)


def encodings(items: Iterable[pytest.Item]) -> dict[str, int]:
    """Return for how many cases graders ask each classifier and reward model: once, or more often where an answer has parts."""
    counts: Counter[str] = Counter()
    for item in items:
        found = item.stash.get(EVAL, None)
        if found is None or "skip" in item.keywords:
            continue
        for key, step in found.workflow.steps.items():
            if step.declaration.encodes and found.key.case_id in found.workflow.applies_to.get(
                key, (found.key.case_id,)
            ):
                counts.update(step.declaration.models)
    return dict(counts)


def requests_of(items: Iterable[pytest.Item], base_seed: int) -> dict[str, list[Request]]:
    """Return the requests of all items that will run, by nodeid in their order; items marked to be skipped ask nothing."""
    found = {}
    for item in items:
        requests = requests_for(item, base_seed)
        # A name among the keywords is cheaper to find than a mark; what a fixture still asks for is made then.
        if requests and "skip" not in item.keywords:
            found[item.nodeid] = requests
    return found
