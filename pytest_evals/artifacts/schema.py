"""The lines of an artifact as pydantic models, and their JSON Schema."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from pytest_evals.artifacts.writer import SCHEMA
from pytest_evals.grades import LEFT_OUT, Grade


class _Record(BaseModel):
    # A later version of the same schema may add fields; reading and saving keeps them.
    model_config = ConfigDict(extra="allow")


class MessageRecord(_Record):
    """One turn of a conversation, as OpenAI's API writes it: see `pytest_evals.completion.Message`."""

    role: str
    content: Any
    reasoning_content: Annotated[str | None, LEFT_OUT] = None
    tool_calls: Annotated[list[dict[str, Any]], LEFT_OUT] = Field(default_factory=list)
    tool_call_id: Annotated[str | None, LEFT_OUT] = None
    name: Annotated[str | None, LEFT_OUT] = None


class ToolCallRecord(_Record):
    """A function that a model called: see `pytest_evals.completion.ToolCall`."""

    name: str
    arguments: dict[str, Any]
    id: str | None = None


class AnswerParts(_Record):
    """What a model wrote beside its answer, absent where there is nothing: see `pytest_evals.completion.Completion`."""

    reasoning: Annotated[str | None, LEFT_OUT] = None
    reasoning_tokens: Annotated[int | None, LEFT_OUT] = None
    tool_calls: Annotated[list[ToolCallRecord], LEFT_OUT] = Field(default_factory=list)
    raw: Annotated[str | None, LEFT_OUT] = None
    tool_call_error: Annotated[str | None, LEFT_OUT] = None


class OriginRecord(_Record):
    """Where an answer comes from: see `pytest_evals.completion.Origin`."""

    key: str
    source: str | None = None
    drift: str | None = None


class CompletionRecord(AnswerParts):
    """A completion as the artifact has it. Token counts are without padding; ``latency`` is seconds."""

    text: str
    finish_reason: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    logprobs: list[float] | None = None
    latency: float | None = None
    cost: Annotated[float | None, LEFT_OUT] = None
    """In the unit of ``evals_prices``; left out where the model has no price."""
    origin: OriginRecord | None = None
    samples: Annotated[list[str] | list[dict[str, Any]], LEFT_OUT] = Field(default_factory=list)
    """Several completions of one request; texts in artifacts of older versions."""


class EvalSampleInteraction(_Record):
    """The conversation of a sample.

    Attributes:
        thread: Its messages, with the answer at the end.
        source: The model; ``recorded`` for a completion from the data; `None` for one from the suite's own fixture.
        completion: The answer, if there is one.
        metadata: The fields of the row, without ``messages`` and ``completion``.
    """

    thread: list[MessageRecord]
    source: str | None
    completion: CompletionRecord | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class SampleError(_Record):
    """Why a case errored: ``kind`` is model, engine, unsupported, replay, task, grader, setup, test, teardown or crash."""

    kind: str
    message: str


class LikelihoodRecord(_Record):
    """How likely a text is: see `pytest_evals.completion.Likelihood`."""

    text: str
    logprob: float
    tokens: int
    bytes: int
    greedy: bool = False


class CallRecord(AnswerParts):
    """A call of a model that a task, a grader or the test made: ``by`` names it (``test`` for the test). There is a ``text``,
    or ``likelihoods``, or ``scores`` of an encoder, or an ``error``, or none of them if no code waited for it.
    Without ``messages`` the prompt was the case's.
    """

    by: str
    handle: str
    model: str
    tools: Annotated[list[str], LEFT_OUT] = Field(default_factory=list)
    """Names of the tools that were offered."""
    messages: list[MessageRecord]
    text: str | None = None
    finish_reason: str | None = None
    likelihoods: list[LikelihoodRecord] | None = None
    scores: Annotated[dict[str, float] | None, LEFT_OUT] = None
    error: SampleError | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency: float | None = None
    cost: Annotated[float | None, LEFT_OUT] = None
    origin: OriginRecord | None = None


class LocationRecord(_Record):
    """A line of a file, its path seen from pytest's root folder."""

    path: str
    line: int


