"""``pytest-evals compare``: what changed between runs, and the cases behind it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals import cli

from .conftest import Recorded


def test_every_case_of_both_runs_is_compared_or_accounted_for(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", recorded.before, recorded.after, "-v"]) == 0
    out = capsys.readouterr().out
    flat = " ".join(out.split())
    for said in (
        "test_cities: model scripted:answers:early then, scripted:answers:late now",
        "1 case not compared: the row changed (item.capital)",
        "1 case not compared: new, only the later run has them",
        "1 case not compared: gone, only the earlier run has them",
        "test_cities.named: 1 case not compared: no grade in the later run",
        "dataset of test_cities: cities.jsonl (5 cases,",
    ):
        assert said in flat
    # The model of a scripted run is long, so that suites are lines above their rows.
    assert "\ntest_cities\n  named   2" in out
    assert "fell     jp    named" in out
    assert "rose     pe    named" in out
    assert "prompt:    Capital of Peru?\nbefore:    =HYPERLINK(1) \\x1b[31mno idea\n" in out
    assert "after:     It is Lima." in out
    assert max(len(line) for line in out.splitlines() if "/" not in line) <= 80


def test_json_and_several_runs(recorded: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", recorded.before, recorded.before, recorded.part, "--json"]) == 0
    same, part = json.loads(capsys.readouterr().out)
    assert [change["verdict"] for change in same["changes"]] == ["same", "same"]
    assert (same["compared"], same["new"], same["gone"], same["notes"]) == (5, [], [], [])
    assert (part["compared"], part["gone"]) == (2, ["pe", "ke", "cl"])
    assert f"{recorded.part}: 2 of 4 cases did not run" in part["notes"]


def test_check_is_for_ci(recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", recorded.before, recorded.after, "--check"]) == 0, "two cases prove nothing"
    # Many cases of which one run got all and the other none.
    (line,) = (line for line in Path(recorded.before).read_text().splitlines() if "[fr]" in line)
    first = Path(recorded.before).read_text().splitlines()[0]
    for name, value in (("good", 1.0), ("bad", 0.0)):
        samples = [json.loads(line.replace("[fr]", f"[fr{n}]")) for n in range(20)]
        for n, sample in enumerate(samples):
            sample["case_id"] = f"fr{n}"
            for grade in sample["grades"]:
                grade.update(value=value, passed=bool(value))
        (tmp_path / name).write_text("\n".join([first, *map(json.dumps, samples), ""]))
    good, bad = str(tmp_path / "good"), str(tmp_path / "bad")
    assert cli.main(["compare", good, bad, "--check"]) == 1
    assert cli.main(["compare", bad, good, "--check"]) == 0
    assert "the run did not end: it was killed, or still goes on" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{before}"], "has one model, so there is nothing to compare it with: give a second run"),
        (["{before}", "mian"], "there is no file 'mian', and no baseline of this name"),
        (["{folder}/cities.jsonl", "{before}"], "cities.jsonl:1: this is not an artifact of pytest --evals"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arguments: list[str], words: str, recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [text.format(before=recorded.before, folder=recorded.folder) for text in arguments]
    assert cli.main(["compare", *filled]) == 2
    assert words in capsys.readouterr().err


def test_models_of_one_run_are_compared_with_the_first(
    recorded: Recorded, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Path(recorded.before).read_text().splitlines()
    other = [
        line.replace("answers:early", "answers:late").replace("test_cities[", "test_cities[late-")
        for line in lines[1:-1]
    ]
    (tmp_path / "both.jsonl").write_text("\n".join([*lines[:-1], *other, lines[-1], ""]))
    assert cli.main(["compare", str(tmp_path / "both.jsonl"), "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    assert data["after"].endswith("model scripted:answers:late")
    assert data["compared"] == 5
