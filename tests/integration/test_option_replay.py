"""``--evals-replay RUN``: today's graders on recorded completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Evals

COUNTED = """
from pathlib import Path

def answer(messages):
    with Path("asked").open("a") as file:
        file.write(messages[-1]["content"] + "\\n")
    if "error" in messages[-1]["content"]:
        raise RuntimeError("no answer")
    return messages[-1]["content"].upper()
"""
SUITE = """
from pytest_evals import cases, grader

@grader
def loud(completion):
    return completion.text == completion.text.upper()

@cases(
    [{"id": "a", "q": "x"}, {"id": "b", "q": "y"}, {"id": "c", "q": "error"}],
    id="id", prompt="say {{item.q}}", gates=["loud.coverage >= 0.5"],
)
def test_it(loud):
    assert loud
"""
STRICTER = SUITE.replace("return completion.text ==", "return completion.text != 'SAY X' and completion.text ==")


def asked(evals: Evals) -> list[str]:
    """Return what the script was called with since the last time, and forget it."""
    path = evals.pytester.path / "asked"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(lines)


def keep(evals: Evals, name: str = "old.jsonl") -> None:
    """Put the artifact of the last run aside."""
    evals.path.rename(evals.pytester.path / name)


def recorded(evals: Evals, suite: str = SUITE, *arguments: str) -> None:
    """Have a run recorded as ``old.jsonl``."""
    evals.write(suite, COUNTED)
    evals.run(*arguments)
    keep(evals)
    asked(evals)


def sources(evals: Evals) -> dict[str, Any]:
    """Return case -> source and drift of its completion."""
    return {
        sample.nodeid.rpartition("[")[2][:-1]: (data["source"], data["drift"])
        for sample in evals.artifact.samples
        if sample.interaction.completion and (data := sample.interaction.completion.model_dump()["origin"])
    }


def test_todays_graders_grade_what_is_recorded_and_no_model_is_loaded(evals_both: Evals) -> None:
    recorded(evals_both)
    evals_both.write(STRICTER)
    (evals_both.pytester.path / "script.py").unlink()
    result = evals_both.run("--evals-replay", "old.jsonl", model=None)
    result.assert_outcomes(passed=1, xfailed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*replay of old.jsonl (3 cases); no model under test is asked*", "*no completion*model error*"]
    )
    result.stdout.no_fnmatch_line("*starting the engine*")
    assert (asked(evals_both), sources(evals_both)) == ([], {"a": ("replay", None), "b": ("replay", None)})
    lines = evals_both.lines()
    assert lines[0]["reused"]["how"] == "replay"
    assert lines[0]["models"][0]["identity"]["engine"] == "scripted"
    assert lines[-1]["throughput"]["models"] == []
    errors = [line["error"] for line in lines if line.get("error")]
    assert [(error["kind"], "no answer" in error["message"]) for error in errors] == [("model", True)]


def test_what_changed_since_is_marked_counted_and_named(evals: Evals) -> None:
    recorded(evals)
    changed = SUITE.replace('{"id": "a", "q": "x"}', '{"id": "a", "q": "z"}')
    changed = changed.replace('{"id": "b", "q": "y"}', '{"id": "new", "q": "y"}')
    evals.write(changed.replace('id="id",', 'id="id", generation={"max_new_tokens": 9},'))
    result = evals.run("--evals-replay", "old.jsonl", model=None)
    result.assert_outcomes(passed=1, errors=2, failed=1)
    assert sources(evals) == {"a": ("replay", "prompt and parameters")}
    text = " ".join(result.stdout.str().split())
    assert "the prompt of 1 case changed since then; what is recorded was graded anyway" in text
    assert "the parameters of 1 case changed since then" in text
    assert "1 case of old.jsonl gone from the suites: test_it[b]" in text
    assert "old.jsonl has no such case: it is new, or was not run then" in text
    assert evals.ledger() == {"collected": 3, "passed": 1, "errored": 2}
    strict = evals.run(
        "--evals-replay", "old.jsonl", "-o", "evals_replay_strict=true", "test_suite.py::test_it[a]", model=None
    )
    strict.assert_outcomes(errors=1)
    strict.stdout.fnmatch_lines(["*prompt and parameters changed since old.jsonl (evals_replay_strict)*"])


def test_models_and_repeats_are_those_of_the_run(evals: Evals) -> None:
    two = ("--evals-model", "scripted:script:answer", "--evals-model", "scripted:script:other", "--evals-repeat", "2")
    evals.write(SUITE, f"{COUNTED}\ndef other(messages):\n    return 'quiet'\n")
    evals.run(*two, model=None)
    keep(evals)
    asked(evals)
    evals.run("--evals-replay", "old.jsonl", model=None).assert_outcomes(passed=4, xfailed=6, errors=2)
    assert (asked(evals), len(sources(evals))) == ([], 10)
    one = evals.run("--evals-replay", "old.jsonl", "-k", "a-answer-r2", model=None)
    one.assert_outcomes(passed=1, deselected=11)
    one.stdout.fnmatch_lines(["*NOT JUDGED*"])


def test_suites_that_the_run_does_not_have_do_not_run(evals_both: Evals) -> None:
    recorded(evals_both)
    other = SUITE.replace("test_it", "test_other")
    evals_both.pytester.makepyfile(test_other=other)
    result = evals_both.run("--evals-replay", "old.jsonl", model=None)
    result.assert_outcomes(passed=2, errors=1, deselected=0 if "-n" in evals_both.workers else 3)
    assert (evals_both.ledger()["collected"], evals_both.ledger()["not_run"]) == (6, 3)
    alone = evals_both.run("--evals-replay", "old.jsonl", "test_other.py", model=None)
    assert alone.ret == 4
    output = f"{alone.stdout.str()}{alone.stderr.str()}"
    assert "--evals-replay: that run has the suites test_it, and none of them is here (test_other)" in output


def test_a_case_is_found_after_its_test_has_moved_and_one_without_a_completion_says_so(evals: Evals) -> None:
    recorded(
        evals,
        SUITE.replace("def test_it(loud)", "def test_it(loud, case)"),
        "test_suite.py::test_it[a]",
        "test_suite.py::test_it[b]",
    )
    (evals.pytester.path / "test_suite.py").rename(evals.pytester.path / "test_moved.py")
    evals.run("--evals-replay", "old.jsonl", model=None).assert_outcomes(passed=2, errors=1)
    assert set(sources(evals)) == {"a", "b"}
    own = SUITE.replace("def loud(completion)", "def loud(case)").replace("completion.text", "case.q.upper()")
    (evals.pytester.path / "test_moved.py").unlink()
    recorded(evals, own)
    evals.write(SUITE)
    result = evals.run("--evals-replay", "old.jsonl", model=None)
    result.assert_outcomes(errors=3, failed=1)
    result.stdout.fnmatch_lines(["*old.jsonl has no completion of this case, which was passed there*"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--evals-model", "scripted:script:answer"], "--evals-replay cannot be combined with --evals-model: *"),
        (["--evals-repeat", "2"], "--evals-replay cannot be combined with --evals-repeat: *"),
        (["--evals-resume", "old.jsonl"], "--evals-replay cannot be combined with --evals-resume: *"),
        (["--evals-audit", "2"], "--evals-replay cannot be combined with --evals-audit: *"),
        (["--evals-artifact", "old.jsonl"], "--evals-replay and --evals-artifact name the same file*"),
    ],
)
def test_what_makes_no_sense_beside_it_is_a_usage_error(evals: Evals, arguments: list[str], message: str) -> None:
    evals.write(SUITE)
    (evals.pytester.path / "old.jsonl").write_text("{}", encoding="utf-8")
    result = evals.run("--evals-replay", "old.jsonl", *arguments, model=None)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


def test_an_artifact_that_cannot_be_used_is_a_usage_error(evals: Evals) -> None:
    recorded(evals)
    lines = (evals.pytester.path / "old.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    newer = json.dumps({**json.loads(lines[0]), "schema": 99})
    broken = {
        "": "is empty: it is not an artifact",
        "no artifact\n": "is not an artifact of pytest --evals",
        f"{newer}\n": "written with schema 99",
        lines[0]: "has no finished case",
        f"{lines[0]}{lines[1][:50]}\n{lines[2]}": "not valid JSON",
    }
    for option in ("--evals-replay", "--evals-resume"):
        for text, message in broken.items():
            if option == "--evals-resume" and message == "has no finished case":
                continue  # a run that was killed before its first case is gone on with
            (evals.pytester.path / "bad.jsonl").write_text(text, encoding="utf-8")
            result = evals.run(option, "bad.jsonl", model=None)
            assert result.ret == 4
            result.stderr.fnmatch_lines([f"ERROR: {option}: *bad.jsonl*{message}*"])
        missing = evals.run(option, "gone.jsonl", model=None)
        missing.stderr.fnmatch_lines([f"ERROR: {option}: there is no file 'gone.jsonl'*"])
    assert asked(evals) == []
