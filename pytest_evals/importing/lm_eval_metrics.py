"""lm-evaluation-harness's metrics and filters become graders; what a filter takes from an answer is Python in the suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_evals.importing.configuration import PythonName, as_list, as_mapping
from pytest_evals.importing.jinja import as_python, with_item
from pytest_evals.importing.python_source import Call, kept, source, text_literal
from pytest_evals.importing.suite import Suite

_DEFAULTS = {
    "generate_until": ["exact_match"],
    "multiple_choice": ["acc", "acc_norm"],
    "loglikelihood": ["perplexity", "acc"],
    "loglikelihood_rolling": ["word_perplexity", "byte_perplexity", "bits_per_byte"],
}
_ROLLING: dict[str, dict[str, Any]] = {
    "word_perplexity": {"per": "word"},
    "byte_perplexity": {"per": "byte"},
    "bits_per_byte": {"per": "byte", "bits": True},
}
_EXACT_OPTIONS = {"ignore_case", "ignore_punctuation", "regexes_to_ignore", "multi_target"}
_FILTERS = ("regex", "take_first", "lowercase", "uppercase", "remove_whitespace", "map", "strip")
_METRICS = {
    "bleu": "bleu",
    "chrf": "chrf",
    "rouge1": "rouge",
    "rouge2": "rouge",
    "rougeL": "rouge",
    "rougeLsum": "rouge",
}
_GREEDY = '''
@grader
async def NAME(case, model):
    """Greedy decoding would write the right answer."""
SCORED
    return likelihood.greedy
'''
_EXTRACTED = '''
def NAME(text, pattern, group=0, fallback="[invalid]"):
    """What the pattern finds: the group-th match, as the harness's filter regex."""
    found = re.findall(pattern, text)
    if not found:
        return fallback
    match = found[group]
    if isinstance(match, tuple):
        match = next(filter(None, match), fallback)
    return match.strip()
