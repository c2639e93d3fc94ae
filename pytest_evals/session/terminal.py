"""What the process that owns the session prints: header, score card, plan, news while it waits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from _pytest._io import TerminalWriter
from _pytest.config import create_terminal_writer

from pytest_evals.collection.item import RECORDED
from pytest_evals.engines.embedded import EMBEDDED
from pytest_evals.engines.pool import EnginePool
from pytest_evals.errors import EvalsError
from pytest_evals.redaction import masked
from pytest_evals.reuse.setup import ReuseContext
from pytest_evals.runner.plan import make_plan
from pytest_evals.runner.requests import encodings, requests_of
from pytest_evals.settings import Settings
from pytest_evals.sinks import for_terminal
from pytest_evals.suites.manifest import SuiteManifest, recorded_note

if TYPE_CHECKING:
    from pytest_evals.artifacts.validation import ParsedLine
    from pytest_evals.reports.formatting import Line
    from pytest_evals.scorecard import ScoreCard


class Terminal:
    """Header and score card."""

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        infos: Mapping[str, SuiteManifest],
        path: Path,
        recalled: Sequence[str] = (),
    ) -> None:
        self._config = config
        self._settings = settings
        self._infos = infos
        self._said_recorded = False
        self._path = path
        self._recalled = recalled

    def pytest_report_header(self) -> list[str]:
        """One line: models, device, dtype; and what is taken from earlier runs. Without secrets, as of addresses."""
        settings = self._settings
        if settings.reuse.replay:
            return [for_terminal(masked(text)) for text in self._recalled]
        models = ", ".join(settings.models or settings.default_models)
        shown = models or f"{EMBEDDED} unless a suite names another (--evals-model chooses)"
        judge = f"; judge {settings.judge}" if settings.judge else ""
        line = f"evals: {shown}{judge}; device {settings.device}, dtype {settings.dtype}"
        return [for_terminal(masked(text)) for text in (line, *self._recalled)]

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say whose answers are not going to be a model's."""
        return _recorded_lines(self._infos)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """A worker has collected, and all collect the same: the process that only hands out tests says it now."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and not self._said_recorded and self._config.get_verbosity() >= 0:
            self._said_recorded = True
            for line in _recorded_lines(self._infos):
                reporter.ensure_newline()
                reporter.write_line(line)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the score card, where there is one."""
        terminalreporter.ensure_newline()
        if self._config.getoption("setuponly", False) and "skipped" in terminalreporter.stats:
            terminalreporter.write_line(
                "--setup-only asks no model: a case is skipped where its set-up needs an answer; --setup-plan shows all of it"
            )
        write_card(self._config, terminalreporter._tw)  # noqa: SLF001 - pytest has no public name for it

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Print the score card where a plugin put a terminal of its own in the place of pytest's, which would ask for it."""
        manager = self._config.pluginmanager
        if not (manager.has_plugin("terminalreporter") or manager.is_blocked("terminal")):
            write_card(self._config, create_terminal_writer(self._config))


def write_card(config: pytest.Config, writer: TerminalWriter) -> None:
    """Write the score card, where there is one, with the misses that no gate judges, and what could not be counted."""
    from pytest_evals.session.plugin import CARD, UNCOUNTED

    card = config.stash.get(CARD, None)
    if card is not None:
        from pytest_evals.reports.formatting import Line
        from pytest_evals.reports.terminal import score_card_lines

        verbosity, width = config.get_verbosity(), writer.fullwidth
        unjudged = _unjudged(card, width, verbosity)
        lines = list(score_card_lines(card, width, verbosity, shown_samples(card, verbosity)))
        _write_section(writer, "misses that no gate judges", [Line(text) for text in unjudged])
        _write_section(writer, "score card", lines)
    if UNCOUNTED in config.stash:
        writer.line(for_terminal(f"evals: {config.stash[UNCOUNTED]}"), red=True)


def _write_section(writer: TerminalWriter, title: str, lines: Sequence[Line]) -> None:
    if lines:
        writer.sep("=", title)
        for line in lines:
            writer.line(line.text, **line.markup)


def _unjudged(card: ScoreCard, width: int, verbosity: int) -> list[str]:
    """Return misses of a run that is too small, or was cut too short, for its gates: nothing else says whether they matter."""
    if verbosity < 0 or not (card.ledger.missed and card.ledger.not_run):
        return []
    unjudged = {gate.suite for gate in card.gates if gate.verdict == "not judged"}
    from pytest_evals.reports.cases import missed_lines

    return missed_lines((sample for sample in _samples(card) if sample["suite"] in unjudged), width) if unjudged else []


def shown_samples(card: ScoreCard, verbosity: int) -> list[ParsedLine]:
    """Return the cases whose answers are shown: all of them with ``-v``, and the only one that ran."""
    if verbosity > 0 or (verbosity == 0 and len(card.records) == 1 and not card.ledger.missed):
        return _samples(card)
    return []


def _samples(card: ScoreCard) -> list[ParsedLine]:
    from pytest_evals.artifacts.reader import ArtifactReader

    try:
        return list(ArtifactReader(card.artifact).samples()) if card.artifact else []
    except EvalsError:
        # It could not be written, and the score card says so.
        return []


def _recorded_lines(infos: Mapping[str, SuiteManifest]) -> list[str]:
    found = []
    for info in infos.values():
        recorded = sum(item.model == RECORDED for item in info.items.values())
        if info.recorded_beside and recorded:
            found.append(recorded_note(info, recorded, len(info.items)))
    return found


