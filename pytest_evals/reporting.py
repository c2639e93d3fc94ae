"""What the process that owns the session prints: header, score card, plan, news while it waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.spec import EMBEDDED
from pytest_evals.plan import make_plan
from pytest_evals.recall.opening import Recollection
from pytest_evals.requests import requests_of
from pytest_evals.settings import Settings
from pytest_evals.suites.info import SuiteInfo


class Terminal:
    """Header and score card."""

    def __init__(self, config: pytest.Config, settings: Settings, path: Path, recalled: Sequence[str] = ()) -> None:
        self._config = config
        self._settings = settings
        self._path = path
        self._recalled = recalled

    def pytest_report_header(self) -> list[str]:
        """One line: models, device, dtype; and what is taken from earlier runs."""
        settings = self._settings
        if settings.reuse.replay:
            return list(self._recalled)
        models = ", ".join(settings.models or settings.default_models)
        shown = models or f"{EMBEDDED} unless a suite names another (--evals-model chooses)"
        judge = f"; judge {settings.judge}" if settings.judge else ""
        return [f"evals: {shown}{judge}; device {settings.device}, dtype {settings.dtype}", *self._recalled]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the score card, where there is one."""
        from pytest_evals.session.hooks import CARD

        card = self._config.stash.get(CARD, None)
        if card is None:
            return
        from pytest_evals.render.terminal import score_card_lines

        width: int = terminalreporter._tw.fullwidth  # noqa: SLF001 - pytest has no public name for the width
        terminalreporter.section("score card")
        for line in score_card_lines(card, width, self._config.get_verbosity()):
            terminalreporter.write_line(line.text, **line.markup)


class PlanPrinter:
    """Runs nothing and prints the plan."""

    def __init__(self, settings: Settings, infos: Mapping[str, SuiteInfo], recalled: Recollection) -> None:
        self._settings = settings
        self._infos = infos
        self._recalled = recalled

    def pytest_report_header(self) -> list[str]:
        """Say what would be taken from earlier runs."""
        return self._recalled.header()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Print instead of running; errors of collection are left to pytest."""
        if session.testsfailed:
            return None
        from pytest_evals.render.plan import plan_lines

        selected = {item.nodeid for item in session.items}
        cases = sum(nodeid in selected for info in self._infos.values() for nodeid in info.items)
        requests = [request for asked in requests_of(session.items, self._settings.seed).values() for request in asked]
        plan = make_plan(self._infos, requests, cases, self._settings, self._recalled.memory)
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("eval plan")
            for line in plan_lines(plan):
                reporter.write_line(line)
        return True

    def pytest_unconfigure(self) -> None:
        """Let go of files."""
        self._recalled.close()


class PytestScreen:
    """Shows news through pytest's own terminal. Quiet under ``-q``; ``live`` is never true in a log or a pipe."""

    def __init__(self, config: pytest.Config, *, live: bool = True) -> None:
        self._config = config
        self._allowed = live
        self._shown = False

    @property
    def _reporter(self) -> Any:
        # Looked up each time: pytest makes it after this plugin was set up.
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter if self._config.get_verbosity() >= 0 else None

    @property
    def live(self) -> bool:
        """See `Screen.live`."""
        return self._allowed and bool(getattr(self._reporter, "isatty", False))

    def line(self, text: str) -> None:
        """See `Screen.line`."""
        reporter = self._reporter
        if reporter is not None:
            with self._uncaptured():
                reporter.write_line(text)
                reporter.flush()

    def status(self, text: str) -> None:
        """See `Screen.status`."""
        if not (text or self._shown) or not self.live:
            return
        reporter = self._reporter
        width: int = reporter._tw.fullwidth  # noqa: SLF001 - as above
        with self._uncaptured():
            if not self._shown:
                reporter.ensure_newline()
            # Back to the first column, and everything right of it away.
            reporter.write(f"\r\x1b[2K{text[: width - 1]}", flush=True)
        self._shown = bool(text)

    def _uncaptured(self) -> AbstractContextManager[None]:
        """A test that waits for a call of its own has its output captured, and this is none of it."""
        manager: Any = self._config.pluginmanager.get_plugin("capturemanager")
        return nullcontext() if manager is None else manager.global_and_fixture_disabled()
