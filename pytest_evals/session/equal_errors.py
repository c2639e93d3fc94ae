"""Errors that say the same of many cases are shown once, with how many cases they are of.

They say the same where only the case's id, numbers and quoted values differ: the first one is shown whole.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from pytest_evals.sinks import for_terminal

_NAMED = 5
"""Cases that are named beside the one that is shown."""


_VALUE = re.compile(
    r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`|\b0x[0-9a-fA-F]+\b|(?<![\w.])[-+]?\d[\d_,]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])"
)
_ASSERTED = ("AssertionError", "assert ", "Failed")


def folded(reports: Sequence[Any], cases: set[str]) -> list[Any]:
    """Return the reports with errors of ``cases`` that say the same in the same phase made one, in the place of the first. A test that failed
    by an assertion has a report of its own.
    """
    groups: dict[object, list[Any]] = {}
    for report in reports:
        same = (report.when, _kind(report)) if report.nodeid in cases and not _is_verdict(report) else report.nodeid
        groups.setdefault(same, []).append(report)
    return [_one_of(group) if len(group) > 1 else group[0] for group in groups.values()]


def _is_verdict(report: Any) -> bool:
    """Tell whether a report says that a model was wrong, and not that something broke."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return report.when == "call" and (crash is None or str(crash.message).startswith(_ASSERTED))


def _kind(report: Any) -> tuple[str, str]:
    """Return at which line an error is and what it says, without what is of its case alone."""
    crash = getattr(report.longrepr, "reprcrash", None)
    place, text = (
        ("", str(report.longreprtext)) if crash is None else (f"{crash.path}:{crash.lineno}", str(crash.message))
    )
    case_id = report.nodeid.rpartition("[")[2].removesuffix("]")
    if case_id:
        text = re.sub(rf"(?<![\w-]){re.escape(case_id)}(?![\w-])", "<id>", text)
    return place, _VALUE.sub("<value>", text)


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
    same = len({_what_and_where(report) for report in group}) == 1
    title = f"{'The same error' if same else 'Errors like this one'} of {len(others):,} more"
    shown.sections = [*shown.sections, (title, for_terminal(f"{names}{more}"))]
    counted = f"({len(group):,} cases) "
    if isinstance(shown.longrepr, str):
        shown.longrepr = f"{counted}{shown.longrepr}"
    elif getattr(shown.longrepr, "reprcrash", None) is not None:
        shown.longrepr = copy.copy(shown.longrepr)
        shown.longrepr.reprcrash = copy.copy(shown.longrepr.reprcrash)
        shown.longrepr.reprcrash.message = f"{counted}{shown.longrepr.reprcrash.message}"
    return shown
