"""A name or a path -> the run that it means, ready to be compared: from an artifact or from a baseline's file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.locating import baseline_path, locate
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import to_record
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.baselines.comparison import Comparison
from pytest_evals.baselines.file import BaselineReader, case_line, is_baseline, write_baseline
from pytest_evals.errors import ArtifactError
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score
from pytest_evals.text import pluralize


@dataclass(frozen=True, slots=True)
class Baseline:
    """A run that others are compared with.

    ``runs`` are the first lines of the runs it came from (of an artifact, one; a baseline's file has them shortened);
    ``partial`` says in words why it does not have every case of its suites, if it does not.
    """

    path: Path | str
    records: tuple[CaseRecord, ...]
    runs: tuple[Mapping[str, Any], ...]
    partial: str | None
    reader: ArtifactReader | BaselineReader = field(repr=False, compare=False)

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the samples again, for their texts, which a baseline's file may not have."""
        return self.reader.samples()


def load_baseline(written: str | Path, here: Path | None = None, artifacts: Path | None = None) -> Baseline:
    """Return the run that ``written`` means, seen from ``here``, with its artifacts in ``artifacts``: see
    `pytest_evals.artifacts.locating.locate`.

    Raises `ArtifactError` when there is none, or when it cannot be read.
    """
    path = locate(written, here, artifacts)
    if isinstance(path, Path) and is_baseline(path):
        stored = BaselineReader(path)
        return Baseline(path, tuple(map(to_record, stored.samples())), stored.runs, None, stored)
    reader = ArtifactReader(path)
    return Baseline(path, tuple(map(to_record, reader.samples())), (reader.run,), partial(reader), reader)


def partial(artifact: ArtifactReader) -> str | None:
    """Say why an artifact does not have every case of its suites; `None` if it has."""
    if artifact.summary is None:
        return "the run did not end: it was killed, or still goes on"
    if not artifact.complete:
        return f"the run was interrupted ({artifact.summary['interruption'] or 'no reason is recorded'})"
    limit = artifact.run["options"].get("limit")
    if limit is not None:
        return f"the run took at most {pluralize(limit, 'row')} of each dataset (--evals-limit)"
    missing = artifact.summary["ledger"].get("not_run", 0)
    return f"{missing} of {artifact.summary['ledger'].get('collected')} cases did not run" if missing else None


def baseline_notes(baseline: Baseline, compared: Comparison, *, whole: bool) -> list[str]:
    """Say what a run was compared with and what was not compared; of part of a run, not what it left out itself."""
    found = compared if whole else replace(compared, joined=replace(compared.joined, gone=()))
    return [f"baseline: {baseline.path}" + (f" ({baseline.partial})" if baseline.partial else ""), *found.notes()]


# -- Sets a named baseline from a run. What only part of a run says never replaces what a whole one said.

_RUN = ("run_id", "started", "plugin", "git", "models", "judge", "seed", "options", "suites")
RunKey = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Setting:
    """What was set. ``kept`` are suites that stay as they were, ``gone`` counts cases that the baseline no longer has."""

    path: Path
    scores: tuple[Score, ...]
    cases: int
    errored: int
    kept: tuple[str, ...]
    gone: int


def set_baseline(
    name: str, artifact: ArtifactReader, folder: Path, *, texts: bool, allow_partial: bool, replace: bool
) -> Setting:
    """Set the baseline ``name`` in ``folder``.

    The suites of the run take the place of those that the baseline has; other suites stay, unless ``replace``. A run
    that does not have every case of its suites is refused with an `ArtifactError`; with ``allow_partial``, its cases are
    put in and no case is dropped.
    """
    path = baseline_path(name, folder)
    why = partial(artifact)
    if why and (replace or not allow_partial):
        hint = "--allow-partial puts its cases in and leaves all others" if not allow_partial else "not with --replace"
        raise ArtifactError(f"{artifact.path} cannot be a baseline: {why}; {hint}")
    # Everything is read twice rather than kept: there may be very many cases.
    new = {key_of(sample): sample["outcome"] == "errored" for sample in artifact.samples()}
    if not new:
        raise ArtifactError(f"{artifact.path} cannot be a baseline: it holds no case")
    stored = BaselineReader(path) if path.exists() and not replace else None
    old = {key_of(line) for line in stored.cases()} if stored else set()
    suites = {suite for suite, *_ in new}
    if why:
        _check_models(artifact, old, new)
    kept = {key for key in old if (key not in new if why else key[0] not in suites)}
    stay = (line for line in (stored.cases() if stored else ()) if key_of(line) in kept)
    come = (case_line(sample, texts=texts) for sample in artifact.samples())
    runs = [_part(run, {suite for suite, *_ in kept}) for run in (stored.runs if stored else ())]
    header = [_short(artifact.run), *(run for run in runs if run["suites"])]
    return Setting(
        path=path,
        scores=tuple(write_baseline(path, name, header, itertools.chain(stay, come))),
        cases=len(kept) + len(new),
        errored=sum(new.values()),
        kept=tuple(sorted({suite for suite, *_ in kept} - suites)),
        gone=len(old - kept - new.keys()),
    )


def _check_models(artifact: ArtifactReader, old: Iterable[RunKey], new: Iterable[RunKey]) -> None:
    """Refuse to put some cases of one model among those of another."""
    known = {(suite, model) for suite, model, *_ in old}
    for suite, model, *_ in new:
        others = [each for of, each in known if of == suite]
        if others and model not in others:
            raise ArtifactError(
                f"{artifact.path} is of model {model}, and the baseline has {suite} of {', '.join(others)}: set it from a whole run"
            )


def key_of(line: ParsedLine) -> RunKey:
    """Return what identifies a case: suite, model, case id, repeat."""
    return line["suite"], line["interaction"].get("source") or "", line["case_id"], line.get("repeat", 1)


def _short(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in _RUN if name in run}


def _part(run: Mapping[str, Any], suites: Iterable[str]) -> dict[str, Any]:
    """Return a run's entry with those of its suites that the baseline still has cases of."""
    wanted = set(suites)
    return {**run, "suites": [suite for suite in run.get("suites") or () if suite.get("name") in wanted]}
