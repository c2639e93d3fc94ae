"""Whatever a model says stays text: kept whole in the artifact, harmless on the terminal and in JUnit."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import chain

import pytest

from campaigns import hostile_inputs
from campaigns.hostile_text import CHANNELS, PARAMETERS
from campaigns.hostile_text import SUITE as CHANNEL_SUITE
from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.cli import main

from .conftest import Evals

TEXTS = {
    "ansi": "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "nul": "a\x00b",
    "surrogate": "\ud800 half a pair",
    "bidi": "abc\u202egnp.exe",
    "xml": "]]></failure><script>alert(1)</script>&amp;",
    "lines": "one\r\ntwo\u2028three",
    "percent": "%s %(x)s {0} {{item.x}} {% raw %}",
    "long": "x" * 1_000_000,
    "empty": "",
}
SUITE = """
import pytest
from pytest_evals import cases, graders

exact = graders.exact_match("item.id")

@cases([{"id": name} for name in NAMES], prompt="{{item.id}}", id="id")
def test_it(exact, completion):
    assert exact, completion.text[:100]
    assert completion.text == "never"
"""


@pytest.fixture
def hostile(evals_both: Evals) -> Evals:
    evals_both.write(
        SUITE.replace("NAMES", repr(list(TEXTS))),
        script=f"TEXTS = {TEXTS!r}\n\ndef answer(messages):\n    return TEXTS[messages[-1]['content']]\n",
    )
    return evals_both


def test_the_artifact_keeps_the_text_as_it_was(hostile: Evals) -> None:
    hostile.run()
    texts = {sample.case_id: sample.interaction.completion for sample in hostile.artifact.samples}
    assert {name: completion.text if completion else None for name, completion in texts.items()} == TEXTS


@pytest.mark.parametrize("verbosity", ["-q", "-vv"])
def test_nothing_reaches_the_terminal_that_could_steer_it(hostile: Evals, verbosity: str) -> None:
    result = hostile.run(verbosity, "-rA")
    result.assert_outcomes(failed=len(TEXTS))
    out = result.stdout.str()
    assert "INTERNALERROR" not in out
    for character in ("\x1b", "\x00", "\x07", "\ud800", "\u202e"):
        assert character not in out
    assert "x" * 100_000 not in out


def test_junit_stays_well_formed(hostile: Evals) -> None:
    hostile.run("--junitxml=junit.xml")
    root = ET.parse(hostile.pytester.path / "junit.xml").getroot()  # noqa: S314 - the file of this test
    assert len(root.findall(".//testcase")) == len(TEXTS)
    assert root.find(".//script") is None


def test_error_messages_of_a_model_are_harmless_too(evals_both: Evals) -> None:
    evals_both.write(
        SUITE.replace("NAMES", "['a']"),
        script="def answer(messages):\n    raise ValueError('\\x1b[31m \\ud800 \\x00')\n",
    )
    result = evals_both.run("--junitxml=junit.xml")
    result.assert_outcomes(errors=1)
    assert "\x1b" not in result.stdout.str()
    assert "raised ValueError: \\x1b[31m \\ud800 \\x00" in result.stdout.str()
    ET.parse(evals_both.pytester.path / "junit.xml")  # noqa: S314 - the file of this test


# -- Logs that a CI system reads.


def write_channels(evals: Evals, texts: list[str], channels: tuple[str, ...] = CHANNELS) -> None:
    rows = [
        {"id": f"c{number}-{channel}", "channel": channel, "text": filled, "completion": filled}
        for number, text in enumerate(texts)
        for channel in channels
        for filled in [text.replace("{tag}", f"tag{number}{channel}z")]
    ]
    evals.write(CHANNEL_SUITE, rows__json=json.dumps(rows))


def written_by(result: pytest.RunResult) -> str:
    """All that the run wrote. `pytester` splits lines where no CI system does, so they are joined again."""
    return "\n".join([*result.outlines, *result.errlines])


@pytest.mark.parametrize("language", hostile_inputs.LANGUAGES)
def test_nothing_that_a_model_wrote_is_a_command_in_the_log_of_a_job(
    evals_both: Evals, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    texts, reader, environment = hostile_inputs.LANGUAGES[language]
    write_channels(evals_both, list(texts[:4]))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = evals_both.run("-rA", "-v", model=None)
    assert result.parseoutcomes()["failed"] > 10
    assert "INTERNALERROR" not in written_by(result)
    assert reader(written_by(result)) == set()


@pytest.mark.parametrize("language", hostile_inputs.LANGUAGES)
def test_nor_is_it_without_capturing(evals: Evals, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
    texts, reader, environment = hostile_inputs.LANGUAGES[language]
    write_channels(evals, list(texts[:4]), ("stdout", "stderr", "logging", "task", "grader", "uncaptured"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = evals.run("-s", "--log-cli-level=INFO", model=None)
    assert result.parseoutcomes()["failed"] > 10
    assert reader(written_by(result)) == set()


def test_ids_and_output_of_other_tests_are_no_commands_either(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text.replace("{tag}", f"tag{number}z") for number, text in enumerate(hostile_inputs.AZURE)]
    evals.write(PARAMETERS, ids__json=json.dumps(texts))
    monkeypatch.setenv("TF_BUILD", "True")
    result = evals.run("-v", model=None)
    result.assert_outcomes(failed=len(texts))
    assert hostile_inputs.azure(written_by(result)) == set()
    assert "##\\x5berror]tag4z" in written_by(result)


def test_an_ide_that_asks_for_messages_of_teamcity_gets_those_of_the_plugin_alone(evals: Evals) -> None:
    evals.write(
        CHANNEL_SUITE,
        rows__json=json.dumps(
            [{"id": "a", "channel": "stdout", "text": "x", "completion": "##teamcity[testFailed name='tag1z']"}]
        ),
        conftest__py="""
