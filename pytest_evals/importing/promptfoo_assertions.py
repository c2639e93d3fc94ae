"""promptfoo's assertions become graders: one for all tests that have the same kind of assertion at the same place."""

from __future__ import annotations

import json
import re
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import as_list, as_mapping, parse_yaml, read_text, read_value
from pytest_evals.importing.jinja import fields_in, with_item
from pytest_evals.importing.promptfoo_graders import BUILDERS, PER_ROW, Asked, prepared
from pytest_evals.importing.promptfoo_tests import CODE, PromptfooTest, rendered_with
from pytest_evals.importing.python_source import Call, identifier, text_literal
from pytest_evals.importing.suite import ImportFileError, Suite

_NOT = '''
@graderRUN_IF
def NAME(PART):
    """The other one is missed."""
    return not PART.passed
'''


@dataclass
class Kind:
    """Assertions of one kind, at most one a test: the value of each, by the number of its test."""

    type: str
    inverse: bool
    threshold: float | None
    metric: str
    weight: float
    values: dict[int, Any] = field(default_factory=dict)


def add_graders(
    suite: Suite,
    config: Mapping[str, Any],
    tests: Sequence[PromptfooTest],
    rows: Sequence[dict[str, Any]],
    folder: Path,
) -> tuple[list[str], list[str]]:
    """Add a grader for each kind of assertion; return the names of those that decide, and of those that only measure.

    A value that differs from test to test becomes a field of the rows.
    """
    weights: dict[str, float] = {}
    everywhere = True
    for kind in _kinds(suite, config, tests, folder):
        name = _add(suite, kind, tests, rows)
        if name is not None:
            weights[name] = kind.weight
            everywhere &= len(kind.values) == len(tests) or not kind.weight
    decide = [name for name, weight in weights.items() if weight]
    measure = [name for name, weight in weights.items() if not weight]
    thresholds = {test.threshold for test in tests}
    bare = sum(not test.assertions for test in tests)
    if bare and decide:
        suite.note(f"{bare} of {len(tests)} tests have no assertion: they are skipped, and pass there")
    if thresholds == {None} or not decide:
        if everywhere:
            return decide, measure
        return [suite.grader("passed", Call("graders.all_of", tuple(decide)))], measure
    if len(thresholds) > 1:
        suite.note(f"thresholds of tests that differ ({sorted(map(str, thresholds))}): here all assertions must pass")
        return [suite.grader("passed", Call("graders.all_of", tuple(decide)))], measure
    parts = {name: weights[name] for name in decide}
    return [suite.grader("passed", Call("graders.weighted", (parts,), {"threshold": thresholds.pop()}))], measure


def _kinds(suite: Suite, config: Mapping[str, Any], tests: Sequence[PromptfooTest], folder: Path) -> list[Kind]:
    """Sort the assertions of all tests into kinds; those without a counterpart are noted, once for all their places."""
    kinds: dict[tuple[Any, ...], Kind] = {}
    refused: dict[str, list[str]] = defaultdict(list)
    for number, test in enumerate(tests):
        seen: dict[tuple[Any, ...], int] = defaultdict(int)
        for given in _flat(suite, config, test):
            written = str(given.get("type", ""))
            inverse, kind = written.startswith("not-"), written.removeprefix("not-")
            value = _value(given.get("value"), folder)
            if kind == "equals" and isinstance(value, (dict, list)):
                kind = "equals-json"
            problem = _problem(kind, value)
            if given.get("transform"):
                problem = f" of a part of the output ({given['transform']!r:.60}); write it as a @grader"
            if problem:
                refused[f"the assertion {written}{problem}"].append(test.place)
                continue
            for key in sorted(set(given) - {"type", "value", "threshold", "metric", "weight"}):
                suite.note(f"{test.place}: {written}: {key}: {given[key]!r:.80}")
            threshold, metric = given.get("threshold"), str(given.get("metric") or "")
            weight = float(given.get("weight", 1))
            same = (kind, inverse, threshold, metric, weight)
            seen[same] += 1
            entry = kinds.setdefault((*same, seen[same]), Kind(kind, inverse, threshold, metric, weight))
            entry.values[number] = value
    for what, places in refused.items():
        unique = list(dict.fromkeys(places))
        more = f" and {len(unique) - 3} more" if len(unique) > 3 else ""
        suite.note(f"{', '.join(unique[:3])}{more}: {what}")
    return list(kinds.values())


