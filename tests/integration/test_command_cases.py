"""``pytest-evals cases``: cases of a run, chosen and sorted."""

from __future__ import annotations

import csv
import io
import json

import pytest

from pytest_evals import cli

from .conftest import Recorded


def test_cases_are_chosen_sorted_and_fit_the_terminal(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--where", "item.level == 'hard' or named.value < 1")
    assert cli.main(["cases", recorded.before, *where, "--sort", "length.value", "--reverse"]) == 0
    printed = capsys.readouterr()
    head, _, *rows, count = printed.out.splitlines()
    assert head.split() == ["outcome", "case_id", "named", "length", "text"]
    assert [row.split()[:2] for row in rows] == [["missed", "pe"], ["missed", "cl"]]
    assert count == "2 of 5 cases"
    assert all(len(line) <= 80 for line in rows)
    assert "\x1b" not in printed.out
    assert printed.err == "", "the row without a level is only compared for equality"


def test_cases_that_cannot_be_compared_are_told(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.main(
            ["cases", recorded.after, "--where", "named.value < 1", "--fields", "case_id, item.capital", "--limit", "1"]
        )
        == 0
    )
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2:] == ["fr       Lyon", "2 of 5 cases; the first is shown, --limit 0 shows all"]
    assert printed.err.startswith("pytest-evals: note: 1 case was left out: '<' not supported")
    assert cli.main(["cases", recorded.after, "--where", "item.level < 1"]) == 2
    told = capsys.readouterr().err
    assert "--where 'item.level < 1' cannot be told for any case" in told
    assert "; item.level is text, as 'easy'; compare item.level|float" in told


def test_json_nodeids_and_texts(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cases", recorded.before, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["case_id"] for row in rows] == ["fr", "jp", "pe", "ke", "cl"]
    assert (rows[0]["item.capital"], rows[0]["named"], rows[0]["named.passed"]) == ("Paris", 1.0, True)
    assert cli.main(["cases", recorded.after, "--where", "outcome == 'errored'", "--nodeids"]) == 0
    assert capsys.readouterr().out == "test_cities.py::test_cities[ke]\n"
    assert cli.main(["cases", recorded.after, "--where", "outcome == 'errored'", "-v"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == [
        "-- test_cities[ke] scripted:answers:late: errored (cities.jsonl:4)",
        "prompt:    Capital of Kenya?",
        "error:     model: scripted:answers:late raised RuntimeError: this one breaks",
    ]


def test_no_case_is_status_1_and_a_mistake_2(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cases", recorded.before, "--where", "outcome == 'failed'"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "0 of 5 cases\n"
    assert printed.err == "pytest-evals: note: outcome is never 'failed'; it is one of 'passed', 'missed'\n"
    for arguments, words in (
        (["--where", "nmed.value < 1"], "unknown name 'nmed.value'"),
        (["--where", "level == 'easy'"], "unknown name 'level'; write item.level"),
        (["--where", "item.level = 'easy'"], "chunk after expression; equality is written =="),
        (["--sort", "item.levle"], "no case has item.levle"),
        (["--fields", "case_id,)"], "--fields ')' is not well formed"),
        (["--limit", "-1"], "--limit: must be a whole number of at least 0, not '-1'"),
    ):
        assert cli.main(["cases", recorded.before, *arguments]) == 2
        printed = capsys.readouterr()
        assert words in printed.err
        assert printed.out == ""


def test_csv_is_for_spreadsheets(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cases", recorded.before, "--where", "outcome == 'missed'", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [(row["case_id"], row["prompt"], row["named"]) for row in rows] == [
        ("pe", "Capital of Peru?", "0.0"),
        ("cl", "Capital of Chile?", "0.0"),
    ]
    assert rows[0]["completion"] == "'=HYPERLINK(1) \x1b[31mno idea"
    assert "'Lima'" in rows[0]["named.reasoning"]
    fields = ("--csv", "--fields", "case_id, text|upper", "--limit", "1")
    assert cli.main(["cases", recorded.before, *fields]) == 0
    assert capsys.readouterr().out == "case_id,text|upper\nfr,IT IS PARIS.\n"
    assert cli.main(["cases", recorded.before, "--csv", "--json"]) == 2
    assert "--csv cannot be combined with --json" in capsys.readouterr().err
