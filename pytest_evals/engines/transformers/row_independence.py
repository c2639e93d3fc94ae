"""Whether rows of a batch depend on each other, and up to which length they do not: tried when a model is loaded."""

from __future__ import annotations

from typing import Any

from pytest_evals.engines.transformers.in_flight_check import differences_in_flight
from pytest_evals.engines.transformers.loading import LoadedModel
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.thresholds import certain_limit, limits_experts, lowered
from pytest_evals.engines.transformers.verification import (
    TOLERANCE,
    company_is_harmless,
    largest_difference,
    padding_is_harmless,
)


def packed_limit(model: Any, runner: ModelRunner, vocabulary: int) -> int | None:
    """Return the length up to which the runner computes what the model computes, `None` for any."""
    limit = certain_limit(model)
    with lowered(model) as least:
        if least is None:
            return limit
        try:
            found = largest_difference(model, runner, vocabulary)
        except Exception:  # noqa: BLE001 - a model's own code may do anything with attention that it does not know
            runner.clear()
            found = float("inf")
    if found <= TOLERANCE.get(model.dtype, 1e-3):
        return limit
    return least if limit is None else min(limit, least)


def shares_in_flight(loaded: LoadedModel) -> bool | None:
    """Return whether rows that come and go may share beginnings; `None` where they cannot come and go."""
    if loaded.model.config.is_encoder_decoder or loaded.ranks > 1:
        return None
    for shares in (True, False):
        try:
            found = differences_in_flight(loaded.model, loaded.device, shares=shares)
        except Exception:  # noqa: BLE001 - a model's own code may do anything with a cache that it does not expect
            found = float("inf")
        if found <= TOLERANCE.get(loaded.model.dtype, 1e-3):
            return shares
    return None


def batching_of(model: Any) -> tuple[bool, bool, int | None]:
    """Return whether prompts may be computed together, whether these may be padded to one length, and how long rows may become that are
    padded.
    """
    together = not limits_experts(model) and company_is_harmless(model)
    pads, limit = padding_is_harmless(model), certain_limit(model)
    with lowered(model) as least:
        if least is not None:
            if pads and not padding_is_harmless(model):
                limit = least if limit is None else min(limit, least)
            together = together and company_is_harmless(model)
    return together, pads, limit
