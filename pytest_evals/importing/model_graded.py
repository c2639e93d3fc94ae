"""OpenAI Evals' ModelBasedClassify: a prompt, the choices of the judge, and what each is worth."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import as_mapping, read_mapping
from pytest_evals.importing.judging import factuality, label_judge
from pytest_evals.importing.python_source import Call
from pytest_evals.importing.suite import Suite

_FIELD = re.compile(r"\{(\w+)\}")
_NAMED_CHOICES = {"from_n_abc_or_i": None, "from_n": None, "from_n_abc": None}


def model_graded(
    suite: Suite, path: Path, name: str, arguments: Mapping[str, Any], fields: Collection[str]
) -> list[str]:
    """Add the judge of an eval, and return its name in a list, which is empty where it cannot be carried over."""
    spec_name = arguments.get("modelgraded_spec")
    found = _specification(path, spec_name)
    if found is None:
        return _built_in(suite, name, spec_name, fields)
    prompt, choices = found.get("prompt"), _choices(found.get("choice_strings"))
    if not isinstance(prompt, str) or choices is None:
        suite.note(f"{name}: the judge {spec_name}: its prompt or its choices ({found.get('choice_strings')!r:.60})")
        return []
    if found.get("choice_scores") is None and spec_name == "fact":
        return _built_in(suite, name, spec_name, fields)
    extra = sorted(set(found) - {"prompt", "choice_strings", "choice_scores", "input_outputs", "eval_type", "key"})
    for key in extra:
        suite.note(f"{name}: the judge {spec_name}: {key}: {found[key]!r:.80}")
    suite.note(
        f"{name}: the judge gives its choice as JSON, after its reasons, instead of by {_type(arguments, found)}"
    )
    outputs = as_mapping(found.get("input_outputs") or {"input": "completion"}, f"{name}: input_outputs")
    scores = _scores(found.get("choice_scores"), choices)
    if scores is None:
        suite.note(
            f"{name}: the judge {spec_name} gives its choices no scores; each passes here, so say what they are worth"
        )
        scores = dict.fromkeys(choices, 1.0)
    template = _template(suite, name, prompt, arguments, outputs, fields)
    return [label_judge(suite, str(spec_name), template, scores)]


def _specification(path: Path, name: Any) -> Mapping[str, Any] | None:
    for folder in (path.parent.parent / "modelgraded", path.parent):
        place = folder / f"{name}.yaml"
        if place.is_file() and place != path:
            found = read_mapping(place)
            inner = found.get(name, found)
            return inner if isinstance(inner, Mapping) else found
    return None


def _built_in(suite: Suite, name: str, spec: Any, fields: Collection[str]) -> list[str]:
    """Add the two judges of the tool's own registry that we have, else say what is missing."""
    if spec == "closedqa" and "criteria" in fields:
        suite.note(f"{name}: the judge closedqa has a prompt of ours")
        return [suite.grader("closedqa", Call("graders.judge.binary", ("{{item.criteria}}",)))]
    if spec == "fact" and "ideal" in fields:
        suite.note(f"{name}: the judge fact has a prompt of ours; its choices A to E are called subset, superset, agree, "
                   "disagree, immaterial")  # fmt: skip
        return [factuality(suite, "fact", "{{item.ideal}}", {})]
    suite.note(f"{name}: the judge {spec}: {spec}.yaml is neither in ../modelgraded nor beside the file")
    return []


def _type(arguments: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return str(arguments.get("eval_type") or found.get("eval_type") or "cot_classify")


def _choices(written: Any) -> list[str] | None:
    if isinstance(written, list):
        # YAML takes Yes and No without quotes for booleans.
        return [
            {True: "Yes", False: "No"}.get(each, str(each)) if isinstance(each, bool) else str(each) for each in written
        ]
    return list(written) if isinstance(written, str) and written and written not in _NAMED_CHOICES else None


def _scores(written: Any, choices: list[str]) -> dict[str, Any] | None:
    if written == "from_strings":
        try:
            return {choice: float(choice) for choice in choices}
        except ValueError:
            return None
    if not isinstance(written, Mapping):
        return None
    given = {
        ({True: "Yes", False: "No"}[key] if isinstance(key, bool) else str(key)): value
        for key, value in written.items()
    }
    scores = {choice: given.get(choice, 0.0) for choice in choices}
    if set(scores.values()) <= {0, 1}:
        return {choice: bool(value) for choice, value in scores.items()}
    return scores


def _template(
    suite: Suite,
    name: str,
    prompt: str,
    arguments: Mapping[str, Any],
    outputs: Mapping[str, Any],
    fields: Collection[str],
) -> str:
    fixed = as_mapping(arguments.get("modelgraded_spec_args"), f"{name}: modelgraded_spec_args")

    def place(match: re.Match[str]) -> str:
        word = match[1]
        if word in fixed:
            return str(fixed[word])
        if word in outputs.values() or word == "completion":
            return "{{ completion }}"
        if word in outputs:
            return "{{ question }}"
        if word not in fields:
            suite.note(f"{name}: the judge's prompt asks for {{{word}}}, which no sample has")
        return f"{{{{ item.{word} }}}}"

    return _FIELD.sub(place, prompt.replace("{{", "{").replace("}}", "}"))
