"""Artifacts: written, read back, cut off and damaged."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import pytest_evals
from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.sample import dump, to_record
from pytest_evals.artifacts.schema import EvalSample, json_schema
from pytest_evals.artifacts.writer import SCHEMA, ArtifactWriter
from pytest_evals.errors import ArtifactError
from pytest_evals.grades import Grade
from pytest_evals.scores.score import compute_scores

from .recorded import Line, errored_line, run_line, sample_line, summary_line

Write = Callable[..., Path]

LINES = [run_line(), sample_line(), errored_line(), summary_line()]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write lines (objects, or text as it is) into a file."""

    def write_lines(*lines: Line | str, end: str = "\n") -> Path:
        path = tmp_path / "run.jsonl"
        text = "\n".join(line if isinstance(line, str) else dump(line) for line in lines)
        path.write_text(text + end, encoding="utf-8", newline="\n")
        return path

    return write_lines


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        EvaluationArtifact.load(path)
    return str(caught.value)


# -- reading


def test_an_artifact_is_read_as_it_was_recorded(tmp_path: Path) -> None:
    recorder = ArtifactWriter(tmp_path / "run.jsonl")
    recorder.start(LINES[0])
    for line in LINES[1:-1]:
        recorder.write(dump(line))
    recorder.finish(LINES[-1])
    artifact = EvaluationArtifact.load(str(recorder.path))
    assert artifact.complete
    assert artifact.run.schema_version == SCHEMA
    assert [sample.case_id for sample in artifact.samples] == ["France", "Chad"]
    completion = artifact.samples[0].interaction.completion
    assert completion is not None
    assert completion.text == "Paris \ud800"
    assert artifact.samples[0].grades == [Grade(True, "exact")]
    assert artifact.samples[1].error is not None
    assert artifact.samples[1].error.kind == "model"


def test_a_saved_artifact_is_equal_to_the_one_that_was_loaded(write: Write, tmp_path: Path) -> None:
    artifact = EvaluationArtifact.load(write(*LINES))
    artifact.save(tmp_path / "copy.jsonl")
    assert EvaluationArtifact.load(tmp_path / "copy.jsonl") == artifact


