"""Errors that say the same of many cases are shown once, with how many cases they are of."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from pytest_evals.sinks import for_terminal

_NAMED = 5
"""Cases that are named beside the one that is shown."""


def folded(errors: Sequence[Any], cases: set[str]) -> list[Any]:
    """Return the reports with those of ``cases`` that say the same in the same phase made one, in the place of the first."""
    groups: dict[object, list[Any]] = {}
    for report in errors:
        same = (report.when, _what_and_where(report)) if report.nodeid in cases else report.nodeid
        groups.setdefault(same, []).append(report)
    return [_one_of(group) if len(group) > 1 else group[0] for group in groups.values()]


def _what_and_where(report: Any) -> str:
    """Return what an error says and at which line: its traceback may name objects, which differ from case to case."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(report.longreprtext) if crash is None else f"{crash.path}:{crash.lineno}: {crash.message}"


def _one_of(group: Sequence[Any]) -> Any:
    """Return a copy of the first report that names the others, and counts them where pytest has one line for it."""
    shown = copy.copy(group[0])
    others = [report.nodeid for report in group[1:]]
    names = ", ".join(nodeid.rpartition("::")[2] for nodeid in others[:_NAMED])
    more = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
    shown.sections = [*shown.sections, (f"The same error of {len(others):,} more", for_terminal(f"{names}{more}"))]
    counted = f"({len(group):,} cases) "
    if isinstance(shown.longrepr, str):
        shown.longrepr = f"{counted}{shown.longrepr}"
    elif getattr(shown.longrepr, "reprcrash", None) is not None:
        shown.longrepr = copy.copy(shown.longrepr)
        shown.longrepr.reprcrash = copy.copy(shown.longrepr.reprcrash)
        shown.longrepr.reprcrash.message = f"{counted}{shown.longrepr.reprcrash.message}"
    return shown
