"""Recorded cases as lines of text: a table of chosen values, or each with its texts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_evals.artifacts.query import prompt_of
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.reports.formatting import Column, fitted_table, labelled
from pytest_evals.text import one_line, pluralize


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


MOST = 5
"""Misses that are shown below a run."""


def missed_lines(samples: Iterable[ParsedLine], width: int) -> list[str]:
    """Return the first missed cases, each with what was asked, what came and why it is a miss, and how many more there are."""
    missed = [sample for sample in samples if sample["outcome"] == "missed"]
    lines = [line for sample in missed[:MOST] for line in case_lines(sample, width)]
    return [*lines, f"{len(missed) - MOST:,} more missed"] if len(missed) > MOST else lines


def case_lines(sample: ParsedLine, width: int) -> list[str]:
    """Return one case: what was asked, what came, what graders said."""
    interaction = sample["interaction"]
    model = f" {interaction['source']}" if interaction["source"] else ""
    location = sample.get("location")
    where = f" ({location['path']}:{location['line']})" if location else ""
    lines = [one_line(f"-- {sample['suite']}[{sample['case_id']}]{model}: {sample['outcome']}{where}", max(width, 20))]
    prompt, completion = prompt_of(sample), interaction["completion"]
    if prompt is not None:
        lines += labelled("prompt", prompt, width)
    for turn in _turns(interaction["thread"], completion):
        name = f"{turn['name']}: " if turn["role"] == "tool" and turn.get("name") else ""
        if turn.get("reasoning_content"):
            lines += labelled("reasoning", _folded({"reasoning": turn["reasoning_content"]}), width)
        lines += labelled(turn["role"], f"{name}{message_text(turn)}", width)
    if completion is not None:
        if completion.get("reasoning"):
            lines += labelled("reasoning", _folded(completion), width)
        lines += labelled("text", completion["text"], width)
        for call in completion.get("tool_calls") or ():
            lines += labelled("tool call", called(call), width)
        if completion.get("tool_call_error"):
            lines += labelled("bad call", completion["tool_call_error"], width)
    if sample["error"] is not None:
        lines += labelled("error", f"{sample['error']['kind']}: {sample['error']['message']}", width)
    for grade in sample["grades"]:
        value = grade["status"] if grade["value"] is None else f"{grade['value']:.4g}"
        reason = f": {grade['reasoning']}" if grade["reasoning"] else ""
        lines += labelled("grade", f"{grade['grader_key']} {value}{reason}", width)
    return lines


def _turns(thread: Sequence[ParsedLine], completion: ParsedLine | None) -> list[ParsedLine]:
    """Return the turns between what was asked and the answer in which tools were called and gave results."""
    last = max((index for index, turn in enumerate(thread) if turn["role"] not in ("assistant", "tool")), default=-1)
    after = list(thread[last + 1 :])
    if completion is not None and after and after[-1]["role"] == "assistant":
        after.pop()
    return [turn for turn in after if turn["role"] == "tool" or turn.get("tool_calls")]


def _folded(completion: ParsedLine) -> str:
    """Return the first words of thoughts, and how long they are."""
    reasoning, tokens = completion["reasoning"], completion.get("reasoning_tokens")
    size = pluralize(tokens, "token") if tokens else pluralize(len(reasoning.split()), "word")
    return f"({size}) {one_line(reasoning, FOLDED)}"


def called(call: ParsedLine) -> str:
    """Return a call of a tool as one reads it: ``find(city="Paris")``."""
    arguments = call.get("arguments") or {}
    if not isinstance(arguments, Mapping):
        return f"{call.get('name')}({arguments})"
    return f"{call.get('name')}({', '.join(f'{name}={dump_value(value)}' for name, value in arguments.items())})"


def message_text(message: Mapping[str, Any]) -> str:
    """Return what a recorded message says: its text or its parts, and the calls of tools that it makes."""
    content = message.get("content")
    text = (
        content
        if isinstance(content, str)
        else ""
        if content is None
        else json.dumps(content, ensure_ascii=False, indent=2)
    )
    made = [call.get("function", call) for call in message.get("tool_calls") or ()]
    calls = [called({**call, "arguments": _given(call.get("arguments"))}) for call in made]
    return "\n".join([*([text] if text or not calls else []), *calls])


def _given(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def dump_value(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, default=str)


FOLDED = 120
"""Characters that are shown of thoughts."""
