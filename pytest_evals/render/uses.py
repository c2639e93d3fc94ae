"""What models did, as a sentence."""

from __future__ import annotations

from pytest_evals.render import numbers
from pytest_evals.scores.card import ModelUse
from pytest_evals.wording import counted

MEASURABLE_SECONDS = 0.5
"""A rate over less time than this says nothing."""


def use_line(use: ModelUse) -> str:
    """Say what a model completed, where and how fast; or that it was not needed."""
    if use.recalled and not use.replicas:
        return f"{use.short}: not loaded; all {numbers.count(use.recalled)} answers asked of it were known from before"
    where = " ".join(part for part in (use.device, use.dtype) if part)
    done = f"{counted(use.completions, 'completion')}, {counted(use.completion_tokens, 'token')}"
    text = f"{use.short} ({where}): {done}"
    if use.seconds >= MEASURABLE_SECONDS:
        rate = use.completion_tokens / use.seconds
        text += f" in {numbers.duration(use.seconds)}: {rate:.0f} tokens/s, {use.completions / use.seconds:.1f} cases/s"
    return "; ".join([text, *_savings(use)])


def _savings(use: ModelUse) -> list[str]:
    """Say how well the batches were filled and what was not computed twice; nothing where there is nothing to say."""
    parts = []
    if use.occupancy is not None and use.usage.get("most_rows", 0) > 1:
        parts.append(f"batches {numbers.percent(use.occupancy)} full")
    if use.shared_prompt:
        parts.append(f"{numbers.percent(use.shared_prompt)} of prompt tokens shared")
    if use.reused_prompt:
        parts.append(f"{numbers.percent(use.reused_prompt)} reused")
    if use.padding:
        parts.append(f"{numbers.percent(use.padding)} padding")
    if use.duplicates:
        parts.append(counted(use.duplicates, "duplicate"))
    if use.usage.get("peak_bytes"):
        parts.append(f"peak {numbers.size(use.usage['peak_bytes'])}")
    return parts
