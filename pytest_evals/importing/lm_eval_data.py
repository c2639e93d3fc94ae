"""Where the rows of a task of lm-evaluation-harness come from, and its examples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import PythonName, as_list, as_mapping, read_rows
from pytest_evals.importing.jinja import is_field, with_item
from pytest_evals.importing.python_source import WIDTH, Call, Code, kept, source, text_literal
from pytest_evals.importing.suite import Suite

_LOCAL = {"json": (".json", ".jsonl"), "csv": (".csv", ".tsv"), "parquet": (".parquet",)}
_GOLD = '''
def NAME(value):
    """The index of the right choice, or its text; digits are an index, as in the harness."""
    return int(value) if str(value).isdigit() else value
'''


def split_of(task: Mapping[str, Any]) -> str:
    """Return the split that is evaluated: the first of test, validation and training that the task names."""
    return str(task.get("test_split") or task.get("validation_split") or task.get("training_split") or "test")


def target_of(suite: Suite, task: Mapping[str, Any]) -> str | None:
    """Return the template of the right answer as it is written: a bare field in braces."""
    value = task.get("doc_to_target")
    if isinstance(value, PythonName):
        suite.note(f"doc_to_target: {value}; have the data function add what it returns as the field doc_to_target")
        return "{{doc_to_target}}"
    if value is None:
        return None
    text = str(value)
    return f"{{{{{text}}}}}" if is_field(text) else text


def data_of(
    suite: Suite, path: Path, task: Mapping[str, Any], wanted: str, split: str, derived: Mapping[str, str]
) -> str | Code:
    """Return the data of a split: a file of rows where the task names one here, else a function that loads it."""
    local = _local_rows(path, task, split)
    if local is not None and not derived:
        name = f"{suite.name}.jsonl" if wanted == "rows" else f"{suite.name}_{wanted}.jsonl"
        suite.rows[name] = local
        return name
    if local is not None:
        name = f"{suite.name}_{wanted}.jsonl"
        suite.rows[name] = local
        suite.uses("json")
        suite.uses("pathlib", "Path")
        body = (
            f'    text = Path(__file__).with_name({text_literal(name)}).read_text(encoding="utf-8")\n'
            '    data = [json.loads(line) for line in text.split("\\n") if line]\n'
        )
    else:
        result = "data = " if derived else "return "
        body = f"    import datasets\n\n    {result}{_loading(suite, task, split, len(result))}\n"
    if "lm_gold" in derived:
        suite.function("gold", _GOLD, graded=False)
    if derived:
        fields = "".join(_field(name, code) for name, code in derived.items())
        body += kept(
            f"    return [\n        {{\n            **row,{fields}\n        }}\n        for row in data\n    ]"
        )
    return Code(suite.function(wanted, f"def NAME():\n{body}", graded=False))


def _field(name: str, code: str) -> str:
    """Return the line of a field in the rows that a data function returns, broken where it is too long for one."""
    line = f'\n            "{name}": {code},'
    if len(line) <= WIDTH + 1 or not code.startswith("["):
        return line
    inner = code[1:-1]
    if len(inner) + 16 > WIDTH:
        inner = inner.replace(" for choice in ", f"\n{' ' * 16}for choice in ")
    return f'\n            "{name}": [\n{" " * 16}{inner}\n            ],'


def _local_rows(path: Path, task: Mapping[str, Any], split: str) -> list[dict[str, Any]] | None:
    kwargs = as_mapping(task.get("dataset_kwargs"), "dataset_kwargs")
    files = kwargs.get("data_files")
    name = files.get(split) if isinstance(files, Mapping) else files
    written = as_list(name)
    if task.get("dataset_path") not in _LOCAL or len(written) != 1 or "://" in str(written[0]):
        return None
    place = path.parent / str(written[0])
    return read_rows(place) if place.is_file() else None


def _loading(suite: Suite, task: Mapping[str, Any], split: str, before: int) -> str:
    names = [task.get("dataset_path"), task.get("dataset_name")]
    if not isinstance(names[0], str):
        suite.note(f"dataset_path: {names[0]}; write the data function")
        names[0] = "dataset_path"
    arguments = tuple(each for each in names if each is not None)
    kwargs = dict(as_mapping(task.get("dataset_kwargs"), "dataset_kwargs"))
    if kwargs.pop("trust_remote_code", None):
        suite.note("dataset_kwargs: trust_remote_code: datasets has it no longer")
    call = Call("datasets.load_dataset", arguments, {**kwargs, "split": split})
    return source(call, indent=4, before=4 + before)


def add_examples(
    suite: Suite, path: Path, task: Mapping[str, Any], options: dict[str, Any], derived: Mapping[str, str]
) -> None:
    """Add ``fewshot=`` where the task has examples."""
    count = task.get("num_fewshot")
    if not count:
        return
    config = as_mapping(task.get("fewshot_config"), "fewshot_config")
    given: dict[str, Any] = {}
    if isinstance(config.get("samples"), list):
        given["data"] = config["samples"]
    else:
        split = str(
            task.get("fewshot_split") or task.get("training_split") or task.get("validation_split") or split_of(task)
        )
        if split != split_of(task):
            given["data"] = data_of(suite, path, task, "examples", split, derived)
    given |= {"k": count, "answer": _answer(suite, task), "style": "text"}
    if "samples" not in config and config.get("sampler") != "first_n":
        given["seed"] = 1234
        suite.note("num_fewshot: the examples are drawn at random, as there, but are not the same rows")
    for key in sorted(set(config) - {"samples", "sampler"}):
        suite.note(f"fewshot_config: {key}: {config[key]!s:.80}")
    for key in ("fewshot_delimiter", "target_delimiter"):
        if key in task:
            given[key.removeprefix("fewshot_")] = str(task[key])
    options["fewshot"] = given


def _answer(suite: Suite, task: Mapping[str, Any]) -> str | Code:
    """Return the template of an example's answer: of a multiple choice, the text of the right one."""
    if task.get("output_type") == "multiple_choice":
        choices, gold = task.get("doc_to_choice"), task.get("doc_to_target")
        given = list(choices.values()) if isinstance(choices, Mapping) else choices
        texts = repr([str(each) for each in given]) if isinstance(given, list) else "item.lm_choices"
        if isinstance(gold, int):
            return f"{{{{{texts}[{gold}] | trim}}}}"
        return f"{{{{({texts}[item.lm_gold] if item.lm_gold is number else item.lm_gold) | trim}}}}"
    target = target_of(suite, task) or ""
    return suite.text(with_item(target), "answer")
