"""Items -> requests, and what they amount to."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable

import pytest

from pytest_evals.collection import EVAL, RECORDED, EvalItem
from pytest_evals.engines.protocol import Request


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
