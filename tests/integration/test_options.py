"""The smaller options: ``--evals-limit``, ``--evals-plan``, ``--evals-seed``, and what a typo in any of them does."""

from __future__ import annotations

import pytest

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

exact = graders.exact_match("item.q")

@cases([{"id": f"c{n}", "q": f"q{n % 3}"} for n in range(9)], prompt="{{item.q}}", id="id", LIMIT generation={"max_new_tokens": 7},
       gates=["exact.mean >= 0.5"])
def test_it(exact):
    assert exact
"""
ECHO = "def answer(messages):\n    return messages[-1]['content']\n"


@pytest.mark.parametrize(
    ("own", "option", "n"), [("", "4", 4), ("limit=3,", "5", 3), ("limit=3,", "2", 2), ("", "50", 9)]
)
def test_the_limit_takes_the_first_cases_and_gates_are_judged_on_them(
    evals: Evals, own: str, option: str, n: int
) -> None:
    evals.write(SUITE.replace("LIMIT", own), script=ECHO)
    result = evals.run("--evals-limit", option)
    result.assert_outcomes(passed=n)
    assert [sample.case_id for sample in evals.artifact.samples] == [f"c{number}" for number in range(n)]
    result.stdout.fnmatch_lines(["gate PASSED*"])
    if n < 9:
        result.stdout.fnmatch_lines([f"test_it: the first {n} of 9 rows"])


def test_a_slice_that_the_limit_empties_is_not_judged(evals: Evals) -> None:
    evals.write(SUITE.replace("LIMIT", "").replace("exact.mean", "exact[id=c8].mean"), script=ECHO)
    evals.run("--evals-limit", "2").stdout.fnmatch_lines(["gate NOT JUDGED*--evals-limit leaves no case*"])


def test_exact_is_told_to_engines_and_stands_in_the_artifact(evals: Evals) -> None:
    evals.write(SUITE.replace("LIMIT", ""), script=ECHO)
    evals.run("--evals-exact", "--evals-dtype", "fp32").assert_outcomes(passed=9)
    assert evals.artifact.run.options["exact"] is True
    evals.run().assert_outcomes(passed=9)
    assert evals.artifact.run.options["exact"] is False


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("n", 2), ("json_schema", {"type": "string"}), ("regex", "q."), ("choice", ["q0", "q1"])],
)
def test_what_a_script_cannot_honour_is_the_error_of_the_cases_that_ask_for_it(
    evals: Evals, parameter: str, value: object
) -> None:
    rows = [{"id": "plain", "q": "x"}, {"id": "special", "q": "x"}]
    source = f"""
from pytest_evals import cases

@cases({rows[:1]}, id="id", prompt="{{{{item.q}}}}", generation={{"min_p": 0.1, "repetition_penalty": 1.1}})
def test_plain(completion): ...

