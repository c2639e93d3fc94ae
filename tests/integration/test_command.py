"""The command ``pytest-evals`` itself: help, version, exit status, pipes."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from pytest_evals import cli
from pytest_evals.artifacts.artifact import json_schema
from pytest_evals.artifacts.provenance import version
from pytest_evals.cli import schema
from pytest_evals.errors import ArtifactError


def test_the_console_script_is_this_command() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert resolve_name(project["scripts"]["pytest-evals"]) is cli.main


def test_help_and_version_are_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n    {name} " in out for name in cli.COMMANDS)
    assert "examples:" in out
    for name in cli.COMMANDS:
        assert cli.main([name, "--help"]) == 0
        assert f"\n  pytest-evals {name}" in capsys.readouterr().out, "help of a subcommand has an example"
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"pytest-evals {version()}\n"


@pytest.mark.parametrize("argv", [[], ["shwo"], ["schema", "--jsn"]])
def test_wrong_usage_is_status_2_and_nothing_on_stdout(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: pytest-evals" in printed.err


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (ArtifactError("no\nartifact \x1b[31m"), 2, "pytest-evals: error: no artifact \\x1b[31m\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_a_subcommand_raises_decides_the_status(
    raised: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_arguments: object) -> int:
        raise raised

    monkeypatch.setattr(schema, "run", fail)
    assert cli.main(["schema"]) == status
    assert capsys.readouterr() == ("", message)


def test_schema_prints_that_of_the_artifact(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_pipe_that_is_closed_early_ends_quietly() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "pytest_evals", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.close()
    assert command.wait(60) == cli.PIPE_CLOSED
    assert command.stderr.read() == b""
    command.stderr.close()