def test_a_saved_artifact_has_the_lines_that_were_recorded(write: Write, tmp_path: Path) -> None:
    path = write(*LINES)
    EvaluationArtifact.load(path).save(tmp_path / "copy.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "copy.jsonl").read_text(encoding="utf-8").split("\n") if line]
    for saved, line in zip(lines, LINES, strict=True):
        assert set(saved) == set(line)
        assert saved["type"] == line["type"]
    assert lines[1]["grades"] == LINES[1]["grades"]


def test_what_a_later_version_adds_is_kept(write: Write, tmp_path: Path) -> None:
    grade = {**Grade(1, "exact").model_dump(), "confidence": 0.5}
    path = write(run_line(host="ci-7"), sample_line(cost=3, grades=[grade]), summary_line(note="x"))
    EvaluationArtifact.load(path).save(tmp_path / "copy.jsonl")
    run, sample, summary = map(json.loads, (tmp_path / "copy.jsonl").read_text(encoding="utf-8").splitlines())
    assert (run["host"], sample["cost"], sample["grades"][0]["confidence"], summary["note"]) == ("ci-7", 3, 0.5, "x")


def test_an_artifact_can_be_made_of_objects(tmp_path: Path) -> None:
    artifact = EvaluationArtifact.load(make(tmp_path, *LINES))
    sample = EvalSample.model_validate({**sample_line("Peru"), "grades": [Grade(0.5, "exact")]})
    artifact.samples.append(sample)
    artifact.save(tmp_path / "more.jsonl")
    assert EvaluationArtifact.load(tmp_path / "more.jsonl").samples[-1] == sample


def make(folder: Path, *lines: Line) -> Path:
    path = folder / "run.jsonl"
    path.write_text("".join(f"{dump(line)}\n" for line in lines), encoding="utf-8")
    return path


def test_blank_lines_and_windows_line_ends_do_no_harm(write: Write) -> None:
    path = write("", dump(LINES[0]) + "\r", "", dump(LINES[1]) + "\r", "")
    assert len(EvaluationArtifact.load(path).samples) == 1


def test_of_a_case_that_was_run_again_the_last_attempt_counts(write: Write) -> None:
    lines = [sample_line("France", Grade(False, "exact")), sample_line("Chad"), sample_line("France")]
    artifact = EvaluationArtifact.load(write(run_line(), *lines))
    assert [(sample.case_id, bool(sample.grades[0])) for sample in artifact.samples] == [
        ("Chad", True),
        ("France", True),
    ]
    assert artifact.scores()[0]["n"] == 2


# -- cut off


def test_without_a_summary_the_run_is_not_complete(write: Write) -> None:
    artifact = EvaluationArtifact.load(write(run_line(), sample_line()))
    assert (artifact.complete, artifact.summary, len(artifact.samples)) == (False, None, 1)


def test_an_interrupted_run_is_not_complete(write: Write) -> None:
    path = write(run_line(), summary_line(complete=False, interruption="KeyboardInterrupt"))
    assert not EvaluationArtifact.load(path).complete


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_last_line_that_was_cut_off_is_left_out(kept: int, write: Write) -> None:
    path = write(run_line(), sample_line("France"), dump(sample_line("Chad"))[:kept], end="")
    assert [sample.case_id for sample in EvaluationArtifact.load(path).samples] == ["France"]


def test_a_last_line_that_was_cut_within_a_character_is_left_out(tmp_path: Path) -> None:
    path = make(tmp_path, run_line(), sample_line("France"))
    path.write_bytes(path.read_bytes() + '{"type": "sample", "id": "Zü'.encode()[:-1])
    assert len(EvaluationArtifact.load(path).samples) == 1


def test_a_last_line_that_only_lacks_its_end_counts(write: Write) -> None:
    assert len(EvaluationArtifact.load(write(run_line(), sample_line(), end="")).samples) == 1


def test_zeros_that_a_crash_of_the_machine_left_at_the_end_are_left_out(tmp_path: Path) -> None:
    path = make(tmp_path, run_line(), sample_line())
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert len(EvaluationArtifact.load(path).samples) == 1


# -- large, packed, piped


def test_a_large_artifact_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    filler = [{"role": "user", "content": "x" * 20_000}]
    with path.open("w", encoding="utf-8") as file:
        file.write(f"{dump(run_line())}\n")
        for number in range(1000):
            line = sample_line(str(number))
            file.write(f"{dump({**line, 'interaction': {**line['interaction'], 'thread': filler}})}\n")
        file.write(f"{dump(summary_line())}\n")
    list(ArtifactReader(make(tmp_path / "..", run_line())).samples())  # whatever is imported for it counts for nothing
    tracemalloc.start()
    reader = ArtifactReader(path)
    read = sum(1 for _ in reader.samples())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (read, len(reader), reader.complete) == (1000, 1000, True)
    assert peak < path.stat().st_size / 20


def test_a_packed_artifact_is_read_as_it_is_also_when_it_breaks_off(write: Write, tmp_path: Path) -> None:
    ids = [hashlib.shake_256(bytes([number])).hexdigest(200) for number in range(50)]  # which do not pack well
    path = write(run_line(), *(sample_line(name[:8], id=name) for name in ids), summary_line())
    whole = EvaluationArtifact.load(path)
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert EvaluationArtifact.load(packed) == whole
    packed.write_bytes(packed.read_bytes()[:-4000])
    broken = ArtifactReader(packed)
    assert broken.cut
    assert not broken.complete
    read = [line["case_id"] for line in broken.samples()]
    assert read == [sample.case_id for sample in whole.samples][: len(read)]
    assert 10 < len(read) < 50
    packed.write_bytes(b"\x1f\x8b\xff" + packed.read_bytes()[3:])
    assert "cannot be read" in refusal(packed)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_can_be_read_and_is_refused_at_its_start(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def feed(content: bytes) -> threading.Thread:
        thread = threading.Thread(target=pipe.write_bytes, args=(content,))
        thread.start()
        return thread

    thread = feed("".join(f"{dump(line)}\n" for line in LINES).encode())
    assert [line["case_id"] for line in ArtifactReader(pipe).samples()] == ["France", "Chad"]
    thread.join()
    thread = feed(bytes(1000))
    assert "does not hold JSON Lines" in refusal(pipe)
    thread.join()


def test_samples_can_be_read_one_by_one(write: Write) -> None:
    path = write(*LINES)
    assert list(EvaluationArtifact.iter_samples(path)) == EvaluationArtifact.load(path).samples


def test_a_line_that_lacks_optional_keys_is_read_with_their_defaults(write: Write) -> None:
    line = sample_line()
    for name in ("repeat", "tasks", "content", "timing", "fingerprint", "error"):
        del line[name]
    line["grades"] = [{"value": True, "grader_key": "exact"}]
    (sample,) = ArtifactReader(write(run_line(), line)).samples()
    assert (sample["repeat"], sample["tasks"], sample["content"]) == (1, {}, {})
    assert (sample["error"], sample["fingerprint"]) == (None, None)
    (grade,) = sample["grades"]
    assert (grade["value"], grade["passed"], grade["status"], grade["reasoning"]) == (1.0, True, "graded", None)


@pytest.mark.parametrize("lost", ["source", "thread"])
def test_a_key_that_has_no_default_is_missed_line_by_line_too(lost: str, write: Write) -> None:
    line = sample_line()
    line["interaction"] = {name: value for name, value in line["interaction"].items() if name != lost}
    with pytest.raises(ArtifactError, match=f":2: not a valid sample line: interaction.{lost}: Field required"):
        list(ArtifactReader(write(run_line(), line)).samples())


def test_saving_replaces_a_file_only_when_the_new_one_is_whole(write: Write, tmp_path: Path) -> None:
    artifact = EvaluationArtifact.load(write(*LINES))
    before = (tmp_path / "run.jsonl").read_bytes()
    artifact.samples.append(None)  # type: ignore[arg-type]  # something that cannot be saved
    with pytest.raises(AttributeError):
        artifact.save(tmp_path / "run.jsonl")
    assert (tmp_path / "run.jsonl").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    with pytest.raises(ArtifactError, match="cannot be written: "):
        artifact.save(tmp_path / "run.jsonl" / "below-a-file.jsonl")
    artifact.samples.pop()
    artifact.save(tmp_path / "new" / "run.jsonl")
    assert (tmp_path / "new" / "run.jsonl").exists()


# -- refused


def test_a_baseline_is_no_artifact_and_says_what_it_is_for(write: Write) -> None:
    assert ":1: this is a baseline, not an artifact" in refusal(write({"type": "baseline", "schema": 1}))


def test_a_damaged_line_that_is_not_the_last_names_the_line(write: Write) -> None:
    path = write(run_line(), dump(sample_line())[:50], sample_line("Chad"))
    assert refusal(path).startswith(f"{path}:2: not valid JSON, so this is not an artifact, or it was damaged: ")


def test_a_damaged_last_line_that_was_written_to_its_end_names_the_line(write: Write) -> None:
    assert ":2: not valid JSON" in refusal(write(run_line(), "{oops}"))


def test_a_line_nested_too_deeply_is_refused(write: Write) -> None:
    assert ":2: not valid JSON" in refusal(write(run_line(), "[" * 100_000))


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_is_no_artifact(content: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(content)
    assert refusal(path) == f"{path} is empty: it is not an artifact of pytest --evals"


def test_a_missing_file_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    assert refusal(path) == f"artifact {path} cannot be read: No such file or directory"


def test_a_folder_is_no_artifact(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} is a folder; give the path of an artifact in it"


@pytest.mark.parametrize(
    "first", ['{"a": 1}', '{"type": "sample"}', '{"type": "run"}', '{"type": "run", "schema": "1"}']
)
def test_a_file_that_starts_otherwise_is_no_artifact(first: str, write: Write) -> None:
    assert ":1: this is not an artifact of pytest --evals: its first line is not a 'run' line" in refusal(write(first))


def test_a_list_is_no_line_of_an_artifact(write: Write) -> None:
    assert ":2: an artifact's lines are objects, this one is list" in refusal(write(run_line(), "[1]"))


@pytest.mark.parametrize("content", [b"PK\x03\x04\x00", b"Hello, world\n", b"\xff\xfe{\x00", b'[{"type": "run"}]'])
def test_another_kind_of_file_is_no_artifact(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert refusal(path) == f"{path} is not an artifact of pytest --evals: it does not hold JSON Lines"


def test_a_newer_schema_is_refused_and_says_what_to_do(write: Write) -> None:
    message = refusal(write(run_line(schema=SCHEMA + 1, plugin="9.9")))
    assert f":1: written with schema {SCHEMA + 1} by pytest-evals-hf 9.9" in message
    assert message.endswith("upgrade pytest-evals-hf")


def test_a_line_of_an_unknown_type_names_the_line(write: Write) -> None:
    assert ":2: a line of the unknown type 'sampel'" in refusal(write(run_line(), {"type": "sampel"}))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (sample_line(outcome="won"), "not a valid sample line: outcome: "),
        (sample_line(location={"path": "a", "line": "b"}), "not a valid sample line: location.line: "),
        (sample_line(grades=[{"value": "high", "grader_key": "exact"}]), "not a valid sample line: grades.0.value: "),
        (sample_line(interaction=None), "not a valid sample line: interaction: "),
        ({"type": "summary"}, "not a valid summary line: complete: Field required"),
        (run_line(), "a second 'run' line: several artifacts in one file"),
        (sample_line(nodeid=None), "not a valid sample line: nodeid: Input should be a valid string (found 'None')"),
    ],
)
def test_an_invalid_line_names_line_and_field_however_it_is_read(line: Line, words: str, write: Write) -> None:
    path = write(run_line(), line)
    assert f":2: {words}" in refusal(path)
    with pytest.raises(ArtifactError, match=re.escape(f":2: {words}")):
        list(ArtifactReader(path).samples())


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, "1" + "0" * 5000, '"NaN"']
)
def test_a_grade_that_is_no_finite_number_is_refused(number: str, write: Write) -> None:
    text = dump(sample_line("Chad", Grade(0.125, "exact"))).replace("0.125", number)
    path = write(run_line(), sample_line(), text, summary_line())
    assert refusal(path).startswith(f"{path}:3: not ")
    with pytest.raises(ArtifactError, match=":3: not "):
        list(ArtifactReader(path).samples())