def pytest_addoption(parser):
    parser.addoption("--teamcity", action="count", dest="teamcity", default=0)

def pytest_runtest_logreport(report):
    print(f"##teamcity[testFinished name='{report.nodeid}']")
""",
    )
    for options, live in (((), {"tag1z"}), (("--teamcity",), set())):
        result = evals.run(*options, "-s", model=None)
        assert hostile_inputs.teamcity(written_by(result)) == live
        assert "##teamcity[testFinished name='test_suite.py::test_it[a]']" in written_by(result), "its own pass"


def test_outside_of_ci_the_output_of_tests_is_left_alone(evals: Evals) -> None:
    evals.write(
        CHANNEL_SUITE,
        rows__json=json.dumps([{"id": "a", "channel": "stdout", "text": "x", "completion": "::error::\x1b[31mred"}]),
    )
    captured = written_by(evals.run(model=None)).partition("Captured stdout call")[2]
    assert "\n::error::\x1b[31mred" in captured


def test_a_workflow_command_of_the_plugin_itself_passes(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    write_channels(evals, ["::error::{tag}"], ("assertion",))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    out = evals.run(model=None).outlines
    commands = [line for line in out if line.startswith("::")]
    assert len(commands) == 1
    assert commands[0].startswith("::error file=test_suite.py,line=")


# -- Halves of surrogate pairs, files for other programs.


def test_a_lone_surrogate_that_is_printed_logged_or_warned_costs_nothing(
    evals_both: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:backslashreplace")  # what pytest shows can be read here
    channels = tuple(channel for channel in CHANNELS if channel != "uncaptured")
    write_channels(evals_both, hostile_inputs.SURROGATES, channels)
    result = evals_both.run("--junitxml=junit.xml", model=None)
    assert "INTERNALERROR" not in written_by(result)
    assert len(evals_both.artifact.samples) == len(channels) * len(hostile_inputs.SURROGATES)
    assert evals_both.artifact.complete


def test_so_does_one_in_a_warning_that_cannot_be_read(evals_both: Evals) -> None:
    evals_both.write("""