@cases({rows[1:]}, id="id", prompt="{{{{item.q}}}}", generation={{"temperature": 1.0, {parameter!r}: {value!r}}})
def test_special(completion): ...
"""
    evals.write(source, script=ECHO)
    evals.run().assert_outcomes(passed=1, errors=1)
    (sample,) = [sample for sample in evals.artifact.samples if sample.outcome == "errored"]
    assert (sample.suite, sample.error and sample.error.kind) == ("test_special", "unsupported")
    assert f"cannot honour the generation parameter {parameter!r}; leave it out" in str(sample.error)


def test_the_plan_says_what_would_run_and_loads_nothing(evals_both: Evals) -> None:
    evals_both.write(SUITE.replace("LIMIT", ""), script="raise SystemExit('an engine was started')")
    result = evals_both.run("--evals-plan", "--evals-model", "smollm2", "-k", "not c8")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        [
            "suite test_it: 9 rows of inline, 18 cases",
            "    gate exact.mean >= 0.5",
            "16 cases are selected",
            "model scripted:script:answer: 8 requests",
            "model smollm2: 8 requests, 3 after de-duplication",
            "    about 3 prompt tokens (longest 1), at most 21 new tokens",
            "    memory in fp32: weights 538 MB, *",
            "nothing was loaded;*",
        ]
    )
    assert not evals_both.path.exists()


def test_a_plan_shows_mistakes_of_collection(evals: Evals) -> None:
    evals.write("from pytest_evals import cases\n@cases('no.jsonl', prompt='x')\ndef test_it(completion): ...\n")
    assert evals.run("--evals-plan").ret == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--evals-limit", "few"], "*--evals-limit: 'few' is not a whole number*"),
        (["--evals-limit", "0"], "*--evals-limit: must be at least 1, not 0*"),
        (["--evals-seed", "-1"], "*--evals-seed: must be at least 0*"),
        (["--evals-device", "gpu"], "*--evals-device: 'gpu' is unknown (known: auto, cpu, cuda*"),
        (["--evals-dtype", "float32"], "*--evals-dtype: 'float32' is unknown (known: auto, fp32*"),
        (["--evals-batch", "many"], "*--evals-batch: 'many' is not a whole number*"),
        (["-o", "evals_grader_timeout=soon"], "*evals_grader_timeout: 'soon' is not a number of seconds*"),
        (["-o", "evals_stall_timeout=soon"], "*evals_stall_timeout: 'soon' is not a number of seconds*"),
        (["-o", "evals_stall_timeout=-1"], "*evals_stall_timeout: '-1' is not a number of seconds (0 means no limit)*"),
        (["--evals-warm", "soon"], "*--evals-warm: 'soon' is not a duration of up to 24 h, as 90s, 10m or 1h*"),
        (["--evals-warm", "25h"], "*--evals-warm: '25h' is not a duration of up to 24 h*"),
        (["--evals-warm="], "*--evals-warm: '' is not a duration*"),
        (["-o", "evals_warm=-5m"], "*evals_warm: '-5m' is not a duration*"),
        (["--evals-audit", "0"], "*--evals-audit: must be at least 1, not 0*"),
        (["--evals-audit", "some"], "*--evals-audit: 'some' is not a whole number*"),
        (
            ["--evals-exact", "--evals-dtype", "bf16", "--evals-device", "cpu"],
            "*--evals-exact computes in fp32, or on a CUDA device in bf16, so --evals-dtype=bf16 cannot*on cpu*",
        ),
        (["--evals-exact", "--evals-dtype", "fp16"], "*so --evals-dtype=fp16 cannot be combined with it*"),
        (["-o", "evals_models=nonsense"], "*evals_models: model 'nonsense'*"),
        (["-o", "evals_gates=nonsense"], "*evals_gates: gate 'nonsense'*"),
        (["-o", "evals_aliases=nonsense"], "*evals_aliases: 'nonsense' is not 'name = spec'*"),
        (["-o", "evals_modles=x"], "*unknown key 'evals_modles'; did you mean 'evals_models'?*"),
        (["--evals-gate", "exct.mean > 0"], "*no suite has a grader 'exct' (graders of test_it: exact); did you mean 'exact'?"),
        (["--evals-rply", "x"], "*there is no option --evals-rply; did you mean '--evals-replay'?*"),
    ],
)  # fmt: skip
def test_a_typo_is_a_usage_error_in_one_line(evals: Evals, arguments: list[str], message: str) -> None:
    evals.write(SUITE.replace("LIMIT", ""), script=ECHO)
    result = evals.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


@pytest.mark.parametrize("seconds", ["5", "2.5", '"5"'])
def test_keys_that_are_numbers_are_numbers_in_toml(evals: Evals, seconds: str) -> None:
    evals.write(SUITE.replace("LIMIT", ""), script=ECHO)
    (evals.pytester.path / "pytest.toml").write_text(
        f"[pytest]\nevals_grader_timeout = {seconds}\nevals_step_timeout = {seconds}\nevals_stall_timeout = 30\n"
        "evals_case_calls = 7\nevals_case_tokens = 2_000\n"
    )
    assert evals.run().ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evals_grader_timeout = true", "evals_grader_timeout: 'True' is not a number of seconds (0 means no limit)"),
        ("evals_grader_timeout = -1", "evals_grader_timeout: '-1' is not a number of seconds (0 means no limit)"),
        ("evals_grader_timeout = nan", "evals_grader_timeout: 'nan' is not a number of seconds (0 means no limit)"),
        ("evals_case_calls = 7.5", "evals_case_calls: '7.5' is not a whole number"),
        ('evals_case_tokens = "many"', "evals_case_tokens: 'many' is not a whole number"),
    ],
)
def test_what_is_no_number_in_toml_is_a_usage_error(evals: Evals, line: str, message: str) -> None:
    evals.write(SUITE.replace("LIMIT", ""), script=ECHO)
    (evals.pytester.path / "pytest.toml").write_text(f"[pytest]\n{line}\n")
    result = evals.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()
