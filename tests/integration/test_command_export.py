"""``pytest-evals export``: the cases of a run in other formats."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from pytest_evals import cli

from .conftest import Recorded


def test_csv_has_a_row_a_case_and_nothing_that_a_spreadsheet_would_run(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cases.csv"
    assert cli.main(["export", recorded.before, "--to", "csv", "-o", str(path)]) == 0
    assert capsys.readouterr().err == f"pytest-evals: note: 5 cases in {path}\n"
    text = path.read_bytes().decode()
    rows = {row["case_id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert (rows["fr"]["item.capital"], rows["fr"]["named"], rows["fr"]["named.passed"]) == ("Paris", "1.0", "true")
    assert rows["pe"]["completion"] == "'=HYPERLINK(1) \x1b[31mno idea"
    assert cli.main(["export", recorded.before, "--to", "csv"]) == 0
    assert capsys.readouterr().out == text


def test_jsonl_keeps_values_as_they_are(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", recorded.after, "--to", "jsonl"]) == 0
    rows = {row["case_id"]: row for row in map(json.loads, io.StringIO(capsys.readouterr().out))}
    assert (rows["ke"]["outcome"], rows["ke"]["error_kind"], rows["ke"]["named"]) == ("errored", "model", None)
    assert rows["ke"]["named.status"] == "error"


def test_parquet_has_typed_columns(recorded: Recorded, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "cases.parquet"
    assert cli.main(["export", recorded.after, "--to", "parquet", "-o", str(path)]) == 0
    table = parquet.read_table(path)
    assert table.num_rows == 5
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["named"], types["named.passed"], types["repeat"], types["item.capital"]) == (
        "double",
        "bool",
        "int64",
        "string",
    )
    assert sorted(path.parent.iterdir()) == [path]


def test_inspect_has_a_log_for_each_suite_and_model(recorded: Recorded, tmp_path: Path) -> None:
    assert cli.main(["export", recorded.after, "--to", "inspect", "-o", str(tmp_path / "logs")]) == 0
    (path,) = (tmp_path / "logs").iterdir()
    log = json.loads(path.read_text(encoding="utf-8"))
    assert (log["version"], log["status"], log["eval"]["task"]) == (2, "success", "test_cities")
    assert log["results"]["total_samples"] == len(log["samples"]) == 5
    named = log["results"]["scores"][0]
    assert (named["name"], named["scored_samples"], named["unscored_samples"]) == ("named", 4, 1)
    assert named["metrics"]["mean"]["value"] == 0.5
    sample = next(sample for sample in log["samples"] if sample["id"] == "pe")
    assert (sample["input"], sample["output"]["choices"][0]["message"]["content"]) == (
        [{"role": "user", "content": "Capital of Peru?"}],
        "It is Lima.",
    )
    assert (sample["scores"]["named"]["value"], sample["metadata"]["capital"]) == (1.0, "Lima")
    broken = next(sample for sample in log["samples"] if sample["id"] == "ke")
    assert "named" not in broken["scores"], "a broken measurement is no score"
    assert broken["metadata"]["pytest_evals"]["without_value"]["named"]["status"] == "error"
    assert broken["error"]["message"].startswith("model: ")


def test_what_cannot_be_written_is_refused(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(recorded.before).read_bytes()
    for arguments, words in (
        (["--to", "csv", "-o", recorded.before], "is the artifact that is read; choose another path"),
        (["--to", "parquet"], "--to parquet needs a file"),
        (["--to", "inspect"], "--to inspect needs a folder"),
        (["--to", "csv", "-o", f"{recorded.before}/cases.csv"], "cases.csv cannot be written: "),
        (["--to", "exel"], "invalid choice: 'exel'"),
    ):
        assert cli.main(["export", recorded.before, *arguments]) == 2
        assert words in capsys.readouterr().err
    assert Path(recorded.before).read_bytes() == before


def test_where_chooses_what_is_written(recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "missed.csv"
    command = ["export", recorded.before, "--to", "csv", "-o", str(path), "--where"]
    assert cli.main([*command, "named.value < 1"]) == 0
    assert capsys.readouterr().err == f"pytest-evals: note: 2 cases in {path}\n"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert [row["case_id"] for row in rows] == ["pe", "cl"]
    assert (rows[0]["prompt"], rows[0]["named.passed"]) == ("Capital of Peru?", "false")
    path.unlink()
    assert cli.main([*command, "outcome == 'mised'"]) == 1
    assert "outcome is never 'mised'; it is one of 'passed', 'missed'" in capsys.readouterr().err
    assert not path.exists()
    assert cli.main([*command, "nmaed.value < 1"]) == 2
    assert "unknown name 'nmaed.value'" in capsys.readouterr().err
    assert cli.main(["export", recorded.before, "--to", "inspect", "-o", str(path), "--where", "named.passed"]) == 2
    assert "--where cannot be combined with --to inspect" in capsys.readouterr().err
