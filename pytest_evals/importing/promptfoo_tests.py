"""promptfoo's tests, from wherever they are: each with its variables and its assertions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_evals.errors import TemplateError
from pytest_evals.importing.configuration import as_list, as_mapping, read_rows, read_text, read_value
from pytest_evals.importing.suite import ImportFileError, Suite
from pytest_evals.templates.rendering import compile_template

CODE = (".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".sh")
_EXPECTED = re.compile(r"\A(not-)?([a-z][a-z-]*[a-z])(?:\((\d+(?:\.\d+)?)\))?(?:\s*:\s*(.*))?\Z", re.DOTALL)
_SHORT = {"grade": "llm-rubric", "fn": "javascript", "eval": "javascript"}
_TYPES = frozenset(
    [
        "equals",
        "contains",
        "icontains",
        "contains-all",
        "contains-any",
        "icontains-all",
        "icontains-any",
        "starts-with",
        "regex",
        "is-json",
        "contains-json",
        "levenshtein",
        "rouge-n",
        "bleu",
        "gleu",
        "meteor",
        "similar",
        "llm-rubric",
        "grade",
        "model-graded-closedqa",
        "factuality",
        "javascript",
        "fn",
        "eval",
        "python",
        "webhook",
        "cost",
        "latency",
        "g-eval",
        "answer-relevance",
        "context-faithfulness",
        "context-relevance",
        "context-recall",
        "is-sql",
        "contains-sql",
        "is-xml",
        "contains-xml",
        "is-html",
        "contains-html",
        "perplexity",
        "perplexity-score",
        "word-count",
        "finish-reason",
        "is-refusal",
        "moderation",
        "classifier",
        "select-best",
        "max-score",
        "pi",
        "is-valid-openai-tools-call",
        "is-valid-openai-function-call",
    ]
)


@dataclass
class PromptfooTest:
    """A test: its variables, its assertions, and where it is in the configuration."""

    place: str
    variables: dict[str, Any]
    assertions: list[Mapping[str, Any]] = field(default_factory=list)
    threshold: float | None = None
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_tests(suite: Suite, config: Mapping[str, Any], folder: Path) -> list[PromptfooTest]:
    """Return all tests, with what ``defaultTest`` says; variables that are lists become a test for each element."""
    default = config.get("defaultTest")
    if isinstance(default, str):
        default = read_value(folder / default.removeprefix("file://"), core=True)
    default = as_mapping(default, "defaultTest")
    found = list(_tests(suite, config.get("tests"), folder, "tests"))
    found += _of_scenarios(suite, config.get("scenarios"), folder)
    if not found and not config.get("tests") and not config.get("scenarios"):
        found = [("the prompt alone", {})]
    return [
        test
        for place, given in found
        for test in _expanded(_test(suite, place, given, default, folder), default, given)
    ]


def _of_scenarios(suite: Suite, written: Any, folder: Path) -> list[tuple[str, Mapping[str, Any]]]:
    found: list[tuple[str, Mapping[str, Any]]] = []
    for number, scenario in enumerate(as_list(written)):
        inner = as_mapping(scenario, "a scenario")
        pairs = itertools.product(
            _tests(suite, inner.get("config"), folder, f"scenarios[{number}].config"),
            list(_tests(suite, inner.get("tests"), folder, f"scenarios[{number}].tests")) or [("", {})],
        )
        for (place, first), (other, second) in pairs:
            merged = {**first, **second}
            merged["vars"] = {**as_mapping(first.get("vars"), place), **as_mapping(second.get("vars"), other)}
            merged["assert"] = [*as_list(first.get("assert")), *as_list(second.get("assert"))]
            found.append((f"{place} x {other}", merged))
    return found


def _tests(suite: Suite, written: Any, folder: Path, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each test as it is written, with its place; those of files are read."""
    for number, entry in enumerate(as_list(written)):
        here = f"{place}[{number}]" if isinstance(written, list) else place
        is_path = isinstance(entry, Mapping) and isinstance(entry.get("path"), str) and "vars" not in entry
        given = entry["path"] if is_path else entry
        if isinstance(given, str):
            yield from _of_file(suite, given, folder)
        elif isinstance(given, Mapping):
            yield here, given
        else:
            raise ImportFileError(f"{here} is neither a test nor the path of a file: {given!r:.60}")


