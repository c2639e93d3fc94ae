"""OpenAI Evals: the registry's YAML, and the samples that it names.

Match, Includes, FuzzyMatch and JsonMatch are graded as their classes do; ModelBasedClassify asks its own prompt of our judge.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import as_list, as_mapping, read_mapping, read_rows
from pytest_evals.importing.model_graded import model_graded
from pytest_evals.importing.python_source import Call, identifier
from pytest_evals.importing.suite import ImportedEval, ImportFileError, Suite

_MATCH = '''
@grader
def NAME(case, completion):
    """The completion begins with one of the ideal answers."""
    return completion.text.startswith(tuple(case["ideal"]))
'''
_NORMALIZED = '''
def NAME(text):
    """Lower case, without punctuation and articles."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\\b(a|an|the)\\b", " ", text).split())
'''
_FUZZY = '''
@grader
def NAME(case, completion):
    """Completion and ideal answer contain each other, both normalized."""
    given = NORMALIZED(completion.text)
    pairs = [(given, NORMALIZED(ideal)) for ideal in case["ideal"]]
    return any(a == b or (a and b and (a in b or b in a)) for a, b in pairs)
'''
_JSON = '''
@grader
def NAME(case, completion):
    """The completion is JSON that is equal to one of the ideal answers."""
    try:
        given = json.loads(completion.text)
    except ValueError:
        return False
    return any(given == json.loads(ideal) for ideal in case["ideal"])
