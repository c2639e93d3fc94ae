"""lm-evaluation-harness: the YAML of a task.

Its Jinja templates become templates over ``item``; what they compute for a choice or a comparison becomes Python in the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import PythonName, as_list, as_mapping, read_mapping
from pytest_evals.importing.jinja import as_python, is_field, with_item
from pytest_evals.importing.lm_eval_data import add_examples, data_of, split_of, target_of
from pytest_evals.importing.lm_eval_metrics import generation_graders, likelihood_graders, metrics_of
from pytest_evals.importing.python_source import Call, identifier, text_literal
from pytest_evals.importing.suite import ImportedEval, ImportFileError, Suite

_KNOWN = frozenset(
    [
        "task",
        "include",
        "dataset_path",
        "dataset_name",
        "dataset_kwargs",
        "test_split",
        "validation_split",
        "training_split",
        "fewshot_split",
        "num_fewshot",
        "fewshot_config",
        "fewshot_delimiter",
        "target_delimiter",
        "description",
        "doc_to_text",
        "doc_to_target",
        "doc_to_choice",
        "output_type",
        "generation_kwargs",
        "metric_list",
        "filter_list",
        "tag",
        "repeats",
        "process_docs",
    ]
)
_GENERATION = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_gen_toks": "max_new_tokens"}
_TYPES = ("generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling")


def read(path: Path) -> Suite:
    """Read a task. Raises `ImportFileError` for a group of tasks, and for an unknown type of output."""
    task = _with_includes(path)
    if isinstance(task.get("task"), list) or ("group" in task and "dataset_path" not in task):
        raise ImportFileError(f"{path} is a group of tasks; import the file of each task: {task.get('task')!r:.100}")
    kind = task.get("output_type", "generate_until")
    if kind not in _TYPES:
        raise ImportFileError(f"{path}: output_type {kind!r} is none of {', '.join(_TYPES)}")
    name = identifier(str(task.get("task") or path.stem))
    suite = Suite(name, "lm-eval", path.name)
    for key in sorted(set(task) - _KNOWN):
        suite.note(f"{key}: {task[key]!s:.100}")
    if task.get("process_docs"):
        suite.note(f"process_docs: {task['process_docs']}; call it on what the data function returns")
    if task.get("repeats", 1) != 1:
        suite.note(f"repeats: {task['repeats']}; see repeat= of cases, or generation={{'n': ...}}")
    options = _prompt(suite, task, kind)
    added = ImportedEval(suite.name_for(f"test_{name}"), "", options)
    if kind == "multiple_choice":
        derived = _choose(suite, added, task)
    else:
        derived = {}
        metrics = metrics_of(suite, task, kind)
        target = target_of(suite, task)
        if kind == "generate_until":
            _generation(suite, task, options)
            added.asserted, added.scored = generation_graders(suite, task, metrics, target)
        else:
            added.scored = likelihood_graders(suite, kind, metrics, target, task)
    added.data = data_of(suite, path, task, "rows", split_of(task), derived)
    add_examples(suite, path, task, options, derived)
    if task.get("tag"):
        options["tags"] = as_list(task["tag"])
    suite.evals.append(added)
    suite.hints.append(
        "the harness asks without a chat template: --evals-model 'ORG/NAME?template=none' does the same for a base model"
    )
    return suite


def _with_includes(path: Path, depth: int = 0) -> dict[str, Any]:
    """Return the keys of a task, those of the file that it includes below its own."""
    task = read_mapping(path)
    if depth > 10:
        raise ImportFileError(f"{path} includes itself")
    base: dict[str, Any] = {}
    for included in as_list(task.get("include")):
        base |= _with_includes(path.parent / str(included), depth + 1)
    return {**base, **task}


def template_of(suite: Suite, task: Mapping[str, Any], key: str) -> str | None:
    """Return the template of a text of the task, with the fields of ``item``; `None` where there is none to carry over."""
    value = task.get(key)
    if isinstance(value, PythonName):
        suite.note(f"{key}: {value}; have the data function add what it returns as the field {key}")
        return f"{{{{item.{key}}}}}"
    if value is None:
        return None
    text = str(value)
    return f"{{{{item.{text}}}}}" if is_field(text) else with_item(text)


def _prompt(suite: Suite, task: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind == "loglikelihood_rolling":
        return {"prompt": ""}
    template = template_of(suite, task, "doc_to_text")
    if template is None:
        raise ImportFileError("the task has no doc_to_text")
    description = task.get("description")
    options: dict[str, Any] = {}
    if isinstance(description, PythonName):
        suite.note(f"description: {description}")
    elif description and task.get("num_fewshot"):
        suite.note("description: it is the system message here, since examples follow it")
        options["system"] = suite.text(with_item(str(description)).strip(), "description")
    elif description:
        template = with_item(str(description)) + template
    return {"prompt": suite.text(template, "prompt"), **options}


def _choose(suite: Suite, added: ImportedEval, task: Mapping[str, Any]) -> dict[str, str]:
    """Add the graders of a multiple choice; return the fields that the data function has to add, as Python."""
    derived: dict[str, str] = {}
    delimiter = str(task.get("target_delimiter", " "))
    choices = _choices(suite, task, delimiter, derived)
    expected = _expected(suite, task, derived)
    known = {"acc": "sum", "acc_norm": "char", "acc_bytes": "byte"}
    for metric in metrics_of(suite, task, "multiple_choice"):
        name = str(metric["metric"])
        if name not in known:
            suite.note(f"the metric {name}: choices are only compared by their likelihoods")
            continue
        by = {} if known[name] == "sum" else {"by": known[name]}
        grader = suite.grader(name, Call("graders.choice", (choices,), {"expected": expected, **by}))
        (added.scored if added.asserted else added.asserted).append(grader)
    return derived


def _choices(suite: Suite, task: Mapping[str, Any], delimiter: str, derived: dict[str, str]) -> Any:
    value = task.get("doc_to_choice")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return [delimiter + with_item(str(each)) for each in value]
    if isinstance(value, PythonName) or value is None:
        suite.note(
            f"doc_to_choice: {value}; have the data function add the choices, each after a space, as the field lm_choices"
        )
        return "item.lm_choices"
    text = str(value)
    python = as_python(f"{{{{{text}}}}}" if is_field(text) else text, "row")
    if python is None:
        suite.note(
            f"doc_to_choice: {text!r:.100} is more than Python here can say; add the field lm_choices to the rows"
        )
    else:
        each = text_literal(delimiter)
        derived["lm_choices"] = f"[{each} + str(choice) for choice in {python}]"
    return "item.lm_choices"


def _expected(suite: Suite, task: Mapping[str, Any], derived: dict[str, str]) -> Any:
    value = task.get("doc_to_target")
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, PythonName) or value is None:
        suite.note(
            f"doc_to_target: {value}; have the data function add the index of the right choice as the field lm_gold"
        )
        return "item.lm_gold"
    text = str(value)
    if is_field(text):
        text = f"{{{{{text}}}}}"
    if text.lstrip("-").isdigit():
        return int(text)
    python = as_python(text, "row")
    if python is None:
        suite.note(f"doc_to_target: {text!r:.100} is more than Python here can say; add the field lm_gold to the rows")
        return "item.lm_gold"
    # The harness takes digits for an index, whatever their type.
    derived["lm_gold"] = f"gold({python})"
    return "item.lm_gold"


def _generation(suite: Suite, task: Mapping[str, Any], options: dict[str, Any]) -> None:
    given = dict(as_mapping(task.get("generation_kwargs"), "generation_kwargs"))
    stop = as_list(given.pop("until", None)) or [str(task.get("fewshot_delimiter", "\n\n"))]
    sampled = given.pop("do_sample", None)
    parameters: dict[str, Any] = {"stop": [str(each) for each in stop if each != ""]}
    for key, value in given.items():
        if key not in _GENERATION:
            suite.note(f"generation_kwargs: {key}: {value!r:.80}")
        elif not (key == "temperature" and sampled is False):
            parameters[_GENERATION[key]] = value
    if sampled and not parameters.get("temperature"):
        parameters["temperature"] = 1.0
    options["generation"] = {key: value for key, value in parameters.items() if value != []}
