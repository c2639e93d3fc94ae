"""A plan as lines of text."""

from __future__ import annotations

from pytest_evals.plan import ModelPlan, Plan
from pytest_evals.render.numbers import count, size


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan, suite by suite and model by model."""
    if not plan.suites:
        return ["no evals were collected"]
    lines = []
    for suite in plan.suites:
        rows = f"{count(suite.n)} of {count(suite.total)} rows" if suite.n < suite.total else f"{count(suite.n)} rows"
        lines.append(f"suite {suite.name}: {rows} of {suite.dataset_key}, {count(len(suite.items))} cases")
        lines += [f"    gate {gate}" for gate in suite.gates]
    lines.append(f"{count(plan.selected)} cases are selected")
    for model in plan.models:
        lines += _model(model, plan.dtype)
    calling = [suite.name for suite in plan.suites if suite.calls]
    if calling:
        lines.append(f"tests, tasks and graders of {', '.join(calling)} make further calls, which are not counted")
    if any(suite.judges for suite in plan.suites):
        lines.append(f"judge {plan.judge}")
    if not plan.models and not calling:
        lines.append("no model is needed")
    return [*lines, "nothing was loaded; token counts are estimates (characters / 4, without the chat template)"]


def _model(model: ModelPlan, dtype: str) -> list[str]:
    shared = model.requests - model.distinct
    requests = f"{count(model.requests)} requests" + (
        f", {count(model.distinct)} after de-duplication" if shared else ""
    )
    tokens = (
        f"about {count(model.prompt_tokens)} prompt tokens (longest {count(model.longest_tokens)}), "
        f"at most {count(model.max_new_tokens)} new tokens"
    )
    lines = [f"model {model.spec.text}: {requests}", f"    {tokens}"]
    if model.spec.engine == "scripted":
        return lines
    if model.footprint is None:
        return [*lines, "    memory: unknown until the model is on this disk"]
    used = "fp32" if dtype == "auto" else dtype
    rule = " (auto is fp32 on a CPU, half of that on a GPU)" if dtype == "auto" else ""
    weights, cache = model.footprint.weights_bytes(used), model.footprint.cache_bytes(used)
    return [
        *lines,
        f"    memory in {used}: weights {size(weights)}, cache {size(cache * 1000)} a thousand tokens{rule}",
    ]