import warnings
from pytest_evals import cases

class Odd(UserWarning):
    def __str__(self): return "odd \\ud800"

class Broken(UserWarning):
    def __str__(self): raise RuntimeError

@cases([{"id": "a", "completion": "x"}], id="id")
def test_it(completion):
    warnings.warn(Odd("a", 1))

def test_other(record_property):
    record_property("half", {"a": ["\\udfff"]})
    print("half \\ud800")
    warnings.warn("half \\ud800")
""")
    evals_both.run(model=None).assert_outcomes(passed=2, warnings=2)


def test_tables_and_logs_of_other_programs_are_unicode_and_hold_no_formula(evals: Evals) -> None:
    texts = [*hostile_inputs.CSV, *hostile_inputs.SURROGATES]
    write_channels(evals, texts, ("assertion",))
    evals.run(model=None)
    folder = evals.pytester.path
    for name in ("csv", "jsonl"):
        assert main(["export", str(evals.path), "--to", name, "-o", str(folder / f"cases.{name}")]) == 0
    assert main(["export", str(evals.path), "--to", "inspect", "-o", str(folder / "logs")]) == 0
    table = (folder / "cases.csv").read_bytes().decode()
    assert hostile_inputs.spreadsheet(table) == set()
    assert len(list(csv.reader(io.StringIO(table, newline="")))) == len(texts) + 1
    (log,) = (folder / "logs").glob("*.json")
    for text in (*(folder / "cases.jsonl").read_bytes().decode().splitlines(), log.read_bytes().decode()):
        assert json.dumps(json.loads(text), ensure_ascii=False).encode(), "a strict reader takes it"


# -- What the command prints of an artifact whose names are hostile, too.


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "run.jsonl", "-v"),
        ("cases", "run.jsonl"),
        ("cases", "run.jsonl", "-v"),
        ("cases", "run.jsonl", "--nodeids"),
        ("cases", "run.jsonl", "--json"),
        ("compare", "run.jsonl", "run.jsonl", "-v"),
        ("baseline", "list"),
        ("show", "run.jsonl", "--json"),
    ],
    ids=" ".join,
)
def test_the_command_prints_a_strangers_artifact_harmlessly(
    evals: Evals,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    readers: list[tuple[list[str], Callable[[str], set[str]]]] = [
        *((list(texts), reader) for texts, reader, _ in hostile_inputs.LANGUAGES.values()),
        (hostile_inputs.TERMINAL, hostile_inputs.terminal),
    ]
    texts = [
        text.replace("{tag}", f"tag{number}z")
        for number, text in enumerate(chain.from_iterable(each for each, _ in readers))
    ]
    write_channels(evals, ["x"], ("assertion",))
    evals.run(model=None)
    run, sample, *_ = evals.lines()
    lines = [{**run, "models": [{"model": text} for text in texts], "run_id": texts[0]}]
    for text in texts:
        grade = {
            "value": 0.0,
            "grader_key": "g",
            "reasoning": text,
            "passed": False,
            "status": "graded",
            "metadata": {},
        }
        interaction = {**sample["interaction"], "source": text}
        lines.append(
            {**sample, "case_id": text, "nodeid": text, "suite": text, "interaction": interaction, "grades": [grade]}
        )
    evals.path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    monkeypatch.chdir(evals.pytester.path)
    assert main(["baseline", "set", "run.jsonl", "--allow-partial", "--texts"]) == 0
    capsys.readouterr()
    assert main(list(arguments)) == 0
    printed = capsys.readouterr().out
    assert len(printed) > 200
    for _, reader in readers:
        assert reader(printed) == set()


# -- Secrets, and who may read what is written.

OPTIONS = """
def pytest_addoption(parser):
    for name in ("--api-key", "--db-url"):
        parser.addoption(name)
