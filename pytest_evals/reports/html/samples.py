"""The samples of a run as the page's browser wants them: what is empty or said twice is left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_evals.baselines.loading import Baseline
from pytest_evals.baselines.pairing import join
from pytest_evals.reports.html.media import PageMedia
from pytest_evals.scores.records import CaseRecord

CHUNK = 500
"""Samples in one script element: the browser reads them one element at a time, and stays responsive in between."""
Sample = Mapping[str, Any]
SampleKey = tuple[str, str, str, int]


def chunks(
    samples: Iterable[Sample],
    before: Mapping[SampleKey, Sample] | None = None,
    media: PageMedia | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Yield the samples in lists of a few hundred. ``before``: what the baseline has of the same cases; ``media``: how the page
    shows images and audio.
    """
    known, shown = before or {}, media or PageMedia(())
    entries = (entry(sample, known.get(case_key(sample)), shown) for sample in samples)
    while chunk := list(itertools.islice(entries, CHUNK)):
        yield chunk


def case_key(sample: Sample) -> SampleKey:
    """Return what two samples of the same case, model and repeat share in different runs."""
    return sample["suite"], sample["interaction"]["source"] or "", sample["case_id"], sample["repeat"]


def samples_before(baseline: Baseline, records: Sequence[CaseRecord]) -> dict[SampleKey, Sample]:
    """Return the baseline's samples of cases that ``records`` have too, by their keys of now; none whose row changed."""
    joined = join(baseline.records, records)
    now = {}
    for pair in joined.pairs:
        model = joined.models.get((pair.suite, pair.model), pair.model)
        now[pair.suite, model, pair.case_id] = pair.model
    found: dict[SampleKey, Sample] = {}
    for sample in baseline.samples():
        suite, model, case_id, repeat = case_key(sample)
        if (suite, model, case_id) in now:
            found[suite, now[suite, model, case_id], case_id, repeat] = sample
    return found


def entry(sample: Sample, before: Sample | None = None, media: PageMedia | None = None) -> dict[str, Any]:
    """Return one sample as plain data."""
    shown = media or PageMedia(())
    interaction = sample["interaction"]
    completion = interaction["completion"]
    thread = list(interaction["thread"])
    if completion and thread and _is_answer(thread[-1], completion):
        # The answer is shown from the completion.
        thread.pop()
    found = {
        "id": sample["id"],
        "nodeid": sample["nodeid"],
        "suite": sample["suite"],
        "model": interaction["source"],
        "case": sample["case_id"],
        "location": _location(sample.get("location")),
        "repeat": sample["repeat"] if sample["repeat"] != 1 else None,
        "outcome": sample["outcome"],
        "thread": _messages(thread, shown),
        "completion": _filled(completion or {}),
        "grades": [_grade(grade) for grade in sample["grades"]],
        "fields": interaction["metadata"],
        "tasks": sample["tasks"],
        "calls": [{**call, "messages": _messages(call["messages"], shown)} for call in sample.get("calls") or ()],
        "label": sample.get("label"),
        "error": sample["error"],
        "timing": sample["timing"],
        "before": _before(before) if before else None,
    }
    return _filled(found)


def _messages(messages: Iterable[Mapping[str, Any]], media: PageMedia) -> list[dict[str, Any]]:
    return [{**message, "content": media.shown(message.get("content"))} for message in messages]


def _is_answer(message: Mapping[str, Any], completion: Mapping[str, Any]) -> bool:
    """Tell whether the last message says what the completion says, and no more."""
    known = ("role", "content", "reasoning_content", "tool_calls")
    return (
        message.get("role") == "assistant"
        and (message.get("content") or "") == completion["text"]
        and message.get("reasoning_content") == completion.get("reasoning")
        and all(name in known for name, value in message.items() if value is not None)
    )


def _location(location: Mapping[str, Any] | None) -> str | None:
    return f"{location['path']}:{location['line']}" if location else None


def _before(sample: Sample) -> dict[str, Any]:
    interaction = sample["interaction"]
    # A baseline's file may have been kept without texts.
    text = {"text": (interaction["completion"] or {}).get("text", "")} if interaction["thread"] else {}
    return {
        "outcome": sample["outcome"],
        **text,
        "grades": [_grade(grade, reasoning=False) for grade in sample["grades"]],
    }


def _grade(grade: Mapping[str, Any], *, reasoning: bool = True) -> dict[str, Any]:
    names = ("value", "passed", *(("reasoning", "metadata") if reasoning else ()))
    status = grade["status"] if grade["status"] != "graded" else None
    return _filled({"key": grade["grader_key"], "status": status, **{name: grade.get(name) for name in names}})


def _filled(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value is not None and value not in ({}, [])}
