"""The score card in a terminal, to the letter."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import pytest

from pytest_evals.gates import GateResult, Verdict
from pytest_evals.reports.formatting import Line
from pytest_evals.reports.terminal import score_card_lines
from pytest_evals.scorecard import Ledger, ModelUse, Movement, ScoreCard, insights, make_ledger
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import compute_scores
from tests.unit.building import case_record, grade_record


def make_card(records: list[CaseRecord], *gates: GateResult, collected: int | None = None, **more: Any) -> ScoreCard:
    scores = compute_scores(records)
    found = {**insights(scores, records), **more}
    return ScoreCard(
        tuple(scores),
        gates,
        make_ledger(len(records) if collected is None else collected, records),
        records=tuple(records),
        shorts={"smollm2": "smollm2", "org/other": "other"},
        **found,
    )


def gate(verdict: Verdict, reason: str, model: str = "smollm2", text: str = "exact.mean >= 0.8") -> GateResult:
    return GateResult(text, "capitals", model, verdict, None, 0, 0, reason)


RIGHT = grade_record(1, "exact", passed=True)
WRONG = grade_record(0, "exact", passed=False)
FAILED = grade_record(None, "exact", status="error")
NOT_APPLICABLE = grade_record(None, "exact", status="not_applicable")

ALL_PASS = make_card(
    [case_record(RIGHT, grade_record(0.5, "close"), case_id=case_id) for case_id in "abc"],
    gate("passed", "1 (n=3)"),
    uses=(ModelUse("smollm2", "smollm2", "cpu", "fp32", 3, 120, 1234, 2.5),),
    notes=("capitals: the first 3 of 10 rows",),
    artifact=".evals/run.jsonl",
)
GATE_FAILS = make_card(
    [case_record(RIGHT, case_id="a"), case_record(WRONG, case_id="b", outcome="missed")],
    gate("failed", "0.5, not >= 0.8 (n=2)"),
)
PARTIAL = make_card(
    [case_record(RIGHT, case_id="a")],
    gate("not judged", "9 of 10 cases did not run"),
    collected=10,
    interruption="KeyboardInterrupt",
)
ERRORS = make_card(
    [
        case_record(RIGHT, case_id="a"),
        case_record(FAILED, case_id="b", outcome="errored"),
        case_record(NOT_APPLICABLE, case_id="c", outcome="skipped"),
    ],
    gate("failed", "1 of 2 cases have no grade (1 error, 0 pending); over the rest it is 1"),
)
TWO_MODELS = make_card(
    [
        case_record(grade_record(value), model=model, case_id=f"k{number}")
        for model, values in (("smollm2", (1, 1, 1, 1, 1, 1, 1, 0)), ("org/other", (1, 0, 0, 0, 0, 0, 0, 0)))
        for number, value in enumerate(values)
    ],
    gate("passed", "0.875 (n=8)"),
    gate("failed", "0.125, not >= 0.8 (n=8)", model="org/other"),
)
MANY_CASES = [
    case_record(
        grade_record(float(number % 3 > 0 and number != repeat), passed=number % 3 > 0 and number != repeat),
        grade_record(number / 10 + repeat / 100, "close"),
        case_id=f"k{number}",
        model=model,
        repeat=repeat,
        level="easy" if number % 3 else "hard",
        outcome="missed",
    )
    for model in ("smollm2", "org/other")
    for number in range(30)
    for repeat in (1, 2)
]
FULL = make_card(
    MANY_CASES,
    gate("regressed", "0.6 against 0.7: -0.1, not >= baseline (n=30); p=0.004", text="exact.mean >= baseline"),
    gate(
        "inconclusive",
        "0.6 against 0.62: -0.02, not >= baseline (n=30); p=0.4, about 340 more cases would tell",
        model="org/other",
        text="exact.mean >= baseline",
    ),
    artifact=".evals/run.jsonl",
    hints=("pytest-evals compare main .evals/run.jsonl -v",),
    baseline="main",
    movements=(
        Movement("capitals", "smollm2", "exact", 30, -0.1, (-0.15, -0.05), "worse"),
        Movement("capitals", "org/other", "exact", 30, -0.02, (-0.09, 0.05), "unclear"),
        Movement("capitals", "org/other", "close", 0, None, None, "-"),
    ),
)
LONG = "You know the capitals of the world. " * 10


def sample(case_id: str, outcome: str, text: str | None, **more: Any) -> dict[str, Any]:
    completion = None if text is None else {"text": text}
    thread = [{"role": "user", "content": f"{LONG}Capital of {case_id}?"}]
    interaction = {"thread": thread, "source": "smollm2", "completion": completion, "metadata": {"id": case_id}}
    line = {"suite": "capitals", "case_id": case_id, "repeat": 1, "outcome": outcome, "error": None, "grades": []}
    return {**line, "interaction": interaction, **more}


def grade_line(value: float | None, status: str = "graded", **more: Any) -> dict[str, Any]:
    return {"grader_key": "exact", "value": value, "status": status, "passed": None, "reasoning": "", **more}


SAMPLES = [
    sample("a", "passed", "Paris", grades=[grade_line(1, passed=True, reasoning="expected 'Paris'")]),
    sample(
        "b", "errored", None, error={"kind": "engine", "message": "out of memory"}, grades=[grade_line(None, "error")]
    ),
    sample("c", "missed", "Rome\nor so", repeat=2, grades=[grade_line(0, passed=False, reasoning="expected 'Bern'")]),
]
CARDS = [ALL_PASS, GATE_FAILS, PARTIAL, ERRORS, TWO_MODELS, FULL]


def shown(card: ScoreCard, width: int, verbosity: int = 0, samples: Sequence[Any] = ()) -> str:
    return "\n".join(line.text for line in score_card_lines(card, width, verbosity, samples))


def snapshot(text: str) -> str:
    return textwrap.dedent(text).strip("\n").rstrip()


def test_a_run_in_which_all_is_well() -> None:
    assert shown(ALL_PASS, 80) == snapshot("""
        suite     grader    n   mean    95% interval  passed    min    max
        --------  ------  ---  -----  --------------  ------  -----  -----
        capitals  exact   3/3  1.000  0.439 .. 1.000    100%  1.000  1.000
                  close   3/3  0.500               -       -  0.500  0.500
        95% interval of close: none, since all values are the same

        gate PASSED     capitals: exact.mean >= 0.8: 1 (n=3)

        3 cases: 3 passed, 0 missed, 0 failed, 0 errored
        capitals: the first 3 of 10 rows
        smollm2 (cpu fp32): 3 completions, 1,234 tokens in 2.5 s: 494 tokens/s, 1.2
            cases/s
        artifact: .evals/run.jsonl
    """)


def test_a_narrow_terminal_gets_fewer_columns_and_broken_lines() -> None:
    assert shown(ALL_PASS, 50) == snapshot("""
        suite     grader    n   mean    95% interval
        --------  ------  ---  -----  --------------
        capitals  exact   3/3  1.000  0.439 .. 1.000
                  close   3/3  0.500               -
        no room for: passed, min, max
        95% interval of close: none, since all values are
            the same

        gate PASSED     capitals: exact.mean >= 0.8: 1
            (n=3)

        3 cases: 3 passed, 0 missed, 0 failed, 0 errored
        capitals: the first 3 of 10 rows
        smollm2 (cpu fp32): 3 completions, 1,234 tokens in
            2.5 s: 494 tokens/s, 1.2 cases/s
        artifact: .evals/run.jsonl
    """)


def test_a_gate_that_fails_says_what_was_there_and_what_was_asked() -> None:
    assert shown(GATE_FAILS, 80) == snapshot("""
        suite     grader    n   mean    95% interval  passed    min    max
        --------  ------  ---  -----  --------------  ------  -----  -----
        capitals  exact   2/2  0.500  0.095 .. 0.905     50%  0.000  1.000

        gate FAILED     capitals: exact.mean >= 0.8: 0.5, not >= 0.8 (n=2)

        2 cases: 1 passed, 1 missed, 0 failed, 0 errored
    """)


def test_a_gate_that_fails_in_a_narrow_terminal() -> None:
    assert shown(GATE_FAILS, 50) == snapshot("""
        suite     grader    n   mean    95% interval
        --------  ------  ---  -----  --------------
        capitals  exact   2/2  0.500  0.095 .. 0.905
        no room for: passed, min, max

        gate FAILED     capitals: exact.mean >= 0.8: 0.5,
            not >= 0.8 (n=2)

        2 cases: 1 passed, 1 missed, 0 failed, 0 errored
    """)


def test_a_partial_run_is_not_judged_and_says_what_is_missing() -> None:
    assert shown(PARTIAL, 80) == snapshot("""
        suite     grader    n   mean    95% interval  passed    min    max
        --------  ------  ---  -----  --------------  ------  -----  -----
        capitals  exact   1/1  1.000  0.207 .. 1.000    100%  1.000  1.000

        gate NOT JUDGED capitals: exact.mean >= 0.8: 9 of 10 cases did not run

        10 cases: 1 passed, 0 missed, 0 failed, 0 errored, 9 not run
        interrupted: KeyboardInterrupt
    """)


def test_a_partial_run_in_a_narrow_terminal() -> None:
    assert shown(PARTIAL, 50) == snapshot("""
        suite     grader    n   mean    95% interval
        --------  ------  ---  -----  --------------
        capitals  exact   1/1  1.000  0.207 .. 1.000
        no room for: passed, min, max

        gate NOT JUDGED capitals: exact.mean >= 0.8: 9 of
            10 cases did not run

        10 cases: 1 passed, 0 missed, 0 failed, 0 errored,
            9 not run
        interrupted: KeyboardInterrupt
    """)


def test_errors_and_what_does_not_apply_have_columns_of_their_own() -> None:
    assert shown(ERRORS, 80) == snapshot("""
        suite     grader    n   mean    95% interval  passed    min    max  errors  n/a
        --------  ------  ---  -----  --------------  ------  -----  -----  ------  ---
        capitals  exact   1/2  1.000  0.207 .. 1.000    100%  1.000  1.000       1    1

        gate FAILED     capitals: exact.mean >= 0.8: 1 of 2 cases have no grade (1
            error, 0 pending); over the rest it is 1

        3 cases: 1 passed, 0 missed, 0 failed, 1 errored, 1 not applicable
    """)


def test_with_suite_model_and_grader_sixty_columns_keep_the_interval() -> None:
    records = [
        case_record(grade_record(value), case_id=f"k{number}", suite=suite, model=model)
        for suite, model in (("invoice_totals", "scripted:bots:small"), ("order_summaries", "scripted:bots:large"))
        for number, value in enumerate((1.0, 0.0))
    ]
    card = ScoreCard(tuple(compute_scores(records)), (), Ledger(collected=4, passed=4), shorts={})
    assert shown(card, 60).splitlines()[:7] == [
        "  model                grader    n   mean    95% interval",
        "  -------------------  ------  ---  -----  --------------",
        "invoice_totals",
        "  scripted:bots:small  exact   2/2  0.500  0.095 .. 0.905",
        "order_summaries",
        "  scripted:bots:large  exact   2/2  0.500  0.095 .. 0.905",
        "no room for: passed, min, max",
    ]
    assert shown(card, 44).splitlines()[:4] == [
        "  grader    n   mean    95% interval  passed",
        "  ------  ---  -----  --------------  ------",
        "invoice_totals scripted:bots:small",
        "  exact   2/2  0.500  0.095 .. 0.905     50%",
    ]


def test_in_a_narrow_terminal_suites_are_lines_above_their_rows_so_that_intervals_and_errors_stay() -> None:
    assert shown(ERRORS, 50) == snapshot("""
          grader    n   mean    95% interval  errors  n/a
          ------  ---  -----  --------------  ------  ---
        capitals
          exact   1/2  1.000  0.207 .. 1.000       1    1
        no room for: passed, min, max

        gate FAILED     capitals: exact.mean >= 0.8: 1 of
            2 cases have no grade (1 error, 0 pending);
            over the rest it is 1

        3 cases: 1 passed, 0 missed, 0 failed, 1 errored,
            1 not applicable
    """)


def test_two_models_stand_beside_each_other_below_which_is_better_and_gates_name_theirs() -> None:
    assert shown(TWO_MODELS, 80) == snapshot("""
        exact: smollm2 is better than other by 0.750 (95% interval 0.240 .. 0.935, p
            0.031), over the same 8 cases

        mean, 95% interval  n                  smollm2                  other
        ------------------  -  -----------------------  ---------------------
        capitals
          exact             8  * 0.875  0.529 .. 0.978  0.125  0.022 .. 0.471
        * is the best mean; ~ is not clearly worse, case by case (p > 0.05, Holm over
            all pairs of models)

        gate FAILED     capitals[other]: exact.mean >= 0.8: 0.125, not >= 0.8 (n=8)
        gate PASSED     capitals[smollm2]: exact.mean >= 0.8: 0.875 (n=8)

        16 cases: 16 passed, 0 missed, 0 failed, 0 errored
    """)


def test_two_models_in_a_narrow_terminal() -> None:
    assert shown(TWO_MODELS, 50) == snapshot("""
        exact: smollm2 is better than other by 0.750 (95%
            interval 0.240 .. 0.935, p 0.031), over the
            same 8 cases

        mean, 95% interval  n         smollm2
        ------------------  -  --------------
        capitals
          exact             8         * 0.875
                               0.529 .. 0.978

        mean, 95% interval  n           other
        ------------------  -  --------------
        capitals
          exact             8           0.125
                               0.022 .. 0.471
        * is the best mean; ~ is not clearly worse, case
            by case (p > 0.05, Holm over all pairs of
            models)

        gate FAILED     capitals[other]: exact.mean >=
            0.8: 0.125, not >= 0.8 (n=8)
        gate PASSED     capitals[smollm2]: exact.mean >=
            0.8: 0.875 (n=8)

        16 cases: 16 passed, 0 missed, 0 failed, 0 errored
    """)


def test_a_baseline_slices_and_repeats_in_80_columns() -> None:
    assert shown(FULL, 80) == snapshot("""
        exact: smollm2 and other have the same mean, 0.633

        mean, 95% interval   n                smollm2                  other
        ------------------  --  ---------------------  ---------------------
        capitals
          exact             60  0.633  0.456 .. 0.780  0.633  0.456 .. 0.780
          close             60  1.465  1.136 .. 1.794  1.465  1.136 .. 1.794

        since the baseline  model    grader  change      its interval  verdict
        ------------------  -------  ------  ------  ----------------  -------
        capitals            smollm2  exact   -0.100  -0.150 .. -0.050    worse
                            smollm2  close        -                 -        -
                            other    exact   -0.020  -0.090 .. +0.050  unclear
                            other    close        -                 -        -
        95% interval of close: Student's t, since its values have no bounds
        change: of the mean over the cases that both runs have; verdict at 5 % over all
            rows (Holm)
        low slice: exact[level=hard] of smollm2: 0.000 (0.000 .. 0.278, 10 cases), the
            rest 0.950, p <0.001
        low slice: exact[level=hard] of other: 0.000 (0.000 .. 0.278, 10 cases), the
            rest 0.950, p <0.001
        repeats: exact of smollm2: 2 of each of 30 cases, pass@2 0.667, pass^2 0.600, 2
            flaky: k1, k2
        repeats: close of smollm2: 2 of each of 30 cases, standard deviation within a
            case 0.007, between cases 0.880
        repeats: exact of other: 2 of each of 30 cases, pass@2 0.667, pass^2 0.600, 2
            flaky: k1, k2
        repeats: close of other: 2 of each of 30 cases, standard deviation within a case
            0.007, between cases 0.880

        gate REGRESSED  capitals[smollm2]: exact.mean >= baseline: 0.6 against 0.7:
            -0.1, not >= baseline (n=30); p=0.004
        gate INCONCLUSIVE capitals[other]: exact.mean >= baseline: 0.6 against 0.62:
            -0.02, not >= baseline (n=30); p=0.4, about 340 more cases would tell

        120 cases: 0 passed, 120 missed, 0 failed, 0 errored
        artifact: .evals/run.jsonl
        next: pytest-evals compare main .evals/run.jsonl -v
    """)


def test_in_a_wide_terminal_changes_have_their_interval() -> None:
    assert shown(FULL, 130) == snapshot("""
        exact: smollm2 and other have the same mean, 0.633

        mean, 95% interval   n                smollm2                  other
        ------------------  --  ---------------------  ---------------------
        capitals
          exact             60  0.633  0.456 .. 0.780  0.633  0.456 .. 0.780
          close             60  1.465  1.136 .. 1.794  1.465  1.136 .. 1.794

        since the baseline  model    grader  change      its interval  verdict
        ------------------  -------  ------  ------  ----------------  -------
        capitals            smollm2  exact   -0.100  -0.150 .. -0.050    worse
                            smollm2  close        -                 -        -
                            other    exact   -0.020  -0.090 .. +0.050  unclear
                            other    close        -                 -        -
        95% interval of close: Student's t, since its values have no bounds
        change: of the mean over the cases that both runs have; verdict at 5 % over all rows (Holm)
        low slice: exact[level=hard] of smollm2: 0.000 (0.000 .. 0.278, 10 cases), the rest 0.950, p <0.001
        low slice: exact[level=hard] of other: 0.000 (0.000 .. 0.278, 10 cases), the rest 0.950, p <0.001
        repeats: exact of smollm2: 2 of each of 30 cases, pass@2 0.667, pass^2 0.600, 2 flaky: k1, k2
        repeats: close of smollm2: 2 of each of 30 cases, standard deviation within a case 0.007, between cases 0.880
        repeats: exact of other: 2 of each of 30 cases, pass@2 0.667, pass^2 0.600, 2 flaky: k1, k2
        repeats: close of other: 2 of each of 30 cases, standard deviation within a case 0.007, between cases 0.880

        gate REGRESSED  capitals[smollm2]: exact.mean >= baseline: 0.6 against 0.7: -0.1, not >= baseline (n=30); p=0.004
        gate INCONCLUSIVE capitals[other]: exact.mean >= baseline: 0.6 against 0.62: -0.02, not >= baseline (n=30); p=0.4, about 340 more
            cases would tell

        120 cases: 0 passed, 120 missed, 0 failed, 0 errored
        artifact: .evals/run.jsonl
        next: pytest-evals compare main .evals/run.jsonl -v
    """)


def test_with_60_columns_the_verdicts_stay() -> None:
    assert shown(FULL, 60) == snapshot("""
        exact: smollm2 and other have the same mean, 0.633

        mean, 95% interval   n         smollm2           other
        ------------------  --  --------------  --------------
        capitals
          exact             60           0.633           0.633
                                0.456 .. 0.780  0.456 .. 0.780
          close             60           1.465           1.465
                                1.136 .. 1.794  1.136 .. 1.794

        since the baseline  model    grader  change  verdict
        ------------------  -------  ------  ------  -------
        capitals            smollm2  exact   -0.100    worse
                            smollm2  close        -        -
                            other    exact   -0.020  unclear
                            other    close        -        -
        no room for: its interval
        95% interval of close: Student's t, since its values have no
            bounds
        change: of the mean over the cases that both runs have;
            verdict at 5 % over all rows (Holm)
        low slice: exact[level=hard] of smollm2: 0.000 (0.000 ..
            0.278, 10 cases), the rest 0.950, p <0.001
        low slice: exact[level=hard] of other: 0.000 (0.000 ..
            0.278, 10 cases), the rest 0.950, p <0.001
        repeats: exact of smollm2: 2 of each of 30 cases, pass@2
            0.667, pass^2 0.600, 2 flaky: k1, k2
        repeats: close of smollm2: 2 of each of 30 cases, standard
            deviation within a case 0.007, between cases 0.880
        repeats: exact of other: 2 of each of 30 cases, pass@2
            0.667, pass^2 0.600, 2 flaky: k1, k2
        repeats: close of other: 2 of each of 30 cases, standard
            deviation within a case 0.007, between cases 0.880

        gate REGRESSED  capitals[smollm2]: exact.mean >= baseline:
            0.6 against 0.7: -0.1, not >= baseline (n=30); p=0.004
        gate INCONCLUSIVE capitals[other]: exact.mean >= baseline:
            0.6 against 0.62: -0.02, not >= baseline (n=30); p=0.4,
            about 340 more cases would tell

        120 cases: 0 passed, 120 missed, 0 failed, 0 errored
        artifact: .evals/run.jsonl
        next: pytest-evals compare main .evals/run.jsonl -v
    """)


def test_verbosity_minus_2_is_gates_only() -> None:
    assert shown(ALL_PASS, 80, verbosity=-2) == snapshot("""
        gate PASSED     capitals: exact.mean >= 0.8: 1 (n=3)
    """)


def test_verbosity_minus_1_leaves_out_throughput_and_keeps_what_must_be_known_of_the_numbers() -> None:
    assert shown(ALL_PASS, 80, verbosity=-1) == snapshot("""
        suite     grader    n   mean    95% interval  passed    min    max
        --------  ------  ---  -----  --------------  ------  -----  -----
        capitals  exact   3/3  1.000  0.439 .. 1.000    100%  1.000  1.000
                  close   3/3  0.500               -       -  0.500  0.500
        95% interval of close: none, since all values are the same

        gate PASSED     capitals: exact.mean >= 0.8: 1 (n=3)

        3 cases: 3 passed, 0 missed, 0 failed, 0 errored
        capitals: the first 3 of 10 rows
        artifact: .evals/run.jsonl
    """)


def test_verbosity_1_adds_each_case_with_its_answer() -> None:
    assert shown(ERRORS, 80, 1, SAMPLES) == snapshot("""
        passed   capitals[a] smollm2
          asked     ...s of the world. You know the capitals of the world. Capital of a?
          answered  Paris
          grades    exact 1
        errored  capitals[b] smollm2
          asked     ...s of the world. You know the capitals of the world. Capital of b?
          error     engine: out of memory
          grades    exact error
        missed   capitals[c] r2 smollm2
          asked     ...s of the world. You know the capitals of the world. Capital of c?
          answered  Rome or so
          grades    exact 0 (expected 'Bern')

        suite     grader    n   mean    95% interval  passed    min    max  errors  n/a
        --------  ------  ---  -----  --------------  ------  -----  -----  ------  ---
        capitals  exact   1/2  1.000  0.207 .. 1.000    100%  1.000  1.000       1    1

        gate FAILED     capitals: exact.mean >= 0.8: 1 of 2 cases have no grade (1
            error, 0 pending); over the rest it is 1

        3 cases: 1 passed, 0 missed, 0 failed, 1 errored, 1 not applicable
    """)


@pytest.mark.parametrize("card", CARDS, ids=["all-pass", "gate-fails", "partial", "errors", "two-models", "full"])
@pytest.mark.parametrize("width", [45, 50, 60, 80, 120, 200])
@pytest.mark.parametrize("verbosity", [-2, -1, 0, 1])
def test_no_line_is_wider_than_the_terminal(card: ScoreCard, width: int, verbosity: int) -> None:
    # A command stays on one line, so that it can be copied.
    lines = [line.text for line in score_card_lines(card, width, verbosity) if not line.text.startswith("next: ")]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [0, 1, 10])
def test_a_tiny_width_does_no_harm(width: int) -> None:
    assert score_card_lines(ERRORS, width, 1)


def test_a_run_without_graders_says_so() -> None:
    assert shown(make_card([case_record()]), 80) == snapshot("""
        no grader was used

        1 case: 1 passed, 0 missed, 0 failed, 0 errored
    """)


def test_two_suites_are_named_once_each() -> None:
    records = [
        case_record(RIGHT, grade_record(1, "short"), suite="one"),
        case_record(RIGHT, grade_record(0, "short"), suite="two"),
    ]
    first_words = [line.text.split(" ")[0] for line in score_card_lines(make_card(records), 80)[2:6]]
    assert first_words == ["one", "", "two", ""]


def test_a_gate_that_names_its_suite_is_not_given_it_again() -> None:
    card = make_card([case_record(RIGHT)], gate("passed", "1 (n=1)", text="capitals.exact.mean >= 0.8"))
    assert "gate PASSED     capitals.exact.mean >= 0.8: 1 (n=1)" in shown(card, 80)


def test_a_short_run_claims_no_throughput() -> None:
    use = ModelUse("m", "m", "cpu", "fp32", 1, 10, 5, 0.01)
    assert "m (cpu fp32): 1 completion, 5 tokens" in shown(make_card([case_record()], uses=(use,)), 80).splitlines()


def savings(width: int = 1000, **more: Any) -> str:
    use = ModelUse("m", "m", "cpu", "fp32", 10, 100, 50, 2.0, **more)
    text = shown(make_card([case_record()], uses=(use,)), width)
    return next(line for line in text.splitlines() if line.startswith("m (cpu"))


PLAIN_USE = "m (cpu fp32): 10 completions, 50 tokens in 2.0 s: 25 tokens/s, 5.0 cases/s"


def test_everything_that_was_saved_is_said() -> None:
    usage = {
        "decode_rows": 30,
        "decodes": 10,
        "most_rows": 4,
        "shared_tokens": 40,
        "reused_tokens": 10,
        "prompt_tokens": 50,
        "padding_tokens": 15,
        "peak_bytes": 2_500_000_000,
    }
    expected = "; batches 75% full; 40% of prompt tokens shared; 10% reused; 23% padding; 1,234 duplicates; peak 2.5 GB"
    assert savings(usage=usage, duplicates=1234) == PLAIN_USE + expected


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"decode_rows": 0, "decodes": 0, "most_rows": 0},
        # One row at a time: a full batch of one says nothing.
        {"decode_rows": 10, "decodes": 10, "most_rows": 1},
        {"shared_tokens": 0, "padding_tokens": 0, "prompt_tokens": 10, "peak_bytes": 0},
    ],
)
def test_where_nothing_was_saved_nothing_is_said(usage: dict[str, float]) -> None:
    assert savings(usage=usage) == PLAIN_USE


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        ({"decode_rows": 10, "decodes": 10, "most_rows": 2}, "; batches 50% full"),
        ({"shared_tokens": 1, "prompt_tokens": 999}, "; 0.1% of prompt tokens shared"),
        ({"padding_tokens": 1, "prompt_tokens": 1}, "; 50% padding"),
        ({"peak_bytes": 12_000_000}, "; peak 12 MB"),
    ],
)
def test_each_saving_stands_alone(usage: dict[str, float], words: str) -> None:
    assert savings(usage=usage) == PLAIN_USE + words


def test_savings_are_said_of_short_runs_too() -> None:
    use = ModelUse("m", "m", "cpu", "fp32", 1, 10, 5, 0.01, duplicates=2)
    text = shown(make_card([case_record()], uses=(use,)), 80)
    assert "m (cpu fp32): 1 completion, 5 tokens; 2 duplicates" in text.splitlines()


def test_what_to_run_next_stands_at_the_end_in_one_piece() -> None:
    command = f"pytest --evals {'-k long' * 30}"
    card = make_card([case_record(outcome="errored")], artifact="run.jsonl", hints=(command,))
    assert shown(card, 80).splitlines()[-1] == f"next: {command}"


def marks(card: ScoreCard, word: str, verbosity: int = 0, samples: Sequence[Any] = ()) -> dict[str, bool]:
    lines: list[Line] = score_card_lines(card, 80, verbosity, samples)
    return next(line.markup for line in lines if word in line.text)


def test_colours_repeat_what_the_text_says() -> None:
    assert marks(ALL_PASS, "PASSED") == {"green": True}
    assert marks(GATE_FAILS, "FAILED") == {"red": True, "bold": True}
    assert marks(PARTIAL, "NOT JUDGED") == {"yellow": True}
    assert marks(PARTIAL, "interrupted") == {"yellow": True}
    assert marks(ERRORS, "errored  capitals[b]", 1, SAMPLES) == {"red": True}
    assert marks(TWO_MODELS, "better than") == {"bold": True}
    assert marks(ERRORS, "cases:") == {}


HOSTILE = "\x1b[2J\x00a\nb\u202e\ud800"


@pytest.mark.parametrize("verbosity", [-2, -1, 0, 1])
def test_hostile_text_stays_harmless(verbosity: int) -> None:
    card = ScoreCard(
        tuple(compute_scores([case_record(grade_record(1, f"style.{HOSTILE}"), suite=HOSTILE, model=HOSTILE)])),
        (GateResult(HOSTILE, HOSTILE, HOSTILE, "failed", None, 0, 0, HOSTILE),),
        Ledger(),
        uses=(ModelUse(HOSTILE, HOSTILE, HOSTILE, HOSTILE, 1, 1, 1, 1.0),),
        notes=(HOSTILE,),
        artifact=HOSTILE,
        interruption=HOSTILE,
        records=(case_record(grade_record(1, HOSTILE), suite=HOSTILE, case_id=HOSTILE),),
    )
    text = shown(card, 80, verbosity)
    assert text.encode().isascii()
    assert not set("\x1b\x00\r") & set(text)
    assert "\\x1b[2J" in text


def test_a_grader_whose_name_breaks_lines_has_one_row() -> None:
    card = make_card([case_record(grade_record(1, "two\nlines"))])
    assert shown(card, 80).splitlines()[2].split() == [
        "capitals",
        "two",
        "lines",
        "1/1",
        "1.000",
        "0.207",
        "..",
        "1.000",
        "100%",
        "1.000",
        "1.000",
    ]
