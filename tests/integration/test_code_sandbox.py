"""Levels of confinement: which one is used, what is refused, and what programs get at that try."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from campaigns.escapes import ESCAPES, Escape
from campaigns.fakes import FAKES, Fake
from campaigns.sandbox import escapes, fakes
from pytest_evals.graders.code.levels import Sandbox, SandboxError, find_sandbox
from pytest_evals.graders.code.runner import ProgramLimits, ProgramTask, run_program

from .conftest import Evals

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is confined here, the kernel of Linux confines")
RIGHT = "def f(x):\n    return x + 1\n"
# What a level is not made to stop, as docs/metrics.md says.
OPEN = {
    "bubblewrap": set[str](),
    "landlock": {"disk"},
    "seccomp": {"disk", "files in /dev/shm"},
}
OPEN_KINDS = {"bubblewrap": set[str](), "landlock": set[str](), "seccomp": {"reading", "changing files"}}


def level(name: str) -> Sandbox:
    """Return a level of confinement; the test is skipped with the reason where this machine has none."""
    try:
        return find_sandbox(name)
    except SandboxError as error:
        pytest.skip(str(error))


def test_the_campaign_is_as_large_as_it_says() -> None:
    assert len(ESCAPES) >= 50
    assert len(FAKES) >= 50
    names = {(each.kind, each.name) for each in ESCAPES} | {(each.kind, each.name) for each in FAKES}
    assert len(names) == len(ESCAPES) + len(FAKES)


@pytest.mark.parametrize("name", ["bubblewrap", "landlock"])
@pytest.mark.parametrize("escape", [pytest.param(each, id=f"{each.kind}: {each.name}") for each in ESCAPES])
def test_no_program_gets_at_what_is_outside(name: str, escape: Escape) -> None:
    if escape.name in OPEN[name]:
        pytest.skip(f"{name} is not made to stop this")
    assert not escapes(escape, level(name))


@pytest.mark.parametrize(
    "escape",
    [
        pytest.param(each, id=f"{each.kind}: {each.name}")
        for each in ESCAPES
        if each.kind not in OPEN_KINDS["seccomp"] and each.name not in OPEN["seccomp"]
    ],
)
def test_system_calls_are_refused_where_there_is_nothing_but_the_filter(escape: Escape) -> None:
    assert not escapes(escape, level("seccomp"))


@pytest.mark.parametrize("fake", [pytest.param(each, id=f"{each.kind}: {each.name}") for each in FAKES])
def test_no_wrong_program_passes(fake: Fake) -> None:
    assert not fakes(fake, find_sandbox("auto"))


@pytest.mark.parametrize("name", ["bubblewrap", "landlock", "seccomp", "none"])
def test_honest_programs_run_at_every_level(name: str) -> None:
    program = (
        "import asyncio, os, tempfile, threading\nopen('mine', 'w').write('2')\nos.mkdir('folder')\nos.rename('mine', 'folder/mine')\n"
        "open(os.devnull, 'w').write('x')\nassert len(os.urandom(8)) == 8\n"
        "t = threading.Thread(target=print)\nt.start()\nt.join()\n"
        "with tempfile.TemporaryFile() as file: file.write(b'x')\nasync def g(x): return x + 1\n"
        "def f(x): return asyncio.run(g(int(open('folder/mine').read()) - 1))\n"
    )
    outcome = run_program(ProgramTask(program, ["assert f(1) == 2"]), ProgramLimits(seconds=60), level(name))
    assert outcome.errors == (None,)
    assert outcome.sandbox == name


SUITE = """
from pytest_evals import cases, graders

right = graders.python_tests("assert f(1) == 2", timeout=30{settings})

@cases([{{"id": "a", "completion": "def f(x): return x + 1"}}], id="id")
def test_program(right):
    assert right
