"""Ready-made graders: each call makes a fixture, and the variable that it is assigned to names the grader.

    exact = graders.exact_match("{{item.answer}}")

What a completion is compared with may be a template or a locator of the case's fields. ``number`` and the like keep the
type of a whole-value locator: ``"item.answer"`` may be a number or a list. ``of`` names a task whose result is graded in the
place of the completion, or a field of it (``"draft.title"``); ``run_if`` is an expression over the case, where the grader applies.
Those of this module give a verdict, value 1 or 0; metrics give values.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_evals.completion import check_choices, check_measure, likeliest
from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders import text
from pytest_evals.graders.human import human
from pytest_evals.graders.perplexity import perplexity
from pytest_evals.graders.templating import check_static, depends_on_case, grading_text
from pytest_evals.graders.timed_checks import in_time
from pytest_evals.notes import add_note
from pytest_evals.templates.locators import is_dynamic
from pytest_evals.templates.rendering import render

__all__ = [
    "Preflight",
    "all_of",
    "answer_relevancy",
    "any_of",
    "bleu",
    "choice",
    "chrf",
    "classifier",
    "contains",
    "context_relevancy",
    "embedding_similarity",
    "exact_match",
    "f1",
    "faithfulness",
    "first",
    "human",
    "instructions",
    "json_schema",
    "json_valid",
    "judge",
    "levenshtein",
    "majority",
    "matches",
    "math",
    "max_tool_calls",
    "meteor",
    "no_tool_calls",
    "number",
    "one_of",
    "perplexity",
    "python_tests",
    "question",
    "reward",
    "rouge",
    "tool_calls",
    "weighted",
]


# Imported when they are asked for: a suite uses few of them, and all together take a tenth of a second. Those above have modules of
# their own names, which would be found in their place.
_HOMES = {
    "Preflight": "graders.judges",
    "all_of": "graders.combining",
    "answer_relevancy": "graders.rag",
    "any_of": "graders.combining",
    "bleu": "graders.metrics",
    "chrf": "graders.metrics",
    "classifier": "graders.encoders",
    "context_relevancy": "graders.rag",
    "embedding_similarity": "graders.metrics",
    "f1": "graders.metrics",
    "faithfulness": "graders.rag",
    "first": "graders.combining",
    "instructions": "graders.ifeval",
    "judge": "graders.judges",
    "levenshtein": "graders.metrics",
    "majority": "graders.combining",
    "math": "graders.equivalence",
    "max_tool_calls": "graders.tools",
    "meteor": "graders.metrics",
    "no_tool_calls": "graders.tools",
    "python_tests": "graders.code",
    "question": "questions.declaration",
    "reward": "graders.encoders",
    "rouge": "graders.metrics",
    "tool_calls": "graders.tools",
    "weighted": "graders.combining",
}

if TYPE_CHECKING:
    from pytest_evals.graders.code import python_tests
    from pytest_evals.graders.combining import all_of, any_of, first, majority, weighted
    from pytest_evals.graders.encoders import classifier, reward
    from pytest_evals.graders.equivalence import math
    from pytest_evals.graders.ifeval import instructions
    from pytest_evals.graders.judges import Preflight, judge
    from pytest_evals.graders.metrics import bleu, chrf, embedding_similarity, f1, levenshtein, meteor, rouge
    from pytest_evals.graders.rag import answer_relevancy, context_relevancy, faithfulness
    from pytest_evals.graders.tools import max_tool_calls, no_tool_calls, tool_calls
    from pytest_evals.questions.declaration import question
else:  # a checker of types would take any name for one that is there

    def __getattr__(name: str) -> Any:
        __tracebackhide__ = True
        if name in _HOMES:
            value = globals()[name] = getattr(importlib.import_module(f"pytest_evals.{_HOMES[name]}"), name)
            return value
        raise AttributeError(f"pytest_evals.graders has no grader {name!r}{did_you_mean(name, __all__)}")


def _ready(
    check: Callable[..., text.TextVerdict],
    settings: Mapping[str, Any],
    of: str | None,
    run_if: str | None,
    *,
    limited: bool = False,
) -> Fixture:
    """Return the fixture of a check, called with the text to grade and the settings rendered for the case. ``limited``: it may take
    for ever.
    """
    # Only what depends on the case is rendered for each of them.
    dynamic = {name: value for name, value in settings.items() if depends_on_case(value)}
    static = {name: value for name, value in settings.items() if name not in dynamic}

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        given = {**static, **render(dynamic, current_scope(request))}
        verdict = text.TextVerdict(*in_time(request, check, answer, **given)) if limited else check(answer, **given)
        return Grade.verdict(verdict.passed, request.fixturename or "", verdict.reason)

    ready_made = grading_text(grade, of, check.__name__)
    ready_made.__doc__ = (check.__doc__ or "").partition("\n")[0]
    checked = (lambda rendered: check("", **static, **rendered)) if dynamic else None
    return grader_fixture(ready_made, settings=dynamic, check=checked, run_if=run_if, limited=limited)


def exact_match(
    expected: object, *, normalize: str | Sequence[str] = (), of: str | None = None, run_if: str | None = None
) -> Fixture:
    """The completion is ``expected``, apart from white space at the ends.

    Args:
        expected: A text or number, a template, or a locator. With ``normalize="squad"`` also a list of references.
        normalize: Steps applied to both sides, one or a list: ``case``, ``punctuation``, ``articles``, ``unicode``, ``whitespace``. Or
            ``"squad"`` alone: the normalisation of SQuAD's evaluation script.
        of: A task whose result is graded instead of the completion, or a field of it (``"draft.title"``).
        run_if: An expression over the case, as ``"item.kind == 'rag'"``. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong.
    """
    steps = text.check_normalizers(normalize)
    check_static(expected, lambda value: text.exact_match("", value, steps))
    return _ready(text.exact_match, {"expected": expected, "steps": steps}, of, run_if)


def one_of(
    choices: object, *, normalize: str | Sequence[str] = (), of: str | None = None, run_if: str | None = None
) -> Fixture:
    """The completion is one of ``choices``, apart from white space at the ends.

    Args:
        choices: A list of texts or numbers, or a locator of one.
        normalize: As for `exact_match`.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, such as a text instead of a list.
    """
    steps = text.check_normalizers(normalize)
    check_static(choices, text.as_choices)
    return _ready(text.one_of, {"choices": choices, "steps": steps}, of, run_if)


def contains(
    needles: object,
    *,
    ignore_case: bool = False,
    require: Literal["all", "any"] = "all",
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The completion contains ``needles``.

    Args:
        needles: A text, a list of texts, or a locator of either.
        ignore_case: Whether case is ignored.
        require: Whether ``all`` needles must be in the completion, or ``any`` of them.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, such as an empty needle.
    """
    if require not in ("all", "any"):
        raise SuiteError(f"contains: require must be 'all' or 'any', not {require!r}")
    check_static(needles, lambda value: text.contains("", value, require=require))
    return _ready(text.contains, {"needles": needles, "ignore_case": ignore_case, "require": require}, of, run_if)


