"""One finished case as plain data."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import numpy
import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.sample import dump, dump_plain, reads_as_written, to_record
from pytest_evals.artifacts.schema import CompletionRecord, EvalSample, EvalSampleInteraction
from pytest_evals.artifacts.validation import checked_sample, read_sample
from pytest_evals.case import Case
from pytest_evals.collection.item import CaseKey, EvalItem
from pytest_evals.collection.location import Location
from pytest_evals.completion import Completion, ToolCall
from pytest_evals.errors import ArtifactError
from pytest_evals.fixtures.context import GradeSheet
from pytest_evals.generation import GenerationParams
from pytest_evals.grades import Grade
from pytest_evals.runner.sample import completion_data, grades_data, sample_line
from pytest_evals.scores.records import GradeRecord, Outcome
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.suites.suite import Prepared

# -- JSON


@pytest.mark.parametrize("value", ["Zürich 東京 🎉", "two\nlines", 'quo"te', "\u2028", "\x00", "\x1b[0m"])
def test_text_stays_on_one_line_and_comes_back(value: str) -> None:
    line = dump({"a": value})
    assert "\n" not in line
    assert json.loads(line) == {"a": value}


def test_ordinary_text_is_readable() -> None:
    assert dump({"city": "Zürich"}) == '{"city": "Zürich"}'


def test_a_lone_surrogate_can_be_written_to_a_file() -> None:
    line = dump({"a": "x\ud800", "city": "Zürich"})
    assert json.loads(line.encode()) == {"a": "x\ud800", "city": "Zürich"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, numpy.float64("nan")])
def test_numbers_that_json_does_not_have_become_null(value: float) -> None:
    assert json.loads(dump({"a": [value, {"b": (value, 1)}], "c": 1})) == {"a": [None, {"b": [None, 1]}], "c": 1}


def _plain_sample(row: dict[str, Any], **changed: Any) -> dict[str, Any]:
    sample = {"interaction": {"metadata": row}, "tasks": {}, "calls": [], "grades": [{"value": 1.0, "metadata": {}}]}
    return {**sample, "timing": {"call": 1e-7, "generation": 12345.678}, **changed}


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"n": 3, "big": 2**70, "x": 0.1, "yes": True, "none": None, "empty": ""},
        {"text": "Zürich 東京 🎉", "lines": "two\nlines\u2028\x00\x1b[0m", "quote": '"\\/'},
        {"half": "x\ud800"},
    ],
)
def test_the_line_of_a_plain_sample_says_what_the_sample_has(row: dict[str, Any]) -> None:
    sample = _plain_sample(row)
    assert reads_as_written(sample)
    line = dump_plain(sample)
    assert "\n" not in line
    assert json.loads(line.encode()) == sample == json.loads(dump(sample))


def test_log_probabilities_that_json_does_not_have_become_null_in_a_plain_line_too() -> None:
    line = dump_plain(_plain_sample({}, completion={"logprobs": [-math.inf, -0.5]}))
    assert json.loads(line)["completion"]["logprobs"] == [None, -0.5]


@pytest.mark.parametrize(
    "sample",
    [
        *(
            _plain_sample({"a": value})
            for value in ([1], (1,), {"b": 1}, math.nan, datetime.date(2024, 5, 6), numpy.int64(1), Path("a"))
        ),
        _plain_sample({1: "a"}),  # type: ignore[dict-item]  # as from YAML
        _plain_sample({}, tasks={"t": (1,)}),
        _plain_sample({}, calls=[{"text": "a"}]),
        _plain_sample({}, grades=[{"value": 1.0, "metadata": {"words": (1,)}}]),
    ],
)
def test_a_sample_that_may_read_otherwise_is_not_plain(sample: dict[str, Any]) -> None:
    assert not reads_as_written(sample)


@pytest.mark.parametrize(
    "value",
    [datetime.date(2024, 5, 6), Path("a/b"), {1}, b"bytes", complex(1, 2)],
    ids=lambda value: type(value).__name__,
)
def test_what_json_does_not_know_becomes_text(value: object) -> None:
    assert json.loads(dump({"a": value})) == {"a": str(value)}


@pytest.mark.parametrize("key", [datetime.date(2024, 5, 6), (1, 2)])
def test_a_key_that_json_does_not_know_becomes_text(key: object) -> None:
    assert json.loads(dump({"a": {key: math.nan}})) == {"a": {str(key): None}}


# -- the line of a case


def eval_item(*graders: str, row: dict[str, Any] | None = None) -> EvalItem:
    row = row or {"country": "France"}
    case = Case("France", row, files={}, metadata={}, place="data.jsonl:1")
    prepared = Prepared(case, ({"role": "user", "content": "Capital?"},), None, GenerationParams())
    info = SuiteManifest("capitals", "test_a.py", 3, "data.jsonl", "abc", 1, 1, list(graders), [], [])
    return EvalItem(CaseKey("France", "smollm2"), prepared, info, ("smollm2",), True, graders, {})


def line_of(
    sheet: GradeSheet, *graders: str, outcome: Outcome = "passed", row: dict[str, Any] | None = None, **given: Any
) -> dict[str, Any]:
    arguments = {"completion": None, "error": None, "timing": {}, "location": Location("data.jsonl", 1), **given}
    found = eval_item(*graders, row=row)
    return sample_line("test_a.py::test[France]", found, outcome=outcome, sheet=sheet, **arguments)


def graded(*grades: Grade) -> GradeSheet:
    return GradeSheet(grades={grade.grader_key: grade for grade in grades})


COMPLETION = Completion(
    "Paris",
    ({"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Paris"}),
    "stop",
    model="smollm2",
    prompt_tokens=5,
    completion_tokens=2,
    logprobs=(-0.5, -0.25),
    latency=0.5,
    fingerprint="f00",
)


def test_a_line_has_the_keys_of_the_schema() -> None:
    line = line_of(graded(Grade(True, "exact")), "exact", completion=COMPLETION, timing={"call": 0.1})
    assert list(line) == [
        "type", "id", "nodeid", "suite", "case_id", "repeat", "cluster",
        "label", "dataset_key", "location", "interaction",
        "tasks", "calls", "grades", "outcome", "error", "timing", "fingerprint", "content",
    ]  # fmt: skip
    assert json.loads(dump(line["interaction"])) == {
        "thread": [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Paris"}],
        "source": "smollm2",
        "completion": {
            "text": "Paris",
            "finish_reason": "stop",
            "prompt_tokens": 5,
            "completion_tokens": 2,
            "logprobs": [-0.5, -0.25],
            "latency": 0.5,
            "origin": None,
        },
        "metadata": {"country": "France"},
    }
    assert line["fingerprint"] == "f00"
    assert line["location"] == {"path": "data.jsonl", "line": 1}


def test_without_a_completion_the_thread_is_the_prompt() -> None:
    line = line_of(GradeSheet(), outcome="errored")
    assert line["interaction"]["thread"] == [{"role": "user", "content": "Capital?"}]
    assert line["interaction"]["completion"] is None


def test_conversation_and_completion_of_a_row_do_not_stand_in_its_metadata_again() -> None:
    line = line_of(GradeSheet(), row={"messages": [], "completion": "x", "level": "easy"})
    assert line["interaction"]["metadata"] == {"level": "easy"}


def test_what_was_recorded_stands_under_tasks() -> None:
    assert line_of(GradeSheet(recorded={"steps": 3}))["tasks"] == {"steps": 3}


# -- every grader has an entry


def statuses(
    found: EvalItem, sheet: GradeSheet, outcome: Outcome, error: dict[str, str] | None = None
) -> dict[str, Any]:
    return {grade["grader_key"]: grade["status"] for grade in grades_data(found, sheet, outcome, error)}


def test_a_grader_that_gave_its_grade_has_that() -> None:
    sheet = graded(Grade(0.5, "exact", "close"))
    expected = Grade(0.5, "exact", "close").model_dump(exclude={"bounds"})
    assert grades_data(eval_item("exact"), sheet, "passed", None) == [expected]
    bounded = graded(Grade(0.5, "exact", bounds=(0, 1)))
    assert grades_data(eval_item("exact"), bounded, "passed", None)[0]["bounds"] == [0, 1]
    line = line_of(bounded)
    assert checked_sample(line, "here") is line
    assert to_record(line).grades[0].bounds == (0, 1)


def test_a_grader_that_never_ran_is_an_error_with_the_reason() -> None:
    error = {"kind": "engine", "message": "out of memory"}
    (grade,) = grades_data(eval_item("exact"), GradeSheet(), "errored", error)
    assert (grade["status"], grade["value"], grade["passed"]) == ("error", None, None)
    assert grade["reasoning"] == "did not run: out of memory"


def test_a_grader_that_a_failed_test_did_not_reach_is_an_error() -> None:
    (grade,) = grades_data(eval_item("exact"), GradeSheet(), "failed", None)
    assert grade["reasoning"] == "did not run: the test ended before it"


def test_graders_of_a_skipped_case_do_not_apply() -> None:
    assert statuses(eval_item("exact", "short"), GradeSheet(), "skipped") == {
        "exact": "not_applicable",
        "short": "not_applicable",
    }


def test_a_grader_that_gave_several_grades_needs_no_other() -> None:
    sheet = graded(Grade(1, "style.tone"), Grade(0, "style.length"))
    assert statuses(eval_item("style"), sheet, "passed") == {"style.tone": "graded", "style.length": "graded"}


def test_a_grader_with_a_similar_name_is_not_taken_for_another() -> None:
    assert statuses(eval_item("style", "styles"), graded(Grade(1, "styles")), "errored") == {
        "styles": "graded",
        "style": "error",
    }


# -- what scores need of it


def test_a_record_has_what_scores_gates_and_ledger_need() -> None:
    sheet = graded(Grade(True, "exact"), Grade(None, "short", status="not_applicable"))
    record = to_record(json.loads(dump(line_of(sheet, "exact", "short", completion=COMPLETION))))
    assert (record.suite, record.model, record.case_id, record.outcome) == ("capitals", "smollm2", "France", "passed")
    assert record.grades == (
        GradeRecord("exact", 1.0, True, "graded"),
        GradeRecord("short", None, None, "not_applicable"),
    )
    assert record.fields == {"country": "France"}
    assert record.finish_reason == "stop"
    assert (record.repeat, record.cluster) == (1, None)
    assert (record.prompt_tokens, record.tokens, record.latency) == (5, 2, 0.5)


def test_a_record_of_a_case_without_model_or_completion_is_made_too() -> None:
    line = line_of(GradeSheet(), outcome="errored")
    line["interaction"]["source"] = None
    record = to_record(line)
    assert (record.model, record.finish_reason) == ("", None)
    assert (record.prompt_tokens, record.tokens, record.latency) == (None, None, None)


# -- one description


def test_a_sample_has_the_keys_that_the_schema_describes() -> None:
    line = line_of(graded(Grade(0.5, "exact")))
    assert line.keys() == EvalSample.model_fields.keys()
    assert line["interaction"].keys() == EvalSampleInteraction.model_fields.keys()
    written = completion_data(
        Completion(
            "text",
            samples=(Completion("text"), Completion("other")),
            reasoning="hm",
            reasoning_tokens=1,
            tool_calls=(ToolCall("find"),),
            raw="<think>hm</think>text",
            tool_call_error="cut off",
        )
    )
    assert written is not None
    # What it cost is added where there are prices.
    assert {*written, "cost"} == CompletionRecord.model_fields.keys()


def test_a_line_as_this_version_writes_it_is_read_without_making_objects_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of(graded(Grade(0.5, "exact", bounds=(0, 1)), Grade(None, "other", "why", None, "error")))
    monkeypatch.setattr(EvalSample, "model_validate", None)
    assert read_sample(dump(line).encode(), "here") == json.loads(dump(line))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("outcome",), "green"),
        (("repeat",), "first"),
        (("interaction", "thread"), [{"content": "no role"}]),
        (("interaction", "completion", "prompt_tokens"), 1.5),
        (("grades", 0, "value"), "high"),
        (("grades", 0, "passed"), 3),
        (("grades", 0, "status"), "pending"),
        (("grades", 0, "bounds"), [1.0, 0.0]),
        (("grades", 0, "bounds"), [2.0, 3.0]),
        (("error",), {"kind": "model"}),
        (("location",), {"path": "x"}),
    ],
)
def test_a_line_that_is_not_as_the_schema_says_is_an_error_that_names_the_field(
    place: tuple[str | int, ...], value: object
) -> None:
    line = json.loads(dump(line_of(graded(Grade(0.5, "exact", bounds=(0, 1))), completion=Completion("text"))))
    target = line
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    with pytest.raises(ArtifactError, match=rf"run.jsonl:7: not a valid sample line: {place[0]}"):
        read_sample(json.dumps(line).encode(), "run.jsonl:7")


def test_what_a_line_of_a_later_version_has_more_is_kept() -> None:
    line = {**line_of(graded(Grade(0.5, "exact"))), "novel": {"x": 1}}
    assert read_sample(dump(line).encode(), "here")["novel"] == {"x": 1}


def test_numbers_that_are_none_and_half_a_character_are_told_apart() -> None:
    line = line_of(graded(Grade(0.5, "exact")))
    with pytest.raises(ArtifactError, match="NaN is not a number of JSON"):
        read_sample(dump(line).replace("0.5", "NaN").encode(), "here")
    surrogate = {**line, "tasks": {"draft": "half \ud800"}}
    assert read_sample(dump(surrogate).encode(), "here")["tasks"] == {"draft": "half \ud800"}


def test_an_artifact_of_the_first_version_is_read() -> None:
    artifact = EvaluationArtifact.load(Path(__file__).parent / "data" / "artifact_schema_1.jsonl")
    assert artifact.complete
    outcomes = [(sample.suite, sample.case_id, sample.outcome) for sample in artifact.samples]
    assert outcomes == [
        ("test_capitals", "fr", "passed"),
        ("test_capitals", "it", "missed"),
        ("test_capitals", "boom", "errored"),
        ("test_judged", "fr", "passed"),
        ("test_judged", "it", "passed"),
    ]
    first = artifact.samples[0]
    assert first.interaction.completion is not None
    assert first.interaction.completion.text == "The capital of France is Paris."
    assert [(call.by, call.text) for call in first.calls] == [("draft", "The capital of France is Paris.")]
    assert {grade.grader_key: grade.passed for grade in first.grades}["contains"] is True
    assert [row["grader"] for row in artifact.scores()] == ["contains", "f1", "short", "polite", "picked"]
