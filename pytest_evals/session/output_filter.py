"""What tests and models print, where a CI system or an IDE takes lines of the log for commands.

pytest shows what it captured, arguments of failed tests, warnings and ids in its own words, and a line of a model among them could
set the output of a job. So all that pytest's terminal writes goes through a filter, and so does what tests of evals, their tasks and
graders print while nothing is captured. What other plugins print themselves, as their commands to the same system, does not.
Without such a reader nothing is filtered.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import pytest

from pytest_evals.collection.item import EVAL
from pytest_evals.sinks import FilteredStream, LogFilter
from pytest_evals.text import encodable, encodable_data


def write_commands(reporter: pytest.TerminalReporter, lines: Sequence[str]) -> None:
    """Write commands to the CI system, each on a line of its own, around the filter."""
    writer = reporter._tw  # noqa: SLF001 - pytest has no public name for it
    file = writer._file  # noqa: SLF001 - the same
    reporter.ensure_newline()
    writer._file = getattr(file, "unfiltered", file)  # noqa: SLF001 - the same
    try:
        for line in lines:
            reporter.write_line(line)
    finally:
        writer._file = file  # noqa: SLF001 - the same


class OutputFilter:
    """Hooks of a process whose output a CI system reads."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._in_test = False
        self._patched: list[TextIO] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Put the filters in their places."""
        filters = {id(stream): LogFilter() for stream in (sys.stdout, sys.stderr)}
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        writer = getattr(reporter, "_tw", None)
        if writer is not None:
            file = writer._file  # noqa: SLF001 - pytest has no public name for it
            writer._file = FilteredStream(file, filters.get(id(file)))  # noqa: SLF001 - the same
        for stream in (sys.stdout, sys.stderr):
            self._patch(stream, filters[id(stream)])

    def _patch(self, stream: TextIO, log_filter: LogFilter) -> None:
        # pytest puts the very object back whenever it stops capturing, so it is the object that has to filter.
        write = stream.write

        def write_filtered(text: str) -> int:
            if self._in_test or threading.get_ident() != self._main:
                write(log_filter(text))
                return len(text)
            log_filter.pass_by(text)
            return write(text)

        with contextlib.suppress(AttributeError):
            stream.write = write_filtered  # type: ignore[method-assign]  # of this one stream, not of its class
            self._patched.append(stream)

    def pytest_unconfigure(self) -> None:
        """Leave the streams as they were."""
        for stream in self._patched:
            with contextlib.suppress(AttributeError):
                del stream.write
        self._patched.clear()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Tasks of evals may work before the first test starts."""
        with self._of_test(item):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        """From here on hooks of other plugins speak, too."""
        self._in_test = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Any:
        """Fixtures are code of the suite."""
        with self._of_test(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        """So is the test."""
        with self._of_test(item):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Any:
        """And what ends fixtures."""
        with self._of_test(item):
            return (yield)

    @contextlib.contextmanager
    def _of_test(self, item: pytest.Item) -> Iterator[None]:
        self._in_test = EVAL in item.stash
        try:
            yield
        finally:
            self._in_test = False


class ReportsOfWorker:
    """Hooks of a worker of pytest-xdist: a lone surrogate in what was printed, logged or warned cannot travel, and a report that
    cannot would end the session.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_report_to_serializable(self) -> Any:
        """Escape them in all that a report holds."""
        return encodable_data((yield))

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Escape them in a warning."""
        message: Any = warning_message.message
        if not isinstance(message, Warning):
            warning_message.message = encodable(str(message))  # as xdist takes it
            return
        try:
            text = str(message)
        except Exception:  # noqa: BLE001 - what a user's own warning raises in its __str__ may be anything
            text = f"{type(message).__name__} (its message cannot be shown)"
            warning_message.message = pytest.PytestWarning(text)
            return
        if encodable(text) != text:
            message.args = encodable_data(message.args)
            if encodable(str(message)) != str(message):
                warning_message.message = pytest.PytestWarning(encodable(text))
