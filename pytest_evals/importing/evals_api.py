"""OpenAI's Evals API: the JSON of an eval (data source and testing criteria), with or without that of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_evals.importing.configuration import as_list, as_mapping, read_mapping, read_rows
from pytest_evals.importing.judging import label_judge, score_judge
from pytest_evals.importing.python_source import Call, Code, identifier
from pytest_evals.importing.suite import ImportedEval, ImportFileError, Suite

_OUTPUT = re.compile(r"\A\{\{\s*sample\.output_text\s*\}\}\Z")
_NOT = '''
@grader
def NAME(PART):
    """The other one is missed."""
    return not PART.passed
'''
_ROUGE = {"rouge_1": "1", "rouge_2": "2", "rouge_l": "L"}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "max_completion_tokens": "max_new_tokens",
    "max_completions_tokens": "max_new_tokens",
    "max_output_tokens": "max_new_tokens",
}


def read(path: Path, rows: Path | None = None) -> Suite:
    """Read the JSON of an eval; ``rows`` are its data, where the file does not hold them."""
    given = read_mapping(path)
    config = given.get("eval", given)
    run = given.get("run", given)
    criteria = [each for each in as_list(config.get("testing_criteria")) if isinstance(each, Mapping)]
    name = identifier(str(config.get("name") or path.stem))
    suite = Suite(name, "openai", path.name)
    source = as_mapping(run.get("data_source"), f"{path}: data_source")
    suite.rows[f"{name}.jsonl"] = found = _rows(path, source, rows)
    options = {**_prompt(suite, source, found), **_generation(suite, source)}
    added = ImportedEval(suite.name_for(f"test_{name}"), f"{name}.jsonl", options)
    for criterion in criteria:
        _add(suite, added, criterion)
    suite.evals.append(added)
    return suite


def _rows(path: Path, source: Mapping[str, Any], rows: Path | None) -> list[dict[str, Any]]:
    """Return the rows: of ``rows``, else those that the data source holds, else those of a JSONL file of the same name."""
    inner = as_mapping(source.get("source"), f"{path}: source")
    beside = path.with_suffix(".jsonl")
    if rows is not None or (not inner.get("content") and beside.is_file()):
        content: list[Any] = list(read_rows(rows or beside))
    else:
        content = as_list(inner.get("content"))
    if not content:
        raise ImportFileError(
            f"{path} holds no rows ({inner.get('type') or 'it has no data_source'}); name a file of them with --rows, as the JSONL that "
            "was uploaded"
        )
    return [_row(each) for each in content]


def _row(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row: the item, and the answer that was recorded with it."""
    if not isinstance(given.get("item"), Mapping):
        return dict(given)
    sample = given.get("sample")
    recorded = sample.get("output_text") if isinstance(sample, Mapping) else None
    return {**given["item"], **({"completion": recorded} if isinstance(recorded, str) else {})}


