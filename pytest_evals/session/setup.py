"""What a session must have before anything is collected: places to write to, the baseline, the answers from before."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_evals.artifacts.journal import Journal, journal_path
from pytest_evals.artifacts.locating import none_yet
from pytest_evals.artifacts.writer import check_writable, make_folder
from pytest_evals.errors import EvalsError
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest, place_of, under_test

if TYPE_CHECKING:
    from pytest_evals.baselines.loading import Baseline
    from pytest_evals.reuse.setup import ReuseContext


def claim_artifact(settings: Settings) -> tuple[Path, Journal]:
    """Return where the artifact goes, and its journal: from now on no other run writes there. Raises `pytest.UsageError` when it
    cannot be written there, or another run does.
    """
    try:
        if settings.artifact is None:
            make_folder(settings.folder)
        path = settings.artifact or _new_path(settings.folder)
        check_writable(path)
        return path, Journal(path)
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error


def _new_path(folder: Path) -> Path:
    while True:
        name = f"{datetime.datetime.now().astimezone():%Y-%m-%dT%H-%M-%S}-{secrets.token_hex(2)}.jsonl"
        if not (folder / name).exists() and not journal_path(folder / name).exists():
            return folder / name


def check_outputs(settings: Settings, artifact: Path) -> None:
    """Find out before any model loads whether what was asked for beside the artifact can be written."""
    taken = {artifact.resolve(): "the artifact"}
    try:
        for option, path in (
            ("--evals-html", settings.html),
            ("--evals-summary", settings.summary),
            ("--evals-codequality", settings.codequality),
        ):
            if path is None:
                continue
            check_writable(path, f"{option}: the file")
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise pytest.UsageError(f"{option}: {path} is where {other} goes already")
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error


def read_baseline(settings: Settings, here: Path) -> Baseline | None:
    """Return the run to compare with; `None` also of a name where no baseline has been set yet. Raises `pytest.UsageError` when
    there is none of this name among others, no such file, or it cannot be read.
    """
    if settings.baseline is None or none_yet(settings.baseline, here, settings.folder):
        return None
    from pytest_evals.baselines.loading import load_baseline

    try:
        return load_baseline(settings.baseline, here, settings.folder)
    except EvalsError as error:
        raise pytest.UsageError(f"--evals-baseline: {error}") from error


def recollection(settings: Settings, infos: dict[str, SuiteManifest]) -> ReuseContext:
    """Return the answers that are known from before. Raises `pytest.UsageError` when they cannot be read."""
    from pytest_evals.reuse.setup import open_recollection

    try:
        return open_recollection(
            settings.reuse,
            settings.root,
            lambda nodeid: place_of(infos, nodeid),
            replaced=lambda model: under_test(infos, model, settings.judge_name),
            exact=settings.exact,
        )
    except EvalsError as error:
        raise pytest.UsageError(str(error)) from error


def warm_lines(settings: Settings) -> list[str]:
    """Return what the header says of engines that stay when the run has ended."""
    if settings.warm:
        return [f"evals: models stay loaded until no run has used them for {settings.warm:g} s (pytest-evals engines)"]
    return ["evals: models do not stay loaded, since this is CI (--evals-warm)"] if settings.warm_refused else []


# -- What is written at the end beside the artifact.


@dataclass(frozen=True, slots=True)
class RequestedOutputs:
    """What to write. ``step_summary`` is GitHub's file, ``annotate`` whether its workflow commands are read and wanted; with
    ``failures_annotated`` a plugin annotates every test and gate that fails, and only the others are left. A ``summary_size`` other
    than 0 makes the summary a message of at most that many characters.
    """

    html: Path | None = None
    summary: Path | None = None
    codequality: Path | None = None
    step_summary: Path | None = None
    annotate: bool = False
    failures_annotated: bool = False
    summary_size: int = 0

    def __bool__(self) -> bool:
        return bool(self.html or self.needs_cases)

    @property
    def needs_cases(self) -> bool:
        """Tell whether something of it is about single cases, beside the report."""
        return bool(self.summary or self.codequality or self.step_summary or self.annotate)


ANNOTATOR = "github_actions_annotate_failures"


def requested_outputs(
    settings: Settings, environment: Mapping[str, str], plugins: Iterable[str] = ()
) -> RequestedOutputs:
    """Return what the options and GitHub's environment ask for, beside the ``plugins`` of these names."""
    annotated = any(ANNOTATOR in name.replace("-", "_") for name in plugins)
    step = environment.get("GITHUB_STEP_SUMMARY")
    return RequestedOutputs(
        settings.html,
        settings.summary,
        settings.codequality,
        Path(step) if step else None,
        environment.get("GITHUB_ACTIONS") == "true" and settings.annotations != "off",
        annotated and settings.annotations == "auto",
        settings.summary_size,
    )
