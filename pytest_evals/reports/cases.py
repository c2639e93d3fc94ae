"""Recorded cases as lines of text: a table of chosen values, or each with its texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_evals.artifacts.query import prompt_of
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.reports.formatting import Column, fitted_table, labelled
from pytest_evals.text import one_line
from pytest_evals.transcript import speaker, written_message


def cases_table(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> list[str]:
    """Return a table with a row a case. ``grades.exact.value`` is headed ``exact``."""
    columns = [
        Column(
            name.removeprefix("grades.").removesuffix(".value"),
            [_cell(row[index]) for row in rows],
            numeric=any(_is_number(row[index]) for row in rows),
        )
        for index, name in enumerate(names)
    ]
    return fitted_table(columns, width)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def case_lines(sample: ParsedLine, width: int) -> list[str]:
    """Return one case: what was asked, what came, what graders said."""
    interaction = sample["interaction"]
    model = f" {interaction['source']}" if interaction["source"] else ""
    location = sample.get("location")
    where = f" ({location['path']}:{location['line']})" if location else ""
    lines = [one_line(f"-- {sample['suite']}[{sample['case_id']}]{model}: {sample['outcome']}{where}", max(width, 20))]
    prompt, completion = prompt_of(sample), interaction["completion"]
    turns = turns_after(interaction["thread"])
    if prompt is not None:
        lines += labelled("prompt", prompt, width)
    for turn in turns:
        lines += labelled(speaker(turn), written_message(turn), width)
    if completion is not None:
        lines += labelled("text", completion["text"], width)
        if completion.get("tool_call_error"):
            lines += labelled("no call", completion["tool_call_error"], width)
    if sample["error"] is not None:
        lines += labelled("error", f"{sample['error']['kind']}: {sample['error']['message']}", width)
    for grade in sample["grades"]:
        value = grade["status"] if grade["value"] is None else f"{grade['value']:.4g}"
        reason = f": {grade['reasoning']}" if grade["reasoning"] else ""
        lines += labelled("grade", f"{grade['grader_key']} {value}{reason}", width)
    return lines


def turns_after(thread: Sequence[ParsedLine]) -> list[ParsedLine]:
    """Return the turns after what was asked in which tools were called and gave results; the answer itself is left out."""
    last = max((index for index, turn in enumerate(thread) if turn["role"] not in ("assistant", "tool")), default=-1)
    after = list(thread[last + 1 :])
    if after and after[-1]["role"] == "assistant" and not after[-1].get("tool_calls"):
        after.pop()
    return [turn for turn in after if turn["role"] == "tool" or turn.get("tool_calls")]
