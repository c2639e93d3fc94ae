"""Which models are evaluated, and how several of them stand side by side."""

from __future__ import annotations

import pytest

from pytest_evals import cli

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

exact = graders.exact_match("item.q")

@cases([{"id": "a", "q": "Paris"}, {"id": "b", "q": "Oslo"}], prompt="{{item.q}}", id="id", gates=["exact.mean >= 0.9"] MODEL)
def test_it(exact):
    assert exact
"""
SCRIPT = """
def echo(messages):
    return messages[-1]["content"]

def paris(messages):
    return "Paris"
"""


def suite(model: str = "") -> str:
    return SUITE.replace("MODEL", f", model={model}" if model else "")


def sources(evals: Evals) -> list[str | None]:
    return [sample.interaction.source for sample in evals.artifact.samples]


def test_every_eval_runs_once_a_model_and_ids_and_rows_name_it(evals_both: Evals) -> None:
    evals_both.write(suite(), script=SCRIPT)
    result = evals_both.run(
        "--evals-model", "scripted:script:echo", "--evals-model", "scripted:script:paris", "-v", model=None
    )
    result.assert_outcomes(passed=3, xfailed=1, failed=1)
    out = result.stdout.str()
    for case in ("a-echo", "b-echo", "a-paris", "b-paris"):
        assert f"test_it[{case}]" in out
    means = {row["model"]: row["mean"] for row in evals_both.artifact.scores()}
    assert means == {"scripted:script:echo": 1.0, "scripted:script:paris": 0.5}
    summary = evals_both.artifact.summary
    assert summary is not None
    assert [(gate["model"], gate["verdict"]) for gate in summary.gates] == [
        ("scripted:script:echo", "passed"),
        ("scripted:script:paris", "failed"),
    ]


def test_the_command_line_wins_over_the_suite_over_the_conftest_over_the_configuration(evals: Evals) -> None:
    evals.pytester.makeini("[pytest]\nevals_models = scripted:script:echo\n")
    evals.write(suite(), script=SCRIPT)
    evals.run(model=None)
    assert set(sources(evals)) == {"scripted:script:echo"}
    evals.pytester.makeconftest("def pytest_evals_models(config):\n    return ['scripted:script:paris']\n")
    evals.run(model=None)
    assert set(sources(evals)) == {"scripted:script:paris"}
    evals.write(suite("'scripted:script:echo'"), script=SCRIPT)
    evals.run(model=None)
    assert set(sources(evals)) == {"scripted:script:echo"}
    evals.run(model="scripted:script:paris")
    assert set(sources(evals)) == {"scripted:script:paris"}


def test_a_conftest_sets_the_models_of_its_own_folder_only(evals: Evals) -> None:
    evals.write(suite(), script=SCRIPT)
    inner = evals.pytester.mkdir("inner")
    (inner / "test_inner.py").write_text(suite().replace("test_it", "test_inner"), encoding="utf-8")
    (inner / "conftest.py").write_text(
        "def pytest_evals_models(config):\n    return ['scripted:script:paris']\n", encoding="utf-8"
    )
    evals.pytester.makeconftest("def pytest_evals_models(config):\n    return 'scripted:script:echo'\n")
    evals.run(model=None)
    found = {sample.suite: sample.interaction.source for sample in evals.artifact.samples}
    assert found == {"test_it": "scripted:script:echo", "test_inner": "scripted:script:paris"}


def test_a_suite_may_name_several_models(evals: Evals) -> None:
    evals.write(suite("['scripted:script:echo', 'scripted:script:paris']"), script=SCRIPT)
    evals.run(model=None).assert_outcomes(passed=3, xfailed=1, failed=1)


def test_an_alias_of_the_configuration_file_names_a_model(evals: Evals) -> None:
    evals.pytester.makeini("[pytest]\nevals_aliases =\n    small = scripted:script:echo\n")
    evals.write(suite(), script=SCRIPT)
    evals.run(model="small").assert_outcomes(passed=2)
    assert set(sources(evals)) == {"scripted:script:echo"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "vlm:org/name",
            "*--evals-model: model 'vlm:org/name': unknown engine 'vlm' (known: hf, ray, openai, scripted)*",
        ),
        ("./nowhere", "*no such folder*nowhere*"),
        ("./empty", "*has no config.json*"),
        ("just-a-name", "*neither 'smollm2', a folder (./dir) nor a hub name (org/name)*"),
        ("hf:org/name?dtpe=bf16", "*unknown option 'dtpe'*did you mean 'dtype'*"),
        ("scripted:module", "*scripted:module:function*"),
    ],
)
def test_a_wrong_model_on_the_command_line_is_a_usage_error(evals: Evals, spec: str, message: str) -> None:
    evals.write(suite(), script=SCRIPT)
    evals.pytester.mkdir("empty")
    result = evals.run(model=spec)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert len(result.stderr.lines) <= 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "scripted:no_such_module:f",
            "*module 'no_such_module' cannot be imported (ModuleNotFoundError*looked for in pytest's rootdir*",
        ),
        ("scripted:script:pari", "*module 'script' has no function 'pari'; did you mean 'paris'?*"),
    ],
)
def test_a_script_that_cannot_be_loaded_is_shown_once_and_an_error_of_each_case_and_no_miss(
    evals: Evals, spec: str, message: str
) -> None:
    evals.write(suite(), script=SCRIPT)
    result = evals.run("-rs", model=spec)
    result.assert_outcomes(errors=1, skipped=1, failed=1)
    result.stdout.fnmatch_lines([message, f"SKIPPED*an error, shown above: *{message.strip('*')[:30]}*"])
    assert evals.ledger() == {"collected": 2, "errored": 2}


def test_all_cases_of_a_model_that_could_not_be_loaded_are_run_again(evals: Evals) -> None:
    evals.write(suite(), script=SCRIPT)
    evals.pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:pari").assert_outcomes(
        errors=1, skipped=1, failed=1
    )
    result = evals.pytester.runpytest_subprocess("--evals", "--evals-model=scripted:script:pari", "--lf")
    result.assert_outcomes(errors=1, skipped=1, failed=1)


def test_an_async_script_answers_concurrently(evals: Evals) -> None:
    script = """
