"""Gates: written, resolved and judged."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_evals.errors import GateError
from pytest_evals.gates import Gate, GateResult, in_slice, is_budget, judge, parse_gate, resolve, unresolved
from pytest_evals.scores.records import CaseRecord
from tests.unit.building import case_record, grade_record

# -- the grammar


@pytest.mark.parametrize(
    ("text", "target", "part", "statistic", "comparison", "number"),
    [
        ("exact.mean >= 0.8", "exact", None, "mean", ">=", 0.8),
        ("exact.mean>=0.8", "exact", None, "mean", ">=", 0.8),
        ("  exact.mean  >  .5 ", "exact", None, "mean", ">", 0.5),
        ("exact.pass_rate >= 80%", "exact", None, "pass_rate", ">=", 0.8),
        ("exact.max <= 3", "exact", None, "max", "<=", 3),
        ("exact.min == -1.5e3", "exact", None, "min", "==", -1500),
        ("exact.median < 2", "exact", None, "median", "<", 2),
        ("exact.coverage == 100%", "exact", None, "coverage", "==", 1),
        ("capitals.exact.mean > 0", "capitals.exact", None, "mean", ">", 0),
        ("capitals.style.tone.mean > 0", "capitals.style.tone", None, "mean", ">", 0),
        ("exact[level=easy].mean >= 1", "exact", ("level", "easy"), "mean", ">=", 1),
        ("exact.mean[level=easy] >= 1", "exact", ("level", "easy"), "mean", ">=", 1),
        ("exact[ level = very easy ].mean >= 1", "exact", ("level", "very easy"), "mean", ">=", 1),
        ("exact[when=a>=b].mean >= 1", "exact", ("when", "a>=b"), "mean", ">=", 1),
        ("exact[version=1.2].mean >= 1", "exact", ("version", "1.2"), "mean", ">=", 1),
        ("exact.p5 >= 0.1", "exact", None, "p5", ">=", 0.1),
        ("capitals.exact.p99.9 >= 0.1", "capitals.exact", None, "p99.9", ">=", 0.1),
        ("exact.pass@5 >= 0.9", "exact", None, "pass@5", ">=", 0.9),
        ("exact.pass^3 >= 0.9", "exact", None, "pass^3", ">=", 0.9),
        ("exact.ci_low >= 0.75", "exact", None, "ci_low", ">=", 0.75),
        ("exact.min_case >= 0.5", "exact", None, "min_case", ">=", 0.5),
        ("tokens.mean <= 200", "tokens", None, "mean", "<=", 200),
        ("capitals.latency.p95 <= 2s", "capitals.latency", None, "p95", "<=", 2),
        ("latency[level=hard].max < 250ms", "latency", ("level", "hard"), "max", "<", 0.25),
        ("errors.count <= 3", "errors", None, "count", "<=", 3),
        ("errors.rate <= 1%", "errors", None, "rate", "<=", 0.01),
    ],
)
def test_a_good_gate_is_read(
    text: str, target: str, part: tuple[str, str] | None, statistic: str, comparison: str, number: float
) -> None:
    assert parse_gate(text) == Gate(text.strip(), target, part, statistic, comparison, number)


@pytest.mark.parametrize(
    ("right", "bound"),
    [
        ("baseline", 0.5),
        ("baseline - 0.02", 0.48),
        ("baseline-2%", 0.48),
        ("baseline + 0.1", 0.6),
        ("baseline * 0.9", 0.45),
        ("baseline*110%", 0.55),
    ],
)
def test_a_bound_may_be_relative_to_a_baseline(right: str, bound: float) -> None:
    gate = parse_gate(f"exact.mean >= {right}")
    assert gate.relative
    assert gate.bound(0.5) == pytest.approx(bound)
    assert gate.bound_text == right
    assert not parse_gate("exact.mean >= 0.5").relative


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exact.pass@k >= 1", "k is a number, as in pass@3"),
        ("exact.pass@0 >= 1", "unknown statistic 'pass@0'"),
        ("exact.p101 >= 1", "unknown statistic 'p101'"),
        ("exact.count >= 1", "count is a statistic of errors, as in 'errors.count <= 3'"),
        ("exact.mean >= 2s", "'2s' is a time, and only latency has one"),
        ("latency.p95 <= 2h", "'2h' is not a number"),
        ("exact.pass_rate >= 80", "pass_rate is a share, from 0 to 1 or from 0% to 100%; write 80%"),
        ("exact.pass@3 >= 1.5", "pass@3 is a share, from 0 to 1 or from 0% to 100%; write 1.5%"),
        ("errors.rate <= -1", "rate is a share, from 0 to 1 or from 0% to 100%"),
        ("exact.mean >= base", "'base' is not a number"),
        ("exact.mean >= baselines", "'baselines' is none of 'baseline', 'baseline - 0.02'"),
        ("exact.mean >= baseline - ", "'baseline -' is none of"),
        ("exact.mean >= baseline / 2", "is none of"),
        ("exact.mean >= baseline - x", "'x' is not a number"),
        ("exact.mean >= baseline - inf", "not a finite number"),
        ("exact.mean >= baseline * -1", "multiplied by a number above 0, not by -1"),
        ("exact.mean >= 0.9 * baseline", "is not well formed"),
        ("exact.mean == baseline", "no two runs are equal but by chance"),
        ("exact.min >= baseline", "min cannot be compared with a baseline; these can: mean, pass_rate, median"),
        ("", "is not well formed: a gate is written [suite.]grader.statistic OP number, as 'exact.mean >= 0.8'"),
        ("exact.mean", "is not well formed"),
        ("exact.mean >=", "is not well formed"),
        (">= 0.8", "is not well formed"),
        ("exact.mean = 0.8", "is not well formed"),
        ("exact.mean => 0.8", "is not well formed"),
        ("exact.mean >== 0.8", "is not well formed"),
        ("exact.mean != 0.8", "is not well formed"),
        ("0.5 < exact.mean < 0.8", "is not well formed"),
        ("exact.mean >= 0.8 0.9", "is not well formed"),
        ("exact[a=b][c=d].mean >= 1", "is not well formed"),
        ("mean >= 0.8", "names no grader"),
        (".mean >= 0.8", "names no grader"),
        ("capitals..mean >= 0.8", "names no grader"),
        ("exact >= 0.8", "unknown statistic 'exact' (known: mean, pass_rate, min, max, median, stderr, ci_low,"),
        ("exact.maen >= 0.8", "unknown statistic 'maen'"),
        ("exact.maen >= 0.8", "did you mean 'mean'?"),
        ("exact.mean >= high", "'high' is not a number"),
        ("exact.mean >= %", "'%' is not a number"),
        ("exact.mean >= 80%%", "'80%%' is not a number"),
        ("exact.mean >= nan", "'nan' is not a finite number"),
        ("exact.mean >= inf", "'inf' is not a finite number"),
        ("exact.mean >= 1e999", "'1e999' is not a finite number"),
        ("exact[level].mean >= 1", "the slice [level] is not [field=value]"),
        ("exact[=easy].mean >= 1", "the slice [=easy] is not [field=value]"),
        ("exact[level=].mean >= 1", "the slice [level=] is not [field=value]"),
        ("exact[].mean >= 1", "the slice [] is not [field=value]"),
    ],
)
def test_a_bad_gate_is_quoted_and_says_which_part_is_wrong(text: str, words: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text)
    assert str(caught.value).startswith(f"gate {text!r}")
    assert words in str(caught.value)


@pytest.mark.parametrize("written", [0.8, None, ["exact.mean >= 1"]])
def test_a_gate_is_text(written: Any) -> None:
    with pytest.raises(GateError, match=r"a gate is text, not .*: a gate is written"):
        parse_gate(written)


@pytest.mark.parametrize(
    ("comparison", "met"),
    [
        (">=", [False, True, True]),
        (">", [False, False, True]),
        ("<=", [True, True, False]),
        ("<", [True, False, False]),
        ("==", [False, True, False]),
    ],
)
def test_the_boundary_belongs_to_comparisons_with_equality(comparison: str, met: list[bool]) -> None:
    gate = parse_gate(f"exact.mean {comparison} 0.8")
    assert [gate.meets(value) for value in (0.79, 0.8, 0.81)] == met


# -- which grader a gate means


@pytest.mark.parametrize(
    ("target", "grader"),
    [
        ("exact", "exact"),
        ("capitals.exact", "exact"),
        ("style.tone", "style.tone"),
        ("capitals.style.tone", "style.tone"),
        ("style", "style"),
        ("other.exact", None),
        ("exac", None),
        ("exactly", None),
        ("capitals", None),
        ("tone", None),
        ("tokens", "tokens"),
        ("capitals.latency", "latency"),
        ("other.tokens", None),
    ],
)
def test_a_target_names_a_grader_of_the_suite_with_or_without_its_name(target: str, grader: str | None) -> None:
    assert resolve(parse_gate(f"{target}.mean >= 1"), "capitals", ["exact", "style"]) == grader


def test_a_grader_named_as_the_suite_is_meant_before_the_suite() -> None:
    assert resolve(parse_gate("capitals.mean >= 1"), "capitals", ["capitals"]) == "capitals"
    assert resolve(parse_gate("capitals.tone.mean >= 1"), "capitals", ["capitals", "tone"]) == "capitals.tone"


@pytest.mark.parametrize(
    ("text", "graders", "found"),
    [
        ("errors.count <= 3", ["exact"], "errors"),
        ("tokens.p95 <= 3", ["exact"], "tokens"),
        ("tokens.pass_rate >= 1", ["exact"], None),
        ("errors.mean <= 3", ["exact"], None),
        ("tokens.pass_rate >= 1", ["tokens"], "tokens"),
        ("errors.count <= 3", ["errors"], None),
    ],
)
def test_a_budget_has_statistics_of_its_own_unless_a_grader_has_its_name(
    text: str, graders: list[str], found: str | None
) -> None:
    assert resolve(parse_gate(text), "capitals", graders) == found
    assert is_budget("tokens", graders) is ("tokens" not in graders)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tokens.pass_rate >= 1", "no pass_rate of tokens (tokens has mean, min, max,"),
        ("errors.mean <= 1", "no mean of errors (errors has count, rate)"),
        ("exat.mean >= 1", "no grader 'exat' (graders: exact); did you mean 'exact'?"),
    ],
)
def test_what_a_suite_has_not_is_said_with_what_it_has(text: str, words: str) -> None:
    assert unresolved(parse_gate(text), ["exact"]).startswith(words)


# -- slices


@pytest.mark.parametrize(
    ("value", "written"),
    [("easy", "easy"), (3, "3"), (1.5, "1.5"), (True, "true"), (False, "false"), ("true", "true"), ("a b", "a b")],
)
def test_a_slice_compares_as_text(value: object, written: str) -> None:
    assert in_slice(case_record(level=value), ("level", written))


@pytest.mark.parametrize(
    ("fields", "written"), [({}, "easy"), ({"level": None}, "None"), ({"level": "easy"}, "Easy"), ({"level": 3}, "3.0")]
)
def test_a_case_without_the_value_is_not_in_the_slice(fields: dict[str, Any], written: str) -> None:
    assert not in_slice(case_record(**fields), ("level", written))


def test_without_a_slice_every_case_counts() -> None:
    assert in_slice(case_record(), None)


# -- judgement


def verdict(
    text: str, *records: CaseRecord, missing: int = 0, floor: bool = False, grader: str = "exact", budget: bool = False
) -> GateResult:
    gate = parse_gate(text)
    return judge(gate, "capitals", "smollm2", grader, records, missing=missing, floor=floor, budget=budget)


def graded(*values: float) -> list[CaseRecord]:
    return [case_record(grade_record(value)) for value in values]


def without(status: str, **fields: Any) -> CaseRecord:
    return case_record(grade_record(None, status=status), **fields)


def test_a_gate_that_is_met_passes_and_says_by_how_much() -> None:
    assert verdict("exact.mean >= 0.5", *graded(1, 1, 0)) == GateResult(
        "exact.mean >= 0.5", "capitals", "smollm2", "passed", 2 / 3, 3, 3, "0.6667 (n=3)"
    )


def test_a_gate_that_is_not_met_fails_and_says_what_was_asked() -> None:
    result = verdict("exact.mean >= 0.8", *graded(1, 1, 0))
    assert (result.verdict, result.reason) == ("failed", "0.6667, not >= 0.8 (n=3)")
    out_of_reach = verdict("exact.mean >= 80", *graded(1, 1, 0))
    assert out_of_reach.reason == "0.6667, not >= 80 (n=3): no value is above 1; is 80% meant?"
    assert verdict("exact.min < 0", *graded(1, 1, 0)).reason == "0, not < 0 (n=3): no value is below 0"


def test_a_value_on_the_boundary_meets_at_least() -> None:
    assert verdict("exact.mean >= 80%", *graded(1, 1, 1, 1, 0)).verdict == "passed"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("exact.mean >= 0", 0.5),
        ("exact.pass_rate >= 0", 0.5),
        ("exact.min >= 0", 0.0),
        ("exact.max >= 0", 1.0),
        ("exact.median >= 0", 0.5),
        ("exact.coverage >= 0", 1.0),
        ("exact.p25 >= 0", 0.25),
        ("exact.stderr >= 0", 0.5),
        ("exact.min_case >= 0", 0.0),
        ("exact.pass@1 >= 0", 0.5),
        ("exact.ci_low >= 0", pytest.approx(0.0945, abs=1e-4)),
        ("exact.ci_high >= 0", pytest.approx(0.9055, abs=1e-4)),
    ],
)
def test_every_statistic_is_judged(text: str, value: float) -> None:
    assert verdict(text, *graded(1, 0)).value == value


def test_with_missing_cases_a_gate_is_not_judged_even_if_it_could_not_be_met() -> None:
    result = verdict("exact.mean >= 0.8", *graded(0, 0), missing=1)
    assert (result.verdict, result.value, result.reason) == ("not judged", None, "1 of 3 cases did not run")


def test_a_gate_waits_for_people_who_have_not_answered() -> None:
    result = verdict("exact.mean >= 0.5", *graded(1), without("pending"))
    assert (result.verdict, result.value, result.n, result.applicable) == ("not judged", None, 1, 2)


def test_cases_without_a_grade_fail_a_gate_that_the_rest_meets() -> None:
    result = verdict("exact.mean >= 0.5", *graded(1), without("error"))
    assert (result.verdict, result.value, result.n, result.applicable) == ("failed", 1.0, 1, 2)
    assert "1 of 2 cases have no grade" in result.reason
    assert "over the rest it is 1" in result.reason


def test_errors_fail_a_gate_that_asks_for_little_too() -> None:
    assert verdict("exact.mean <= 1", *graded(0), without("error")).verdict == "failed"


def test_a_coverage_gate_beside_it_lets_errors_pass() -> None:
    records = [*graded(1, 1, 1), without("error")]
    assert verdict("exact.mean >= 1", *records, floor=True).verdict == "passed"
    assert verdict("exact.coverage >= 0.75", *records, floor=True).verdict == "passed"
    assert verdict("exact.coverage >= 0.8", *records, floor=True).verdict == "failed"


def test_a_case_that_does_not_apply_leaves_the_denominator() -> None:
    result = verdict("exact.mean >= 1", *graded(1), without("not_applicable"))
    assert (result.verdict, result.n, result.applicable) == ("passed", 1, 1)


@pytest.mark.parametrize("statistic", ["mean", "coverage", "pass_rate", "min"])
def test_a_gate_on_no_grade_at_all_fails(statistic: str) -> None:
    result = verdict(f"exact.{statistic} >= 0", without("not_applicable"), without("not_applicable"))
    assert (result.verdict, result.reason) == ("failed", "no case has a grade (0 errors, 2 not applicable)")


def test_a_pass_rate_without_verdicts_fails_and_says_what_to_do() -> None:
    result = verdict("exact.pass_rate >= 0.5", *graded(0.7, 0.2))
    assert result.verdict == "failed"
    assert result.reason == (
        "2 of 2 grades have no verdict, so there is no pass_rate; use mean, or return a Grade with passed="
    )


def test_a_slice_judges_its_own_cases_only() -> None:
    records = [case_record(grade_record(1), level="easy"), case_record(grade_record(0), level="hard")]
    assert verdict("exact[level=easy].mean >= 1", *records).reason == "1 (n=1)"
    assert verdict("exact[level=hard].mean >= 1", *records).verdict == "failed"


def test_an_error_outside_of_the_slice_does_not_fail_it() -> None:
    records = [case_record(grade_record(1), level="easy"), without("error", level="hard")]
    assert verdict("exact[level=easy].mean >= 1", *records).verdict == "passed"


def test_a_slice_that_the_limit_left_empty_is_not_judged() -> None:
    result = verdict("exact[level=hard].mean >= 1", case_record(grade_record(1), level="easy"))
    assert result.verdict == "not judged"
    assert result.reason == "--evals-limit leaves no case in the slice level=hard"


def test_without_any_case_a_gate_is_not_judged() -> None:
    assert (verdict("exact.mean >= 1").verdict, verdict("exact.mean >= 1").reason) == ("not judged", "no case ran")


def test_other_graders_do_not_count() -> None:
    record = case_record(grade_record(0, "exactly"), grade_record(1, "exact"), grade_record(0, "exact.x"))
    assert verdict("exact.mean >= 1", record).reason == "1 (n=1)"


def test_a_grader_of_a_dict_that_failed_before_its_entries_is_an_error_of_each() -> None:
    records = [
        case_record(grade_record(1, "style.tone")),
        case_record(grade_record(None, "style", status="error")),
    ]
    result = verdict("style.tone.mean >= 1", *records, grader="style.tone")
    assert (result.verdict, result.n, result.applicable) == ("failed", 1, 2)


# -- repeats and budgets


def test_statistics_over_repeats_are_of_cases() -> None:
    cases = {"a": (1, 1, 0, 1), "b": (1, 1, 1, 1), "c": (0, 0, 0, 1)}
    records = [
        case_record(grade_record(v), case_id=name, repeat=k) for name, vs in cases.items() for k, v in enumerate(vs)
    ]
    floor = verdict("exact.min_case >= 0.5", *records)
    assert (floor.verdict, floor.value, floor.reason) == ("failed", 0.25, "0.25, not >= 0.5 (n=3, 12 samples)")
    assert verdict("exact.pass@4 >= 1", *records).verdict == "passed"
    assert verdict("exact.pass^4 >= 0", *records).value == pytest.approx(1 / 3)
    short = verdict("exact.pass@5 >= 1", *records)
    assert (short.verdict, short.reason) == (
        "failed",
        "pass@5 takes 5 samples of each case, and some have 4; see --evals-repeat",
    )


def test_one_case_has_no_error_of_its_mean() -> None:
    assert "at least two cases" in verdict("exact.stderr <= 1", *graded(0.5)).reason
    assert verdict("exact.ci_low >= 0.2", *graded(1)).value == pytest.approx(0.2065, abs=1e-4)


def test_budgets_are_judged_on_what_cases_took() -> None:
    records = [case_record(grade_record(1), tokens=n, latency=n / 100) for n in (10, 20, 30)]

    def budget(text: str, *more: CaseRecord, floor: bool = False) -> GateResult:
        return verdict(text, *records, *more, grader=parse_gate(text).target, budget=True, floor=floor)

    assert (budget("tokens.mean <= 20").verdict, budget("tokens.max <= 20").verdict) == ("passed", "failed")
    assert budget("latency.p50 <= 200ms").value == pytest.approx(0.2)
    assert (budget("errors.count <= 0").value, budget("errors.rate <= 0").verdict) == (0, "passed")
    broken = case_record(grade_record(None, status="error"), outcome="errored")
    assert budget("tokens.mean <= 20", broken).verdict == "failed"
    assert budget("tokens.mean <= 20", broken, floor=True).verdict == "passed"
    found = budget("errors.rate <= 20%", broken, case_record(outcome="skipped"))
    assert (found.verdict, found.value, found.n) == ("failed", 0.25, 4)
    assert budget("prompt_tokens.mean <= 20").reason == "no case has a grade (0 errors, 3 not applicable)"
