"""A name or a path -> the run that it means, ready to be compared: from an artifact or from a baseline's file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.linecheck import Line
from pytest_evals.artifacts.locating import locate
from pytest_evals.artifacts.reading import ArtifactReader
from pytest_evals.artifacts.sample import to_record
from pytest_evals.baseline.comparison import Comparison
from pytest_evals.baseline.files import BaselineReader, is_baseline
from pytest_evals.scores.records import CaseRecord
from pytest_evals.wording import counted


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

    def samples(self) -> Iterator[Line]:
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
        return f"the run took at most {counted(limit, 'row')} of each dataset (--evals-limit)"
    missing = artifact.summary["ledger"].get("not_run", 0)
    return f"{missing} of {artifact.summary['ledger'].get('collected')} cases did not run" if missing else None


def baseline_notes(baseline: Baseline, compared: Comparison, *, whole: bool) -> list[str]:
    """Say what a run was compared with and what was not compared; of part of a run, not what it left out itself."""
    found = compared if whole else replace(compared, joined=replace(compared.joined, gone=()))
    return [f"baseline: {baseline.path}" + (f" ({baseline.partial})" if baseline.partial else ""), *found.notes()]