import asyncio

waiting = []

async def answer(messages):
    # Returns only when the other request is here too.
    waiting.append(messages)
    while len(waiting) < 2:
        await asyncio.sleep(0.001)
    return messages[-1]["content"]
"""
    evals.write(suite(), script=script)
    evals.run().assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "raise ValueError('too rude')",
            "no completion (model error): scripted:script:answer raised ValueError: too rude",
        ),
        ("return 3", "scripted:script:answer returned int, and a script returns the completion as str"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "async "])
def test_a_script_that_fails_is_that_cases_error(evals: Evals, body: str, message: str, prefix: str) -> None:
    evals.write(
        suite(),
        script=f"{prefix}def answer(messages):\n    if 'Oslo' in messages[-1]['content']:\n        {body}\n    return 'Paris'\n",
    )
    result = evals.run()
    result.assert_outcomes(passed=1, errors=1, failed=1)
    assert message in result.stdout.str()
    (sample,) = [sample for sample in evals.artifact.samples if sample.outcome == "errored"]
    assert sample.error is not None
    assert sample.error.kind == "model"


def test_an_option_that_the_engine_cannot_honour_is_refused(evals: Evals) -> None:
    evals.write(suite().replace("prompt=", "generation={'logprobs': True}, prompt="), script=SCRIPT)
    result = evals.run(model="scripted:script:echo")
    result.assert_outcomes(errors=2, failed=1)
    result.stdout.fnmatch_lines(["*cannot honour the generation parameter 'logprobs'*"])


def test_an_alias_is_what_a_model_is_called_in_gates_and_history(
    evals: Evals, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    evals.write(
        """
        from pytest_evals import cases, graders

        exact = graders.exact_match("item.id")

        @cases([{"id": "a"}, {"id": "b"}], prompt="{{item.id}}", id="id", gates=["exact.mean >= 0.9"])
        def test_it(exact):
            assert exact
        """,
        "def right(messages):\n    return messages[-1]['content']\n\ndef wrong(messages):\n    return 'x'\n",
    )
    aliases = "large = scripted:script:right\n    small = scripted:script:wrong\n    unused = ./nowhere"
    evals.pytester.makeini(f"[pytest]\nevals_aliases =\n    {aliases}\n")
    result = evals.run("--evals-model=large", "--evals-model=small", "-rA", model=None)
    result.stdout.fnmatch_lines(
        [
            "* test_it.exact.mean >= 0.9[[]small] *",
            "exact: large is not clearly better than small*",
            "gate FAILED     test_it[[]small]: exact.mean >= 0.9: 0, not >= 0.9 (n=2)",
            "gate PASSED     test_it[[]large]: exact.mean >= 0.9: 1 (n=2)",
            "FAILED evals.gates::test_it.exact.mean >= 0.9[[]small] - *",
        ]
    )
    assert "scripted:script:wrong]" not in result.stdout.str()
    (evals.pytester.path / ".evals").mkdir()
    evals.path.rename(evals.pytester.path / ".evals" / "run.jsonl")
    monkeypatch.chdir(evals.pytester.path)
    capsys.readouterr()
    assert cli.main(["history"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "test_it.exact (large)"
    assert cli.main(["history", "--model", "small"]) == 0
    assert cli.main(["show"]) == 0
    assert "gate FAILED     test_it[small]" in capsys.readouterr().out
