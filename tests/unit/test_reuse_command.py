"""Commands to run next."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.gates import GateResult
from pytest_evals.reuse.command import RunCommand, behind_gates, hints
from pytest_evals.scorecard import Ledger, Movement, ScoreCard
from pytest_evals.scores.records import CaseRecord, GradeRecord
from pytest_evals.scores.score import compute_scores

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the expected commands are those of POSIX shells")
RUN = Path("run.jsonl")


def resume_command(words: Sequence[str], artifact: Path, addopts: str | None = None) -> str | None:
    return RunCommand(words, artifact, addopts).resume()


def command_of_run(run: Mapping[str, Any], artifact: Path | str) -> str | None:
    command = RunCommand.of_run(run, artifact)
    return command.resume() if command else None


DEFAULT = Path(".evals/2026-11-30.jsonl")


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--evals"], "pytest --evals --evals-resume=.evals/2026-11-30.jsonl"),
        # Switched on by the configuration file, or the environment.
        (["tests/evals"], "pytest --evals tests/evals --evals-resume=.evals/2026-11-30.jsonl"),
        (
            ["--evals", "--evals-model", "hf:org/name?dtype=bf16", "--evals-judge=smollm2", "-k", "a and not b", "-n2", "a/b.py::t[x]"],
            ("pytest --evals --evals-model 'hf:org/name?dtype=bf16' --evals-judge=smollm2 -k 'a and not b' -n2 'a/b.py::t[x]' "
            "--evals-resume=.evals/2026-11-30.jsonl"),
        ),
        # A run that resumed another one: that one is found through this one.
        (["--evals", "--evals-resume", "latest", "-x"], "pytest --evals -x --evals-resume=.evals/2026-11-30.jsonl"),
        (["--evals", "--evals-resume=old.jsonl"], "pytest --evals --evals-resume=.evals/2026-11-30.jsonl"),
        # What follows "--" are paths.
        (["--evals", "--", "-odd.py"], "pytest --evals --evals-resume=.evals/2026-11-30.jsonl -- -odd.py"),
    ],
)  # fmt: skip
def test_the_command_repeats_what_the_run_was_asked(words: list[str], command: str) -> None:
    assert resume_command(words, DEFAULT) == command


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("run.jsonl", "run-2.jsonl"),
        ("run-2.jsonl", "run-3.jsonl"),
        ("out dir/it's.jsonl", "out dir/it's-2.jsonl"),
        ("results", "results-2"),
        ("gpt-4.jsonl", "gpt-5.jsonl"),
    ],
)
def test_a_run_that_was_given_a_file_goes_on_in_another_one(written: str, named: str) -> None:
    for words in (["--evals", "--evals-artifact", written], [f"--evals-artifact={written}", "--evals"]):
        command = resume_command(words, Path(written))
        assert shlex.split(str(command)) == [
            "pytest",
            "--evals",
            f"--evals-artifact={named}",
            f"--evals-resume={written}",
        ]


def test_a_file_that_is_there_is_not_named(tmp_path: Path) -> None:
    for name in ("run.jsonl", "run-2.jsonl"):
        (tmp_path / name).write_text("", encoding="utf-8")
    command = resume_command(["--evals", "--evals-artifact=x"], tmp_path / "run.jsonl")
    assert f"--evals-artifact={tmp_path}/run-3.jsonl" in str(command)


def test_the_environment_of_the_run_is_repeated() -> None:
    command = resume_command(["--evals"], RUN, "--evals-artifact=run.jsonl -q")
    assert command == (
        "PYTEST_ADDOPTS='--evals-artifact=run.jsonl -q' pytest --evals --evals-artifact=run-2.jsonl --evals-resume=run.jsonl"
    )


def test_a_replay_is_not_resumed() -> None:
    assert resume_command(["--evals", "--evals-replay", "run.jsonl"], RUN) is None
    assert resume_command(["--evals"], RUN, "--evals-replay=x") is None
    assert resume_command(["--evals", "--", "--evals-replay"], RUN) is not None


def test_a_recorded_run_is_resumed_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "a project"
    home.mkdir()
    monkeypatch.chdir(tmp_path)
    run = {"command": ["pytest", "--evals", "--evals-html=page.html"], "folder": str(home)}
    artifact = Path("a project/run.jsonl")
    assert command_of_run(run, artifact) == (
        f"cd '{home}' && pytest --evals --evals-html=page.html '--evals-resume={home}/run.jsonl'"
    )
    monkeypatch.chdir(home)
    expected = "pytest --evals --evals-html=page.html --evals-resume=run.jsonl"
    assert command_of_run(run, RUN) == expected
    # An older version did not write the folder, and that of another machine is not here.
    assert command_of_run({"command": run["command"]}, RUN) == expected
    assert command_of_run({**run, "folder": "/not/here"}, RUN) == expected
    assert command_of_run(run, "-") is None


ASKED = [
    "--evals",
    "--evals-model",
    "org/name?dtype=bf16",
    "--evals-judge=smollm2",
    "-k",
    "a and not b",
    "tests/a b.py",
]


def test_what_failed_is_run_again_with_the_models_judge_and_paths_of_the_run() -> None:
    expected = (
        "pytest --evals --evals-model 'org/name?dtype=bf16' --evals-judge=smollm2 -k 'a and not b' 'tests/a b.py' --lf"
    )
    assert RunCommand(ASKED, DEFAULT).rerun_failed() == expected
    # What would be there twice, and files about the whole run.
    more = ["--lf", "--ff", "--evals-resume", "latest", "--evals-html=page.html", "--junitxml", "junit.xml"]
    assert RunCommand([*ASKED, *more], DEFAULT).rerun_failed() == expected
    assert RunCommand(["--evals", "--evals-artifact", "run.jsonl"], RUN).rerun_failed() == (
        "pytest --evals --evals-artifact=run-2.jsonl --lf"
    )


@pytest.mark.parametrize("words", [["-p", "no:cacheprovider"], ["-pno:cacheprovider"]])
def test_where_pytest_does_not_remember_what_failed_nothing_is_run_again(words: list[str]) -> None:
    assert RunCommand(["--evals", *words], RUN).rerun_failed() is None
    assert RunCommand(["--evals"], RUN, shlex.join(words)).rerun_failed() is None


def test_a_replay_asks_no_models_and_keeps_judge_paths_and_gates() -> None:
    words = [*ASKED, "--evals-repeat=3", "--evals-audit", "2", "--evals-stop-early", "--evals-gate", "x.mean >= 1"]
    assert RunCommand(words, RUN).replay() == (
        "pytest --evals --evals-judge=smollm2 -k 'a and not b' 'tests/a b.py' --evals-gate 'x.mean >= 1' --evals-replay=run.jsonl"
    )
    assert RunCommand(["--evals-replay", "old.jsonl"], RUN).replay() == "pytest --evals --evals-replay=run.jsonl"
    # The shell may still have the variable, with models in it.
    assert (
        RunCommand([], RUN, "--evals-model=x").replay() == "PYTEST_ADDOPTS='' pytest --evals --evals-replay=run.jsonl"
    )
    assert (
        RunCommand([], RUN, "--evals-model=x -q").replay()
        == "PYTEST_ADDOPTS=-q pytest --evals --evals-replay=run.jsonl"
    )


def test_a_comparison_runs_the_same_again() -> None:
    assert RunCommand(["--evals", "--evals-baseline", "old", "tests"], RUN).compare_with("main") == (
        "pytest --evals tests --evals-baseline=main"
    )


def card(**more: Any) -> ScoreCard:
    return ScoreCard((), (), **{"ledger": Ledger(collected=3, passed=3), "artifact": "my runs/a.jsonl", **more})


def test_hints_name_the_run_and_are_about_what_there_is_to_look_at() -> None:
    command = RunCommand(["--evals", "tests"], Path("my runs/a.jsonl"))
    assert hints(card(), command) == []
    assert hints(card(ledger=Ledger(missed=1), artifact=None), command) == []
    assert hints(card(ledger=Ledger(missed=1)), command) == [
        "pytest-evals cases 'my runs/a.jsonl' -v --where \"outcome == 'missed'\""
    ]
    broken = card(ledger=Ledger(errored=2))
    assert hints(broken, command) == [
        "pytest --evals tests --lf",
        "pytest-evals cases 'my runs/a.jsonl' -v --where \"outcome == 'errored'\"",
    ]
    # A run that was cut short goes on instead.
    assert hints(dataclasses.replace(broken, resume="pytest --evals-resume=a"), command)[0].startswith(
        "pytest-evals cases"
    )
    moved = Movement("s", "m", "g", 3, -0.1, (-0.2, 0.0), "worse")
    assert hints(card(baseline="evals_baselines/main.jsonl", movements=(moved,)), command) == [
        "pytest-evals compare evals_baselines/main.jsonl 'my runs/a.jsonl' -v"
    ]


def test_where_gates_wait_for_a_baseline_the_hint_sets_it_from_a_whole_run() -> None:
    command = RunCommand(["--evals", "tests"], Path("my runs/a.jsonl"))
    assert hints(card(wants_baseline="main"), command) == [
        "pytest-evals baseline set 'my runs/a.jsonl' --name main",
        "pytest --evals tests --evals-baseline=main",
    ]
    assert hints(card(wants_baseline="main", ledger=Ledger(collected=3, passed=2, not_run=1)), command) == []


@pytest.mark.parametrize(
    "written", [["--evals-artifact=s3://bucket/run.jsonl"], ["--evals-artifact", "s3://bucket/run.jsonl"]]
)
def test_an_address_gets_the_whole_run_in_the_place_of_its_beginning(written: list[str]) -> None:
    command = RunCommand(["--evals", *written], DEFAULT).resume()
    assert command == f"pytest --evals {shlex.join(written)} --evals-resume=.evals/2026-11-30.jsonl"


GATE = GateResult("right.mean >= 0.9", "s", "m", "failed", 0.5, 2, 2, "0.5, not >= 0.9")
ONE = ("outcome == 'missed'", [("s", "m", "missed", "right", False), ("s", "m", "passed", "right", True)])


@pytest.mark.parametrize(
    ("expression", "cases"),
    [
        ONE,
        # Another suite, and another model, are none of it.
        ("suite == 's' and outcome == 'missed'", [*ONE[1], ("t", "m", "missed", "right", False)]),
        ("model == 'm' and outcome == 'missed'", [*ONE[1], ("s", "n", "missed", "right", False)]),
        # The test says nothing: the grader does.
        ("grades.right.passed == false", [("s", "m", "passed", "right", False), ("s", "m", "passed", "other", False)]),
        (None, [("s", "m", "passed", "other", False)]),
        (None, [("s", "m", "passed", "right", None)]),
    ],
)
def test_behind_a_failed_gate_are_the_cases_of_its_suite_and_model_that_missed(
    expression: str | None, cases: list[tuple[str, str, Any, str, bool | None]]
) -> None:
    records = tuple(
        CaseRecord(suite, model, f"c{number}", outcome, (GradeRecord(grader, 0.5, passed, "graded"),))
        for number, (suite, model, outcome, grader, passed) in enumerate(cases)
    )
    made = dataclasses.replace(card(), gates=(GATE,), records=records, scores=tuple(compute_scores(records)))
    assert behind_gates(made) == expression
    assert behind_gates(dataclasses.replace(made, gates=())) is None


def test_cases_are_run_again_with_the_options_of_the_run_and_instead_of_its_paths() -> None:
    words = [*ASKED, "--evals-html=page.html", "--", "tests"]
    command = RunCommand(words, RUN, paths=["tests/a b.py", "tests"])
    assert command.rerun_cases("outcome == 'missed'") == (
        "pytest --evals --evals-model 'org/name?dtype=bf16' --evals-judge=smollm2 -k 'a and not b' "
        "$(pytest-evals cases run.jsonl --where \"outcome == 'missed'\" --nodeids)"
    )
    assert RunCommand(words, RUN).rerun_cases("true") is None, "which words are paths is not known"
    assert RunCommand(words, RUN, paths=["elsewhere"]).rerun_cases("true") is None
    assert RunCommand(["--evals-replay=a.jsonl"], RUN, paths=[]).rerun_cases("true") is None
