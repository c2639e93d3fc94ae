"""The command that goes on with a run which was cut short."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from pytest_evals.reuse.command import command_of_run, resume_command

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the expected commands are those of POSIX shells")
RUN = Path("run.jsonl")
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


@pytest.mark.parametrize(
    "written", [["--evals-artifact=s3://bucket/run.jsonl"], ["--evals-artifact", "s3://bucket/run.jsonl"]]
)
def test_an_address_gets_the_whole_run_in_the_place_of_its_beginning(written: list[str]) -> None:
    command = resume_command(["--evals", *written], DEFAULT)
    assert command == f"pytest --evals {shlex.join(written)} --evals-resume=.evals/2026-11-30.jsonl"
