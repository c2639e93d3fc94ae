"""A comparison of two runs as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_evals.artifacts.query import prompt_of
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.baselines.comparison import Change, Comparison, Flip
from pytest_evals.reports import formatting
from pytest_evals.reports.cases import row_text, task_texts
from pytest_evals.reports.formatting import Column, fitted_table, labelled, without_repeats, wrap_text
from pytest_evals.text import one_line

Texts = Mapping[tuple[str, str, str, int], ParsedLine]
"""Suite, model, case id, repeat -> the sample."""


def comparison_lines(comparison: Comparison, width: int) -> list[str]:
    """Return the table of changes and what is not in it."""
    changes = comparison.changes
    table = fitted_table(_columns(changes), width) if changes else ["there is no case that can be compared"]
    notes = [line for note in (*comparison.notes(), *comparison.hints()) for line in wrap_text(note, width)]
    return [*table, *([""] if notes else []), *notes]


def _columns(changes: Sequence[Change]) -> list[Column]:
    several = len({change.model for change in changes}) > 1
    differences = [change.difference for change in changes]
    return [
        Column("suite", without_repeats([change.suite for change in changes])),
        *([Column("model", [change.model for change in changes], named=True)] if several else []),
        Column("grader", [change.grader for change in changes], named=True),
        Column("n", [str(len(change.grades.pairs)) for change in changes], numeric=True),
        Column("before", [formatting.value(change.before) for change in changes], numeric=True, rank=1),
        Column("after", [formatting.value(change.after) for change in changes], numeric=True, rank=1),
        Column("change", [formatting.signed(each.mean if each else None) for each in differences], numeric=True),
        Column("95% interval", [_interval(change) for change in changes], numeric=True),
        Column("p", [formatting.p_value(change.p) for change in changes], numeric=True, rank=2),
        Column("rose", [str(each.better) if each else "" for each in differences], numeric=True, rank=3),
        Column("fell", [str(each.worse) if each else "" for each in differences], numeric=True, rank=3),
        Column("verdict", [change.verdict for change in changes]),
    ]


def _interval(change: Change) -> str:
    """The interval; none for values without bounds if none of them differs: nothing measures how far others might."""
    interval = change.difference.interval if change.difference else None
    return (
        formatting.ABSENT
        if interval is None
        else f"{formatting.signed(interval.low)} .. {formatting.signed(interval.high)}"
    )


def flip_lines(flips: Sequence[Flip], width: int) -> list[str]:
    """Return a line a flipped case."""
    cells = [(flip.direction, flip.pair.case_id, flip.grader, _step(flip)) for flip in flips]
    names = ("flipped", "case", "grader", "grade")
    return fitted_table([Column(name, [row[index] for row in cells]) for index, name in enumerate(names)], width)


def _step(flip: Flip) -> str:
    return f"{formatting.value(flip.before)} -> {formatting.value(flip.after)}"


def flip_texts(flip: Flip, before: Texts, after: Texts, width: int) -> list[str]:
    """Return a flipped case with what both runs have of its texts."""
    head = f"-- {flip.pair.suite}[{flip.pair.case_id}] {flip.grader} {flip.direction}: {_step(flip)}"
    was = [before.get((each.suite, each.model, each.case_id, each.repeat)) for each in flip.pair.before]
    now = [after.get((each.suite, each.model, each.case_id, each.repeat)) for each in flip.pair.after]
    shown = next((sample for sample in (*now, *was) if sample), None)
    lines = [one_line(head, max(width, 20))]
    if shown and (prompt := prompt_of(shown)) is not None:
        lines += labelled("prompt", prompt, width)
    elif shown and row_text(shown):
        lines += labelled("row", row_text(shown), width)
    for name, samples in (("before", was), ("after", now)):
        for sample in samples:
            repeat = f" r{sample['repeat']}" if sample and len(samples) > 1 else ""
            lines += labelled(f"{name}{repeat}", _answer(sample), width)
            reason = _reason(sample, flip.grader)
            lines += labelled("  because", reason, width) if reason else []
    return lines


_NOT_KEPT = "(its text is not kept in the baseline)"


def _answer(sample: ParsedLine | None) -> str:
    if sample is None:
        return _NOT_KEPT
    completion, results = sample["interaction"]["completion"], task_texts(sample)
    if completion is None and results and not sample["error"]:
        return "\n".join(f"{name}: {text}" for name, text in results)
    if not sample["interaction"]["thread"]:
        return _NOT_KEPT
    if completion is None:
        return f"(no completion: {sample['error']['message']})" if sample["error"] else "(no completion)"
    return str(completion["text"])


def _reason(sample: ParsedLine | None, grader: str) -> str | None:
    grades = sample["grades"] if sample else []
    return next((grade["reasoning"] for grade in grades if grade["grader_key"] == grader), None)
