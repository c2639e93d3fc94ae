"""Baselines: written, read back, damaged; and runs loaded to be compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.artifacts.artifact import EvaluationArtifact
from pytest_evals.artifacts.sample import dump, to_record
from pytest_evals.baselines.file import BaselineReader, case_line, write_baseline
from pytest_evals.baselines.loading import load_baseline
from pytest_evals.baselines.pairing import join
from pytest_evals.errors import ArtifactError
from pytest_evals.grades import Grade
from pytest_evals.scores.corpus import part_data

from .recorded import errored_line, run_line, sample_line, summary_line

PRIVATE = "the patient's name"
RUN = {"run_id": "r1", "started": "2024-05-06T07:08:09+00:00", "suites": [], "models": []}


def samples() -> list[dict[str, Any]]:
    counted = Grade(0.25, "bleu", PRIVATE, metadata=part_data("ratio", (1, 4)))
    first = sample_line("b", Grade(True, "exact", PRIVATE), counted, cluster="doc1")
    first["interaction"] = {**first["interaction"], "metadata": {"q": PRIVATE, "level": "easy"}}
    return [first, sample_line("a", repeat=2, nodeid="a2"), sample_line("a"), errored_line("c")]


def written(folder: Path, *, texts: bool = False) -> Path:
    path = folder / "evals_baselines" / "main.jsonl"
    write_baseline(path, "main", [RUN], (case_line(sample, texts=texts) for sample in samples()))
    return path


def test_a_baseline_compares_like_the_run_it_came_from(tmp_path: Path) -> None:
    run = [to_record(sample) for sample in samples()]
    baseline = load_baseline("main", written(tmp_path).parents[1])
    assert [(record.case_id, record.repeat) for record in baseline.records] == [("c", 1), ("a", 1), ("a", 2), ("b", 1)]
    assert (baseline.partial, baseline.runs[0]["run_id"]) == (None, "r1")
    joined = join(baseline.records, run)
    assert len(joined.pairs) == 3
    assert joined.notes() == []
    for pair in joined.pairs:
        for was, now in zip(pair.before, sorted(pair.after, key=lambda record: record.repeat), strict=True):
            assert (was.grades, was.outcome, was.cluster) == (now.grades, now.outcome, now.cluster)
            assert (was.tokens, was.latency, was.finish_reason) == (now.tokens, now.latency, now.finish_reason)
    edited = [sample_line("a")]
    edited[0]["interaction"] = {**edited[0]["interaction"], "metadata": {"country": "Peru"}}
    (changed,) = join(baseline.records, map(to_record, edited)).changed
    assert changed.changes == ("item.country",)


def test_texts_are_in_it_only_when_they_are_asked_for(tmp_path: Path) -> None:
    text = written(tmp_path).read_text(encoding="utf-8")
    assert PRIVATE not in text
    assert "Paris" not in text
    path = written(tmp_path, texts=True)
    assert PRIVATE in path.read_text(encoding="utf-8")
    (sample,) = (sample for sample in BaselineReader(path).samples() if sample["case_id"] == "b")
    interaction, expected = sample["interaction"], samples()[0]["interaction"]
    assert {**interaction, "completion": None} == {**expected, "completion": None}
    assert interaction["completion"].items() >= expected["completion"].items()
    assert sample["grades"][0]["reasoning"] == PRIVATE
    # With and without texts, the same cases.
    joined = join(load_baseline(path).records, map(to_record, samples()))
    assert (len(joined.pairs), joined.notes()) == (3, [])


def test_its_lines_are_sorted_and_its_scores_are_for_people(tmp_path: Path) -> None:
    path = written(tmp_path)
    header, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert (header["type"], header["name"], header["schema"]) == ("baseline", "main", 2)
    scores = [line for line in lines if line["type"] == "score"]
    assert [(row["model"], row["grader"], row["n"], row["errors"]) for row in scores] == [
        ("", "exact", 0, 1),
        ("smollm2", "exact", 3, 0),
        ("smollm2", "bleu", 1, 0),
    ]
    before = path.read_bytes()
    write_baseline(path, "main", [RUN], (case_line(sample, texts=False) for sample in reversed(samples())))
    assert path.read_bytes() == before, "the order in which cases ran makes no difference to a review"


CASE = (
    '{"type": "case", "suite": "s", "case_id": "a", "outcome": "passed", "interaction": {"source": "m"}, "grades": []}'
)
HEADER = '{"type": "baseline", "schema": 1, "runs": []}'


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["<<<<<<< HEAD", HEADER], ":1: not valid JSON"),
        ([HEADER, CASE, "=======", CASE], ":3: not valid JSON"),
        ([HEADER, CASE, CASE], ":3: case 'a' is in it twice, as after a merge; set the baseline anew"),
        ([HEADER.replace('"schema": 1', '"schema": 9')], "written with schema 9, newer than schema 2"),
        ([HEADER.replace("[]", "3")], ":1: not a valid baseline line: it does not say from which runs it came"),
        ([CASE], "is not a baseline: its first line is not a 'baseline' line"),
        ([], "is not a baseline: its first line is not a 'baseline' line"),
        ([HEADER, CASE.replace('"passed"', '"won"')], ":2: not a valid sample line: outcome"),
        ([HEADER, CASE.replace('{"source": "m"}', "7")], ":2: not a valid sample line: interaction"),
        ([HEADER, CASE.replace('"grades": []', '"grades": [5]')], ":2: not a valid sample line: grades.0"),
    ],
)
def test_a_damaged_baseline_names_what_is_wrong(lines: Sequence[str], words: str, tmp_path: Path) -> None:
    path = tmp_path / "main.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        list(BaselineReader(path).samples())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("run", "summary", "why"),
    [
        ({}, {}, None),
        ({}, None, "the run did not end: it was killed, or still goes on"),
        ({}, {"complete": False, "interruption": "KeyboardInterrupt"}, "the run was interrupted (KeyboardInterrupt)"),
        ({"options": {"limit": 5}}, {}, "the run took at most 5 rows of each dataset (--evals-limit)"),
        ({}, {"ledger": {"collected": 9, "not_run": 7}}, "7 of 9 cases did not run"),
    ],
)
def test_an_artifact_is_loaded_with_why_it_is_not_whole(
    run: dict[str, Any], summary: dict[str, Any] | None, why: str | None, tmp_path: Path
) -> None:
    lines = [run_line(**run), sample_line(), *([] if summary is None else [summary_line(**summary)])]
    path = tmp_path / "run.jsonl"
    path.write_text("".join(f"{dump(line)}\n" for line in lines), encoding="utf-8")
    baseline = load_baseline(path)
    assert baseline.partial == why
    assert [record.case_id for record in baseline.records] == ["France"]
    assert baseline.runs[0]["run_id"] == EvaluationArtifact.load(path).run.run_id
    assert len(list(baseline.samples())) == 1
