"""The summary in Markdown, and findings for GitHub and GitLab."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_evals.collection.location import Location
from pytest_evals.gates import GateResult, Verdict
from pytest_evals.reports.ci import MOST, code_quality, findings, workflow_commands
from pytest_evals.reports.markdown import Excerpt, summary_markdown
from pytest_evals.scorecard import Ledger, Movement, ScoreCard, insights
from pytest_evals.scores.score import compute_scores
from tests.unit.building import case_record, grade_record


def gate(verdict: Verdict, model: str = "smollm2") -> GateResult:
    return GateResult("exact.mean >= 0.8", "capitals", model, verdict, 0.5, 2, 2, "0.5, not >= 0.8 (n=2)")


def excerpt(
    case_id: str = "c1", outcome: str = "missed", text: str = "Lyon", reason: str = "exact: expected 'Paris'"
) -> Excerpt:
    where = Location("evals/rows.jsonl", 7)
    return Excerpt("capitals", "smollm2", case_id, outcome, "Capital of France?", text, reason, where, f"id-{case_id}")


def card(*gates: GateResult, models: tuple[str, ...] = ("smollm2",)) -> ScoreCard:
    records = [
        case_record(grade_record(value, passed=value == 1), case_id=f"c{value}", model=model)
        for model in models
        for value in (0.0, 1.0)
    ]
    scores = compute_scores(records)
    return ScoreCard(
        scores=tuple(scores),
        gates=gates,
        ledger=Ledger(collected=2, passed=1, missed=1),
        notes=("the first 2 of 9 rows",),
        artifact=".evals/run.jsonl",
        shorts={"smollm2": "smollm2", "org/other": "other"},
        **insights(scores, records, gates),
    )


def test_a_summary_has_verdict_gates_scores_ledger_notes_and_cases() -> None:
    text = summary_markdown(card(gate("passed"), gate("failed")), [excerpt()])
    assert text.startswith("### Evals: 1 of 2 gates not met\n\n| verdict | gate | found |\n| --- |")
    assert text.index("❌ failed | `exact.mean >= 0.8`<br>capitals | 0.5, not") < text.index("✅ passed")
    assert "| suite | grader | n | mean | 95% interval | passed |\n| --- | --- | ---: |" in text
    assert "| capitals | exact | 2/2 | 0.500 |" in text
    assert "**2 cases**: 1 passed, 1 missed\n\n- the first 2 of 9 rows\n- artifact: `.evals/run.jsonl`\n" in text
    assert (
        "<details><summary>1 case missed</summary>\n\n\n**capitals** `c1`, smollm2, `evals/rows.jsonl:7`\n\nAsked\n```text\nCapital of France?\n```"
        in text
    )
    assert text.endswith("</details>\n")


def test_many_gates_that_are_met_are_folded() -> None:
    met = [dataclasses.replace(gate("passed"), gate=f"exact.mean >= 0.{number}") for number in range(6)]
    few, many = (summary_markdown(card(gate("failed"), *gates), []) for gates in (met[:5], met))
    assert "details" not in few
    assert few.count("| verdict |") == 1
    head, _, folded = many.partition("<details><summary>6 gates met</summary>\n\n| verdict | gate |")
    assert ("❌ failed" in head, "✅ passed" in head, folded.count("✅ passed")) == (True, False, 6)


def test_several_models_have_a_column() -> None:
    text = summary_markdown(card(gate("not judged"), gate("passed", "org/other"), models=("smollm2", "org/other")), [])
    assert "### Evals: 1 of 2 gates met, 1 undecided" in text
    assert "\n\n**exact: smollm2 and other have the same mean, 0.500**\n" in text
    assert (
        "| mean, 95% interval | n | smollm2 | other |\n| --- | ---: | ---: | ---: |\n| **capitals** |  |  |  |\n"
        in text
    )
    assert "| exact | 2 | 0.500 (0.095 to 0.905) | 0.500 (0.095 to 0.905) |\n" in text
    assert "details" not in text


@pytest.mark.parametrize("limit", [6_000, 20_000, 200_000])
def test_a_summary_keeps_to_its_limit_and_says_what_is_missing(limit: int) -> None:
    text = summary_markdown(
        card(gate("failed")), [excerpt(f"c{number}", text="é" * 1500) for number in range(100)], limit
    )
    assert limit * 0.3 < len(text.encode()) <= limit
    assert "more lines or cases were left out: this summary is cut at" in text
    assert text.count("<details>") == text.count("</details>")
    assert text.count("```") == 2 * text.count("```text")


def test_a_summary_without_any_room_is_the_note_alone() -> None:
    assert len(summary_markdown(card(gate("failed")), [excerpt()], 300).encode()) <= 300


def test_a_summary_says_what_changed_since_the_baseline() -> None:
    moved = (
        Movement("capitals", "smollm2", "exact", 30, -0.1, (-0.15, -0.05), "worse"),
        Movement("capitals", "org/other", "exact", 0, None, None, "-"),
    )
    models = ("smollm2", "org/other")
    text = summary_markdown(dataclasses.replace(card(models=models), movements=moved, baseline="main"), [])
    assert "| suite | grader | model | change | since the baseline |" in text
    assert "| capitals | exact | smollm2 | -0.100 (-0.150 to -0.050) | worse |" in text
    assert "| capitals | exact | other | - | not compared |" in text
    one = summary_markdown(dataclasses.replace(card(), movements=moved[:1], baseline="main"), [])
    assert "| 95% interval | change | since the baseline | passed |" in one
    assert "| -0.100 (-0.150 to -0.050) | worse | 50% |" in one
    assert "- change: of the mean over the cases that both runs have" in text


CASES = [excerpt("a", "missed"), excerpt("b", "failed", reason="50%\n::error::x"), excerpt("c", "errored")]
SUITES = {"capitals": Location("evals/a,b:c.py", 3)}


def test_annotations_stand_at_row_or_suite_and_cannot_be_broken_out_of() -> None:
    found = findings(card(gate("not judged"), gate("failed"), gate("passed")), CASES, SUITES)
    assert workflow_commands(found) == [
        "::error file=evals/a%2Cb%3Ac.py,line=3,title=Gate not met::capitals: exact.mean >= 0.8: 0.5, not >= 0.8 (n=2)",
        "::error file=evals/rows.jsonl,line=7,title=Case failed::capitals[b]: 50%25%0A::error::x",
        "::error file=evals/rows.jsonl,line=7,title=Case errored::capitals[c]: exact: expected 'Paris'",
        "::warning file=evals/a%2Cb%3Ac.py,line=3,title=Gate not judged::capitals: exact.mean >= 0.8: 0.5, not >= 0.8 (n=2)",
    ]


def test_more_annotations_than_github_shows_end_with_how_many_there_are() -> None:
    lines = workflow_commands(findings(card(), [excerpt(f"c{number}", "failed") for number in range(25)], {}))
    assert len(lines) == MOST
    assert lines[-1].startswith("::error title=More::16 more of this kind")


def test_the_code_quality_report_is_what_gitlab_documents() -> None:
    found = findings(card(gate("not judged"), gate("regressed"), gate("passed")), CASES, SUITES)
    issues = json.loads(code_quality(found))
    assert [
        (issue["check_name"], issue["severity"], issue["location"]["path"], issue["location"]["lines"]["begin"])
        for issue in issues
    ] == [
        ("evals.gate", "critical", "evals/a,b:c.py", 3),
        ("evals.case", "major", "evals/rows.jsonl", 7),
        ("evals.case", "critical", "evals/rows.jsonl", 7),
    ]
    assert issues[1]["description"] == "capitals[b]: 50% ::error::x"
    assert all(
        set(issue) == {*("description", "check_name", "fingerprint", "severity", "location")} for issue in issues
    )
    assert len({issue["fingerprint"] for issue in issues}) == 3
    assert json.loads(code_quality([])) == []


def test_a_finding_keeps_its_fingerprint_wherever_it_stands_and_whatever_is_said_of_it() -> None:
    again = [dataclasses.replace(case, reason="another", location=Location("x.jsonl", 99)) for case in CASES]
    other = dataclasses.replace(gate("failed"), reason="another", value=0.1)
    first, second = (
        [issue["fingerprint"] for issue in json.loads(code_quality(findings(card(each), cases, SUITES)))]
        for each, cases in ((gate("failed"), CASES), (other, again))
    )
    assert first == second


def test_the_code_quality_report_keeps_to_its_limit_and_says_what_is_missing() -> None:
    found = findings(card(), [excerpt(f"c{number}", "failed", reason="\u00e9" * 400) for number in range(100)], {})
    text = code_quality(found, 20_000)
    issues = json.loads(text)
    assert 10_000 < len(text.encode()) <= 20_000
    assert issues[-1]["check_name"] == "evals.more"
    assert issues[-1]["description"].startswith(f"{100 - len(issues) + 1} more findings were left out")