class EqualErrors:
    """Has errors that say the same of many cases shown once. Counts, JUnit and all other reports have every error."""

    def __init__(self, infos: Mapping[str, SuiteManifest]) -> None:
        self._infos = infos

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Any:
        """Let pytest show one error of each kind; its last line counts all of them."""
        stats = terminalreporter.stats
        whole = {name: stats[name] for name in ("error", "failed") if stats.get(name)}
        if not whole:
            return (yield)
        from pytest_evals.session.equal_errors import folded

        cases = {nodeid for info in self._infos.values() for nodeid in info.items}
        stats.update({name: folded(reports, cases) for name, reports in whole.items()})
        try:
            return (yield)
        finally:
            stats.update(whole)


class PlanPrinter:
    """Runs nothing and prints the plan."""

    def __init__(self, settings: Settings, infos: Mapping[str, SuiteManifest], recalled: ReuseContext) -> None:
        self._settings = settings
        self._infos = infos
        self._recalled = recalled

    def pytest_report_header(self) -> list[str]:
        """Say what would be taken from earlier runs."""
        return [for_terminal(masked(text)) for text in self._recalled.header()]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Any:
        """Print instead of running; errors of collection are left to pytest."""
        if session.testsfailed:
            return None
        from pytest_evals.reports.plan import plan_lines

        selected = {item.nodeid for item in session.items}
        cases = sum(nodeid in selected for info in self._infos.values() for nodeid in info.items)
        requests = [request for asked in requests_of(session.items, self._settings.seed).values() for request in asked]
        try:
            plan = make_plan(
                self._infos, requests, cases, self._settings, self._recalled.memory, encodings(session.items)
            )
        except EvalsError as error:
            raise pytest.UsageError(for_terminal(str(error))) from error
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.section("eval plan")
            for line in (*plan_lines(plan), *_recorded_lines(self._infos)):
                reporter.write_line(for_terminal(line))
        return True

    def pytest_unconfigure(self) -> None:
        """Let go of files."""
        self._recalled.close()


class PytestScreen:
    """Shows news through pytest's own terminal. Quiet under ``-q``; ``live`` is never true in a log or a pipe.

    A status is on the line below what pytest printed last. When it goes, the cursor goes back to where it was, so that pytest goes on in
    its line, and knows nothing of it.
    """

    def __init__(self, config: pytest.Config, *, live: bool = True) -> None:
        self._config = config
        self._allowed = live
        self._shown = False
        self._column = 0

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
        writer = reporter._tw  # noqa: SLF001 - as above
        # Back to the first column, and everything right of it away.
        written = f"\r\x1b[2K{text[: writer.fullwidth - 1]}"
        if not self._shown:
            column = writer.width_of_current_line
            self._column = column % writer.fullwidth
            if column and not self._column:
                # The cursor is neither in this line nor in the next one.
                reporter.ensure_newline()
            written = f"\n{written}" if self._column else written
        if not text and self._column:
            written += f"\x1b[A\x1b[{self._column}C"
        with self._uncaptured():
            _write_raw(writer, written)
        self._shown = bool(text)

    def _uncaptured(self) -> AbstractContextManager[None]:
        """A test that waits for a call of its own has its output captured, and this is none of it."""
        manager: Any = self._config.pluginmanager.get_plugin("capturemanager")
        return nullcontext() if manager is None else manager.global_and_fixture_disabled()


def _write_raw(writer: Any, text: str) -> None:
    """Write to a terminal what its writer is not to know of: it counts the columns of what it has written itself."""
    file = writer._file  # noqa: SLF001 - as above
    encoding = getattr(file, "encoding", None) or "utf-8"
    file.write(text.encode(encoding, "backslashreplace").decode(encoding))
    file.flush()


# -- News for a person who waits: what the engines are doing.
#
# On a terminal one line is kept up to date below what pytest printed last. Elsewhere (a log, a pipe) only whole lines are
# written: what happens to the engines, and how far generation is, at growing intervals.

LIVE_SECONDS = 0.5
LINE_SECONDS = 15.0
"""Until the first line in a log; from line to line it takes twice as long, up to `MOST_LINE_SECONDS`."""
MOST_LINE_SECONDS = 600.0


class Screen(Protocol):
    """Where news are shown."""

    @property
    def live(self) -> bool:
        """Tell whether a line can be overwritten."""
        ...

    def line(self, text: str) -> None:
        """Write a whole line."""
        ...

    def status(self, text: str) -> None:
        """Show ``text`` in the place of the last status; an empty one takes it away."""
        ...


class ProgressLine:
    """Tells the pool's notes as they come, and how far generation is."""

    def __init__(self, pool: EnginePool, screen: Screen) -> None:
        self._pool = pool
        self._screen = screen
        self._told = time.monotonic()
        self._pause = LINE_SECONDS

    def tick(self) -> None:
        """Tell what is new, if anything is."""
        while self._pool.notes:
            self._screen.status("")
            # A note may quote what a process printed.
            self._screen.line(for_terminal(f"evals: {self._pool.notes.popleft()}"))
            self._told = time.monotonic() - LIVE_SECONDS
        now = time.monotonic()
        if now - self._told < (LIVE_SECONDS if self._screen.live else self._pause):
            return
        self._told = now
        from pytest_evals.session.progress import progress_texts

        busy = progress_texts(self._pool.all_replicas(), now)
        if not busy:
            return
        if not self._screen.live:
            self._pause = min(2 * self._pause, MOST_LINE_SECONDS)
        tell = self._screen.status if self._screen.live else self._screen.line
        tell(f"evals: {'; '.join(busy)}")

    def rest(self) -> None:
        """Take the status away: other code is going to print."""
        self._screen.status("")
