"""What a run writes for people and CI beside its artifact: the report page, a summary in Markdown, GitHub's own two, and
GitLab's code quality report.

By the process that owns the session, once everything is recorded. A file that cannot be written fails the run and costs
nothing else: the artifact is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_evals.collection.location import Location, seen_from
from pytest_evals.errors import ArtifactError, EvalsError
from pytest_evals.media.parts import shown_text
from pytest_evals.reports.ci import Finding, code_quality, findings, workflow_commands
from pytest_evals.reports.markdown import STEP_LIMIT, Excerpt, summary_markdown
from pytest_evals.scorecard import ScoreCard
from pytest_evals.session.output_filter import write_commands
from pytest_evals.session.plugin import ARTIFACT, CARD
from pytest_evals.session.setup import RequestedOutputs
from pytest_evals.sinks import for_terminal
from pytest_evals.suites.manifest import SuiteManifest

if TYPE_CHECKING:
    from pytest_evals.baselines.loading import Baseline

FILE_LIMIT = 64 * 1024 * 1024
"""Far more than anyone reads; the limit only keeps a run of millions of misses from filling a disk."""


def checkout(root: Path, environment: Mapping[str, str]) -> Path:
    """Return the folder from which a forge sees paths: what its runner says, else the repository around ``root``."""
    named = [Path(value) for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR") if (value := environment.get(name))]
    repository = [folder for folder in (root, *root.parents) if (folder / ".git").exists()]
    return next((folder for folder in (*named, *repository) if root.is_relative_to(folder)), root)


class Outputs:
    """Hooks that write at the end of the session, and say where."""

    def __init__(
        self,
        config: pytest.Config,
        infos: Mapping[str, SuiteManifest],
        artifact: Path,
        asked: RequestedOutputs,
        baseline: Baseline | None = None,
    ) -> None:
        self._config = config
        self._infos = infos
        self._artifact = artifact
        self._asked = asked
        self._baseline = baseline
        self._checkout = checkout(config.rootpath, os.environ)
        self._lines: list[tuple[str, dict[str, bool]]] = []
        self._commands: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write everything that was asked for."""
        card = self._config.stash.get(CARD, None)
        if card is None:
            return
        asked = self._asked
        self._artifact = self._config.stash.get(ARTIFACT, self._artifact)
        excerpts = self._excerpts() if asked.needs_cases else []
        suites = {name: self._suite_location(info) for name, info in self._infos.items()}
        found = findings(card, excerpts, suites)
        if asked.html:
            self._try(session, asked.html, "report", self._write_page)
        if asked.summary:
            self._try(session, asked.summary, "summary", lambda path: self._write_summary(path, card, excerpts))
        if asked.codequality:
            self._try(session, asked.codequality, "code quality", lambda path: _write_quality(path, found))
        if asked.step_summary:
            self._try(session, asked.step_summary, "", lambda path: _append_summary(path, card, excerpts))
        if asked.annotate:
            # A plugin annotates what fails in the call of a test; what errors mostly does before it.
            left = [
                finding
                for finding in found
                if not (asked.failures_annotated and finding.fails and finding.verdict != "errored")
            ]
            self._commands = workflow_commands(left)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say below the score card where files are, and give GitHub its commands."""
        for line, markup in self._lines:
            terminalreporter.write_line(for_terminal(line), **markup)
        write_commands(terminalreporter, self._commands)

    def _try(self, session: pytest.Session, path: Path, label: str, write: Callable[[Path], None]) -> None:
        try:
            write(path)
        except (OSError, EvalsError) as error:
            message = f"{label or 'job summary'} not written: {error}; the artifact is whole: {self._artifact}"
            self._lines.append((message, {"red": True}))
            if session.exitstatus == pytest.ExitCode.OK:
                # A file that a later step of the job counts on.
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        if label:
            self._lines.append((f"{label}: {_display(path)}", {}))

    def _write_page(self, path: Path) -> None:
        from pytest_evals.artifacts.reader import ArtifactReader
        from pytest_evals.reports.html.report import report_page, write_text

        write_text(path, report_page(ArtifactReader(self._artifact), self._baseline, path), owner_only=True)

    def _write_summary(self, path: Path, card: ScoreCard, excerpts: list[Excerpt]) -> None:
        from pytest_evals.reports.html.report import write_text

        size = self._asked.summary_size
        if not size:
            write_text(path, [summary_markdown(card, excerpts, FILE_LIMIT)])
            return
        from pytest_evals.reports.chat import chat_summary, run_link

        write_text(path, [chat_summary(card, excerpts, size, run_link(os.environ))])

    def _excerpts(self) -> list[Excerpt]:
        """Return the cases that did not pass, from the artifact."""
        from pytest_evals.artifacts.reader import ArtifactReader

        try:
            found = [self._excerpt(sample) for sample in ArtifactReader(self._artifact).samples()]
        except ArtifactError:
            # Nothing could be written anywhere, and the score card says so.
            return []
        return [excerpt for excerpt in found if excerpt is not None]

    def _excerpt(self, sample: Mapping[str, Any]) -> Excerpt | None:
        if sample["outcome"] not in ("missed", "failed", "errored"):
            return None
        from pytest_evals.reports.cases import row_text

        info = self._infos.get(sample["suite"])
        interaction = sample["interaction"]
        asked = [message for message in interaction["thread"] if message.get("role") == "user"]
        return Excerpt(
            suite=sample["suite"],
            model=interaction["source"] or "",
            case_id=sample["case_id"],
            outcome=sample["outcome"],
            prompt=shown_text(asked[-1]) if asked else row_text(sample),
            text=_answer(interaction["completion"] or {}) or _results(sample),
            reasoning=(interaction["completion"] or {}).get("reasoning") or "",
            reason=sample_reason(sample),
            location=self._in_checkout(sample.get("location")) or (self._suite_location(info) if info else None),
            sample_id=sample["id"],
        )

    def _in_checkout(self, location: Mapping[str, Any] | None) -> Location | None:
        """Return a recorded location as a forge knows it: relative to the checkout; `None` of a file outside of it."""
        if location is None:
            return None
        path = seen_from(self._checkout, self._config.rootpath / location["path"])
        return None if path.startswith("../") or Path(path).is_absolute() else Location(path, location["line"])

    def _suite_location(self, info: SuiteManifest) -> Location:
        location = Location(info.path, info.line)
        return self._in_checkout(location._asdict()) or location


def sample_reason(sample: Mapping[str, Any]) -> str:
    """Return why a case did not pass, from its error or its grades."""
    if sample["error"]:
        return f"{sample['error']['kind']} error: {sample['error']['message']}"
    grades = [grade for grade in sample["grades"] if grade["passed"] is False or grade["status"] == "error"]
    shown = [f"{grade['grader_key']}: {grade['reasoning'] or _result(grade)}" for grade in grades]
    values = [f"{grade['grader_key']} {grade['value']:.4g}" for grade in sample["grades"] if grade["value"] is not None]
    return "; ".join(shown) or "the test's assert failed" + (f" ({', '.join(values)})" if values else "")


def _result(grade: Mapping[str, Any]) -> str:
    """Return what a grader without a reason found."""
    return str(grade["status"]) if grade["value"] is None else f"it returned {grade['value']:.4g}"


def _answer(completion: Mapping[str, Any]) -> str:
    """Return an answer with its calls of tools."""
    from pytest_evals.reports.cases import called

    text = completion.get("text", "")
    return "\n".join([*([text] if text else []), *map(called, completion.get("tool_calls") or ())])


def _results(sample: Mapping[str, Any]) -> str:
    """Return the results of the tasks of a case, which has no answer of its own."""
    from pytest_evals.reports.cases import task_texts

    return "\n".join(f"{name}: {text}" for name, text in task_texts(sample))


def _write_quality(path: Path, found: list[Finding]) -> None:
    from pytest_evals.reports.html.report import write_text

    write_text(path, [code_quality(found)])


def _append_summary(path: Path, card: ScoreCard, excerpts: list[Excerpt]) -> None:
    """Other commands of the same step may have written there before."""
    if path.is_fifo():
        raise ArtifactError(f"{path} is a pipe, in which nothing stays")
    used = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.write(summary_markdown(card, excerpts, max(STEP_LIMIT - used, 0)))


def _display(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
