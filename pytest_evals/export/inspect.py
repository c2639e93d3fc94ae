"""Logs of Inspect AI (its JSON format, version 2), which ``inspect view`` and ``read_eval_log`` read: one a suite and model.

What Inspect has no place for (verdicts, grades without a value, the row) is in the metadata of scores and samples.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from pytest_evals.artifacts.sample import dump
from pytest_evals.artifacts.validation import ParsedLine
from pytest_evals.hashing import content_hash
from pytest_evals.media.parts import is_media, shown_content
from pytest_evals.redaction import masked_run
from pytest_evals.scores.score import Score
from pytest_evals.text import encodable_data

VERSION = 2
_ROLES = {"system", "user", "assistant", "tool"}
_STOPS = {"stop": "stop", "length": "max_tokens", "tool_calls": "tool_calls"}


def file_name(run: ParsedLine, suite: str, model: str) -> str:
    """Return the name of a log, as Inspect makes them: when, what, an id."""
    started = re.sub(r"[^0-9A-Za-z+-]", "-", str(run["started"]))
    task = re.sub(r"[^0-9A-Za-z-]+", "-", suite).strip("-")
    return f"{started}_{task}_{content_hash([run['run_id'], suite, model], 22)}.json"


def write_log(
    file: TextIO,
    run: ParsedLine,
    summary: ParsedLine | None,
    scores: Sequence[Score],
    samples: Iterable[ParsedLine],
    total: int,
) -> None:
    """Write the log of one suite and model. ``scores`` are theirs; the ``total`` samples are written one by one."""
    run = masked_run(run)
    suite, model = scores[0].suite, scores[0].model or "none"
    head = {
        "version": VERSION,
        "status": "success" if summary and summary["complete"] else "cancelled",
        "eval": _eval(run, suite, model),
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": total, "completed_samples": total, "scores": [_score(score) for score in scores]},
    }
    # What reads a log need not take half of a surrogate pair, not even as an escape of JSON.
    file.write(f'{dump(encodable_data(head))[:-1]}, "samples": [')
    usage = {"input_tokens": 0, "output_tokens": 0}
    for index, sample in enumerate(samples):
        file.write(f"{',' if index else ''}\n{dump(encodable_data(_sample(sample, model)))}")
        completion = sample["interaction"]["completion"] or {}
        usage["input_tokens"] += completion.get("prompt_tokens") or 0
        usage["output_tokens"] += completion.get("completion_tokens") or 0
    stats = {"started_at": run["started"], "completed_at": run["started"], "model_usage": {model: _usage(**usage)}}
    file.write(f'\n], "stats": {dump(encodable_data(stats))}}}\n')


def _usage(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}


def _eval(run: ParsedLine, suite: str, model: str) -> dict[str, Any]:
    entry: ParsedLine = next((each for each in run["suites"] if each["name"] == suite), {})
    git = run["git"]
    return {
        "run_id": run["run_id"],
        "eval_id": content_hash([run["run_id"], suite, model], 22),
        "created": run["started"],
        "task": suite,
        "task_id": content_hash([suite], 22),
        "task_version": 0,
        "dataset": {"name": entry.get("dataset_key"), "location": entry.get("dataset_key"), "samples": entry.get("n")},
        "model": model,
        "config": {},
        "revision": {"type": "git", "origin": "", "commit": git["commit"]} if git else None,
        "packages": {"pytest-evals-hf": run["plugin"], **run["packages"]},
        "tags": entry.get("tags") or [],
        "metadata": {"command": run["command"], "seed": run["seed"], "options": run["options"]},
    }


def _score(score: Score) -> dict[str, Any]:
    row = score.to_row()
    found = {name: row[name] for name in ("mean", "stderr", "pass_rate") if row[name] is not None}
    return {
        "name": score.grader,
        "scorer": score.grader,
        "scored_samples": score.n,
        "unscored_samples": score.errors + score.pending,
        "params": {},
        "metrics": {name: {"name": name, "value": value, "params": {}} for name, value in found.items()},
    }


def _sample(sample: ParsedLine, model: str) -> dict[str, Any]:
    interaction = sample["interaction"]
    completion = interaction["completion"]
    messages = [_message(message) for message in interaction["thread"]]
    asked = messages[:-1] if completion and messages and messages[-1]["role"] == "assistant" else messages
    error = sample["error"]
    return {
        "id": sample["case_id"],
        "epoch": sample["repeat"],
        "input": asked,
        "target": "",
        "messages": messages,
        "output": _output(completion, model) if completion else {"model": model, "choices": []},
        "scores": {grade["grader_key"]: _grade(grade) for grade in sample["grades"] if grade["value"] is not None},
        "metadata": {
            **interaction["metadata"],
            "pytest_evals": {
                **{name: sample[name] for name in ("nodeid", "outcome", "fingerprint", "tasks")},
                "without_value": {
                    grade["grader_key"]: {"status": grade["status"], "reasoning": grade["reasoning"]}
                    for grade in sample["grades"]
                    if grade["value"] is None
                },
            },
        },
        "error": error and {"message": f"{error['kind']}: {error['message']}", "traceback": "", "traceback_ansi": ""},
    }


def _message(message: ParsedLine) -> dict[str, Any]:
    """Return a message: thoughts and media as content blocks, calls of tools as Inspect has them. Content of another kind is text, and a
    role that Inspect lacks is a system's.
    """
    role = message["role"] if message["role"] in _ROLES else "system"
    found = {"role": role, "content": _content(message.get("content"), message.get("reasoning_content"))}
    calls = [_call(index, call) for index, call in enumerate(message.get("tool_calls") or ())]
    if role == "assistant" and calls:
        found["tool_calls"] = calls
    if role == "tool":
        found |= {"tool_call_id": message.get("tool_call_id"), "function": message.get("name")}
    return found


def _content(content: Any, reasoning: str | None) -> Any:
    if isinstance(content, list):
        blocks = [_block(part) for part in content]
    else:
        text = content if isinstance(content, str) else "" if content is None else dump({"content": content})
        if reasoning is None:
            return text
        blocks = [{"type": "text", "text": text}]
    return blocks if reasoning is None else [{"type": "reasoning", "reasoning": reasoning}, *blocks]


_SOUNDS = {"audio/wav": "wav", "audio/mpeg": "mp3"}
"""What Inspect calls the formats of recordings that it has a name for."""


def _block(part: Any) -> dict[str, Any]:
    """Return a part of a content as Inspect's block: images and recordings by path or data URI, everything else as text."""
    held = part.get(part["type"]) if is_media(part) else None
    if not isinstance(held, str):
        return {"type": "text", "text": shown_content([part])}
    if part["type"] == "image":
        return {"type": "image", "image": held, "detail": part.get("detail", "auto")}
    sound = _SOUNDS.get(part.get("mime"))
    named = {"type": "text", "text": shown_content([part])}
    return {"type": "audio", "audio": held, "format": sound} if sound else named


