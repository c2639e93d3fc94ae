"""What the coverage page says is here, is here."""

from __future__ import annotations

import inspect
import re

from pytest_evals import graders, options

from .blocks import ROOT

PAGE = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")


def test_every_grader_setting_and_command_that_is_named_exists() -> None:
    named = set(re.findall(r"graders\.((?:judge\.)?(?!md\b)\w+)", PAGE))
    assert len(named) > 15
    for name in named:
        found: object = graders
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found), name
    source = inspect.getsource(options)
    settings = set(re.findall(r"--evals-[\w-]+|\bevals_\w+", PAGE))
    assert settings
    assert [name for name in settings if f'"{name}"' not in source] == []


def test_every_row_has_a_state_and_a_refusal_has_a_reason() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    rows = [[cell.strip() for cell in row] for row in rows if row[2].strip() != "State"]
    assert len(rows) > 50
    for capability, here, state in rows:
        assert capability
        assert here, capability
        assert state in ("done", "differently", "refused") or state.startswith("refused: "), state