'''
_KNOWN = frozenset(
    [
        "samples_jsonl",
        "max_tokens",
        "num_few_shot",
        "few_shot_jsonl",
        "ignore_case",
        "modelgraded_spec",
        "modelgraded_spec_args",
        "eval_type",
        "metaprompt",
        "completion_sample_templates",
        "input_outputs",
    ]
)


def read(path: Path) -> Suite:
    """Read a file of ``registry/evals``. Raises `ImportFileError` for one without an eval that can be carried over."""
    entries = read_mapping(path)
    suite = Suite(identifier(path.stem), "openai", path.name)
    found = {name: entry for name, entry in entries.items() if isinstance(entry, Mapping) and "class" in entry}
    if not found:
        raise ImportFileError(
            f"{path} has no entry with a 'class', as a file of OpenAI Evals' registry has, and no 'testing_criteria'"
        )
    for name, entry in found.items():
        _add(suite, path, str(name), entry)
    for name, entry in entries.items():
        if name not in found:
            _note_alias(suite, str(name), entry, found)
    if not suite.evals:
        raise ImportFileError(f"{path}: nothing can be carried over: {'; '.join(suite.notes)}")
    return suite


def _note_alias(suite: Suite, name: str, entry: Any, found: Mapping[str, Any]) -> None:
    """Say what an entry without a class is, unless it only names one that was read."""
    extra = sorted(set(entry) - {"id", "metrics", "description"}) if isinstance(entry, Mapping) else ["its value"]
    if not isinstance(entry, Mapping) or entry.get("id") not in found:
        suite.note(f"{name}: it names no eval of this file")
    elif extra:
        suite.note(f"{name}: {', '.join(extra)}")


def _add(suite: Suite, path: Path, name: str, entry: Mapping[str, Any]) -> None:
    kind = str(entry["class"]).rpartition(":")[2]
    arguments = as_mapping(entry.get("args"), f"{path}: {name}: args")
    if kind not in ("Match", "Includes", "FuzzyMatch", "JsonMatch", "ModelBasedClassify"):
        suite.note(f"{name}: the class {entry['class']} is Python code; write its check as a @grader")
        return
    if not isinstance(arguments.get("samples_jsonl"), str):
        suite.note(f"{name}: it has no samples_jsonl")
        return
    for argument in sorted(set(arguments) - _KNOWN):
        suite.note(f"{name}: the argument {argument}: {arguments[argument]!r:.80}")
    short = suite.name_for(f"test_{name.split('.', maxsplit=1)[0]}" if len(suite.evals) == 0 else f"test_{name}")
    rows = [_row(suite, row) for row in _samples(path, arguments["samples_jsonl"])]
    _add_examples(suite, path, name, arguments, rows)
    chat = _one_form(suite, rows)
    options: dict[str, Any] = {"messages": "item.input"} if chat else {"prompt": "{{item.input}}"}
    if "max_tokens" in arguments:
        options["generation"] = {"max_new_tokens": arguments["max_tokens"]}
    added = ImportedEval(short, f"{short.removeprefix('test_')}.jsonl", options)
    if kind == "ModelBasedClassify":
        added.asserted = model_graded(suite, path, name, arguments, {key for row in rows for key in row})
    else:
        for row in rows:
            row["ideal"] = [str(ideal) for ideal in as_list(row.get("ideal"))]
        added.asserted, added.scored = _graders(suite, kind, ignore_case=bool(arguments.get("ignore_case")))
    suite.rows[added.data if isinstance(added.data, str) else ""] = rows
    suite.evals.append(added)


def _graders(suite: Suite, kind: str, *, ignore_case: bool) -> tuple[list[str], list[str]]:
    if kind == "Match":
        return [suite.function("match", _MATCH)], []
    if kind == "Includes":
        options: dict[str, Any] = {"ignore_case": True} if ignore_case else {}
        return [suite.grader("includes", Call("graders.contains", ("item.ideal",), {"require": "any", **options}))], []
    if kind == "JsonMatch":
        suite.uses("json")
        return [suite.function("json_match", _JSON)], []
    suite.uses("re")
    suite.uses("string")
    normalized = suite.function("normalized", _NORMALIZED, graded=False)
    fuzzy = suite.function("fuzzy_match", _FUZZY, parts={"NORMALIZED": normalized})
    return [fuzzy], [suite.grader("f1_score", Call("graders.f1", ("item.ideal",), {"tokenize": "words"}))]


def _samples(path: Path, written: str) -> list[dict[str, Any]]:
    """Read samples: of the registry's ``data``, or beside the file."""
    places = [place / written for place in (path.parent.parent / "data", path.parent, Path())]
    for place in places:
        if place.is_file():
            return read_rows(place)
    raise ImportFileError(f"{path}: the samples {written!r} are not there; looked for {', '.join(map(str, places))}")


def _row(suite: Suite, row: dict[str, Any]) -> dict[str, Any]:
    """Return a sample whose messages have the roles that a conversation has."""
    if isinstance(row.get("input"), list):
        row["input"] = [_message(suite, message) for message in row["input"]]
    return row


def _message(suite: Suite, message: Any) -> Any:
    if not isinstance(message, Mapping) or "name" not in message:
        return message
    roles = {"example_user": "user", "example_assistant": "assistant"}
    role = roles.get(str(message["name"]), message.get("role"))
    suite.note("names of messages: those of examples became turns of user and assistant")
    return {**{key: value for key, value in message.items() if key != "name"}, "role": role}


def _one_form(suite: Suite, rows: list[dict[str, Any]]) -> bool:
    """Make all inputs conversations where one is, and tell whether they are."""
    if not any(isinstance(row.get("input"), list) for row in rows):
        suite.note("a text as input is the user's message here, and a system message there")
        return False
    for row in rows:
        if not isinstance(row.get("input"), list):
            row["input"] = [{"role": "user", "content": str(row.get("input", ""))}]
    return True


def _add_examples(
    suite: Suite, path: Path, name: str, arguments: Mapping[str, Any], rows: list[dict[str, Any]]
) -> None:
    """Put the few-shot examples before the last message of each row, as the classes do."""
    count, written = arguments.get("num_few_shot") or 0, arguments.get("few_shot_jsonl")
    if not count or not isinstance(written, str):
        return
    examples = [turn for row in _samples(path, written)[:count] for turn in as_list(row.get("sample"))]
    for row in rows:
        if isinstance(row.get("input"), list):
            row["input"] = [*row["input"][:-1], *(_message(suite, turn) for turn in examples), row["input"][-1]]
        else:
            suite.note(f"{name}: examples before an input that is a text")
