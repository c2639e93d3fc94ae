"""``--evals-resume RUN``: what an earlier run finished is taken over, and the rest is generated."""

from __future__ import annotations

import json

import pytest

from .conftest import Evals
from .test_option_replay import COUNTED, SUITE, asked, keep, recorded, sources


def note(evals: Evals, *arguments: str) -> str:
    """Resume and return what the score card says about it."""
    text = " ".join(evals.run("--evals-resume", "old.jsonl", *arguments).stdout.str().split())
    assert "resumed from" in text, text
    return text.partition("resumed from ")[2].partition(" artifact:")[0]


def test_what_is_finished_is_taken_over_and_the_rest_generated(evals_both: Evals) -> None:
    recorded(evals_both, SUITE, "test_suite.py::test_it[a]", "test_suite.py::test_it[c]")
    said = note(evals_both)
    assert "old.jsonl: 1 completion taken over, 2 generated (1 not in it, 1 without a completion there)" in said
    assert asked(evals_both) == ["say error", "say y"]
    assert sources(evals_both) == {"a": ("resume", None), "b": (None, None)}
    lines = evals_both.lines()
    assert lines[0]["reused"]["how"] == "resume"
    # What was taken over was not generated in this run.
    assert [use["completions"] for use in lines[-1]["throughput"]["models"]] == [1]
    planned = " ".join(evals_both.run("--evals-resume", "old.jsonl", "--evals-plan").stdout.str().split())
    assert "evals: resumes old.jsonl" in planned
    assert "3 requests, 1 known from before, 2 left to compute" in planned
    latest = evals_both.pytester.mkdir(".evals")
    evals_both.path.rename(latest / "old.jsonl")
    text = " ".join(evals_both.run("--evals-resume", "latest").stdout.str().split())
    assert "resumed from .evals/old.jsonl: 2 completions taken over, 1 generated (1 without a completion there)" in text
    assert asked(evals_both) == ["say error"]


def test_a_run_that_was_cut_off_counts(evals: Evals) -> None:
    recorded(evals)
    path = evals.pytester.path / "old.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(f"{''.join(lines[:2])}{lines[2][:-40]}", encoding="utf-8")
    result = evals.run("--evals-resume", "old.jsonl")
    result.stdout.fnmatch_lines(
        [
            "evals: resumes old.jsonl (1 case, which was cut off)",
            "resumed from old.jsonl: 1 completion taken over, 2 generated (2 not in it)*",
        ]
    )
    assert asked(evals) == ["say error", "say y"]


def test_what_changed_is_generated_anew_and_the_report_says_why(evals: Evals) -> None:
    recorded(evals)
    evals.write(SUITE.replace('{"id": "a", "q": "x"}', '{"id": "a", "q": "z"}'), COUNTED)
    assert "1 completion taken over, 2 generated (1 with another prompt, 1 without a completion there)" in note(evals)
    assert asked(evals) == ["say error", "say z"]
    evals.write(SUITE.replace('id="id",', 'id="id", generation={"max_new_tokens": 9},'), COUNTED)
    assert "0 completions taken over, 3 generated (2 with other parameters, 1 without" in note(evals)
    assert len(asked(evals)) == 3
    evals.write(SUITE, f"{COUNTED}\n# another model\n")
    assert "0 completions taken over, 3 generated (2 with another model, 1 without a completion there)" in note(evals)
    assert len(asked(evals)) == 3


def test_seeds_and_repeats_are_never_mixed(evals_both: Evals) -> None:
    suite = SUITE.replace('id="id",', 'id="id", generation={"temperature": 1.0},').replace("error", "e")
    recorded(evals_both, suite, "--evals-repeat", "2")
    assert "6 completions taken over, 3 generated (3 not in it)" in note(evals_both, "--evals-repeat", "3")
    assert len(asked(evals_both)) == 3
    assert "0 completions taken over, 6 generated (6 with other parameters)" in note(
        evals_both, "--evals-repeat", "2", "--evals-seed", "5"
    )