def _of_file(suite: Suite, written: str, folder: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    name = written.removeprefix("file://")
    if "://" in written and not written.startswith("file://"):
        suite.note(f"the tests of {written}: they are not here; save them as CSV and name the file")
        return
    if Path(name.partition(":")[0]).suffix in CODE:
        suite.note(f"the tests of {written}: code makes them; a function for cases(...) can do the same")
        return
    paths = sorted(folder.glob(name)) if "*" in name else [folder / name]
    if not paths:
        raise ImportFileError(f"the tests {written!r}: no file is called so in {folder}")
    for path in paths:
        if path.suffix in (".csv", ".tsv", ".xlsx"):
            yield from ((f"{path.name} row {number}", _of_cells(row)) for number, row in enumerate(read_rows(path), 1))
        elif path.suffix == ".jsonl":
            yield from ((f"{path.name} line {number}", row) for number, row in enumerate(read_rows(path), 1))
        else:
            yield from _tests(suite, as_list(read_value(path, core=True)), path.parent, path.name)


def _of_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the test that a line of CSV is: ``__expected`` and the like are not variables."""
    test: dict[str, Any] = {"vars": {}, "assert": [], "metadata": {}}
    metric = row.get("__metric")
    for name, value in row.items():
        if re.fullmatch(r"__expected\d*", name):
            if value not in (None, ""):
                test["assert"].append({**of_short_form(str(value)), **({"metric": metric} if metric else {})})
        elif name == "__description":
            test["description"] = str(value or "")
        elif name == "__threshold":
            test["threshold"] = float(value) if value else None
        elif name.startswith("__metadata:"):
            test["metadata"][name.removeprefix("__metadata:")] = value
        elif name.startswith("__") and name != "__metric":
            test.setdefault("options", {})[name.removeprefix("__")] = value
        elif name != "__metric":
            test["vars"][name] = "" if value is None else value
    return test


def of_short_form(text: str) -> dict[str, Any]:
    """Return the assertion that ``contains: Paris`` or ``similar(0.8): Paris`` means; other text is what must be equal."""
    found = _EXPECTED.match(text.strip())
    if not found or found[2] not in _TYPES:
        return {"type": "equals", "value": text}
    inverse, kind, threshold, value = found.groups()
    assertion: dict[str, Any] = {"type": f"{inverse or ''}{_SHORT.get(kind, kind)}"}
    if value:
        several = re.search(r"contains-(?:any|all)\Z", kind)
        assertion["value"] = [part.strip() for part in value.split(",")] if several else value.strip()
    return {**assertion, **({"threshold": float(threshold)} if threshold else {})}


def _test(
    suite: Suite, place: str, given: Mapping[str, Any], default: Mapping[str, Any], folder: Path
) -> PromptfooTest:
    variables = {**_variables(suite, default.get("vars"), folder), **_variables(suite, given.get("vars"), folder)}
    for key in sorted((set(given) | set(default)) - {"vars", "assert", "threshold", "description", "metadata"}):
        value = given.get(key, default.get(key))
        if value:
            suite.note(f"{'defaultTest' if key not in given else place}: {key}: {value!r:.100}")
    threshold = given.get("threshold", default.get("threshold"))
    return PromptfooTest(
        place,
        variables,
        [*as_list(default.get("assert")), *as_list(given.get("assert"))],
        None if threshold is None else float(threshold),
        str(given.get("description") or ""),
        {**as_mapping(default.get("metadata"), "metadata"), **as_mapping(given.get("metadata"), "metadata")},
    )


def _variables(suite: Suite, written: Any, folder: Path) -> dict[str, Any]:
    if isinstance(written, str):
        written = read_value(folder / written.removeprefix("file://"), core=True)
    return {str(name): _loaded(suite, name, value, folder) for name, value in as_mapping(written, "vars").items()}


def _loaded(suite: Suite, name: Any, value: Any, folder: Path) -> Any:
    if not (isinstance(value, str) and value.startswith("file://")):
        return _as_shown(value)
    name_of_file = value.removeprefix("file://")
    if "*" in name_of_file:
        # Several files are several values, as of a list.
        return [_loaded(suite, name, f"file://{path}", folder) for path in sorted(folder.glob(name_of_file))]
    path = folder / name_of_file
    if path.suffix in CODE or path.suffix in (".pdf", ".png", ".jpg", ".jpeg", ".webp", ".mp3", ".wav"):
        suite.note(f"the variable {name}: {value}, which is not a text; see files= and images= of cases")
        return value
    return read_value(path, core=True) if path.suffix in (".yaml", ".yml", ".json") else read_text(path).strip()


def _as_shown(value: Any) -> Any:
    """Return a variable as a template shows it: null is empty, and booleans are those of JavaScript."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _expanded(test: PromptfooTest, default: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[PromptfooTest]:
    """Yield a test for each element of variables that are lists, and render templates in variables."""
    options = {**as_mapping(default.get("options"), "options"), **as_mapping(given.get("options"), "options")}
    lists = {name: value for name, value in test.variables.items() if isinstance(value, list) and value}
    if options.get("disableVarExpansion"):
        lists = {}
    for values in itertools.product(*lists.values()):
        variables = {**test.variables, **dict(zip(lists, values, strict=True))}
        rendered = {name: rendered_with(value, variables) for name, value in variables.items()}
        yield PromptfooTest(test.place, rendered, test.assertions, test.threshold, test.description, test.metadata)


def rendered_with(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return ``value`` with the templates in its texts rendered; one that cannot be stays as it is."""
    if isinstance(value, list):
        return [rendered_with(each, variables) for each in value]
    if isinstance(value, Mapping):
        return {key: rendered_with(each, variables) for key, each in value.items()}
    if not isinstance(value, str) or "{{" not in value:
        return value
    try:
        return str(compile_template(value)(variables))
    except TemplateError:
        return value
