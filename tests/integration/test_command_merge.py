"""``pytest-evals merge``: parts of a run, put together, are the run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Recorded

OPTIONS = ("-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--evals")


@pytest.fixture(scope="module")
def parts(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``one.jsonl`` and ``two.jsonl``, which overlap in a case, and ``whole.jsonl``."""
    folder = tmp_path_factory.mktemp("parts")
    for name in ("test_cities.py", "answers.py", "cities.jsonl"):
        shutil.copy(recorded.folder / name, folder)
    for name, chosen in {"one": ("-k", "fr or jp"), "two": ("-k", "not fr"), "whole": ()}.items():
        run(folder, name, *chosen)
    return folder


def run(folder: Path, name: str, *arguments: str) -> None:
    options = (*OPTIONS, "--evals-model=scripted:answers:late", f"--evals-artifact={name}.jsonl")
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, *arguments], cwd=folder, check=False, stdout=subprocess.DEVNULL
    )


def merge(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_evals", "merge", *arguments]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_parts_come_to_what_the_whole_run_does(parts: Path) -> None:
    done = merge(parts, "one.jsonl", "two.jsonl", "--output", "merged.jsonl")
    merged, whole = lines(parts / "merged.jsonl"), lines(parts / "whole.jsonl")
    for name in ("scores", "gates", "ledger", "complete"):
        assert merged[-1][name] == whole[-1][name], name
    assert sorted(str(line.get("nodeid", "")) for line in merged) == sorted(
        str(line.get("nodeid", "")) for line in whole
    )
    assert "1 case ran in several of them" in done.stdout
    assert "artifact: merged.jsonl" in done.stdout
    assert done.returncode == (0 if all(gate["verdict"] == "passed" for gate in whole[-1]["gates"]) else 1)  # type: ignore[attr-defined]  # a list of objects
    assert "NOT JUDGED" not in done.stdout
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_evals", "show", "merged.jsonl"],
        cwd=parts,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "merged" not in shown.stderr


def test_a_part_that_is_missing_leaves_gates_unjudged_and_is_no_success(parts: Path) -> None:
    done = merge(parts, "one.jsonl", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["complete"], found["ledger"]["not_run"]) == (False, 2)
    assert [gate["verdict"] for gate in found["gates"]] == ["not judged"]


def test_runs_that_are_no_parts_of_one_run_are_refused(parts: Path, tmp_path: Path) -> None:
    run(parts, "seeded", "--evals-seed=3")
    run(parts, "gated", "--evals-gate=named.mean >= 0.3")
    for name in ("test_cities.py", "answers.py"):
        shutil.copy(parts / name, tmp_path)
    rows = (parts / "cities.jsonl").read_text(encoding="utf-8").splitlines()
    (tmp_path / "cities.jsonl").write_text("\n".join(rows[1:]), encoding="utf-8")
    run(tmp_path, "data")
    shutil.copy(tmp_path / "data.jsonl", parts)
    for name, what in {
        "seeded": "seed is 0 in one and 3 in the other",
        "gated": "different gates",
        "data": "different data",
    }.items():
        done = merge(parts, "one.jsonl", f"{name}.jsonl")
        assert done.returncode == 2, name
        assert what in done.stderr, name


def test_gates_against_a_baseline_need_it(parts: Path) -> None:
    options = ("--evals-gate=named.mean >= baseline - 0.5", "--evals-baseline=whole.jsonl")
    run(parts, "first", *options, "-k", "fr or jp")
    run(parts, "second", *options, "-k", "not (fr or jp)")
    done = merge(parts, "first.jsonl", "second.jsonl")
    assert (done.returncode, done.stderr.count("name one with --baseline")) == (2, 1), done.stderr
    done = merge(parts, "first.jsonl", "second.jsonl", "--baseline", "whole.jsonl", "--json")
    verdicts = [gate["verdict"] for gate in json.loads(done.stdout)["gates"]]
    assert len(verdicts) == 2
    assert "not judged" not in verdicts


def test_what_is_merged_is_not_overwritten(parts: Path) -> None:
    before = (parts / "one.jsonl").read_bytes()
    done = merge(parts, "one.jsonl", "two.jsonl", "-o", "one.jsonl")
    assert done.returncode == 2
    assert (parts / "one.jsonl").read_bytes() == before


def test_an_artifact_of_before_says_too_little(parts: Path) -> None:
    older = lines(parts / "two.jsonl")
    for suite in older[0]["suites"]:  # type: ignore[attr-defined]  # a list of objects
        del suite["declared"]
    (parts / "older.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in older), encoding="utf-8")
    done = merge(parts, "one.jsonl", "older.jsonl")
    assert (done.returncode, "an older version wrote it" in done.stderr) == (2, True)


def test_answers_of_cases_that_did_not_finish_are_kept_once(parts: Path) -> None:
    one, two = lines(parts / "one.jsonl"), lines(parts / "two.jsonl")
    known = two[1]["interaction"]["completion"]["origin"]["key"]  # type: ignore[index]  # an object
    parts_of_key = known.split("-")
    answers = [
        {
            "type": "answer",
            "key": "-".join([*parts_of_key[:-1], end]),
            "id": "r",
            "model": "m",
            "completion": {"text": end},
        }
        for end in (parts_of_key[-1], "17", "18")
    ]
    for name, run_lines, kept in (("cut-1", one, answers[:2]), ("cut-2", two, answers[1:])):
        summary = {**run_lines[-1], "complete": False}
        text = "".join(f"{json.dumps(line)}\n" for line in (*run_lines[:-1], *kept, summary))
        (parts / f"{name}.jsonl").write_text(text, encoding="utf-8")
    done = merge(parts, "cut-1.jsonl", "cut-2.jsonl", "-o", "all.jsonl")
    merged = [line for line in lines(parts / "all.jsonl") if line["type"] == "answer"]
    assert merged == answers[1:], "the first one is in a sample of the other run"
    assert "2 answers of cases that did not finish are kept" in done.stdout
