"""``record``: extra values of a case."""

from __future__ import annotations

import json
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.grading.sheet import Sheet


class Recorder:
    """Takes values by name. Values are plain data (what JSON can hold); a name is recorded once."""

    def __init__(self, sheet: Sheet) -> None:
        self._recorded = sheet.recorded

    def __call__(self, name: str | None = None, value: Any = None, /, **values: Any) -> None:
        """Record ``value`` under ``name``, and each keyword. Raises `SuiteError` for what JSON cannot hold."""
        named = {name: value, **values} if name is not None else values
        for key, entry in named.items():
            if key in self._recorded:
                raise SuiteError(f"record: {key!r} is recorded already for this case")
            try:
                json.dumps(entry, allow_nan=False)
            except (TypeError, ValueError) as error:
                raise SuiteError(f"record: {key!r} cannot be kept in the artifact: {error}") from error
            self._recorded[key] = entry
