"""``--evals-cache``: answers are kept across runs."""

from __future__ import annotations

import json
import os
import sqlite3
import stat

import pytest

from pytest_evals.cli import main

from .conftest import Evals
from .test_option_replay import COUNTED, SUITE, asked, sources

FINE = SUITE.replace("error", "z")
DATABASE = ".evals/cache/answers.sqlite3"


def test_answers_are_kept_and_used_and_only_written_when_asked(evals_both: Evals) -> None:
    evals_both.write(FINE, COUNTED)
    evals_both.run("--evals-cache", "read").stdout.fnmatch_lines(["cache .evals/cache: there is none yet*"])
    assert len(asked(evals_both)) == 3
    written = evals_both.run("--evals-cache", "write")
    written.stdout.fnmatch_lines(["cache .evals/cache: 0 completions taken from it, 3 answers added"])
    if os.name != "nt":
        assert stat.S_IMODE((evals_both.pytester.path / DATABASE).stat().st_mode) == 0o600
    assert len(asked(evals_both)) == 3
    evals_both.write(FINE.replace('"q": "x"', '"q": "new"'), COUNTED)
    read = evals_both.run("-o", "evals_cache=read")
    read.stdout.fnmatch_lines(["cache .evals/cache: 2 completions taken from it"])
    assert (asked(evals_both), set(sources(evals_both).values())) == (["say new"], {("cache", None), (None, None)})
    assert [use["completions"] for use in evals_both.lines()[-1]["throughput"]["models"]] == [1]
    evals_both.run("--evals-cache", "off")
    assert len(asked(evals_both)) == 3


def test_a_model_of_which_all_is_known_is_not_loaded_and_the_plan_says_what_is_left(evals_both: Evals) -> None:
    evals_both.write(FINE, COUNTED)
    cache = ("--evals-cache", "write")
    assert "scripted:script:answer: 3 requests, 0 known from before, 3 left" in plan(evals_both, *cache)
    evals_both.run(*cache)
    asked(evals_both)
    expected = "scripted:script:answer: 3 requests, 3 known from before, nothing left to compute: it is not loaded"
    assert expected in plan(evals_both, *cache)
    again = evals_both.run(*cache)
    again.assert_outcomes(passed=3)
    text = " ".join(again.stdout.str().split())
    assert "answer: not loaded; all 3 answers asked of it were known from before" in text
    assert "answer (python)" not in text
    lines = evals_both.lines()
    assert (lines[0]["device"], lines[0]["models"][0]["device"]) == (None, None)
    assert lines[0]["models"][0]["identity"]["function"] == "script:answer"
    (use,) = lines[-1]["throughput"]["models"]
    loaded = {name: use[name] for name in ("device", "dtype", "replicas", "recalled", "completions", "rows", "usage")}
    assert loaded == dict.fromkeys(loaded) | {"replicas": 0, "recalled": 3, "completions": 0, "usage": {}}
    # One that is new is computed, by a model that is loaded for it.
    evals_both.write(FINE.replace('"q": "x"', '"q": "new"'), COUNTED)
    assert "3 requests, 2 known from before, 1 left to compute" in plan(evals_both, *cache)
    assert "answer (python): 1 completion," in evals_both.run(*cache).stdout.str()
    assert asked(evals_both) == ["say new"]
    assert evals_both.lines()[0]["device"] == "python"
    # Nobody can tell what a function is that stands elsewhere: it is imported, and then all is known.
    evals_both.write(FINE, "from counted import answer", counted__py=COUNTED)
    evals_both.run(*cache)
    assert "shows once the model was loaded here; all are counted" in plan(evals_both, *cache)
    assert asked(evals_both) == ["say x", "say y", "say z"]
    assert "answer (python): 0 completions" in evals_both.run(*cache).stdout.str()
    assert asked(evals_both) == []


def plan(evals: Evals, *arguments: str) -> str:
    """Return the plan, as one line."""
    return " ".join(evals.run("--evals-plan", *arguments).stdout.str().split())


def test_errors_are_not_kept_and_repeats_are_not_mixed(evals: Evals) -> None:
    evals.write(SUITE, COUNTED)
    evals.run("--evals-cache", "write", "--evals-repeat", "2")
    assert len(asked(evals)) == 6
    evals.run("--evals-cache", "write", "--evals-repeat", "3")
    assert asked(evals) == ["say error"] * 3 + ["say x", "say y"]


@pytest.mark.parametrize("damage", ["file", "answer"])
def test_a_damaged_cache_costs_a_note(evals: Evals, damage: str) -> None:
    evals.write(FINE, COUNTED)
    evals.run("--evals-cache", "write")
    path = evals.pytester.path / DATABASE
    if damage == "file":
        path.write_bytes(b"nonsense" * 1000)
        expected = "the cache .evals/cache is not used: file is not a database; 'pytest-evals cache clear' removes it"
    else:
        with sqlite3.connect(path) as database:
            database.execute("UPDATE answers SET data = '{' WHERE key IN (SELECT min(key) FROM answers)")
        database.close()
        expected = "2 completions taken from it, 1 answer added, 1 answer in it could not be read"
    asked(evals)
    result = evals.run("--evals-cache", "write")
    result.assert_outcomes(passed=3)
    assert len(asked(evals)) == (3 if damage == "file" else 1)
    assert expected in " ".join(result.stdout.str().split())


def test_a_folder_that_cannot_be_written_and_an_unknown_mode_are_usage_errors(evals: Evals) -> None:
    evals.write(FINE, COUNTED)
    (evals.pytester.path / "file").write_text("", encoding="utf-8")
    result = evals.run("--evals-cache", "write", "-o", "evals_cache_dir=file/cache")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --evals-cache: *cannot be written: Not a directory"])
    result = evals.run("--evals-cache", "wrte")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --evals-cache: 'wrte' is unknown (known: off, read, write)"])
    assert asked(evals) == []


def test_the_command_tells_what_is_in_it_and_removes_it(evals: Evals, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*arguments: str) -> tuple[int, str]:
        status = main(["cache", *arguments])
        captured = capsys.readouterr()
        return status, f"{captured.out}{captured.err}".strip()

    assert command("info") == (0, ".evals/cache: no cache")
    evals.write(FINE, COUNTED)
    evals.run("--evals-cache", "write")
    capsys.readouterr()
    assert command("info") == (0, ".evals/cache: 3 answers, 0.0 MB")
    status, text = command("info", "--json")
    assert (status, json.loads(text)["answers"]) == (0, 3)
    (evals.pytester.path / DATABASE).write_bytes(b"nonsense" * 1000)
    status, text = command("info")
    assert status == 2
    assert text.startswith("pytest-evals: error: the cache in .evals/cache cannot be used: file is not a database")
    assert command("clear") == (0, ".evals/cache: cleared")
    assert command("clear", "--dir", "elsewhere") == (0, "elsewhere: no cache")