def _prompt(suite: Suite, source: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    asked = as_mapping(source.get("input_messages"), "input_messages")
    if isinstance(asked.get("item_reference"), str):
        return {"messages": asked["item_reference"]}
    template = [_message(each) for each in as_list(asked.get("template"))]
    if template:
        return {"messages": [{**message, "content": suite.text(message["content"], "message")} for message in template]}
    if all("completion" in row for row in rows):
        return {}
    fields = [name for name in ("input", "prompt", "question", "messages") if name in rows[0]]
    field = fields[0] if fields else next(iter(rows[0]))
    suite.note(f"the prompt: it belongs to a run, which the file does not hold; the suite asks {{{{item.{field}}}}}")
    return {"messages": f"item.{field}"} if isinstance(rows[0][field], list) else {"prompt": f"{{{{item.{field}}}}}"}


def _message(given: Any) -> dict[str, str]:
    message = as_mapping(given, "a message")
    content = message.get("content")
    parts = [str(part.get("text", "")) if isinstance(part, Mapping) else str(part) for part in as_list(content)]
    return {"role": str(message.get("role", "user")), "content": "\n".join(parts)}


def _generation(suite: Suite, source: Mapping[str, Any]) -> dict[str, Any]:
    sampling = as_mapping(source.get("sampling_params"), "sampling_params")
    for name in sorted(set(sampling) - set(_SAMPLING)):
        suite.note(f"sampling_params: {name}: {sampling[name]!r:.80}")
    if source.get("model"):
        suite.hints.append(f"the model was {source['model']}: --evals-model '{served(str(source['model']))}'")
    parameters = {_SAMPLING[name]: value for name, value in sampling.items() if name in _SAMPLING}
    return {"generation": parameters} if parameters else {}


def served(model: str) -> str:
    """Return the specification of a model that OpenAI serves."""
    return f"openai:{model}@https://api.openai.com/v1?key_env=OPENAI_API_KEY"


def _add(suite: Suite, added: ImportedEval, criterion: Mapping[str, Any]) -> None:
    kind, name = criterion.get("type"), str(criterion.get("name") or criterion.get("type"))
    if kind == "multi":
        for each in as_mapping(criterion.get("graders"), name).values():
            _add(suite, added, each)
        suite.note(
            f"{name}: how its graders are combined: {criterion.get('calculate_output')!r:.100}; see graders.weighted"
        )
    elif kind in ("label_model", "score_model"):
        added.asserted.append(_judge(suite, name, criterion))
        if kind == "score_model" and criterion.get("pass_threshold") is None:
            added.scored.append(added.asserted.pop())
    elif kind in ("string_check", "text_similarity"):
        if _OUTPUT.match(str(criterion.get("input", "")).strip()):
            _compare(suite, added, name, criterion)
        else:
            suite.note(
                f"{name}: {kind} of {criterion.get('input')!r:.80}, which is not the model's text; write a @grader"
            )
    else:
        suite.note(f"{name}: a grader of type {kind}; write it as a @grader")


def _compare(suite: Suite, added: ImportedEval, name: str, criterion: Mapping[str, Any]) -> None:
    reference = suite.text(str(criterion.get("reference", "")), f"{name}_reference")
    if criterion["type"] == "text_similarity":
        call = _similarity(suite, name, criterion, reference)
        if call is None:
            suite.note(
                f"{name}: text_similarity by {criterion.get('evaluation_metric')}, of which there is no counterpart"
            )
            return
        grader = suite.grader(name, call)
        (added.scored if criterion.get("pass_threshold") is None else added.asserted).append(grader)
        return
    calls = {
        "eq": Call("graders.exact_match", (reference,)),
        "ne": Call("graders.exact_match", (reference,)),
        "like": Call("graders.contains", (reference,)),
        "ilike": Call("graders.contains", (reference,), {"ignore_case": True}),
    }
    operation = str(criterion.get("operation"))
    if operation not in calls:
        suite.note(f"{name}: string_check by {operation!r}")
    elif operation == "ne":
        part = suite.grader(f"equals_{name}", calls[operation])
        added.asserted.append(suite.function(name, _NOT, parts={"PART": part}))
    else:
        added.asserted.append(suite.grader(name, calls[operation]))


def _similarity(suite: Suite, name: str, criterion: Mapping[str, Any], reference: str | Code) -> Call | None:
    metric = str(criterion.get("evaluation_metric"))
    options = {} if criterion.get("pass_threshold") is None else {"threshold": criterion["pass_threshold"]}
    if metric == "fuzzy_match":
        suite.note(
            f"{name}: fuzzy_match is graders.levenshtein here: edits alone, so a threshold may need another value"
        )
        return Call("graders.levenshtein", (reference,), options)
    if metric == "cosine":
        suite.note(f"{name}: cosine is of other embeddings here, so a threshold may need another value")
        return Call("graders.embedding_similarity", (reference,), options)
    if metric in _ROUGE:
        return Call("graders.rouge", (reference,), {"kind": _ROUGE[metric], **options})
    return Call(f"graders.{metric}", (reference,), options) if metric in ("bleu", "meteor") else None


def _judge(suite: Suite, name: str, criterion: Mapping[str, Any]) -> str:
    messages = [_message(each) for each in as_list(criterion.get("input"))]
    system = "\n".join(each["content"] for each in messages if each["role"] in ("system", "developer")) or None
    asked = "\n\n".join(each["content"] for each in messages if each["role"] not in ("system", "developer"))
    if "sample.output_text" not in f"{asked}{system or ''}":
        suite.note(f"{name}: its messages do not show the answer, so it is shown after them")
        asked += "\n\n{{ completion }}"
    asked = re.sub(r"\{\{\s*sample\.output_text\s*\}\}", "{{ completion }}", asked)
    if system is not None:
        system = re.sub(r"\{\{\s*sample\.output_text\s*\}\}", "{{ completion }}", system)
    if criterion.get("model"):
        suite.hints.append(
            f"{name} was judged by {criterion['model']}: --evals-judge '{served(str(criterion['model']))}'"
        )
    if criterion["type"] == "score_model":
        span = as_list(criterion.get("range")) or [0, 1]
        return score_judge(suite, name, asked, span, threshold=criterion.get("pass_threshold"), system=system)
    passing = set(map(str, as_list(criterion.get("passing_labels"))))
    scores = {str(label): str(label) in passing for label in as_list(criterion.get("labels"))}
    return label_judge(suite, name, asked, scores, system=system)
