"""``pytest-evals baseline``: set, shown, listed, removed, compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals import cli

from .conftest import Recorded


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def other_suite(recorded: Recorded, folder: Path) -> str:
    """Write an artifact with the same cases in a suite of another name."""
    path = folder / "other.jsonl"
    path.write_text(Path(recorded.before).read_text().replace('"test_cities"', '"test_towns"'))
    return str(path)


def held(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Return the number of cases that a baseline has of each suite."""
    capsys.readouterr()
    assert cli.main(["baseline", "show", name, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    return {row["suite"]: row["n"] + row["errors"] for row in scores if row["grader"] == "named"}


def test_a_baseline_is_set_shown_compared_with_and_removed(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["baseline", "list"]) == 0
    assert "no baselines in evals_baselines" in capsys.readouterr().out
    assert cli.main(["baseline", "set", recorded.before]) == 0
    out = capsys.readouterr().out
    assert "5 cases in evals_baselines/main.jsonl" in " ".join(out.split())
    assert "--evals-baseline=main" in out
    assert "Paris" not in (tmp_path / "evals_baselines" / "main.jsonl").read_text()
    assert cli.main(["baseline", "show"]) == 0
    assert "named   5/5  0.600" in capsys.readouterr().out
    assert cli.main(["baseline", "list"]) == 0
    assert capsys.readouterr().out.startswith("main: run ")
    assert cli.main(["compare", "main", recorded.after, "-v"]) == 0
    compared = capsys.readouterr().out
    assert "fell     jp    named" in compared
    assert "before:    (its text is not kept in the baseline)" in compared
    assert "after:     Kyoto, I think." in compared
    assert "1 case not compared: the row changed (item.capital)" in compared
    assert cli.main(["show", "main"]) == 2
    assert "this is a baseline, not an artifact" in capsys.readouterr().err
    assert cli.main(["baseline", "rm", "mian"]) == 2
    assert "there is no baseline 'mian' in evals_baselines (baselines: main)" in capsys.readouterr().err
    assert cli.main(["baseline", "rm", "main"]) == 0
    assert list((tmp_path / "evals_baselines").iterdir()) == []


def test_texts_are_kept_where_they_are_asked_for(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["baseline", "set", recorded.before, "--texts"]) == 0
    capsys.readouterr()
    assert cli.main(["compare", "main", recorded.after, "-v"]) == 0
    assert "before:    It is Tokyo." in capsys.readouterr().out


def test_a_partial_run_never_replaces_or_shrinks_a_baseline(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["baseline", "set", recorded.before, "--name", "n"]) == 0
    path = tmp_path / "evals_baselines" / "n.jsonl"
    before = path.read_bytes()
    killed = tmp_path / "killed.jsonl"
    killed.write_bytes(Path(recorded.before).read_bytes()[:-300])
    for run, words in ((recorded.part, "2 of 4 cases did not run"), (str(killed), "the run did not end")):
        assert cli.main(["baseline", "set", run, "--name", "n"]) == 2
        assert words in capsys.readouterr().err
        assert cli.main(["baseline", "set", run, "--name", "n", "--allow-partial", "--replace"]) == 2
        assert path.read_bytes() == before
    assert cli.main(["baseline", "set", recorded.part, "--name", "n", "--allow-partial"]) == 2
    assert (
        "is of model scripted:answers:late, and the baseline has test_cities of scripted:answers:early"
        in capsys.readouterr().err
    )
    # Asked for, the cases that ran are put in, and the others stay.
    part = tmp_path / "part.jsonl"
    part.write_text(Path(recorded.part).read_text().replace("answers:late", "answers:early"))
    assert cli.main(["baseline", "set", str(part), "--name", "n", "--allow-partial"]) == 0
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    values = {line["case_id"]: line["grades"][0]["value"] for line in lines if line["type"] == "case"}
    assert values == {"cl": 0.0, "fr": 1.0, "jp": 0.0, "ke": 1.0, "pe": 0.0}, "jp is that of the part"


def test_suites_that_the_run_does_not_have_stay_unless_they_are_to_go(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["baseline", "set", recorded.before]) == 0
    assert cli.main(["baseline", "set", other_suite(recorded, tmp_path)]) == 0
    assert "as they were: test_cities, which this run does not have" in capsys.readouterr().out
    assert held("main", capsys) == {"test_cities": 5, "test_towns": 5}
    # A whole run says what its suite is now, also where that is less.
    assert cli.main(["baseline", "set", recorded.after]) == 0
    out = capsys.readouterr().out
    assert "gone from it: 5 cases" in out, "they were of another model"
    assert "without a grade to compare with, because of an error: 1 case" in out
    assert held("main", capsys) == {"test_cities": 5, "test_towns": 5}
    assert cli.main(["baseline", "set", recorded.before, "--replace"]) == 0
    assert held("main", capsys) == {"test_cities": 5}


def test_a_name_that_cannot_be_a_file_s_is_refused(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["baseline", "set", recorded.before, "--name", "../main"]) == 2
    assert "'../main' cannot be the name of a baseline" in capsys.readouterr().err
