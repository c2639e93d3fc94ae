"""Reads evaluation artifacts: what a run left behind, complete or cut off.

An artifact is JSON Lines: a ``run`` line, one ``sample`` line a finished case, and a ``summary`` line at the end. Each
line was flushed when it was written, so that after a crash all but the last one can be relied on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_evals.errors import ArtifactError
from pytest_evals.grades import Grade
from pytest_evals.sample import dump, to_record
from pytest_evals.scores import compute_scores

if TYPE_CHECKING:
    import pandas

SCHEMA = 1
"""The version that this package writes, and the newest that it reads."""


class _Line(BaseModel):
    # A later version of the same schema may add fields; reading and saving keeps them.
    model_config = ConfigDict(extra="allow")


class Message(_Line):
    """One turn of a conversation."""

    role: str
    content: Any


class CompletionRecord(_Line):
    """A completion as the artifact has it. Token counts are without padding; ``latency`` is seconds."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: list[float] | None = None
    latency: float | None = None


class EvalSampleInteraction(_Line):
    """The conversation of a sample, and the model it came from. ``metadata`` holds the fields of the row."""

    thread: list[Message]
    source: str | None
    completion: CompletionRecord | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SampleError(_Line):
    """Why a case errored: ``kind`` is model, engine, unsupported, grader, setup, test, teardown or crash."""

    kind: str
    message: str


class EvalSample(_Line):
    """One finished case."""

    type: Literal["sample"] = "sample"
    id: str
    nodeid: str
    suite: str
    case_id: str
    repeat: int = 1
    cluster: str | None = None
    dataset_key: str
    interaction: EvalSampleInteraction
    tasks: dict[str, Any] = Field(default_factory=dict)
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


class Summary(_Line):
    """The last line. Absent from an artifact whose run was killed."""

    type: Literal["summary"] = "summary"
    complete: bool
    interruption: str | None
    scores: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    ledger: dict[str, int]
    throughput: dict[str, Any]


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
        path = Path(path)
        run: Run | None = None
        samples: dict[str, EvalSample] = {}
        summary: Summary | None = None
        for number, data in _lines(path):
            where = f"{path}:{number}"
            try:
                if run is None:
                    run = _run(data, where)
                elif data.get("type") == "sample":
                    sample = EvalSample.model_validate(data)
                    samples[sample.nodeid] = sample
                elif data.get("type") == "summary":
                    summary = Summary.model_validate(data)
                else:
                    raise ArtifactError(f"{where}: a line of the unknown type {data.get('type')!r}")
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise ArtifactError(f"{where}: not a valid {data.get('type')} line: {place}: {first['msg']}") from error
        if run is None:
            raise ArtifactError(f"{path} is empty: it is no artifact of pytest --evals")
        return cls(run=run, samples=list(samples.values()), summary=summary)

    def save(self, path: str | Path) -> None:
        """Write the artifact; what `load` reads from it is equal to this one."""
        lines: list[BaseModel] = [self.run, *self.samples, *([self.summary] if self.summary else [])]
        text = "".join(f"{dump(line.model_dump(by_alias=True))}\n" for line in lines)
        Path(path).write_text(text, encoding="utf-8", newline="\n")

    def scores(self) -> list[dict[str, Any]]:
        """Return one row a suite, model and grader.

        Each has ``suite, model, grader, n, mean, stderr, pass_rate``, and ``min, max, median, coverage, corpus,
        errors, not_applicable, pending``.
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


def _lines(path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"artifact {path} cannot be read: {error.strerror or error}") from error
    pieces = raw.split(b"\n")
    lines: list[tuple[int, Mapping[str, Any]]] = []
    for number, piece in enumerate(pieces, start=1):
        if not piece.strip():
            continue
        try:
            data = json.loads(piece)
        except (ValueError, RecursionError) as error:
            if number == len(pieces) and lines:
                # No newline after it: the run was killed while it wrote this line.
                break
            raise ArtifactError(
                f"{path}:{number}: not valid JSON, so this is no artifact, or it was damaged: {error}"
            ) from error
        if not isinstance(data, dict):
            raise ArtifactError(f"{path}:{number}: an artifact's lines are objects, this one is {type(data).__name__}")
        lines.append((number, data))
    return lines


def _run(data: Mapping[str, Any], where: str) -> Run:
    if data.get("type") != "run" or not isinstance(data.get("schema"), int):
        raise ArtifactError(f"{where}: this is no artifact of pytest --evals: its first line is no 'run' line")
    if data["schema"] > SCHEMA:
        raise ArtifactError(
            f"{where}: written with schema {data['schema']} by pytest-evals-hf {data.get('plugin')}, newer than schema {SCHEMA} which this "
            "version reads; upgrade pytest-evals-hf"
        )
    return Run.model_validate(data)


def _flat(sample: EvalSample) -> list[dict[str, Any]]:
    common = {
        "suite": sample.suite,
        "case_id": sample.case_id,
        "model": sample.interaction.source,
        "repeat": sample.repeat,
        "outcome": sample.outcome,
        "completion": _encodable(sample.interaction.completion.text) if sample.interaction.completion else None,
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


def _encodable(text: str) -> str:
    """Escape lone surrogates, which the strings of a frame cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an artifact's line: any of run, sample and summary."""
    from pydantic import TypeAdapter

    schema: dict[str, Any] = TypeAdapter(Run | EvalSample | Summary).json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-evals artifact line, schema {SCHEMA}",
        **schema,
    }
