"""``pytest-evals doctor``: looks at this environment and says what keeps evals from running well."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_evals.cli.common import Subparsers, add_json, artifacts_folder, say, say_json, subcommand, width
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.diagnostics.finding import Finding
    from pytest_evals.reports.formatting import Line

DETAILS = """\
Each line is ok, a note (evals run; something is missing or limited) or a problem (they do not run, or not as asked), with what
to do. Nothing is changed, and nothing is fetched. The exit status is 1 where there is a problem.

examples:
  pytest-evals doctor
  pytest-evals doctor --json > environment.json
"""
_MARKS = {"ok": {"green": True}, "note": {"yellow": True}, "problem": {"red": True, "bold": True}}
_LEVEL_WIDTH = 9


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(
        subparsers, "doctor", run, "check this environment: packages, GPU, models, caches, sandboxes", DETAILS
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is found."""
    found = list(findings())
    problems = sum(finding.level == "problem" for finding in found)
    if arguments.json:
        say_json({"findings": [dataclasses.asdict(finding) for finding in found], "problems": problems})
    else:
        say(line for finding in found for line in _lines(finding))
        notes = sum(finding.level == "note" for finding in found)
        say([f"{pluralize(problems, 'problem')}, {pluralize(notes, 'note')}"])
    return 1 if problems else 0


def findings() -> Iterator[Finding]:
    """Yield all findings, the most important ones first."""
    from pytest_evals.diagnostics import machine, models, packages

    artifacts = artifacts_folder()
    yield from packages.own_package()
    yield from packages.python()
    yield from packages.required()
    yield from machine.torch()
    yield from machine.processors()
    yield from machine.memory()
    yield from models.embedded()
    yield from models.hub()
    yield from models.caches(artifacts)
    yield from models.disk(artifacts)
    yield from machine.sandboxes()
    yield from packages.plugins()
    yield from packages.extras()


def _lines(finding: Finding) -> list[str | Line]:
    from pytest_evals.reports.formatting import Line, wrap_text

    room = max(width() - _LEVEL_WIDTH, 30)
    first, *rest = wrap_text(f"{finding.topic}: {finding.message}", room)
    lines: list[str | Line] = [Line(f"{finding.level:<{_LEVEL_WIDTH}}{first}", _MARKS[finding.level])]
    lines += [f"{'':<{_LEVEL_WIDTH}}{text}" for text in rest]
    # In one line, however long: a command is there to be pasted.
    return [*lines, f"{'':<{_LEVEL_WIDTH}}-> {finding.action}"] if finding.action else lines