def matches(
    pattern: str,
    *,
    ignore_case: bool = False,
    full: bool = False,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The regular expression is found in the completion.

    Args:
        pattern: A regular expression of Python, a template, or a locator.
        ignore_case: Whether case is ignored.
        full: Whether the pattern must cover the whole completion, apart from white space at the ends.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: The pattern does not compile.
    """
    check_static(pattern, lambda value: text.compile_pattern(text.as_text(value, "matches"), ignore_case=ignore_case))
    settings = {"pattern": pattern, "ignore_case": ignore_case, "full": full}
    return _ready(text.matches, settings, of, run_if, limited=True)


def number(
    expected: object,
    *,
    tolerance: float = 0.0,
    kind: Literal["absolute", "relative"] = "absolute",
    decimal: Literal[",", ".", "auto"] = "auto",
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    r"""The completion's final number is ``expected``.

    The final number is the one announced last: in ``\boxed{}``, after ``####``, in ``<answer>``, after "the answer is" or ``Answer:``, or
    after ``A:`` at the start of a line. Without an announcement it is the last number.

    Args:
        expected: A number, a text that is read like the completion, or a locator.
        tolerance: The largest difference that passes. With 0, integers must be equal, other numbers up to rounding (1e-9 of the value).
        kind: Whether ``tolerance`` is an ``absolute`` distance or ``relative``, a share of ``expected``.
        decimal: The mark that begins decimals. ``auto`` reads ``4,2`` and ``1.234,56`` as well as ``1,234.56``, and ``1,234`` as 1234.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or ``expected`` has no number.
    """
    if kind not in ("absolute", "relative"):
        raise SuiteError(f"number: kind must be 'absolute' or 'relative', not {kind!r}")
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < float("inf"):
        raise SuiteError(f"number: tolerance must be a number of at least 0, not {tolerance!r}")
    from pytest_evals.graders import numbers

    if decimal not in numbers.DECIMAL_MARKS:
        raise SuiteError(f"number: decimal must be ',', '.' or 'auto', not {decimal!r}")
    check_static(expected, lambda value: numbers.expected_number(value, decimal))
    check = functools.partial(numbers.number, tolerance=tolerance, kind=kind, decimal=decimal)
    return _ready(functools.update_wrapper(check, numbers.number), {"expected": expected}, of, run_if)


def json_valid(*, of: str | None = None, run_if: str | None = None) -> Fixture:
    """The completion is one JSON value. White space and a code fence around it are allowed.

    Args:
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.
    """
    from pytest_evals.graders import structured

    return _ready(structured.json_valid, {}, of, run_if)


def json_schema(
    schema: Mapping[str, Any] | bool | str | Path, *, of: str | None = None, run_if: str | None = None
) -> Fixture:
    """The completion is JSON that ``schema`` allows.

    Every ``format`` is checked, and a ``$ref`` leads to the schema itself or to a file beside it. The grade's metadata lists under
    ``unchecked`` what the standard leaves open: formats of OpenAPI, keywords of another draft.

    Args:
        schema: A JSON Schema, its path relative to the calling file, or a locator of a row's own schema.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: The schema is invalid, or has a keyword, format, draft or reference that does not exist.
    """
    from pytest_evals.graders import schemas, structured

    base = Path(sys._getframe(1).f_code.co_filename).parent  # noqa: SLF001 - the documented way to the caller
    located = isinstance(schema, str) and is_dynamic(schema)
    loaded = None if located else schemas.load_schema(schema, base)

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        rules = loaded or schemas.row_schema(render(schema, current_scope(request)))
        # Its patterns are matched with texts of the model.
        place = None if rules.folder is None else str(rules.folder)
        verdict = text.TextVerdict(
            *in_time(request, structured.json_schema_of, answer, rules.contents, rules.base, place)
            if rules.has_patterns
            else structured.json_schema(answer, rules)
        )
        key = request.fixturename or ""
        if not rules.unchecked:
            return Grade(verdict.passed, key, verdict.reason)
        unchecked = list(rules.unchecked)
        add_note(request.config, f"json_schema {key}", f"{key}: json_schema does not check {'; '.join(unchecked)}")
        return Grade(verdict.passed, key, verdict.reason, metadata={"unchecked": unchecked})

    ready_made = grading_text(grade, of, "json_schema")
    ready_made.__doc__ = "The completion is JSON that the schema allows."
    checked = (lambda rendered: schemas.row_schema(rendered["schema"])) if located else None
    settings = {"schema": schema} if located else None
    return grader_fixture(ready_made, settings=settings, check=checked, run_if=run_if, limited=True)


def choice(
    choices: object, *, expected: object, by: Literal["sum", "token", "byte", "char"] = "sum", run_if: str | None = None
) -> Fixture:
    """The model finds ``expected`` the likeliest of ``choices`` as the answer to the case's prompt. Nothing is generated.

    The grade's metadata has ``choice`` (the index of the likeliest), ``logprobs`` (sums, natural logarithm) and ``tokens``.

    Args:
        choices: A list of strings or templates, or a locator of a list.
        expected: The right choice's text or index.
        by: What is compared: the ``sum`` of log-likelihoods, or their mean per ``token``, UTF-8 ``byte`` or character (``char``). The mean
            grade is lm-evaluation-harness's ``acc`` by ``sum``, and its ``acc_norm`` by ``char``.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or ``expected`` is not one of the choices.
    """
    from pytest_evals.graders import multiple_choice

    measure = check_measure(by)
    check_static(choices, check_choices)

    def asked(scope: Mapping[str, Any]) -> tuple[str, ...]:
        texts = check_choices(render(choices, scope))
        multiple_choice.check_expected(render(expected, scope), texts)
        return texts

    def ready_made(request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade
        from pytest_evals.runner.delivery import likelihoods_for

        found = likelihoods_for(request.node, request.fixturename or "")
        right = multiple_choice.check_expected(render(expected, current_scope(request)), [each.text for each in found])
        chosen = likeliest(found, measure)
        return Grade(
            chosen.index == right,
            request.fixturename or "",
            multiple_choice.reason(found, chosen, right, measure),
            metadata=multiple_choice.details(found, chosen),
        )

    ready_made.__doc__ = "The model finds the expected choice the likeliest."
    return grader_fixture(ready_made, settings={"choices": choices, "expected": expected}, asks=asked, run_if=run_if)
