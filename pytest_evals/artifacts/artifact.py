"""Reads evaluation artifacts: what a run left behind, complete or cut off.

An artifact is JSON Lines: a ``run`` line, one ``sample`` line a finished case, an ``answer`` line for each answer that is in no
sample, and a ``summary`` line at the end. Each line was flushed when it was written, so that after a crash all but the last one can
be relied on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import dump, to_record
from pytest_evals.artifacts.schema import AnswerRecord, EvalSample, RunRecord, Summary
from pytest_evals.artifacts.writer import replacing
from pytest_evals.errors import ArtifactError
from pytest_evals.scores.score import compute_scores
from pytest_evals.text import encodable

if TYPE_CHECKING:
    import pandas


class EvaluationArtifact(BaseModel):
    """A recorded run.

    Attributes:
        run: The first line: what ran, with which versions and models.
        samples: The finished cases.
        answers: Models' answers for cases that did not finish.
        summary: The last line: scores, gates, ledger; `None` if the run was killed.
    """

    run: RunRecord
    samples: list[EvalSample] = Field(default_factory=list)
    answers: list[AnswerRecord] = Field(default_factory=list)
    summary: Summary | None = None

    @property
    def complete(self) -> bool:
        """Whether the run reached its end: false if it was interrupted or killed."""
        return self.summary is not None and self.summary.complete

    @classmethod
    def load(cls, path: str | Path) -> EvaluationArtifact:
        """Read an artifact, also compressed with gzip.

        A last line that was cut off by a crash is left out. If a case was run again, the last attempt counts.

        Raises:
            ArtifactError: The file is not an artifact, has a newer schema, or has a damaged line before the last.
        """
        reader = ArtifactReader(path)
        samples = [EvalSample.model_validate(line) for line in reader.samples()]
        answers = [AnswerRecord.model_validate(line) for line in reader.answers()]
        summary = Summary.model_validate(reader.summary) if reader.summary else None
        return cls(run=RunRecord.model_validate(reader.run), samples=samples, answers=answers, summary=summary)

    @staticmethod
    def iter_samples(path: str | Path) -> Iterator[EvalSample]:
        """Yield the samples of an artifact one by one, for files that are too large to `load`. Raises as `load` does."""
        for line in ArtifactReader(path).samples():
            yield EvalSample.model_validate(line)

    def save(self, path: str | Path) -> None:
        """Write the artifact. `load` reads an equal one from the file."""
        lines = itertools.chain([self.run], self.samples, self.answers, [self.summary] if self.summary else [])
        with replacing(Path(path), owner_only=True) as file:
            file.writelines(f"{dump(line.model_dump(by_alias=True))}\n" for line in lines)

    def scores(self) -> list[dict[str, Any]]:
        """Return one row per suite, model and grader, computed from the samples.

        The keys are ``suite, model, grader, n, cases, mean, stderr, ci_low, ci_high, interval, bounds, pass_rate, min, max, median, p05, p95,
        repeats, pass_at_k, pass_hat_k, min_case, coverage, corpus, errors, not_applicable, pending``.
        """
        records = [to_record(sample.model_dump()) for sample in self.samples]
        return [score.to_row() for score in compute_scores(records)]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with one row per sample and grade. Needs the extra ``pandas``."""
        try:
            import pandas
        except ImportError as error:
            raise ArtifactError("to_pandas needs pandas: pip install 'pytest-evals-hf[pandas]'") from error
        return pandas.DataFrame([row for sample in self.samples for row in _flat(sample)])


def _flat(sample: EvalSample) -> list[dict[str, Any]]:
    common = {
        "suite": sample.suite,
        "case_id": sample.case_id,
        "model": sample.interaction.source,
        "repeat": sample.repeat,
        "outcome": sample.outcome,
        "completion": encodable(sample.interaction.completion.text) if sample.interaction.completion else None,
        "error": sample.error.message if sample.error else None,
    }
    grades: list[dict[str, Any]] = [
        {
            "grader": grade.grader_key,
            "value": grade.value,
            "passed": grade.passed,
            "status": grade.status,
            "reasoning": grade.reasoning,
        }
        for grade in sample.grades
    ]
    return [
        {**common, **grade}
        for grade in grades or [{"grader": None, "value": None, "passed": None, "status": None, "reasoning": None}]
    ]