def _call(index: int, call: ParsedLine) -> dict[str, Any]:
    """Return a call as Inspect has it, of one as OpenAI's API or as a completion has it."""
    function = call.get("function", call)
    given = function.get("arguments") or {}
    problem = None
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError as error:
            given, problem = {}, str(error)
    found = {
        "id": call.get("id") or f"call_{index}",
        "type": "function",
        "function": function.get("name"),
        "arguments": given,
    }
    return found | ({"parse_error": problem} if problem else {})


def _output(completion: ParsedLine, model: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": completion["text"], "tool_calls": completion.get("tool_calls")}
    choice = {
        "message": _message({**said, "reasoning_content": completion.get("reasoning")}),
        "stop_reason": _STOPS.get(completion["finish_reason"], "unknown"),
    }
    tokens = completion.get("prompt_tokens") or 0, completion.get("completion_tokens") or 0
    usage = _usage(*tokens) | (
        {"reasoning_tokens": completion["reasoning_tokens"]} if completion.get("reasoning_tokens") else {}
    )
    return {"model": model, "choices": [choice], "usage": usage, "time": completion.get("latency")}


def _grade(grade: ParsedLine) -> dict[str, Any]:
    return {
        "value": grade["value"],
        "explanation": grade["reasoning"],
        "metadata": {**grade["metadata"], "passed": grade["passed"]},
    }