"""


def test_the_level_is_in_header_score_card_grade_and_artifact(evals_both: Evals) -> None:
    sandbox = level("landlock")
    evals_both.write(SUITE.format(settings=""))
    result = evals_both.run("--evals-run-code", "--evals-code-sandbox", "landlock", model=None)
    result.assert_outcomes(passed=1)
    output = " ".join(result.stdout.str().split())
    assert f"programs of models are confined by {sandbox.title}" in output
    assert f"programs of models ran confined by {sandbox.title}" in output
    metadata = evals_both.artifact.samples[0].grades[0].metadata
    assert metadata["sandbox"] == "landlock"
    assert evals_both.lines()[0]["options"]["code_sandbox"] == "landlock"


def test_tests_in_the_process_of_the_program_are_said(evals: Evals) -> None:
    evals.write(SUITE.format(settings=", isolated=False"))
    result = evals.run("--evals-run-code", model=None)
    result.assert_outcomes(passed=1)
    output = " ".join(result.stdout.str().split())
    assert "right: its tests ran in the process of each program, which could deceive them" in output
    assert evals.artifact.samples[0].grades[0].metadata["isolated"] is False


@pytest.mark.parametrize("word", ["bubblewrap", "podman", "docker"])
def test_what_was_asked_and_is_not_here_is_refused(evals: Evals, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evals.write(SUITE.format(settings=""))
    monkeypatch.setenv("PATH", str(evals.pytester.path))
    evals.pytester.makeini(f"[pytest]\nevals_run_code = true\nevals_code_sandbox = {word}")
    result = evals.run(model=None)
    assert result.ret == 4
    assert f"evals_code_sandbox = {word} does not work here: the program " in result.stderr.str()
    # Where programs may not run, nothing is looked for.
    evals.pytester.makeini(f"[pytest]\nevals_code_sandbox = {word}")
    assert "allow that with --evals-run-code" in " ".join(evals.run(model=None).stdout.str().split())


def test_a_level_that_nobody_knows_is_a_usage_error(evals: Evals) -> None:
    evals.write(SUITE.format(settings=""))
    result = evals.run("--evals-code-sandbox", "jail", model=None)
    assert result.ret == 4
    assert "--evals-code-sandbox: 'jail' is unknown (known: auto, bubblewrap, landlock," in result.stderr.str()
    evals.pytester.makeini("[pytest]\nevals_code_sandbox = jail")
    assert "evals_code_sandbox: 'jail' is unknown" in evals.run(model=None).stderr.str()


TOOL = """#!{python}
import os, subprocess, sys
with open({log!r}, "a") as log:
    log.write(" ".join(a for a in sys.argv[1:] if "\\n" not in a) + "\\n")
if sys.argv[1] == "image":
    sys.stderr.write("Error: no such image\\n")
    sys.exit(0 if sys.argv[3] == "here:1" else 1)
if sys.argv[1] == "run":
    image = sys.argv.index("here:1")
    os.execv(sys.executable, [sys.executable, *sys.argv[image + 1 :]])
"""


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_containers_are_started_by_their_tool_and_removed(
    evals: Evals, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tool of our own is in the place of Docker: it notes how it is called, and runs the program without a container."""
    folder = evals.pytester.mkdir("bin")
    tool, log = folder / name, folder / "log"
    tool.write_text(TOOL.format(python=sys.executable, log=str(log)), encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    evals.write(SUITE.format(settings=""))
    evals.pytester.makeini("[pytest]\nevals_run_code = true\nevals_code_image = here:1")
    evals.run("--evals-code-sandbox", name, model=None).assert_outcomes(passed=1)
    assert evals.artifact.samples[0].grades[0].metadata["sandbox"] == name
    called = [line.split() for line in Path(log).read_text(encoding="utf-8").splitlines()]
    assert [words[0] for words in called] == ["image", "run", "rm", "run", "rm"]
    started, removed = called[3], called[4]
    assert started[:3] == ["run", "--rm", "--interactive"]
    assert "--network none --read-only" in " ".join(started).replace("--pull never ", "")
    assert removed == ["rm", "--force", started[started.index("--name") + 1]]
    evals.pytester.makeini("[pytest]\nevals_run_code = true\nevals_code_image = missing:1")
    refused = evals.run("--evals-code-sandbox", name, model=None)
    assert refused.ret == 4
    assert f"'{name} image inspect missing:1' says: Error: no such image" in refused.stderr.str()
