"""Reads evaluation artifacts: what a run left behind, complete or cut off.

An artifact is JSON Lines: a ``run`` line, one ``sample`` line a finished case, and a ``summary`` line at the end. Each
line was flushed when it was written, so that after a crash all but the last one can be relied on.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_evals.artifacts.reading import ArtifactReader
from pytest_evals.artifacts.recorder import SCHEMA, replacing
from pytest_evals.artifacts.sample import dump, to_record
from pytest_evals.errors import ArtifactError
from pytest_evals.grades import Grade
from pytest_evals.plain import encodable
from pytest_evals.scores.scoring import compute_scores

if TYPE_CHECKING:
    import pandas


class _Line(BaseModel):
    # A later version of the same schema may add fields; reading and saving keeps them.
    model_config = ConfigDict(extra="allow")


class Message(_Line):
    """One turn of a conversation."""

    role: str
    content: Any


class OriginRecord(_Line):
    """Where an answer comes from: see `pytest_evals.completion.Origin`."""

    key: str
    source: str | None = None
    drift: str | None = None


class CompletionRecord(_Line):
    """A completion as the artifact has it. Token counts are without padding; ``latency`` is seconds."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: list[float] | None = None
    latency: float | None = None
    origin: OriginRecord | None = None


class EvalSampleInteraction(_Line):
    """The conversation of a sample, and the model it came from. ``metadata`` holds the fields of the row."""

    thread: list[Message]
    source: str | None
    completion: CompletionRecord | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SampleError(_Line):
    """Why a case errored: ``kind`` is model, engine, unsupported, replay, task, grader, setup, test, teardown or crash."""

    kind: str
    message: str


class LikelihoodRecord(_Line):
    """How likely a text is: see `pytest_evals.completion.Likelihood`."""

    text: str
    logprob: float
    tokens: int
    bytes: int
    greedy: bool = False


class CallRecord(_Line):
    """A call of a model that a task, a grader or the test made: ``by`` names it (``test`` for the test). There is a ``text``,
    or ``likelihoods``, or an ``error``, or none of them if nobody waited for it. Without ``messages`` the prompt was the case's.
    """

    by: str
    handle: str
    model: str
    messages: list[Message]
    text: str | None = None
    finish_reason: str | None = None
    likelihoods: list[LikelihoodRecord] | None = None
    error: SampleError | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency: float | None = None
    origin: OriginRecord | None = None


class LocationRecord(_Line):
    """A line of a file, its path seen from pytest's root folder."""

    path: str
    line: int


class EvalSample(_Line):
    """One finished case."""

    type: Literal["sample"] = "sample"
    id: str
    nodeid: str
    suite: str
    case_id: str
    repeat: int = 1
    cluster: str | None = None
    label: dict[str, float] = Field(default_factory=dict)
    dataset_key: str
    location: LocationRecord | None = None
    """Where the row stands in a file of text, else where the suite does."""
    interaction: EvalSampleInteraction
    tasks: dict[str, Any] = Field(default_factory=dict)
    calls: list[CallRecord] = Field(default_factory=list)
    grades: list[Grade] = Field(default_factory=list)
    outcome: Literal["passed", "missed", "failed", "errored", "skipped"]
    error: SampleError | None = None
    timing: dict[str, float] = Field(default_factory=dict)
    fingerprint: str | None = None
    content: dict[str, str] = Field(default_factory=dict)


class SuiteEntry(_Line):
    """A suite of the run: its dataset, and how many cases of it were taken."""

    name: str
    dataset_key: str
    dataset_hash: str
    n: int


class Run(_Line):
    """The first line: what ran, with what, where."""

    type: Literal["run"] = "run"
    schema_version: int = Field(alias="schema")
    run_id: str
    started: str
    command: list[str]
    pytest: str
    plugin: str
    python: str
    packages: dict[str, str]
    platform: str
    device: str | None
    git: dict[str, Any] | None
    models: list[dict[str, Any]]
    judge: Any
    seed: int
    options: dict[str, Any]
    suites: list[SuiteEntry]
    reused: dict[str, Any] | None = None


class Summary(_Line):
    """The last line. Absent from an artifact whose run was killed."""

    type: Literal["summary"] = "summary"
    complete: bool
    interruption: str | None
    scores: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    ledger: dict[str, int]
    throughput: dict[str, Any]
    calibrations: list[dict[str, Any]] = Field(default_factory=list)
    agreements: list[dict[str, Any]] | None = None
    """How far those who answered the same question agree; `None` where an older version wrote the artifact."""
    baseline: dict[str, Any] | None = None
    """What the run was compared with, and what its scores did since."""


class EvaluationArtifact(BaseModel):
    """A run as it was recorded.

    ``complete`` tells whether the run came to its end: it is false for one that was interrupted or killed.
    """

    run: Run
    samples: list[EvalSample] = Field(default_factory=list)
    summary: Summary | None = None

    @property
    def complete(self) -> bool:
        """Tell whether the run came to its end."""
        return self.summary is not None and self.summary.complete

    @classmethod
    def load(cls, path: str | Path) -> EvaluationArtifact:
        """Read an artifact. A last line that was cut off by a crash is left out. Of a case that was run again, the last
        attempt counts.

        Raises `ArtifactError` for a file that is no artifact, a newer schema, and a damaged line that is not the last.
        """
        reader = ArtifactReader(path)
        samples = [EvalSample.model_validate(line) for line in reader.samples()]
        summary = Summary.model_validate(reader.summary) if reader.summary else None
        return cls(run=Run.model_validate(reader.run), samples=samples, summary=summary)

    @staticmethod
    def iter_samples(path: str | Path) -> Iterator[EvalSample]:
        """Yield the samples of an artifact one by one, for files that are too large to `load`. Raises as `load` does."""
        for line in ArtifactReader(path).samples():
            yield EvalSample.model_validate(line)

    def save(self, path: str | Path) -> None:
        """Write the artifact; what `load` reads from it is equal to this one."""
        lines = itertools.chain([self.run], self.samples, [self.summary] if self.summary else [])
        with replacing(Path(path)) as file:
            file.writelines(f"{dump(line.model_dump(by_alias=True))}\n" for line in lines)

    def scores(self) -> list[dict[str, Any]]:
        """Return one row a suite, model and grader.

        Each has ``suite, model, grader, n, mean, stderr, pass_rate``, and ``cases, ci_low, ci_high, interval, bounds, min, max, median,
        p05, p95, repeats, pass_at_k, pass_hat_k, min_case, coverage, corpus, errors, not_applicable, pending``.
        """
        records = [to_record(sample.model_dump()) for sample in self.samples]
        return [score.to_row() for score in compute_scores(records)]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with one line a sample and grade (needs pandas: the extra ``pandas``)."""
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


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an artifact's line: any of run, sample and summary."""
    from pydantic import TypeAdapter

    schema: dict[str, Any] = TypeAdapter(Run | EvalSample | Summary).json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-evals artifact line, schema {SCHEMA}",
        **schema,
    }
