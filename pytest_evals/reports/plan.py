"""A plan as lines of text."""

from __future__ import annotations

from pytest_evals.reports.formatting import count, size
from pytest_evals.runner.plan import DryRunPlan, ModelPlan
from pytest_evals.text import pluralize


def plan_lines(plan: DryRunPlan) -> list[str]:
    """Return the plan, suite by suite and model by model."""
    if not plan.suites:
        return ["no evals were collected"]
    lines = []
    for suite in plan.suites:
        rows = (
            f"{count(suite.n)} of {pluralize(suite.total, 'row')}"
            if suite.n < suite.total
            else pluralize(suite.n, "row")
        )
        lines.append(f"suite {suite.name}: {rows} of {suite.dataset_key}, {pluralize(len(suite.items), 'case')}")
        lines += [f"    gate {gate}" for gate in suite.gates]
    lines.append(f"{count(plan.selected)} cases are selected")
    for model in plan.models:
        lines += _model(model, plan)
    calling = [suite.name for suite in plan.suites if suite.calls]
    if calling:
        lines.append(f"tests, tasks and graders of {', '.join(calling)} make further calls, which are not counted")
    if any(suite.judges for suite in plan.suites):
        lines.append(f"judge {plan.judge}")
    if not plan.models and not calling:
        lines.append("no model is needed")
    return [*lines, "nothing was loaded; token counts are estimates (characters / 4, without the chat template)"]


def _model(model: ModelPlan, plan: DryRunPlan) -> list[str]:
    lines = [f"model {model.spec.text}: {_requests(model, plan)}"]
    if model.known is None:
        lines.append("    how many of them are known from before shows once the model was loaded here; all are counted")
    return [*lines, *_work(model, plan.dtype)] if model.left else lines


def _requests(model: ModelPlan, plan: DryRunPlan) -> str:
    parts = [pluralize(model.requests, "request")]
    if model.requests != model.distinct:
        parts.append(f"{count(model.distinct)} after de-duplication")
    if plan.recalls and model.known is not None:
        parts.append(f"{count(model.known)} known from before")
    if model.failing:
        parts.append(f"{count(model.failing)} without a completion in the run that is replayed")
    if plan.recalls and model.known is not None:
        parts.append(
            f"{count(model.left)} left to compute" if model.left else "nothing left to compute: it is not loaded"
        )
    return ", ".join(parts)


def _work(model: ModelPlan, dtype: str) -> list[str]:
    """Say what is left to be computed."""
    tokens = (
        f"about {pluralize(model.prompt_tokens, 'prompt token')} (longest {count(model.longest_tokens)}), "
        f"at most {pluralize(model.max_new_tokens, 'new token')}"
    )
    lines = [f"    {tokens}{f', without {model.without}' if model.without else ''}"]
    if not model.spec.heavy:
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
