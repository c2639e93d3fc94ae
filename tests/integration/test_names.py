"""Ids and names of suites that are the same for two things are told apart, the same way in every run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact

from .conftest import Evals

SUITE = """
from pytest_evals import cases, graders

right = graders.exact_match("{answer}")

@cases([{{"id": "a", "completion": "x"}}], id="id"{more})
def test_it(right):
    assert right
"""


@pytest.fixture
def folders(evals_both: Evals) -> Evals:
    """Suites of one name in two folders and a third one in the root folder."""
    evals_both.pytester.makeini("[pytest]\naddopts = --import-mode=importlib\n")
    evals_both.pytester.makepyfile(script="def answer(messages): return 'x'")
    for folder, answer in (("geo", "x"), ("sums/deep", "y")):
        write(evals_both.pytester.path / folder, answer)
    return evals_both


def write(folder: Path, answer: str, more: str = "", name: str = "test_suite.py") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(SUITE.format(answer=answer, more=more), encoding="utf-8")


def said(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())


def test_suites_of_one_name_are_called_by_their_folders_in_card_gates_and_artifact(folders: Evals) -> None:
    write(folders.pytester.path / "geo", "x", ', gates=["test_it.right.mean >= 1"]')
    write(folders.pytester.path / "sums/deep", "y", ', gates=["right.mean >= 1"]')
    result = folders.run("-rf", model=None)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = said(result)
    assert "gate PASSED geo/test_it.right.mean >= 1: 1 (n=1)" in text
    assert "gate FAILED sums/deep/test_it: right.mean >= 1: 0, not >= 1 (n=1)" in text
    assert "FAILED evals.gates::sums/deep/test_it.right.mean >= 1" in text
    assert "geo/test_it right 1/1 1.000" in text
    assert {sample.suite for sample in folders.artifact.samples} == {"geo/test_it", "sums/deep/test_it"}
    lines = folders.lines()
    assert sorted(suite["name"] for suite in lines[0]["suites"]) == ["geo/test_it", "sums/deep/test_it"]
    assert sorted(gate["suite"] for gate in lines[-1]["gates"]) == ["geo/test_it", "sums/deep/test_it"]
    assert folders.ledger() == {"collected": 2, "passed": 1, "missed": 1}


def test_a_third_one_and_one_in_the_root_folder_too(folders: Evals) -> None:
    write(folders.pytester.path, "x")
    write(folders.pytester.path / "zoo", "x")
    assert folders.run("--evals-gate", "./test_it.right.mean >= 1", model=None).ret == pytest.ExitCode.TESTS_FAILED
    assert sorted({sample.suite for sample in folders.artifact.samples}) == [
        "./test_it",
        "geo/test_it",
        "sums/deep/test_it",
        "zoo/test_it",
    ]
    gates = folders.lines()[-1]["gates"]
    assert [(gate["suite"], gate["gate"]) for gate in gates] == [("./test_it", "./test_it.right.mean >= 1")]


def test_a_gate_of_the_run_says_which_suite_it_means(folders: Evals) -> None:
    result = folders.run("--evals-gate", "geo/test_it.right.mean >= 1", model=None)
    assert [gate["suite"] for gate in folders.lines()[-1]["gates"]] == ["geo/test_it"]
    # It means the same where the other suite is not collected.
    alone = folders.run("--evals-gate", "geo/test_it.right.mean >= 1", "geo", model=None)
    assert alone.ret == pytest.ExitCode.OK
    assert [gate["suite"] for gate in folders.lines()[-1]["gates"]] == ["geo/test_it"]
    # What every suite has is a gate of every suite, as ever.
    folders.run("--evals-gate", "right.mean >= 0", model=None)
    assert len(folders.lines()[-1]["gates"]) == 2
    result = folders.run("--evals-gate", "test_it.right.mean >= 1", model=None)
    text = f"{said(result)} {' '.join(result.stderr.str().split())}"
    assert "'test_it.right.mean >= 1': several suites have this name; write geo/test_it or sums/deep/test_it" in text
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_a_name_that_is_given_is_told_apart_too_and_other_names_stay(folders: Evals) -> None:
    write(folders.pytester.path / "geo", "x", ', name="facts"')
    write(folders.pytester.path / "sums/deep", "x", ', name="facts"')
    write(folders.pytester.path / "geo", "x", name="test_other.py")
    folders.run(model=None)
    assert sorted({sample.suite for sample in folders.artifact.samples}) == ["geo/facts", "sums/deep/facts", "test_it"]


def test_two_of_one_name_in_one_folder_are_refused_with_their_files(folders: Evals) -> None:
    write(folders.pytester.path / "geo", "x", name="test_other.py")
    text = said(folders.run(model=None))
    assert (
        "two suites are named 'test_it': geo/test_other.py:6 and geo/test_suite.py:6; give one of them a name=" in text
    )


def test_what_else_is_collected_changes_no_seed(folders: Evals) -> None:
    for folder in ("geo", "sums/deep"):
        write(folders.pytester.path / folder, "x", ', prompt="q", generation={"temperature": 1}, repeat=2')
        path = folders.pytester.path / folder / "test_suite.py"
        path.write_text(path.read_text().replace(', "completion": "x"', ""), encoding="utf-8")

    def keys() -> dict[str, str]:
        samples = [line for line in folders.lines() if line["type"] == "sample"]
        return {line["nodeid"]: line["interaction"]["completion"]["origin"]["key"] for line in samples}

    folders.run()
    both = keys()
    folders.run("geo")
    alone = keys()
    assert len(both) == 4
    assert alone == {nodeid: key for nodeid, key in both.items() if nodeid.startswith("geo")}


def test_a_run_with_such_suites_is_replayed_whole_and_in_part(folders: Evals) -> None:
    for folder in ("geo", "sums/deep"):
        path = folders.pytester.path / folder / "test_suite.py"
        path.write_text(path.read_text().replace(', "completion": "x"', "").replace('id="id"', 'id="id", prompt="q"'))
    folders.run()
    folders.path.rename(folders.pytester.path / "old.jsonl")
    for arguments in ((), ("geo",)):
        folders.run("--evals-replay=old.jsonl", *arguments, model=None)
        suites = {sample.suite for sample in folders.artifact.samples}
        assert suites == ({"geo/test_it"} if arguments else {"geo/test_it", "sums/deep/test_it"})
        assert "errored" not in folders.ledger()


# -- Ids


def test_ids_that_are_one_after_cleaning_get_a_hash(evals: Evals) -> None:
    rows = [{"id": name, "completion": "x"} for name in ("C++", "C#", "C", "1+1=?", "1-1=?", "-1", "1", "other")]
    evals.write(SUITE.format(answer="x", more="").replace('[{"id": "a", "completion": "x"}]', '"rows.jsonl"'))

    def ids(order: int) -> list[str]:
        text = "".join(f"{json.dumps(row)}\n" for row in rows[::order])
        (evals.pytester.path / "rows.jsonl").write_text(text, encoding="utf-8")
        evals.run(model=None).assert_outcomes(passed=8)
        return [sample.case_id for sample in EvaluationArtifact.load(evals.path).samples]

    found = ids(1)
    assert len(set(found)) == 8
    assert [found[index] for index in (2, 6, 7)] == ["C", "1", "other"]
    for index, start in ((0, "C-"), (1, "C-"), (3, "1-1-"), (4, "1-1-"), (5, "1-")):
        assert found[index].startswith(start)
        assert len(found[index]) == len(start) + 8
    assert ids(-1) == found[::-1]
    evals.run("--evals-limit", "1", model=None)
    assert evals.artifact.samples[0].case_id == found[-1]
