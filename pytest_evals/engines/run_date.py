"""The date that chat templates read: one for a whole run, whichever day its last process starts on."""

from __future__ import annotations

import datetime
import os

VARIABLE = "PYTEST_EVALS_DATE"
"""The environment variable that names it, as ``2026-11-30``. A run sets it for the processes of its engines."""


def run_date() -> datetime.date:
    """Return the date of this run: what `VARIABLE` says, else that of the first call. Raises `ValueError` for no date."""
    return datetime.date.fromisoformat(os.environ.get(VARIABLE) or _today().isoformat())


_FIRST: list[datetime.date] = []


def _today() -> datetime.date:
    if not _FIRST:
        _FIRST.append(datetime.datetime.now().astimezone().date())
    return _FIRST[0]