'''


def metrics_of(suite: Suite, task: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the metrics of a task, by default those of its type; functions are noted and left out."""
    written = as_list(task.get("metric_list")) or [{"metric": name} for name in _DEFAULTS[kind]]
    found = []
    for metric in written:
        given = as_mapping(metric, "metric_list")
        if isinstance(given.get("metric"), PythonName):
            suite.note(f"the metric {given['metric']}; write it as a @grader")
            continue
        if given.get("aggregation") not in (
            None,
            "mean",
            "weighted_perplexity",
            "bits_per_byte",
            "perplexity",
            "bleu",
            "chrf",
        ):
            suite.note(f"the metric {given.get('metric')}: aggregation: {given['aggregation']}")
        found.append(given)
    return found


def generation_graders(
    suite: Suite, task: Mapping[str, Any], metrics: list[Mapping[str, Any]], target: str | None
) -> tuple[list[str], list[str]]:
    """Add a grader for each metric and filter; return those with a verdict, and the others."""
    asserted, scored = [], []
    for metric in metrics:
        name = str(metric.get("metric"))
        if name == "exact_match":
            asserted += _exact(suite, task, metric, target)
        elif name in _METRICS and target is not None:
            kind = {"kind": name.removeprefix("rouge")} if name.startswith("rouge") else {}
            reference = suite.text(with_item(target), "target")
            scored.append(suite.grader(name, Call(f"graders.{_METRICS[name]}", (reference,), kind)))
        else:
            suite.note(f"the metric {name}: {', '.join(f'{key}={value}' for key, value in metric.items() if key != 'metric')}; "
                       "write it as a @grader")  # fmt: skip
    return asserted, scored


def _exact(suite: Suite, task: Mapping[str, Any], metric: Mapping[str, Any], target: str | None) -> list[str]:
    """Add exact match, once for each filter that can be carried over."""
    if target is None:
        suite.note("exact_match: the task has no doc_to_target")
        return []
    for key in sorted(set(metric) - _EXACT_OPTIONS - {"metric", "aggregation", "higher_is_better"}):
        suite.note(f"exact_match: {key}: {metric[key]!r:.80}")
    python = as_python(target, "case")
    names = []
    for entry in as_list(task.get("filter_list")) or [{"name": "", "filter": []}]:
        given = as_mapping(entry, "filter_list")
        steps = [as_mapping(step, "a filter") for step in as_list(given.get("filter"))]
        label = str(given.get("name") or "")
        refused = [str(step.get("function")) for step in steps if step.get("function") not in _FILTERS]
        if refused or (python is None and (steps or set(metric) & _EXACT_OPTIONS)):
            why = f"the filter {', '.join(refused)}" if refused else f"the target {target!r:.80}"
            suite.note(f"exact_match {label}: {why} is not carried over; write it as a @grader")
            continue
        wanted = f"exact_match_{label}" if label and label != "none" else "exact_match"
        names.append(_exact_of(suite, wanted, metric, steps, target, python))
    return names


def _exact_of(
    suite: Suite,
    wanted: str,
    metric: Mapping[str, Any],
    steps: list[Mapping[str, Any]],
    target: str,
    python: str | None,
) -> str:
    changes = [step for step in steps if step.get("function") != "take_first"]
    if not changes and not metric.get("regexes_to_ignore"):
        normalize = [
            step for step, key in (("case", "ignore_case"), ("punctuation", "ignore_punctuation")) if metric.get(key)
        ]
        options = {"normalize": normalize} if normalize else {}
        return suite.grader(wanted, Call("graders.exact_match", (suite.text(with_item(target), "target"),), options))
    lines = ["    answer = completion.text"]
    lines += [f"    answer = {_step(suite, wanted, step)}" for step in changes]
    is_text = python is not None and python.endswith((".strip()", ".lower()", ".upper()"))
    lines.append(kept(f"    target = {python if is_text else f'str({python})'}"))
    lines += _ignored(suite, metric)
    body = "\n".join([*lines, "    return answer == target"])
    code = f'@grader\ndef NAME(case, completion):\n    """What the filter finds is the right answer."""\n{body}'
    return suite.function(wanted, code)


def _step(suite: Suite, wanted: str, step: Mapping[str, Any]) -> str:
    function = step["function"]
    if function == "regex":
        suite.uses("re")
        extracted = suite.function("extracted", _EXTRACTED, graded=False)
        pattern = suite.constant(f"{wanted}_pattern", str(step.get("regex_pattern", r"#### (\-?[0-9\.\,]+)")))
        options = {}
        if step.get("group_select"):
            options["group"] = step["group_select"]
        if "fallback" in step:
            options["fallback"] = str(step["fallback"])
        given = "".join(f", {key}={source(value)}" for key, value in options.items())
        return f"{extracted}(answer, {pattern}{given})"
    if function == "map":
        mapping = as_mapping(step.get("mapping_dict"), "mapping_dict")
        table = suite.constant(f"{wanted}_map", {str(key): str(value) for key, value in mapping.items()})
        return f"{table}.get(answer, {text_literal(str(step.get('default_value', '')))})"
    return {"lowercase": "answer.lower()", "uppercase": "answer.upper()"}.get(str(function), "answer.strip()")


def _ignored(suite: Suite, metric: Mapping[str, Any]) -> list[str]:
    """Return the lines that leave out what exact match ignores, on both sides."""
    lines = []
    patterns = [str(each) for each in as_list(metric.get("regexes_to_ignore"))]
    if patterns:
        suite.uses("re")
        table = suite.constant("ignored", patterns)
        lines += [
            f"    for pattern in {table}:",
            *(f'        {side} = re.sub(pattern, "", {side})' for side in ("answer", "target")),
        ]
    if metric.get("ignore_case"):
        lines.append("    answer, target = answer.lower(), target.lower()")
    if metric.get("ignore_punctuation"):
        suite.uses("string")
        lines.append('    table = str.maketrans("", "", string.punctuation)')
        lines.append("    answer, target = answer.translate(table), target.translate(table)")
    return lines


def likelihood_graders(
    suite: Suite, kind: str, metrics: list[Mapping[str, Any]], target: str | None, task: Mapping[str, Any]
) -> list[str]:
    """Add the graders of a task that asks for likelihoods alone; return their names."""
    names: list[str] = []
    if target is None:
        suite.note("doc_to_target: the task has none, so there is no text to be likely")
        return names
    delimiter = "" if kind == "loglikelihood_rolling" else str(task.get("target_delimiter", " "))
    text = suite.text(delimiter + with_item(target), "target")
    for metric in metrics:
        name = str(metric.get("metric"))
        if kind == "loglikelihood_rolling" and name in _ROLLING:
            names.append(suite.grader(name, Call("graders.perplexity", (text,), _ROLLING[name])))
        elif name == "perplexity":
            suite.note("perplexity: it is that of a token here, and that of a whole answer there")
            names.append(suite.grader(name, Call("graders.perplexity", (text,))))
        elif name == "acc" and (python := as_python(delimiter + target, "case")) is not None:
            names.append(
                suite.function(name, _GREEDY, parts={"SCORED": kept(f"    likelihood = await model.score({python})")})
            )
        else:
            suite.note(f"the metric {name}; write it as a @grader")
    return names