"""


def test_keys_of_other_plugins_are_kept_nowhere(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    evals.write(
        "from pytest_evals import cases, graders\nok = graders.contains('x')\n"
        "@cases([{'id': 'a', 'completion': 'x'}], id='id')\ndef test_it(ok): ...",
        conftest__py=OPTIONS,
    )
    monkeypatch.setenv("THEIR_TOKEN", "hunter2-of-a-variable")
    secrets = ("--api-key", "hunter2", "--db-url=postgres://me:hunter2@db/x", "-o", "console_output_style=classic")
    result = evals.run(*secrets, "--evals-html=page.html", "-k", "not hunter2-of-a-variable", model=None)
    assert result.ret == 0
    assert main(["export", str(evals.path), "--to", "inspect", "-o", str(evals.pytester.path / "logs")]) == 0
    (log,) = (evals.pytester.path / "logs").glob("*.json")
    for path in (evals.path, evals.pytester.path / "page.html", log):
        assert "hunter2" not in path.read_text(encoding="utf-8")
    assert "***" in evals.artifact.run.command
    assert "--db-url=postgres://me:***@db/x" in evals.artifact.run.command


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_artifacts_pages_and_their_folder_are_for_their_owner_alone(evals: Evals) -> None:
    evals.write("from pytest_evals import cases\n@cases([{'completion': 'x'}])\ndef test_it(completion): ...")
    evals.path.write_text("")
    evals.path.chmod(0o664)
    evals.run("--evals-html=page.html", model=None)
    evals.pytester.runpytest_subprocess("--evals", "-p", "no:xdist")
    folder = evals.pytester.path / ".evals"
    artifact = evals.pytester.path / "saved.jsonl"
    evals.artifact.save(artifact)
    (usual,) = folder.glob("*.jsonl")
    assert main(["report", str(usual), "-o", str(evals.pytester.path / "again.html")]) == 0
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (evals.path, usual, artifact, folder)}
    assert found == {"run.jsonl": 0o600, usual.name: 0o600, "saved.jsonl": 0o600, ".evals": 0o700}
    for page in ("page.html", "again.html"):
        assert stat.S_IMODE((evals.pytester.path / page).stat().st_mode) == 0o600


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_pipes_and_devices_are_refused(evals: Evals) -> None:
    evals.write("from pytest_evals import cases\n@cases([{'completion': 'x'}])\ndef test_it(completion): ...")
    os.mkfifo(evals.pytester.path / "pipe")
    (evals.pytester.path / "link").symlink_to("pipe")
    # A link, so that what went wrong would replace it and not the device.
    (evals.pytester.path / "device").symlink_to("/dev/zero")
    for option in ("--evals-artifact", "--evals-html", "--evals-summary", "--evals-codequality"):
        for path, kind in (("pipe", "a pipe"), ("link", "a pipe"), ("device", "a device")):
            result = evals.pytester.runpytest_subprocess("--evals", "-p", "no:xdist", f"{option}={path}", timeout=60)
            assert result.ret == pytest.ExitCode.USAGE_ERROR
            result.stderr.fnmatch_lines([f"ERROR: *{path} is {kind}; give the path of a file"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_beside_artifacts_is_no_run_and_holds_no_answers(
    evals: Evals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evals.write("""
from pytest_evals import cases, graders
tone = graders.human("Is it kind?")
@cases([{'completion': 'x'}])
def test_it(tone): ...
""")
    evals.run(model=None)
    os.mkfifo(evals.pytester.path / "pipe.jsonl")
    monkeypatch.chdir(evals.pytester.path)
    assert main(["history", "."]) in (0, 2)
    assert main(["show", "."]) == 0
    os.mkfifo(evals.pytester.path / "run.answers.jsonl")
    capsys.readouterr()
    assert main(["annotate", "run.jsonl", "--reviewer", "me"]) == 2
    assert "run.answers.jsonl is a pipe; give the path of a file" in " ".join(capsys.readouterr().err.split())
    assert EvaluationArtifact.load("run.jsonl").complete