def _flat(suite: Suite, config: Mapping[str, Any], test: PromptfooTest) -> list[Mapping[str, Any]]:
    """Return a test's assertions: those that are named elsewhere are looked up, sets are opened."""
    found: list[Mapping[str, Any]] = []
    for written in test.assertions:
        given = as_mapping(written, f"{test.place}: an assertion")
        if "$ref" in given:
            name = str(given["$ref"]).rpartition("/")[2]
            template = as_mapping(config.get("assertionTemplates"), "assertionTemplates").get(name)
            if template is None and not str(given["$ref"]).startswith("#"):
                suite.note(
                    f"{test.place}: the assertion of {given['$ref']}: another file's are not read; write it in its place"
                )
                continue
            if template is None:
                raise ImportFileError(f"{test.place}: {given['$ref']} leads to no assertion")
            given = {**template, **{key: value for key, value in given.items() if key != "$ref"}}
        if given.get("type") == "assert-set":
            if given.get("threshold") is not None:
                suite.note(f"{test.place}: a set of assertions with a threshold of its own: here all of them must pass")
            found += _flat(suite, config, PromptfooTest(test.place, {}, as_list(given.get("assert"))))
        else:
            found.append(given)
    return found


def _value(value: Any, folder: Path) -> Any:
    """Return what an assertion compares with; of a file, its content. Code stays the name of its file."""
    if not (isinstance(value, str) and value.startswith("file://")) or Path(value.split(":")[1]).suffix in CODE:
        return value
    path = folder / value.removeprefix("file://")
    return read_value(path, core=True) if path.suffix in (".json", ".yaml", ".yml") else read_text(path).strip()


def _problem(kind: str, value: Any) -> str:
    """Return why an assertion cannot be carried over, nothing where it can."""
    if kind not in BUILDERS:
        shown = "" if value is None else f": {' '.join(str(value).split())!r:.80}"
        return f"{shown}; write it as a @grader"
    if isinstance(value, str) and value.startswith("file://"):
        return f": {value} is code; write it as a @grader"
    if kind == "regex":
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # [[ is a set of Unicode's to come
                re.compile(prepared(kind, value))
        except re.error as error:
            return f": {value!r:.80} is not a regular expression of Python ({error})"
    if kind == "is-json" and isinstance(value, str):
        try:
            parse_yaml(value, core=True)
        except ValueError:
            return f": {value!r:.80} is not a schema"
    return ""


def _add(suite: Suite, kind: Kind, tests: Sequence[PromptfooTest], rows: Sequence[dict[str, Any]]) -> str | None:
    wanted = kind.metric or kind.type
    first = next(iter(kind.values.values()))
    everywhere = len(kind.values) == len(tests)
    same = all(_key(value) == _key(first) for value in kind.values.values())
    templated = "{{" in _key(first) or "{%" in _key(first)
    run_if = None
    if same and everywhere and not (templated and (kind.type in PER_ROW or not isinstance(first, str))):
        value = prepared(kind.type, first)
        if isinstance(value, str) and templated:
            suite.fields |= fields_in(value)
            value = suite.text(with_item(value), f"{wanted}_text")
    else:
        name = identifier(f"expected_{wanted}", {key for row in rows for key in row})
        for number, row in enumerate(rows):
            # A test without this assertion has null here, and the grader does not apply to it.
            given = kind.values.get(number)
            rendered = prepared(kind.type, rendered_with(given, tests[number].variables))
            row[name] = rendered if number in kind.values else None
            if number in kind.values and rendered is None:
                row[name] = True
        value = f"item.{name}"
        run_if = None if everywhere else f"item.{name} is not none"
        if first is None and same:
            value = None
    asked = Asked(value, kind.threshold, {"run_if": run_if} if run_if else {})
    part = BUILDERS[kind.type](suite, f"not_{wanted}_part" if kind.inverse else wanted, asked)
    if not kind.inverse:
        return part
    condition = f"(run_if={text_literal(run_if)})" if run_if else ""
    return suite.function(f"not_{wanted}", _NOT, parts={"PART": part, "RUN_IF": condition})


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
