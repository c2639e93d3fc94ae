"""What two runs were made with, and where that differs: a comparison must not keep it to itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]
_PLAIN = {
    "plugin": "pytest-evals-hf",
    "pytest": "pytest",
    "python": "Python",
    "platform": "machine",
    "seed": "seed",
    "judge": "judge",
}


def run_differences(before: Sequence[Run], after: Sequence[Run]) -> list[str]:
    """Say, in sentences, where the first lines of two runs differ. A baseline may come from several runs.

    What only one of them recorded (a baseline's file is shorter) is not a difference.
    """
    was, now = _collected(before), _collected(after)
    differing = [name for name in was if name in now and was[name] != now[name]]
    return [f"{name}: {', '.join(was[name])} then, {', '.join(now[name])} now" for name in differing]


def _collected(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return what a comparison may depend on, by its name, each with the values that the runs have."""
    found: dict[str, dict[str, None]] = {}
    for name, value in (fact for run in runs for fact in _facts(run)):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
        found.setdefault(name, {})[text] = None
    return {name: sorted(values) for name, values in found.items()}


def _facts(run: Run) -> Iterator[tuple[str, Any]]:
    yield from ((name, run[key]) for key, name in _PLAIN.items() if key in run)
    yield from (run.get("packages") or {}).items()
    yield from ((f"option {name}", value) for name, value in (run.get("options") or {}).items())
    for model in run.get("models") or ():
        yield from ((f"{key} of {model.get('model')}", model[key]) for key in ("dtype", "identity") if key in model)
    for suite in run.get("suites") or ():
        content = str(suite.get("dataset_hash"))[:8]
        yield f"dataset of {suite.get('name')}", f"{suite.get('dataset_key')} ({suite.get('n')} cases, {content})"
