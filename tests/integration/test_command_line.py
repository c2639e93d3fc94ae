"""What the command line says about evals is done or refused: no option is ignored, no value moves pytest's root folder."""

from __future__ import annotations

from pathlib import Path

import pytest

SUITE = """
from pytest_evals import cases, graders

good = graders.contains("never")

@cases([{"id": "a", "completion": "x"}], id="id", gates=["good.mean >= 0"])
def test_it(good):
    assert good

def test_ordinary(): ...
"""
GATED = "[pytest]\nevals = true\nevals_gates = good.mean >= 0.9\n"
PATHS = ("--evals-artifact", "--evals-html", "--evals-summary", "--evals-codequality")
RUNS = ("--evals-baseline", "--evals-replay", "--evals-resume")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a gate in its configuration file, beside a folder for what runs leave."""
    folder = pytester.mkdir("project")
    pytester.mkdir("out")
    (folder / "test_it.py").write_text(SUITE, encoding="utf-8")
    (folder / "pytest.ini").write_text(GATED, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:xdist", *arguments)


def assert_refused(result: pytest.RunResult, *words: str) -> None:
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    said = " ".join(result.stderr.str().split())
    for word in words:
        assert word in said


# -- Paths that pytest takes for tests.


@pytest.mark.parametrize("option", PATHS)
def test_a_path_that_moves_the_root_folder_is_refused_with_the_way_to_write_it(
    pytester: pytest.Pytester, project: Path, option: str
) -> None:
    out = project.parent / "out/x.jsonl"
    out.write_text("", encoding="utf-8")
    refused = run(pytester, option, "../out/x.jsonl")
    assert_refused(
        refused,
        f"ERROR: {option} ../out/x.jsonl: pytest takes a path after a space for tests to run",
        f"because of it, not the root folder {project} with pytest.ini; write {option}=../out/x.jsonl",
    )
    assert refused.stdout.str() == ""
    written = run(pytester, f"{option}=../out/x.jsonl")
    written.stdout.fnmatch_lines(["rootdir: */project", "configfile: pytest.ini", "*FAILED*good.mean >= 0.9*"])
    assert written.ret == pytest.ExitCode.TESTS_FAILED
    assert out.stat().st_size


@pytest.mark.parametrize("option", RUNS)
def test_an_earlier_run_outside_of_the_project_does_not_switch_its_gates_off(
    pytester: pytest.Pytester, project: Path, option: str
) -> None:
    assert run(pytester, "--evals-artifact=../out/x.jsonl").ret == pytest.ExitCode.TESTS_FAILED
    assert_refused(run(pytester, option, "../out/x.jsonl"), f"write {option}=../out/x.jsonl")
    assert_refused(run(pytester, option, "../out"), f"write {option}=../out")
    result = run(pytester, f"{option}=../out/x.jsonl")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["rootdir: */project"])
    assert project.parent.joinpath("out/x.jsonl").is_file()


@pytest.mark.parametrize(
    ("option", "value"),
    [("--evals-model", "../models/tiny"), ("--evals-judge", "../models/tiny"), ("--evals-gate", "..")],
)
def test_any_value_that_happens_to_be_a_path_counts(
    pytester: pytest.Pytester, project: Path, option: str, value: str
) -> None:
    (project.parent / "models/tiny").mkdir(parents=True)
    assert_refused(run(pytester, option, value), f"write {option}={value}")


def test_the_environment_and_files_of_arguments_are_read_too(
    pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "arguments.txt").write_text("--evals-artifact\n../out\n", encoding="utf-8")
    assert_refused(run(pytester, "@arguments.txt"), "write --evals-artifact=../out")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--evals-artifact ../out")
    assert_refused(run(pytester), "write --evals-artifact=../out")


@pytest.mark.usefixtures("project")
def test_the_option_that_did_it_is_named(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--evals-limit", "1", "--evals-html", "report.html", "--evals-artifact", "../out")
    assert_refused(result, "ERROR: --evals-artifact ../out: ")


@pytest.mark.usefixtures("project")
def test_the_configuration_of_another_project_is_not_taken(pytester: pytest.Pytester) -> None:
    other = pytester.mkdir("other")
    (other / "pytest.ini").write_text("[pytest]\nevals = true\n", encoding="utf-8")
    assert_refused(run(pytester, "--evals-artifact", "../other"), "write --evals-artifact=")
    (other / "x.jsonl").write_text("", encoding="utf-8")
    assert_refused(run(pytester, "--evals-resume", "../other/x.jsonl"), f"the root folder {other} with pytest.ini")


def test_a_root_folder_without_a_configuration_file_stays_too(pytester: pytest.Pytester, project: Path) -> None:
    (project / "pytest.ini").unlink()
    result = run(pytester, "--evals", "--evals-artifact", "../out")
    assert_refused(result, f"the root folder {project} with no configuration file; write")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--evals-artifact", "out/x.jsonl"),
        ("--evals-artifact", "../out/new.jsonl"),
        ("--evals-artifact", "../out/old.jsonl", "test_it.py"),
        ("--evals-artifact", "out/x.jsonl", "sub"),
        ("--evals-artifact", "../out/x.jsonl", "--rootdir=.", "-c", "pytest.ini"),
        ("--evals-artifact", "../out/x.jsonl", "-c", "pytest.ini"),
    ],
)
def test_a_path_that_moves_nothing_may_follow_a_space(
    pytester: pytest.Pytester, project: Path, arguments: tuple[str, ...]
) -> None:
    for folder in ("out", "sub"):
        (project / folder).mkdir()
    (project / "out/x.jsonl").write_text("", encoding="utf-8")
    (project.parent / "out/old.jsonl").write_text("", encoding="utf-8")
    (project / "sub/test_sub.py").write_text(SUITE.replace("test_it", "test_sub"), encoding="utf-8")
    result = run(pytester, *arguments)
    result.stdout.fnmatch_lines(["configfile: pytest.ini"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_what_another_option_does_to_the_root_folder_is_not_blamed_on_ours(
    pytester: pytest.Pytester, project: Path
) -> None:
    (project / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--other')\n", encoding="utf-8"
    )
    result = run(pytester, "--evals", "--other", "../out", "--evals-artifact", "x.jsonl")
    assert result.ret != pytest.ExitCode.USAGE_ERROR or "--evals-artifact" not in result.stderr.str()


# -- Options while evals are off.


@pytest.fixture
def off(project: Path) -> Path:
    """The same project, where evals are off."""
    (project / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return project


@pytest.mark.parametrize(
    "arguments",
    [
        ("--evals-gate", "good.mean >= 0.9"),
        ("--evals-gate=good.mean >= 0.9",),
        ("--evals-model", "scripted:m:f"),
        ("--evals-limit=3", "test_it.py::test_it[a]"),
        ("--evals-plan",),
        ("--evals-run-code",),
        ("--evals-stop-early", "--collect-only"),
        ("--evals-baseline=latest",),
    ],
)
@pytest.mark.usefixtures("off")
def test_an_option_of_a_run_with_evals_is_refused_where_they_are_off(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    name = arguments[0].partition("=")[0]
    assert_refused(run(pytester, *arguments), f"ERROR: {name} is given, and evals are off: add --evals to run them")
    assert run(pytester, "--evals", *arguments[:1], *arguments[1:2]).ret != pytest.ExitCode.INTERNAL_ERROR


@pytest.mark.usefixtures("off")
def test_the_switch_that_says_no_is_named(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS", "0")
    assert_refused(
        run(pytester, "--evals-limit=1"), "--evals-limit is given, and PYTEST_EVALS=0 switches evals off: add --evals"
    )
    assert run(pytester, "--evals-limit=1", "--evals").ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("off")
def test_the_environment_asks_as_the_command_line_does(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--evals-limit 1")
    assert_refused(run(pytester), "--evals-limit is given, and evals are off")
    monkeypatch.setenv("PYTEST_EVALS", "1")
    assert run(pytester).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("switch", [None, "0"])
def test_what_the_configuration_file_adds_to_every_run_is_no_wish_of_a_run_without_evals(
    pytester: pytest.Pytester, off: Path, monkeypatch: pytest.MonkeyPatch, switch: str | None
) -> None:
    (off / "pytest.ini").write_text("[pytest]\naddopts = --evals-limit 1 --evals-html=out.html\n", encoding="utf-8")
    if switch:
        monkeypatch.setenv("PYTEST_EVALS", switch)
    run(pytester, "-rs").assert_outcomes(passed=1, skipped=1)
    assert not (off / "out.html").exists()
    run(pytester, "--evals").assert_outcomes(passed=1, xfailed=1)
    assert (off / "out.html").exists()


@pytest.mark.usefixtures("off")
def test_help_is_shown_whatever_else_is_asked_for(pytester: pytest.Pytester) -> None:
    for option in ("--help", "--version"):
        assert run(pytester, option, "--evals-limit", "1", "--evals-artifact", "../out").ret == pytest.ExitCode.OK


@pytest.mark.parametrize("workers", [("-n", "2"), ("-n", "0")])
def test_workers_of_xdist_refuse_nothing_that_their_controller_lets_through(
    pytester: pytest.Pytester, off: Path, workers: tuple[str, ...]
) -> None:
    (off / "pytest.ini").write_text("[pytest]\naddopts = --evals-limit 1\n", encoding="utf-8")
    pytester.runpytest_subprocess("-p", "no:cacheprovider", *workers).assert_outcomes(passed=1, skipped=1)
    pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", *workers, "--evals", "--evals-artifact", "x.jsonl"
    ).assert_outcomes(passed=1, xfailed=1)
    assert_refused(pytester.runpytest_subprocess(*workers, "--evals-limit", "2"), "add --evals")