def test_a_run_line_that_lacks_something_names_it(write: Write) -> None:
    line = run_line()
    del line["device"]
    assert ":1: not a valid run line: device: Field required" in refusal(write(line))


# -- scores and frames


def test_scores_are_those_of_the_run(write: Write) -> None:
    samples = [
        sample_line("a", Grade(True, "exact"), Grade(0.25, "close")),
        sample_line("b", Grade(False, "exact"), Grade(0.75, "close")),
        errored_line("c"),
    ]
    scores = [score.to_row() for score in compute_scores([to_record(sample) for sample in samples])]
    artifact = EvaluationArtifact.load(write(run_line(), *samples, summary_line(scores=scores)))
    assert artifact.summary is not None
    assert artifact.scores() == artifact.summary.scores
    exact = artifact.scores()[0]
    assert (exact["n"], exact["mean"], exact["pass_rate"]) == (2, 0.5, 0.5)
    assert exact["stderr"] == pytest.approx(math.sqrt(0.5 / 2))


def test_a_frame_has_one_line_a_sample_and_grade(write: Write) -> None:
    lines = [sample_line("a", Grade(True, "exact"), Grade(0.5, "close", "near")), errored_line("b")]
    frame = EvaluationArtifact.load(write(run_line(), *lines)).to_pandas()
    assert list(frame["grader"]) == ["exact", "close", "exact"]
    assert list(frame["case_id"]) == ["a", "a", "b"]
    assert frame["value"].tolist()[:2] == [1.0, 0.5]
    assert frame["completion"][0] == "Paris \\ud800"
    assert frame["error"][2] == "refused"


