"""The grader for each type of promptfoo's assertions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_evals.importing.configuration import parse_yaml
from pytest_evals.importing.judging import factuality
from pytest_evals.importing.python_source import Call, text_literal
from pytest_evals.importing.suite import Suite

PER_ROW = frozenset({"equals-json", "starts-with", "regex", "is-json", "levenshtein"})
"""Types whose value cannot be a template here: it is rendered when it is read."""
_CONTAINS_JSON = '''
@graderRUN_IF
def NAME(completion):
    """Some part of the completion is a JSON object or list."""
    decoder = json.JSONDecoder()
    for found in re.finditer(r"[\\[{]", completion.text):
        try:
            decoder.raw_decode(completion.text, found.start())
        except ValueError:
            continue
        return True
    return False
'''
_EDITS = '''
@graderRUN_IF
def NAME(PART):
    """At most MOST insertions, deletions and substitutions."""
    same, length = PART.metadata["corpus"]["counts"]
    return length - same <= MOST
'''


@dataclass(frozen=True, slots=True)
class Asked:
    """What an assertion compares with, its threshold, and ``run_if`` where not all tests have it."""

    value: Any
    threshold: float | None
    extra: Mapping[str, Any]

    def limit(self, default: float) -> dict[str, Any]:
        """Return the threshold, or promptfoo's default, with ``run_if``."""
        return {"threshold": default if self.threshold is None else self.threshold, **self.extra}

    def decorated(self) -> str:
        """Return the arguments of ``@grader``."""
        return f"(run_if={text_literal(self.extra['run_if'])})" if self.extra else ""


def prepared(kind: str, value: Any) -> Any:
    """Return a value in the form in which our grader takes it."""
    if kind == "starts-with":
        return rf"\A{re.escape(str(value))}"
    if kind == "regex":
        return re.sub(r"\(\?<(?=[A-Za-z])", "(?P<", str(value))
    if kind == "is-json":
        return parse_yaml(value, core=True) if isinstance(value, str) else value
    if kind == "equals-json":
        return {"const": value}
    if re.fullmatch(r"i?contains-(any|all)", kind):
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return json.dumps(value) if isinstance(value, (bool, int, float)) else value


def _equals(suite: Suite, name: str, asked: Asked) -> str:
    return suite.grader(name, Call("graders.exact_match", (asked.value,), asked.extra))


def _contains(*, ignore_case: bool = False, require: str = "all") -> Callable[[Suite, str, Asked], str]:
    options: dict[str, Any] = {"ignore_case": True} if ignore_case else {}
    if require == "any":
        options["require"] = "any"

    def build(suite: Suite, name: str, asked: Asked) -> str:
        return suite.grader(name, Call("graders.contains", (asked.value,), {**options, **asked.extra}))

    return build


def _matches(suite: Suite, name: str, asked: Asked) -> str:
    return suite.grader(name, Call("graders.matches", (asked.value,), asked.extra))


def _is_json(suite: Suite, name: str, asked: Asked) -> str:
    if asked.value is None:
        return suite.grader(name, Call("graders.json_valid", (), asked.extra))
    return suite.grader(name, Call("graders.json_schema", (asked.value,), asked.extra))


def _contains_json(suite: Suite, name: str, asked: Asked) -> str:
    if asked.value is not None:
        suite.note(f"{name}: the schema of contains-json is not checked: {asked.value!r:.80}")
    suite.uses("json")
    suite.uses("re")
    return suite.function(name, _CONTAINS_JSON, parts={"RUN_IF": asked.decorated()})


def _levenshtein(suite: Suite, name: str, asked: Asked) -> str:
    part = suite.grader(f"{name}_similarity", Call("graders.levenshtein", (asked.value,), asked.extra))
    most = 5 if asked.threshold is None else asked.threshold
    written = str(int(most)) if float(most).is_integer() else repr(most)
    return suite.function(name, _EDITS, parts={"PART": part, "MOST": written, "RUN_IF": asked.decorated()})


def _metric(function: str, threshold: float, **options: Any) -> Callable[[Suite, str, Asked], str]:
    def build(suite: Suite, name: str, asked: Asked) -> str:
        if function == "embedding_similarity":
            suite.note(f"{name}: similar is of other embeddings here, so its threshold may need another value")
        call = Call(f"graders.{function}", (asked.value,), {**options, **asked.limit(threshold)})
        return suite.grader(name, call)

    return build


def _rubric(suite: Suite, name: str, asked: Asked) -> str:
    value = suite.text(asked.value, f"{name}_rubric") if isinstance(asked.value, str) else asked.value
    if asked.threshold is None:
        return suite.grader(name, Call("graders.judge.binary", (value,), asked.extra))
    options = {"low": 0, "high": 10, "normalize": True, **asked.limit(0.5)}
    return suite.grader(name, Call("graders.judge.scale", (value,), options))


def _g_eval(suite: Suite, name: str, asked: Asked) -> str:
    value = "; ".join(map(str, asked.value)) if isinstance(asked.value, list) else asked.value
    return _rubric(suite, name, Asked(value, 0.7 if asked.threshold is None else asked.threshold, asked.extra))


def _factuality(suite: Suite, name: str, asked: Asked) -> str:
    return factuality(suite, name, asked.value, asked.extra)


def _rag(function: str, *, context: bool) -> Callable[[Suite, str, Asked], str]:
    def build(suite: Suite, name: str, asked: Asked) -> str:
        suite.note(
            f"{name}: graders.{function} counts statements by a judge, which is another measure of the same name"
        )
        options = {"context": "{{item.context}}"} if context else {}
        return suite.grader(name, Call(f"graders.{function}", (), {**options, **asked.limit(0)}))

    return build


BUILDERS: dict[str, Callable[[Suite, str, Asked], str]] = {
    "equals": _equals,
    "equals-json": _is_json,
    "contains": _contains(),
    "icontains": _contains(ignore_case=True),
    "contains-all": _contains(),
    "icontains-all": _contains(ignore_case=True),
    "contains-any": _contains(require="any"),
    "icontains-any": _contains(ignore_case=True, require="any"),
    "starts-with": _matches,
    "regex": _matches,
    "is-json": _is_json,
    "contains-json": _contains_json,
    "levenshtein": _levenshtein,
    "rouge-n": _metric("rouge", 0.75, kind="1"),
    "bleu": _metric("bleu", 0.5),
    "meteor": _metric("meteor", 0.5),
    "similar": _metric("embedding_similarity", 0.75),
    "llm-rubric": _rubric,
    "model-graded-closedqa": _rubric,
    "g-eval": _g_eval,
    "factuality": _factuality,
    "model-graded-factuality": _factuality,
    "answer-relevance": _rag("answer_relevancy", context=False),
    "context-faithfulness": _rag("faithfulness", context=True),
    "context-relevance": _rag("context_relevancy", context=True),
}
