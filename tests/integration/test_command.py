"""The command ``pytest-evals`` itself: help, version, exit status, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

import pytest_evals_hf
from pytest_evals import cli
from pytest_evals.artifacts.provenance import version
from pytest_evals.artifacts.schema import json_schema
from pytest_evals.cli import schema
from pytest_evals.errors import ArtifactError
from tests.unit.recorded import run_line, sample_line, summary_line


def test_the_console_script_is_this_command() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert resolve_name(project["scripts"]["pytest-evals"]) is pytest_evals_hf.main


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


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["shwo"],
        ["schema", "--jsn"],
        ["cases", "--limit", "-1"],
        ["compare", "a", "b", "--limit", "some"],
        ["history", "--last", "0"],
        ["annotate", "--port", "65536"],
    ],
)
def test_wrong_usage_is_status_2_and_nothing_on_stdout(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage: pytest-evals" in printed.err
    assert "Traceback" not in printed.err


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


BROKEN = {
    "empty.jsonl": (b"", "empty.jsonl is empty"),
    "binary.jsonl": (
        bytes(range(256)) * 9,
        "binary.jsonl is not an artifact of pytest --evals: it does not hold JSON Lines",
    ),
    "newer.jsonl": (
        json.dumps(run_line(schema=99, plugin="9.9")).encode() + b"\n",
        "written with schema 99 by pytest-evals-hf 9.9, newer than schema 2",
    ),
    "cut.jsonl": (json.dumps(run_line()).encode()[:-9], "cut.jsonl:1: not valid JSON, so this is not an artifact"),
}


def test_what_cannot_be_read_is_status_2_and_one_line_whatever_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in BROKEN.items():
        Path(name).write_bytes(content)
    expected = {name: message for name, (_, message) in BROKEN.items()} | {
        "": "the path of the run is empty",
        "emty.jsonl": "there is no file 'emty.jsonl', and no baseline of this name in evals_baselines; did you mean 'empty.jsonl'?",
        "latst": "no baseline of this name in evals_baselines; did you mean 'latest'?",
        "runs\\run.jsonl": "there is no file 'runs\\\\run.jsonl'",
    }
    Path("empty").mkdir()
    expected["empty"] = "there is not an artifact in empty: 'pytest --evals' writes one"
    commands = (
        ["show"],
        ["cases"],
        ["report"],
        ["annotate"],
        ["export", "--to", "csv"],
        ["baseline", "set"],
        ["compare"],
    )
    for command in commands:
        for name, message in expected.items():
            assert cli.main([*command, name]) == 2, (command, name)
            out, err = capsys.readouterr()
            assert (out, err.count("\n")) == ("", 1), (command, name)
            assert message in err, (command, name)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_output_that_is_full_or_closed_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (run_line(), sample_line(), summary_line())))
    show = f"{sys.executable} -m pytest_evals show {path}"
    ends = {
        f"{show} > /dev/full": (
            2,
            "pytest-evals: error: the standard output cannot be used: No space left on device\n",
        ),
        f"{show} >&- 2>&-": (0, ""),
        f"{show.replace(str(path), '-')} <&-": (
            2,
            "pytest-evals: error: the standard input is closed: there is not an artifact to read\n",
        ),
    }
    for command, expected in ends.items():
        done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == expected


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_what_the_encoding_cannot_hold_is_escaped(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in (run_line(), sample_line("Zürich"), summary_line())))
    command = [sys.executable, "-m", "pytest_evals", "cases", str(path)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, check=True)
    assert rb"Z\xfcrich" in done.stdout


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