def test_the_run_that_is_resumed_is_not_overwritten(evals: Evals) -> None:
    recorded(evals)
    result = evals.run("--evals-resume", "old.jsonl", "--evals-artifact", "old.jsonl")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: --evals-resume and --evals-artifact name the same file*"])


# -- Runs before the run.

CHAIN = """
import os
from pytest_evals import cases, graders

good = graders.contains("SAY")

@cases([{"id": name} for name in "abcd"], id="id", prompt="say {{item.id}}")
def test_it(good, case):
    assert case["id"] != os.environ.get("BREAK")
"""


def chained(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave ``first.jsonl``, whole, and ``second.jsonl``, which resumed it and ended at its second case."""
    evals.write(CHAIN, COUNTED)
    evals.run()
    keep(evals, "first.jsonl")
    monkeypatch.setenv("BREAK", "b")
    evals.run("-x", "--evals-resume=first.jsonl")
    keep(evals, "second.jsonl")
    monkeypatch.delenv("BREAK")
    assert asked(evals) == ["say a", "say b", "say c", "say d"]


def test_what_a_resumed_run_did_not_come_to_is_taken_from_the_run_before_it(
    evals: Evals, monkeypatch: pytest.MonkeyPatch
) -> None:
    chained(evals, monkeypatch)
    result = evals.run("--evals-resume=second.jsonl")
    assert asked(evals) == []
    text = " ".join(result.stdout.str().split())
    assert "evals: resumes second.jsonl (" in text
    assert "which was cut off), which resumed first.jsonl (4 cases)" in text
    assert "resumed from second.jsonl and, before it, first.jsonl: 4 completions taken over, none generated" in text
    keep(evals, "third.jsonl")
    # And so on: what changed is still generated.
    evals.write(CHAIN.replace('"abcd"', '"abcde"'), COUNTED)
    evals.run("--evals-resume=third.jsonl")
    assert asked(evals) == ["say e"]


def test_the_run_before_is_found_where_both_were_moved_to(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    chained(evals, monkeypatch)
    folder = evals.pytester.mkdir("moved")
    (evals.pytester.path / "first.jsonl").rename(folder / "another-name.jsonl")
    (evals.pytester.path / "second.jsonl").rename(folder / "second.jsonl")
    (folder / "broken.jsonl").write_text("{", encoding="utf-8")
    (folder / "broken.jsonl.gz").write_bytes(b"\x1f\x8b{")
    evals.run("--evals-resume=moved/second.jsonl")
    assert asked(evals) == []


@pytest.mark.parametrize("damage", ["gone", "damaged", "another run"])
def test_a_run_before_that_is_lost_is_said(evals: Evals, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    chained(evals, monkeypatch)
    first = evals.pytester.path / "first.jsonl"
    lines = first.read_text(encoding="utf-8").splitlines(keepends=True)
    if damage == "gone":
        first.unlink()
    elif damage == "damaged":
        first.write_text(f"{lines[0]}{{}}\n{lines[1]}", encoding="utf-8")
    else:
        first.write_text("".join(lines).replace('"run_id": "', '"run_id": "x'), encoding="utf-8")
    text = " ".join(evals.run("--evals-resume=second.jsonl").stdout.str().split())
    assert "resumed from second.jsonl: 2 completions taken over, 2 generated (2 not in it)" in text
    assert "second.jsonl resumed first.jsonl, which is not there any more" in text
    assert asked(evals) == ["say c", "say d"]


def test_runs_that_say_they_resumed_each_other_end_somewhere(evals: Evals, monkeypatch: pytest.MonkeyPatch) -> None:
    chained(evals, monkeypatch)
    paths = [evals.pytester.path / name for name in ("first.jsonl", "second.jsonl")]
    lines = [json.loads(path.read_text(encoding="utf-8").splitlines()[0]) for path in paths]
    text = paths[0].read_text(encoding="utf-8")
    link = {"how": "resume", "path": "second.jsonl", "run_id": lines[1]["run_id"]}
    paths[0].write_text(text.replace('"reused": null', f'"reused": {json.dumps(link)}'), encoding="utf-8")
    evals.run("--evals-resume=second.jsonl")
    assert asked(evals) == []