class EvalSample(_Record):
    """One finished case.

    Attributes:
        type: Always ``sample``.
        id: Identifies the case in every run.
        nodeid: pytest's name of the test.
        suite: The suite's name.
        case_id: The row's id, with parameters.
        repeat: Which repeat of the case, from 1.
        cluster: What it belongs to, if cases are clustered.
        label: People's labels by grader, on its scale.
        dataset_key: A path, a function's name, or ``inline``.
        location: File and line of the row in a text file, else of the suite.
        interaction: The conversation with the answer.
        tasks: Results of tasks by alias, and values attached with ``record``.
        calls: Model calls beyond the default turn.
        grades: One per grader, or per entry of its dict.
        outcome: What became of the test; ``missed`` if a gate judges the miss.
        error: Why the case errored, if it did.
        timing: Seconds of each test phase, of ``generation``, and ``queued`` before it.
        fingerprint: A hash of weights, tokenizer, precision, versions, prompt token ids and parameters.
        content: Digests of the prompt and of ``item.messages``.
    """

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
    interaction: EvalSampleInteraction
    tasks: dict[str, Any] = Field(default_factory=dict)
    calls: list[CallRecord] = Field(default_factory=list)
    grades: list[Grade] = Field(default_factory=list)
    outcome: Literal["passed", "missed", "failed", "errored", "skipped"]
    error: SampleError | None = None
    timing: dict[str, float] = Field(default_factory=dict)
    fingerprint: str | None = None
    content: dict[str, str] = Field(default_factory=dict)


class AnswerRecord(_Record):
    """An answer that is in no sample, since its case did not finish: ``key`` as in `OriginRecord`, ``id`` is that of the request,
    ``completion`` has the keys of `CallRecord` from ``text`` on.
    """

    type: Literal["answer"] = "answer"
    key: str
    id: str
    model: str
    completion: dict[str, Any]


class SuiteEntry(_Record):
    """A suite of the run: its dataset, and how many cases of it were taken. ``declared`` has the number of items of each model
    (``""`` where none is asked), repeats and items that were left out included.
    """

    name: str
    dataset_key: str
    dataset_hash: str
    n: int
    graders: list[str] = Field(default_factory=list)
    gates: list[str] = Field(default_factory=list)
    declared: dict[str, int] = Field(default_factory=dict)


class RunRecord(_Record):
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
    addopts: str | None = None
    """The value of ``PYTEST_ADDOPTS``, where it was set."""
    folder: str | None = None
    """The folder in which pytest was called; `None` where an older version wrote the artifact."""


class Summary(_Record):
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


def defaults_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the fields of a line that have a default, at that, as a line has them."""
    fields = [(name, info) for name, info in model.model_fields.items() if not info.is_required()]
    return {name: info.get_default(call_default_factory=True) for name, info in fields if not _may_be_absent(info)}


def _may_be_absent(info: FieldInfo) -> bool:
    return LEFT_OUT in info.metadata


def line_type(model: type[BaseModel]) -> Any:
    """Return the type of a line that ``model`` describes, as it is written: a `TypedDict` with every field, in which only
    those that are `LEFT_OUT` may be missing. Checking a line against it makes no objects of it.
    """
    fields = {}
    for name, info in model.model_fields.items():
        annotation = _plain(info.annotation)
        fields[info.alias or name] = NotRequired[annotation] if _may_be_absent(info) else annotation
    line = TypedDict(model.__name__, fields)  # type: ignore[misc]  # its fields are those of the model
    line.__pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[attr-defined]  # where pydantic looks for it
    return line


def _plain(annotation: Any) -> Any:
    """Return the type that JSON makes of an annotation: objects for models, lists for tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return line_type(annotation)
    inner = tuple(_plain(each) for each in typing.get_args(annotation))
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[inner]  # noqa: UP007 - of types that are known only now
    if origin is Annotated:
        return inner[0]
    if origin is tuple:
        return list[inner[0]]  # type: ignore[valid-type]  # as above
    return origin[inner] if origin in (list, dict) else annotation


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of an artifact's line: any of run, sample, answer and summary."""
    lines = RunRecord | EvalSample | AnswerRecord | Summary
    schema: dict[str, Any] = TypeAdapter(lines).json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"pytest-evals artifact line, schema {SCHEMA}",
        **schema,
    }
