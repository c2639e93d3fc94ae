"""Keeps Python's collector of garbage from looking through all cases again and again.

Many items, rows and reports stay until the end of the run, and none of them is garbage: each pass of the collector would follow
all of them, for a tenth of the time that small cases take. Passes go on as usual for what tests and graders leave behind.
"""

from __future__ import annotations

import gc
from typing import Any

import pytest

_USUAL = ((700, 10, 10), (2000, 10, 10), (2000, 10, 0))
"""Thresholds that Python sets itself, by version. Other ones were set for a reason, and are kept."""
_NEW_OBJECTS = 10_000
"""New objects that bring about a pass: those of a few dozen cases."""


class GarbagePause:
    """Hooks of a process that collects cases."""

    def __init__(self, config: pytest.Config) -> None:
        self._before = gc.get_threshold()
        self._frozen = False
        if self._before in _USUAL:
            gc.set_threshold(_NEW_OBJECTS, *self._before[1:])
        config.add_cleanup(self._restore)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_pycollect_makeitem(self) -> Any:
        """Make no pass while the items of one test function are made."""
        if not gc.isenabled():
            return (yield)
        gc.disable()
        try:
            return (yield)
        finally:
            gc.enable()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self) -> None:
        """Leave out what there is now: modules, items, rows."""
        if gc.get_freeze_count() == 0:
            gc.freeze()
            self._frozen = True

    def _restore(self) -> None:
        gc.set_threshold(*self._before)
        if self._frozen:
            gc.unfreeze()
