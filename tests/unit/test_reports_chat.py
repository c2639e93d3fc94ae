"""The summary as a message for a chat."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from campaigns import hostile_inputs as hostile
from pytest_evals.gates import GateResult, Verdict
from pytest_evals.options import LEAST_SUMMARY
from pytest_evals.reports.chat import chat_summary, run_link
from pytest_evals.reports.markdown import Excerpt
from pytest_evals.scorecard import Ledger, ScoreCard, insights
from pytest_evals.scores.score import compute_scores
from pytest_evals.sinks import for_chat
from tests.unit.building import case_record, grade_record

MODELS = ("org/small-instruct", "org/medium-instruct", "org/large-instruct")
SIZES = (LEAST_SUMMARY, 300, 1000, 4000)
HOSTILE = (
    "<!channel> <@U123> <http://evil.example|click>", "@everyone @here", "```\nnot closed", "*bold* _it_ ~gone~ `code`", "[x](http://evil.example)",
    "||spoiler||", "# heading", "- item", "1. item", ":tada:", "a | b | c", "![i](x.png)", "\x1b[31mred\x07", "\u202ereversed", "</at><b>x</b>",
    "👩‍👩‍👧‍👦" * 40, "e\u0301" * 200, "🇩🇪🏽" * 90, "x" * 5000, "\r\n\r\n", "",
)  # fmt: skip


def gate(number: int, verdict: Verdict, model: str, reason: str = "0.500, not >= 0.8 (n=40)") -> GateResult:
    return GateResult(f"exact.mean >= 0.{number}", "capitals", model, verdict, 0.5, 40, 40, reason)


def excerpt(number: int, outcome: str = "missed", text: str = "Lyon", reason: str = "exact: not 'Paris'") -> Excerpt:
    return Excerpt("capitals", MODELS[0], f"c{number}", outcome, "Capital of France?", text, reason)


def card(*gates: GateResult, models: tuple[str, ...] = MODELS, notes: tuple[str, ...] = ()) -> ScoreCard:
    records = [
        case_record(
            grade_record(float(number % 4 > place), passed=number % 4 > place), case_id=f"c{number}", model=model
        )
        for place, model in enumerate(models)
        for number in range(40)
    ]
    scores = compute_scores(records)
    return ScoreCard(
        scores=tuple(scores),
        gates=gates,
        ledger=Ledger(collected=40, passed=20, missed=18, errored=2),
        notes=notes,
        artifact=".evals/run.jsonl",
        shorts={model: model.removeprefix("org/") for model in models},
        **insights(scores, records, gates),
    )


FAILED = [gate(number, "failed", model) for model in MODELS for number in range(8)]


def plain(text: str) -> list[str]:
    """Return the lines without what has no width."""
    return text.replace("\u2060", "").splitlines()


def test_a_message_begins_with_the_verdict_and_the_reason() -> None:
    text = chat_summary(
        card(gate(8, "failed", MODELS[2]), gate(1, "passed", MODELS[0])), [excerpt(1), excerpt(2, "errored")], 4000
    )
    lines = plain(text)
    assert lines[0] == "❌ Evals: 1 of 2 gates not met"
    assert lines[1] == "• ❌ capitals: exact.mean &gt;= 0.8 (large-instruct): 0.500, not &gt;= 0.8 (n=40)"
    assert lines[2].startswith("• exact: small-instruct is better than medium-instruct by 0.250 (95% interval")
    assert lines[3] == "• 40 cases: 20 passed, 18 missed, 2 errored"
    assert lines[6] == "• exact: small-instruct 0.750, medium-instruct 0.500, large-instruct 0.250 (n 40)"
    # What broke comes before what missed.
    assert lines[4] == "• errored capitals[c2] (small-instruct): exact: not 'Paris'; answered: Lyon"
    assert lines[-1] == "more: `pytest-evals show .evals/run.jsonl`"
    assert "not shown" not in text


@pytest.mark.parametrize("size", SIZES)
def test_a_message_fits_and_counts_what_is_left_out(size: int) -> None:
    cases = [excerpt(number, "failed" if number % 2 else "missed") for number in range(500)]
    text = chat_summary(card(*FAILED, notes=("a note",)), cases, size)
    lines = plain(text)
    assert size * 0.6 < len(text) <= size
    assert lines[0] == "❌ Evals: 24 of 24 gates not met"
    assert lines[1].startswith("• ❌ capitals: exact.mean")
    shown = {
        "gates": sum(line.startswith("• ❌") for line in lines),
        "cases": sum(line.startswith(("• failed", "• missed")) for line in lines),
    }
    note = next(line for line in lines if line.startswith("not shown: "))
    for name, number in {"gates": 24, "cases": 500}.items():
        assert f"{number - shown[name]} {name}" in note or shown[name] == number
    assert lines[-1].startswith("more: `pytest-evals show")
    assert shown["gates"]
    assert size < 1000 or shown["cases"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_keep_a_message_whole(size: int, text: str) -> None:
    made = dataclasses.replace(
        card(gate(8, "failed", MODELS[0], text), notes=(text,)), interruption=text, shorts=dict.fromkeys(MODELS, text)
    )
    told = chat_summary(made, [excerpt(1, text=text, reason=text)], size)
    lines = told.splitlines()
    assert len(told) <= size
    assert lines[0] == "❌ Evals: 1 of 1 gate not met"
    assert all(line[:2] == "• " or line.startswith(("not shown: ", "more: ")) for line in lines[1:])
    assert told.count("`") == 2
    assert not set("<*~|\x1b\x07\u202e") & set(told)
    assert "@everyone" not in told
    assert "](" not in told
    for line in lines:
        before, cut, _ = line.partition("…")
        assert not cut or not before.endswith("\u200d")
        assert not unicodedata.category(before[2:3] or "x").startswith("M")


@pytest.mark.parametrize("text", [*HOSTILE, *(text.replace("{tag}", "t") for text in hostile.MARKDOWN)])
def test_text_in_a_chat_has_no_markup(text: str) -> None:
    shown = for_chat(text)
    assert not set("<`*~|\n\r") & set(shown)
    assert not shown.startswith(("#", "- ", "+ ", "1. "))
    assert ">" not in shown.replace("&gt;", "")


def test_an_answer_is_not_cut_inside_of_a_character() -> None:
    family = "👩‍👩‍👧‍👦"
    text = chat_summary(card(gate(1, "failed", MODELS[0], family * 60)), [], 300)
    line = next(line for line in text.splitlines() if "👩" in line)
    shown = line.partition("): ")[2].removesuffix("…")
    assert shown == family * (len(shown) // len(family))


def test_without_gates_the_counts_are_the_verdict() -> None:
    text = chat_summary(dataclasses.replace(card(models=MODELS[:1]), ledger=Ledger(collected=40, passed=40)), [], 300)
    assert text.splitlines()[:2] == ["✅ Evals: 40 cases, no gates", "• 40 cases: 40 passed"]


def test_a_message_of_undecided_gates_is_neither_good_nor_bad() -> None:
    made = dataclasses.replace(
        card(gate(1, "not judged", MODELS[0]), models=MODELS[:1]), ledger=Ledger(40, 20, not_run=20)
    )
    assert chat_summary(made, [], 300).startswith("⚪ Evals: 0 of 1 gate met, 1 undecided\n")


@pytest.mark.parametrize(
    ("environment", "link"),
    [
        ({}, None),
        ({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "o/r"}, "https://github.com/o/r/actions/runs/7"),
        (
            {"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "o/r", "GITHUB_SERVER_URL": "https://git.example"},
            "https://git.example/o/r/actions/runs/7",
        ),
        ({"CI_JOB_URL": "https://gitlab.example/-/jobs/1"}, "https://gitlab.example/-/jobs/1"),
        ({"BUILD_URL": "https://jenkins.example/job/x/1/"}, "https://jenkins.example/job/x/1/"),
        ({"BUILD_URL": "no address"}, None),
        ({"CIRCLE_BUILD_URL": "https://x.example/<!here>"}, None),
    ],
)
def test_a_message_links_to_its_job(environment: dict[str, str], link: str | None) -> None:
    assert run_link(environment) == link


def test_an_address_or_path_without_room_is_left_out_whole() -> None:
    made = dataclasses.replace(card(models=MODELS[:1]), artifact="x" * 300)
    text = chat_summary(made, [], 300, f"https://ci.example/{'y' * 300}")
    assert text.splitlines()[-1] == "more: `pytest-evals show`"
    assert "yyy" not in text
