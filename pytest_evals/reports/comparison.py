"""A comparison of two runs as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_evals.artifacts.query import prompt_of
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.baselines.comparison import Change, Comparison, Flip
from pytest_evals.reports import formatting
from pytest_evals.reports.cases import LONGEST, called, has_own_work, own_work, row_text
from pytest_evals.reports.formatting import Column, fitted_table, labelled, without_repeats, wrap_text
from pytest_evals.text import one_line

Texts = Mapping[tuple[str, str, str, int], ParsedLine]
"""Suite, model, case id, repeat -> the sample."""


def comparison_lines(comparison: Comparison, width: int, shorts: Mapping[str, str] | None = None) -> list[str]:
    """Return the table of changes and what is not in it; ``shorts`` has names of models."""
    changes = comparison.changes
    table = (
        fitted_table(_columns(changes, shorts or {}), width) if changes else ["there is no case that can be compared"]
    )
    notes = [line for note in (*comparison.notes(), *comparison.hints()) for line in wrap_text(note, width)]
    return [*table, *([""] if notes else []), *notes]


def _columns(changes: Sequence[Change], shorts: Mapping[str, str]) -> list[Column]:
    several = len({change.model for change in changes}) > 1
    differences = [change.difference for change in changes]
    return [
        Column("suite", without_repeats([change.suite for change in changes]), heading=True),
        *(
            [Column("model", [shorts.get(each.model, each.model) for each in changes], named=True, heading=True)]
            if several
            else []
        ),
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


def flip_lines(flips: Sequence[Flip], width: int, shorts: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each flipped case, below the name of its suite and model where there are several; ``shorts`` has names of models."""
    cells = [(flip.direction, flip.pair.case_id, flip.grader, _step(flip)) for flip in flips]
    names = ("flipped", "case", "grader", "grade")
    where = [_where(flip, flips, shorts or {}) for flip in flips]
    return fitted_table(
        [
            *([Column("in", without_repeats(where), named=True, heading=True)] if any(where) else []),
            *(Column(name, [row[index] for row in cells]) for index, name in enumerate(names)),
        ],
        width,
    )


def _where(flip: Flip, flips: Sequence[Flip], shorts: Mapping[str, str]) -> str:
    suites, models = {each.pair.suite for each in flips}, {each.pair.model for each in flips}
    suite = [flip.pair.suite] if len(suites) > 1 else []
    model = [shorts.get(flip.pair.model, flip.pair.model)] if len(models) > 1 else []
    return " ".join([*suite, *model])


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
    if shown and has_own_work(shown) and row_text(shown):
        lines += labelled("row", row_text(shown), width)
    for name, samples in (("before", was), ("after", now)):
        for sample in samples:
            repeat = f" r{sample['repeat']}" if sample and len(samples) > 1 else ""
            lines += labelled(f"{name}{repeat}", _came(sample), width)
            reason = _reason(sample, flip.grader)
            lines += labelled("  because", reason, width) if reason else []
    return lines


_NOT_KEPT = "(its text is not kept in the baseline)"


def _came(sample: ParsedLine | None) -> str:
    """Return what came of a case, a line for each: its answer and calls of tools, results of its tasks, its calls of models, its error."""
    if sample is None or _is_stripped(sample):
        return _NOT_KEPT
    completion, error = sample["interaction"]["completion"], sample["error"]
    lines = []
    if completion is not None:
        calls = [f"tool call: {called(call)}" for call in completion.get("tool_calls") or ()]
        lines += [*([completion["text"]] if completion["text"] or not calls else []), *calls]
    if has_own_work(sample):
        lines += [f"{name}: {one_line(text, LONGEST)}" for name, text in own_work(sample)]
    if error is not None:
        lines.append(f"{error['kind']} error: {error['message']}")
    return "\n".join(lines) if lines else "(no completion)"


def _is_stripped(sample: ParsedLine) -> bool:
    """Tell whether a sample is of a baseline's file that keeps no texts; only those have no id of a test."""
    return not (sample["nodeid"] or sample["interaction"]["thread"] or sample["interaction"]["metadata"])


def _reason(sample: ParsedLine | None, grader: str) -> str | None:
    grades = sample["grades"] if sample else []
    return next((grade["reasoning"] for grade in grades if grade["grader_key"] == grader), None)
