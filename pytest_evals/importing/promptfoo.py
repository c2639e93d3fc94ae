"""promptfoo: ``promptfooconfig.yaml`` with its prompts, tests, assertions and providers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import as_list, as_mapping, parse_yaml, read_mapping, read_text
from pytest_evals.importing.jinja import fields_in, with_item
from pytest_evals.importing.promptfoo_assertions import add_graders
from pytest_evals.importing.promptfoo_tests import CODE, PromptfooTest, read_tests
from pytest_evals.importing.providers import models_of
from pytest_evals.importing.python_source import identifier
from pytest_evals.importing.suite import ImportedEval, ImportFileError, Suite

_KNOWN = frozenset(
    [
        "prompts",
        "tests",
        "providers",
        "targets",
        "defaultTest",
        "scenarios",
        "assertionTemplates",
        "description",
        "evaluateOptions",
        "$schema",
    ]
)
_TEXTS = (".txt", ".md", ".json", ".yaml", ".yml", ".j2")
_DUMPED = re.compile(r'(?<!")\{\{\s*([\w.]+)\s*\|\s*(?:dump|tojson)\s*\}\}(?!")')


def read(path: Path) -> Suite:
    """Read a configuration. Raises `ImportFileError` for one without a prompt or a test that can be carried over."""
    config = read_mapping(path, core=True)
    stem = path.stem if path.stem != "promptfooconfig" else path.resolve().parent.name
    suite = Suite(identifier(stem), "promptfoo", path.name)
    if not config.get("prompts"):
        raise ImportFileError(f"{path} has no 'prompts', as a configuration of promptfoo has")
    for key in sorted(set(config) - _KNOWN):
        suite.note(f"{key}: {config[key]!r:.100}")
    if config.get("description"):
        suite.note(f"description: {config['description']}")
    prompts = list(_prompts(suite, config["prompts"], path.parent))
    tests = read_tests(suite, config, path.parent)
    if not prompts or not tests:
        missing = "prompt" if not prompts else "test"
        raise ImportFileError(f"{path}: no {missing} can be carried over: {'; '.join(suite.notes)}")
    rows = _rows(tests)
    options = {**models_of(suite, config.get("providers") or config.get("targets")), **_repeats(suite, config)}
    asserted, scored = add_graders(suite, config, tests, rows, path.parent)
    _add_evals(suite, prompts, options, asserted, scored)
    _fill(suite, rows)
    suite.rows[f"{suite.name}.jsonl"] = rows
    return suite


def _add_evals(
    suite: Suite, prompts: list[Any], options: dict[str, Any], asserted: list[str], scored: list[str]
) -> None:
    """Add a function for each prompt: all of them have the same rows and graders."""
    for number, prompt in enumerate(prompts, 1):
        ending = f"_{number}" if len(prompts) > 1 else ""
        asked = _renamed(suite, prompt, f"prompt{ending}")
        given: dict[str, Any] = {"messages" if isinstance(prompt, list) else "prompt": asked, "id": "id"}
        name = suite.name_for(f"test_{suite.name.rstrip('_')}{ending}")
        suite.evals.append(
            ImportedEval(name, f"{suite.name}.jsonl", {**given, **options}, list(asserted), list(scored))
        )


def _prompts(suite: Suite, written: Any, folder: Path) -> Iterator[str | list[Any]]:
    """Yield each prompt: a text, or a list of messages."""
    given = list(written) if isinstance(written, Mapping) else as_list(written)
    for each in given:
        text = each
        if isinstance(each, Mapping):
            for key in sorted(set(each) - {"id", "label", "raw", "file"}):
                suite.note(f"the prompt {each.get('label') or each.get('id')}: {key}: {each[key]!r:.80}")
            text = each.get("raw") or each.get("file") or each.get("id")
        for found in _texts(suite, str(text), folder):
            prompt = _conversation(found)
            names = {name for part in _strings(prompt) for name in fields_in(part)} & {"env", "_conversation"}
            if names:
                suite.note(f"the prompt {found!r:.60}: it uses {', '.join(sorted(names))}, which rows do not have")
            else:
                yield prompt


def _texts(suite: Suite, written: str, folder: Path) -> Iterator[str]:
    name = written.removeprefix("file://")
    suffix = Path(name.partition(":")[0] if "\n" not in name else "").suffix
    is_path = written.startswith("file://") or (
        "\n" not in name and "{{" not in name and suffix in (*_TEXTS, *CODE) and " " not in name
    )
    if name.startswith("exec:") or (is_path and suffix not in _TEXTS):
        suite.note(
            f"the prompt {written}: code makes it; a task named completion, or a field of the rows, can do the same"
        )
        return
    if not is_path:
        yield name
        return
    paths = sorted(folder.glob(name)) if "*" in name else [folder / name]
    for path in paths:
        text = read_text(path).strip("\n")
        parts = re.split(r"^---\s*$", text, flags=re.MULTILINE) if path.suffix in (".txt", ".md") else [text]
        yield from (part.strip("\n") for part in parts if part.strip())


def _conversation(text: str) -> str | list[Any]:
    """Return the messages that a text holds as JSON or YAML, else the text."""
    if not text.lstrip().startswith(("[", "- ")):
        return text
    text = _DUMPED.sub(r'"{{\1}}"', text)
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = parse_yaml(text, core=True)
        except ValueError:
            return text
    is_chat = isinstance(value, list) and value and all(isinstance(each, dict) and "role" in each for each in value)
    return value if is_chat else text


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, Mapping)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(each)


def _renamed(suite: Suite, value: Any, wanted: str) -> Any:
    """Return a prompt whose fields are those of ``item``; long texts become constants."""
    if isinstance(value, str):
        suite.fields |= fields_in(value)
        return suite.text(re.sub(r"\|\s*dump\b", "| tojson", with_item(value)), wanted)
    if isinstance(value, Mapping):
        return {key: _renamed(suite, each, wanted) for key, each in value.items()}
    return [_renamed(suite, each, wanted) for each in value] if isinstance(value, list) else value


def _rows(tests: list[PromptfooTest]) -> list[dict[str, Any]]:
    """Return a row for each test: an id, its variables, its metadata."""
    seen: set[str] = set()
    rows = []
    for number, test in enumerate(tests, 1):
        short = re.sub(r"\W+", "-", test.description.lower(), flags=re.ASCII).strip("-")[:40].strip("-")
        name = short if short and short not in seen else f"{short or 'test'}-{number}"
        seen.add(name)
        metadata = {"metadata": dict(test.metadata)} if test.metadata and "metadata" not in test.variables else {}
        rows.append({"id": name, **test.variables, **metadata})
    if any("id" in test.variables for test in tests):
        values = [json.dumps(row["id"], default=str) for row in rows]
        if len(set(values)) < len(values):
            for number, row in enumerate(rows, 1):
                row["id"] = f"{row['id']}-{number}"
    return rows


def _fill(suite: Suite, rows: list[dict[str, Any]]) -> None:
    """Give each row all variables: one that a test lacks is empty, as promptfoo renders it."""
    names = {name: None for row in rows for name in row if not name.startswith("expected_") and name != "metadata"}
    for row in rows:
        for name in [*names, *sorted(suite.fields)]:
            row.setdefault(name, "")


def _repeats(suite: Suite, config: Mapping[str, Any]) -> dict[str, Any]:
    options = as_mapping(config.get("evaluateOptions"), "evaluateOptions")
    for key in sorted(set(options) - {"repeat", "maxConcurrency", "showProgressBar", "cache"}):
        suite.note(f"evaluateOptions: {key}: {options[key]!r:.80}")
    repeat = options.get("repeat")
    return {"repeat": repeat} if isinstance(repeat, int) and repeat > 1 else {}
