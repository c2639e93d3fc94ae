"""The first line of an artifact as text: which run it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_evals.render.texts import wrapped


def run_lines(run: Mapping[str, Any], width: int) -> list[str]:
    """Return when and with what a run was made, in as many lines as it takes."""
    return wrapped(run_words(run), width)


def run_words(run: Mapping[str, Any]) -> str:
    """Name a run: its id, when it started, its commit, its models."""
    git = run.get("git")
    commit = f"commit {str(git.get('commit'))[:10]}" + (" with changes" if git.get("dirty") else "") if git else None
    models = ", ".join(str(model.get("model")) for model in run.get("models") or [])
    started = str(run.get("started")).replace("T", " ").replace("+00:00", " UTC")
    return "; ".join(part for part in (f"run {run.get('run_id')} of {started}", commit, models) if part)
