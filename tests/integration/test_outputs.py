"""What a run writes beside its artifact: the report page, the summary, and what GitHub, GitLab and JUnit read."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_evals.cli import main

from .conftest import Evals

ROWS = [
    {"country": "France", "capital": "Paris"},
    {"country": "Peru", "capital": "Lima"},
    {"country": "Crash", "capital": "x"},
]
SUITE = f"""
from pytest_evals import cases, graders

named = graders.contains("{{{{item.capital}}}}")

@cases(
    {ROWS},
    prompt="Capital of {{{{item.country}}}}?",
    id="country",
    gates=["named.mean >= 0.9"],
)
def test_capitals(named):
    assert named
"""
SCRIPT = """
def answer(messages):
    if "Crash" in messages[-1]["content"]:
        raise ValueError("first line\\n::error::injected")
    return "Paris </script><script>1</script> | @user"
"""


def page_data(path: Path) -> list[dict[str, object]]:
    text = path.read_text(encoding="utf-8")
    return [
        json.loads(found)
        for found in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    ]


def test_page_summary_and_what_github_reads(evals_both: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "\n\n".join(map(json.dumps, ROWS))
    evals_both.write(SUITE.replace(str(ROWS), '"rows.jsonl"'), SCRIPT, rows__jsonl=rows)
    step = evals_both.pytester.path / "step.md"
    step.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(evals_both.pytester.path.parent))
    outputs = ("--evals-html", "out/report.html", "--evals-summary", "out/summary.md", "--evals-codequality", "q.json")
    result = evals_both.run(*outputs, "--junitxml=junit.xml", "-o", "evals_strict_cases=true")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "rows.jsonl:3: the row of this case",
            "artifact: run.jsonl",
            "report: out/report.html",
            "summary: out/summary.md",
            "code quality: q.json",
        ]
    )
    folder = evals_both.pytester.path.name
    out = result.stdout.str()
    commands = [line for line in out.splitlines() if line.lstrip().startswith("::")]
    # With workers, cases end in any order.
    assert sorted(line[: line.index(": ")] for line in commands) == [
        f"::error file={folder}/rows.jsonl,line=3,title=Case failed::test_capitals[Peru]",
        f"::error file={folder}/rows.jsonl,line=5,title=Case errored::test_capitals[Crash]",
        f"::error file={folder}/test_suite.py,line=5,title=Gate not met::test_capitals",
    ], "and nothing that the model wrote is one"
    issues = json.loads((evals_both.pytester.path / "q.json").read_text(encoding="utf-8"))
    assert sorted((issue["location"]["path"], issue["location"]["lines"]["begin"]) for issue in issues) == [
        (f"{folder}/rows.jsonl", 3),
        (f"{folder}/rows.jsonl", 5),
        (f"{folder}/test_suite.py", 5),
    ]
    xml = (evals_both.pytester.path / "junit.xml").read_text(encoding="utf-8")
    assert xml.count('<property name="evals.case.location" value="rows.jsonl:') == 3
    summary = (evals_both.pytester.path / "out/summary.md").read_text(encoding="utf-8")
    assert summary.startswith("### Evals: 1 of 1 gate not met")
    assert "```text\nParis </script><script>" in summary
    assert step.read_text(encoding="utf-8") == f"before\n{summary}"
    overview, samples = page_data(evals_both.pytester.path / "out/report.html")
    assert overview["ledger"] == evals_both.artifact.summary.ledger  # type: ignore[union-attr]  # the run came to its end
    assert sorted(sample["location"] for sample in samples) == ["rows.jsonl:1", "rows.jsonl:3", "rows.jsonl:5"]  # type: ignore[index]  # a list of objects


def test_a_summary_of_a_size_is_a_message_for_a_chat(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    evals.write(SUITE, SCRIPT)
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example/jobs/7")
    result = evals.run("--evals-summary", "message.txt", "-o", "evals_summary_size=1000")
    assert result.ret == 1
    text = (evals.pytester.path / "message.txt").read_text(encoding="utf-8")
    assert len(text) <= 1000
    lines = text.replace("\u2060", "").splitlines()
    assert lines[0] == "❌ Evals: 1 of 1 gate not met"
    assert lines[1].startswith("• ❌ test_capitals: named.mean &gt;= 0.9: ")
    assert any(line.startswith("• missed test_capitals[Peru]: named: ") for line in lines)
    assert lines[-2:] == ["https://ci.example/jobs/7", "more: `pytest-evals show run.jsonl`"]
    assert not {"<", "|", "@user"} & set(text.split())
    for size, said in (("199", "must be at least 200, not 199"), ("many", "'many' is not a whole number")):
        result = evals.run("--evals-summary", "message.txt", "--evals-summary-size", size)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--evals-summary-size: {said}*"])
    result = evals.run("--evals-summary-size", "300")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--evals-summary-size: say where the summary goes: --evals-summary PATH*"])


def test_a_place_that_cannot_be_written_is_known_before_anything_runs(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    (evals.pytester.path / "folder").mkdir()
    for arguments, said in (
        (("--evals-html", "folder"), "--evals-html: the file * is a folder"),
        (("--evals-summary", ""), "--evals-summary: the path is empty"),
        (("--evals-html", "run.jsonl"), "--evals-html: * is where the artifact goes already"),
        (("--evals-html", "x", "--evals-summary", "./x"), "--evals-summary: * is where --evals-html goes already"),
        (("--evals-codequality", "folder/.."), "--evals-codequality: the file * is a folder"),
    ):
        result = evals.run(*arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*{said}*"])
    assert not evals.path.exists()


def test_a_page_that_cannot_be_written_in_the_end_fails_the_run_and_loses_nothing(evals: Evals) -> None:
    evals.write(
        SUITE.replace("assert named", "__import__('pathlib').Path('late').mkdir(exist_ok=True)").replace(
            ">= 0.9", ">= 0"
        ),
        SCRIPT,
    )
    result = evals.run("--evals-html", "late", "-k", "France")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["report not written: *late cannot be written: *; the artifact is whole: *"])
    assert len(evals.artifact.samples) == 1


def test_the_command_writes_the_page_of_a_recorded_run(evals: Evals, capsys: pytest.CaptureFixture[str]) -> None:
    evals.write(SUITE, SCRIPT)
    evals.run()
    path = evals.path
    capsys.readouterr()
    assert main(["report", str(path), "--baseline", str(path)]) == 0
    assert capsys.readouterr().out == "report: run.html\n"
    overview, samples = page_data(path.with_suffix(".html"))
    assert overview["baseline"]
    assert "before" in str(samples)
    whole = path.read_bytes()
    for content, said in (
        (b"", "is empty"),
        (b'{"type": "run", "schema": 99}\n', "schema 99"),
        (b"not json\n", "does not hold JSON Lines"),
    ):
        path.write_bytes(content)
        assert main(["report", str(path), "-o", "never.html"]) == 2
        assert said in capsys.readouterr().err
    path.write_bytes(whole[: whole.rindex(b"\n", 0, -1) - 20])
    assert main(["report", str(path)]) == 0
    assert "killed" in str(page_data(path.with_suffix(".html"))[0]["interruption"])
    assert main(["report", str(path), "-o", str(path)]) == 2
    assert "would replace the run" in capsys.readouterr().err
    assert not Path("never.html").exists()


def test_models_whose_names_end_the_same_are_told_apart(evals: Evals) -> None:
    evals.write(SUITE, SCRIPT)
    (evals.pytester.path / "second.py").write_text(SCRIPT, encoding="utf-8")
    models = ("--evals-model", "scripted:script:answer", "--evals-model", "scripted:second:answer")
    result = evals.run(*models, "--evals-summary", "summary.md", "-k", "France", model=None)
    summary = (evals.pytester.path / "summary.md").read_text(encoding="utf-8")
    assert "| mean, 95% interval | n | script:answer | second:answer |" in summary
    result.stdout.fnmatch_lines(["mean* script:answer *second:answer"])