def test_a_sample_without_grades_has_a_line_in_the_frame_too(write: Write) -> None:
    frame = EvaluationArtifact.load(write(run_line(), sample_line(grades=[]))).to_pandas()
    assert len(frame) == 1


def test_without_pandas_a_frame_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = EvaluationArtifact.load(write(*LINES))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArtifactError, match=r"pip install 'pytest-evals-hf\[pandas\]'"):
        artifact.to_pandas()


# -- the published schema


@pytest.mark.parametrize("line", LINES, ids=["run", "sample", "errored", "summary"])
def test_the_schema_allows_every_line(line: Line) -> None:
    jsonschema.validate(json.loads(dump(line)), json_schema(), jsonschema.Draft202012Validator)


@pytest.mark.parametrize("line", [{}, {"type": "sample"}, sample_line(outcome="won"), run_line(seed="x")])
def test_the_schema_refuses_what_is_no_line(line: Line) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(dump(line)), json_schema(), jsonschema.Draft202012Validator)


def test_the_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["title"] == f"pytest-evals artifact line, schema {SCHEMA}"


def test_the_published_schema_is_that_of_the_code() -> None:
    published = Path(pytest_evals.__file__).with_name("artifact.schema.json")
    assert json.loads(published.read_text(encoding="utf-8")) == json_schema()
