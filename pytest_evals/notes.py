"""What a process that runs cases has to say on the score card beside its cases; with pytest-xdist it is a worker that says so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

WORKER_OUTPUT = "evals_notes"
# What was said, by what it is about.
NOTES: pytest.StashKey[dict[str, str]] = pytest.StashKey()


def add_note(config: pytest.Config, about: str, text: str) -> None:
    """Have the score card of the run say ``text``; what was said of this before is forgotten."""
    output: dict[str, dict[str, str]] | None = getattr(config, "workeroutput", None)
    notes = config.stash.setdefault(NOTES, {}) if output is None else output.setdefault(WORKER_OUTPUT, {})
    notes[about] = text


def take_notes(config: pytest.Config, workeroutput: Mapping[str, dict[str, str]]) -> None:
    """Take what a worker that ended had to say."""
    for about, text in workeroutput.get(WORKER_OUTPUT, {}).items():
        add_note(config, about, text)


def notes_of(config: pytest.Config) -> list[str]:
    """Return what was said."""
    return list(config.stash.get(NOTES, {}).values())
