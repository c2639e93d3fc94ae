"""The artifact: its lines, its place, and that it is found out early when it cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals import EvalSample, EvaluationArtifact
from pytest_evals.artifacts.schema import Summary, json_schema

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

named = graders.contains("Paris")

@cases([{"id": "fr", "q": "France"}, {"id": "td", "q": "Chad"}], prompt="Capital of {{item.q}}?", id="id", name="capitals", tags=["geo"],
       metadata={"owner": "us"}, gates=["named.mean >= 0.5"])
def test_it(named, case):
    assert case.metadata == {"owner": "us"}
    assert named
"""


def test_the_lines_have_the_documented_keys(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    evals_both.run()
    run, first, second, summary = evals_both.lines()
    assert list(run) == [
        "type", "schema", "run_id", "started", "command", "pytest", "plugin", "python", "packages", "platform", "git", "device",
        "models", "judge", "seed", "options", "suites", "reused", "addopts", "folder",
    ]  # fmt: skip
    assert run["schema"] == 2
    assert run["suites"][0]["name"] == "capitals"
    assert run["suites"][0]["dataset_key"] == "inline"
    assert run["suites"][0]["n"] == 2
    assert run["models"][0]["model"] == "scripted:script:answer"
    assert list(first) == list(second)
    assert set(first) == set(EvalSample.model_fields), "what a run writes is what the schema describes"
    by_case = {line["case_id"]: line for line in (first, second)}
    sample = by_case["fr"]
    assert sample["nodeid"] == "test_suite.py::test_it[fr]"
    assert sample["interaction"]["thread"] == [
        {"role": "user", "content": "Capital of France?"},
        {"role": "assistant", "content": "Paris"},
    ]
    assert sample["interaction"]["source"] == "scripted:script:answer"
    assert sample["interaction"]["completion"]["finish_reason"] == "stop"
    assert sample["interaction"]["metadata"] == {"id": "fr", "q": "France"}
    assert sample["grades"][0]["grader_key"] == "named"
    assert (sample["outcome"], by_case["td"]["outcome"]) == ("passed", "missed")
    assert {"setup", "call", "teardown", "generation"} == set(sample["timing"])
    assert sample["fingerprint"]
    assert set(summary) == set(Summary.model_fields)
    assert summary["complete"] is True
    assert summary["ledger"]["collected"] == 2


def test_the_artifact_reads_back_and_agrees_with_its_own_summary(evals_both: Evals) -> None:
    evals_both.write(SUITE)
    evals_both.run()
    artifact = evals_both.artifact
    assert artifact.complete
    assert artifact.summary is not None
    assert artifact.scores() == artifact.summary.scores
    assert artifact.scores()[0]["mean"] == 0.5
    copy = evals_both.pytester.path / "copy.jsonl"
    artifact.save(copy)
    assert EvaluationArtifact.load(copy) == artifact


def test_every_line_is_valid_against_the_published_schema(evals: Evals) -> None:
    import jsonschema

    evals.write(SUITE)
    evals.run()
    validator = jsonschema.Draft202012Validator(json_schema())
    for line in evals.lines():
        assert list(validator.iter_errors(line)) == []


def test_sample_ids_are_stable_from_run_to_run(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run()
    first = [(sample.id, sample.fingerprint) for sample in evals.artifact.samples]
    evals.run()
    assert [(sample.id, sample.fingerprint) for sample in evals.artifact.samples] == first


def test_by_default_it_is_a_new_file_in_a_folder_that_git_ignores(pytester: pytest.Pytester) -> None:
    evals = Evals(pytester, ("-p", "no:xdist"))
    evals.write(SUITE)
    for _ in range(2):
        result = pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:answer", "-p", "no:xdist")
        result.stdout.fnmatch_lines(["artifact: .evals/*.jsonl"])
    assert len(list((pytester.path / ".evals").glob("*.jsonl"))) == 2
    assert (pytester.path / ".evals" / ".gitignore").read_text(encoding="utf-8").endswith("*\n")


def test_the_folder_can_be_chosen(pytester: pytest.Pytester) -> None:
    evals = Evals(pytester, ("-p", "no:xdist"))
    evals.write(SUITE)
    pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:answer", "-o", "evals_dir=out/runs")
    assert len(list((pytester.path / "out" / "runs").glob("*.jsonl"))) == 1


def test_a_path_is_written_exactly_with_its_parents_and_replaced_only_by_a_run_that_writes(evals: Evals) -> None:
    evals.write(SUITE)
    evals.run("--evals-artifact", "deep/er/out.jsonl")
    written = evals.pytester.path / "deep" / "er" / "out.jsonl"
    assert len(EvaluationArtifact.load(written).samples) == 2
    before = written.read_bytes()
    evals.write("from pytest_evals import cases\n@cases('no.jsonl', prompt='x')\ndef test_it(completion): ...\n")
    assert evals.run("--evals-artifact", "deep/er/out.jsonl").ret == pytest.ExitCode.INTERRUPTED
    assert written.read_bytes() == before


def test_a_path_that_cannot_be_written_is_a_usage_error_before_anything_is_generated(evals: Evals) -> None:
    evals.write(SUITE, script="raise SystemExit('an engine was started')")
    evals.pytester.mkdir("folder")
    (evals.pytester.path / "file").write_text("x")
    for path in ("folder", "file/below.jsonl", "/proc/evals.jsonl" if Path("/proc").is_dir() else "folder"):
        result = evals.run("--evals-artifact", path)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: the artifact *"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_on_a_full_disk_the_run_goes_on_fails_and_says_where_the_artifact_is(
    evals_both: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = "from pytest_evals.artifacts import writer\nwriter.open_owner_only = lambda *_: open('/dev/full', 'wb', buffering=0)\n"
    evals_both.write(SUITE, conftest__py=full)
    monkeypatch.setenv("TMPDIR", str(evals_both.pytester.mkdir("elsewhere")))
    result = evals_both.run("-q")
    result.assert_outcomes(passed=1, xfailed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    (kept,) = (evals_both.pytester.path / "elsewhere").glob("evals-*.jsonl")
    said = "".join(result.stdout.str().split())
    assert "run.jsonlisnotwhole:Nospaceleftondevice;allofitisin" in said
    assert str(kept) in said
    artifact = EvaluationArtifact.load(kept)
    assert (artifact.complete, len(artifact.samples)) == (True, 2)


def test_a_rerun_of_a_case_replaces_its_first_attempt(evals: Evals) -> None:
    pytest.importorskip("pytest_rerunfailures")
    evals.write("""
from pytest_evals import cases, grader

attempts = []

@grader
def second(completion):
    attempts.append(1)
    return len(attempts) > 1

@cases([{"q": "x"}], prompt="x")
def test_it(second):
    assert second
""")
    evals.run("--reruns", "2").assert_outcomes(passed=1)
    (sample,) = evals.artifact.samples
    assert sample.outcome == "passed"
    assert [grade.value for grade in sample.grades] == [1.0]
