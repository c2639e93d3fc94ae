"""Baselines on disk: what later runs are compared with, small enough to be committed.

A baseline's file is JSON Lines: a ``baseline`` line; a ``score`` line a suite, model and grader, for people and for the
diff in a review; and a ``case`` line a case with its grades and digests of what it is made of, and with its texts only
where that was asked for. A ``case`` line is a ``sample`` line of the artifact with fewer keys. Lines are sorted, so that
setting a baseline anew changes what changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.artifacts.provenance import version
from pytest_evals.artifacts.sample import dump, to_record
from pytest_evals.artifacts.validation import ParsedLine, checked_sample, parsed
from pytest_evals.artifacts.writer import SCHEMA, make_parents, replacing
from pytest_evals.errors import ArtifactError
from pytest_evals.scores import corpus
from pytest_evals.scores.content import digests_of
from pytest_evals.scores.records import CaseRecord
from pytest_evals.scores.score import Score, compute_scores

_COMPLETION = ("finish_reason", "prompt_tokens", "completion_tokens", "latency")
_TEXTS = ("text", "tool_calls")
_GRADE = ("grader_key", "value", "passed", "status")
_SCORE = ("suite", "model", "grader", "n", "mean", "stderr", "pass_rate", "errors")
# What every sample of an artifact has, and a case of a baseline lacks.
_NAMES: ParsedLine = {"type": "sample", "id": "", "nodeid": "", "dataset_key": ""}


class BaselineReader:
    """A baseline's file. ``runs`` are the shortened first lines of the runs that it came from. Raises `ArtifactError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        _, header = next(self._lines(), (0, {}))
        if header.get("type") != "baseline" or not isinstance(header.get("schema"), int):
            raise ArtifactError(f"{path} is not a baseline: its first line is not a 'baseline' line")
        if header["schema"] > SCHEMA:
            raise ArtifactError(
                f"{path}: written with schema {header['schema']}, newer than schema {SCHEMA} which this version reads; "
                "upgrade pytest-evals-hf"
            )
        runs = header.get("runs")
        if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
            raise ArtifactError(f"{path}:1: not a valid baseline line: it does not say from which runs it came")
        self.runs: tuple[ParsedLine, ...] = tuple(runs)

    def cases(self) -> Iterator[ParsedLine]:
        """Yield the ``case`` lines, checked, as they are in the file."""
        for line, _ in self._read():
            yield line

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the cases, as samples of an artifact; what the file does not keep is empty in them."""
        for _, sample in self._read():
            yield sample

    def _read(self) -> Iterator[tuple[ParsedLine, ParsedLine]]:
        seen: set[tuple[object, ...]] = set()
        for number, line in self._lines():
            if line.get("type") != "case":
                continue
            where = f"{self.path}:{number}"
            sample = _as_sample(line, where)
            key = (sample["suite"], sample["interaction"]["source"], sample["case_id"], sample["repeat"])
            if key in seen:
                raise ArtifactError(f"{where}: case {key[2]!r} is in it twice, as after a merge; set the baseline anew")
            seen.add(key)
            yield line, sample

    def _lines(self) -> Iterator[tuple[int, ParsedLine]]:
        try:
            with self.path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    if raw.strip():
                        yield number, parsed(raw, f"{self.path}:{number}")
        except OSError as error:
            raise ArtifactError(f"baseline {self.path} cannot be read: {error.strerror or error}") from error


def _as_sample(case: ParsedLine, where: str) -> ParsedLine:
    from pytest_evals.artifacts.schema import CompletionRecord, EvalSample, EvalSampleInteraction, defaults_of
    from pytest_evals.grades import Grade

    interaction, grades = case.get("interaction"), case.get("grades")
    completion = interaction.get("completion") if isinstance(interaction, dict) else None
    if isinstance(interaction, dict):
        if isinstance(completion, dict):
            completion = {"text": "", **defaults_of(CompletionRecord), **completion}
        interaction = {"thread": [], **defaults_of(EvalSampleInteraction), **interaction, "completion": completion}
    if isinstance(grades, list):
        grades = [{**defaults_of(Grade), **grade} if isinstance(grade, dict) else grade for grade in grades]
    sample = {**defaults_of(EvalSample), **case, **_NAMES, "interaction": interaction, "grades": grades}
    return checked_sample(sample, where)


def is_baseline(path: Path) -> bool:
    """Tell from its first bytes whether the file is a baseline's."""
    try:
        with path.open("rb") as file:
            return file.read(32).startswith(b'{"type": "baseline"')
    except OSError:
        return False  # the next reader says what is wrong


def write_baseline(
    path: Path, name: str, runs: Iterable[Mapping[str, Any]], samples: Iterable[ParsedLine]
) -> list[Score]:
    """Write a baseline's file in the place of what is there, and return its scores. ``samples`` are made by `case_line`."""
    records: list[CaseRecord] = []
    cases: list[tuple[tuple[str, str, str, int], str]] = []
    for case in samples:
        # Of many cases, only what scores need and the line itself are kept.
        records.append(dataclasses.replace(to_record(case), fields={}, content={}))
        cases.append((_order(case), dump(case)))
    records.sort(key=lambda record: (record.suite, record.model, record.case_id, record.repeat))
    cases.sort()
    scores = compute_scores(records)
    rows = [score.to_row() for score in scores]
    header = {"type": "baseline", "schema": SCHEMA, "name": name, "plugin": version(), "runs": list(runs)}
    make_parents(path)
    with replacing(path) as file:
        file.write(f"{dump(header)}\n")
        file.writelines(f"{dump({'type': 'score', **{key: row[key] for key in _SCORE}})}\n" for row in rows)
        file.writelines(f"{line}\n" for _, line in cases)
    return scores


def _order(case: ParsedLine) -> tuple[str, str, str, int]:
    return case["suite"], case["interaction"]["source"] or "", case["case_id"], case["repeat"]


def case_line(sample: ParsedLine, *, texts: bool) -> ParsedLine:
    """Return the ``case`` line of a sample, with the row, the conversation, results of tasks and calls only if ``texts``."""
    record = to_record(sample)
    completion = sample["interaction"]["completion"]
    kept = (*_COMPLETION, *_TEXTS) if texts else _COMPLETION
    interaction: ParsedLine = {
        "source": sample["interaction"]["source"],
        "completion": completion
        and {name: completion[name] for name in kept if completion.get(name) not in (None, [])},
    }
    if texts:
        interaction |= {name: sample["interaction"][name] for name in ("thread", "metadata")}
    cluster = {"cluster": record.cluster} if record.cluster is not None else {}
    return {
        "type": "case",
        "suite": record.suite,
        "case_id": record.case_id,
        "repeat": record.repeat,
        "outcome": record.outcome,
        **cluster,
        "interaction": interaction,
        **({name: sample[name] for name in ("tasks", "calls") if sample.get(name)} if texts else {}),
        "grades": [_grade(grade, texts=texts) for grade in sample["grades"]],
        "content": digests_of(record),
    }


def _grade(grade: ParsedLine, *, texts: bool) -> ParsedLine:
    found = {name: grade[name] for name in _GRADE}
    if texts:
        found["reasoning"] = grade["reasoning"]
    if grade.get("bounds"):
        found["bounds"] = grade["bounds"]
    part = (grade.get("metadata") or {}).get(corpus.KEY)
    return {**found, "metadata": {corpus.KEY: part}} if part else found
