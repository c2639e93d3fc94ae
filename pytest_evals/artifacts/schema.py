"""The lines of an artifact as pydantic models, and their JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.grades import Grade


class _Line(BaseModel):
    # A later version of the same schema may add fields; reading and saving keeps them.
    model_config = ConfigDict(extra="allow")


class MessageRecord(_Line):
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

    thread: list[MessageRecord]
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
    messages: list[MessageRecord]
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


class RunRecord(_Line):
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


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an artifact's line: any of run, sample and summary."""
    schema: dict[str, Any] = TypeAdapter(RunRecord | EvalSample | Summary).json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-evals artifact line, schema {SCHEMA}",
        **schema,
    }
