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
    lines += _answer_lines(completion, width) if completion is not None else []
    if has_own_work(sample):
        lines += labelled("row", row_text(sample), width) if row_text(sample) else []
        for name, text in own_work(sample):
            lines += labelled(name, one_line(text, LONGEST), width)
    if sample["error"] is not None:
        lines += labelled("error", f"{sample['error']['kind']}: {sample['error']['message']}", width)
    for grade in sample["grades"]:
        value = grade["status"] if grade["value"] is None else f"{grade['value']:.4g}"
        reason = f": {grade['reasoning']}" if grade["reasoning"] else ""
        lines += labelled("grade", f"{grade['grader_key']} {value}{reason}", width)
    return lines


def _answer_lines(completion: ParsedLine, width: int) -> list[str]:
    """Return an answer: its thoughts shortened, its text, its calls of tools."""
    lines: list[str] = []
    if completion.get("reasoning"):
        lines += labelled("reasoning", _folded(completion), width)
    lines += labelled("text", completion["text"], width)
    for call in completion.get("tool_calls") or ():
        lines += labelled("tool call", called(call), width)
    if completion.get("tool_call_error"):
        lines += labelled("bad call", completion["tool_call_error"], width)
    return lines


LONGEST = 1000
"""Characters that are shown of a result of a task or of a call."""


# -- A case in few words, and those parts of it that have no default turn: row, results of tasks, calls.

ASKED = "asked"


def case_texts(sample: ParsedLine) -> list[tuple[str, str]]:
    """Return what a case was about, each with a name: what was asked (else its row), the answer (else results of its tasks), an
    error, the grades.
    """
    prompt, completion = prompt_of(sample), sample["interaction"]["completion"]
    texts = [("row", row_text(sample))] if prompt is None else [(ASKED, prompt)]
    if completion is not None:
        calls = [called(call) for call in completion.get("tool_calls") or ()]
        texts.append(("answered", "; ".join([completion["text"], *calls] if completion["text"] else calls)))
    else:
        texts += task_texts(sample)
    if sample["error"] is not None:
        texts.append(("error", f"{sample['error']['kind']}: {sample['error']['message']}"))
    if sample["grades"]:
        texts.append(("grades", "; ".join(map(_grade_text, sample["grades"]))))
    return [(name, text) for name, text in texts if text or name == "answered"]


def _grade_text(grade: ParsedLine) -> str:
    """Return a grade, with its reason where it did not pass."""
    value = grade["status"] if grade["value"] is None else f"{grade['value']:.4g}"
    wrong = grade["passed"] is False or grade["status"] != "graded"
    return f"{grade['grader_key']} {value}" + (f" ({grade['reasoning']})" if wrong and grade["reasoning"] else "")


def row_text(sample: Mapping[str, Any]) -> str:
    """Return the fields of a case's row."""
    fields = sample["interaction"].get("metadata") or {}
    return ", ".join(f"{name}={_plain(value)}" for name, value in fields.items())


def task_texts(sample: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the results of the tasks of a case, by their names."""
    return [(name, _plain(result)) for name, result in (sample.get("tasks") or {}).items()]


def has_own_work(sample: ParsedLine) -> bool:
    """Tell whether a case did something beside the default turn: it has none, or it has tasks."""
    return prompt_of(sample) is None or bool(sample.get("tasks"))


def own_work(sample: ParsedLine) -> list[tuple[str, str]]:
    """Return the results of tasks, by their names, and the calls that a case made."""
    return [*task_texts(sample), *(("call", text) for text in call_texts(sample))]


def call_texts(sample: Mapping[str, Any]) -> list[str]:
    """Return the calls of models that tasks, graders and the test made: who asked which model, and what came."""
    return [f"{call['by']} asked {call['model']}: {_came(call)}" for call in sample.get("calls") or ()]


def _came(call: ParsedLine) -> str:
    if call.get("error"):
        return f"{call['error']['kind']} error: {call['error']['message']}"
    if call.get("text") is not None:
        return str(call["text"])
    likely = call.get("likelihoods")
    return f"likelihoods of {pluralize(len(likely), 'text')}" if likely else "nothing waited for the answer"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else dump_value(value)


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
