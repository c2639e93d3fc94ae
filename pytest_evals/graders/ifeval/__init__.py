"""The instruction checks of IFEval (Zhou et al., 2023): whether a completion follows what its prompt asks of its form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

from pytest_evals.errors import SuiteError
from pytest_evals.fixtures.context import current_scope
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.ifeval import language
from pytest_evals.graders.ifeval.checks import CheckResult
from pytest_evals.graders.ifeval.kinds import Instruction, read_instructions
from pytest_evals.graders.templating import grading_text
from pytest_evals.graders.timed_checks import in_time
from pytest_evals.scores import corpus
from pytest_evals.templates.rendering import render

if TYPE_CHECKING:
    from pytest_evals.grades import Grade

__all__ = ["instructions"]

Scoring = Literal["strict", "loose"]
Level = Literal["group", "kind"]


def instructions(
    ids: object = "item.instruction_id_list",
    kwargs: object = "item.kwargs",
    *,
    scoring: Scoring = "strict",
    by: Level | None = None,
    of: str | None = None,
    run_if: str | None = None,
) -> Fixture:
    """The completion follows all instructions of its row, as the checker of IFEval finds (Zhou et al., 2023).

    The mean is IFEval's prompt-level accuracy, the statistic ``corpus`` its instruction-level accuracy. The grade's metadata has the
    instructions that are followed, and their share.

    The kinds and their arguments: ``keywords:existence`` (keywords), ``keywords:frequency`` (keyword, frequency, relation),
    ``keywords:forbidden_words`` (forbidden_words), ``keywords:letter_frequency`` (letter, let_frequency, let_relation),
    ``language:response_language`` (language), ``length_constraints:number_sentences`` (num_sentences, relation),
    ``length_constraints:number_paragraphs`` (num_paragraphs), ``length_constraints:number_words`` (num_words, relation),
    ``length_constraints:nth_paragraph_first_word`` (num_paragraphs, nth_paragraph, first_word),
    ``detectable_content:number_placeholders`` (num_placeholders), ``detectable_content:postscript`` (postscript_marker),
    ``detectable_format:number_bullet_lists`` (num_bullets), ``detectable_format:number_highlighted_sections`` (num_highlights),
    ``detectable_format:multiple_sections`` (section_spliter, num_sections), ``detectable_format:constrained_response``,
    ``detectable_format:json_format``, ``detectable_format:title``, ``combination:two_responses``, ``combination:repeat_prompt``
    (prompt_to_repeat), ``startend:end_checker`` (end_phrase), ``startend:quotation``, ``change_case:capital_word_frequency``
    (capital_frequency, capital_relation), ``change_case:english_capital``, ``change_case:english_lowercase``, ``punctuation:no_comma``. A
    relation is ``less than`` or ``at least``.

    Args:
        ids: A list of kinds, or a locator of one; by default the column of the published data.
        kwargs: A list with the arguments of each instruction, or a locator of one.
        scoring: ``loose`` also accepts a completion without its first line, its last line or both, and without stars.
        by: ``kind`` adds a grade for each kind in the row (``strict.punctuation:no_comma``), ``group`` for the part before the colon
            (``strict.punctuation``): the share that is followed.
        of: A task whose result is graded instead of the completion, or a field of it.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: At collection, for an unknown id or argument, and a missing or impossible one.
    """
    if scoring not in get_args(Scoring):
        raise SuiteError(f"instructions: scoring must be 'strict' or 'loose', not {scoring!r}")
    if by not in (None, *get_args(Level)):
        raise SuiteError(f"instructions: by must be 'group' or 'kind', not {by!r}")
    settings = {"ids": ids, "kwargs": kwargs}

    def grade(answer: str, request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade

        rendered = render(settings, current_scope(request))
        found = read_instructions(**rendered)
        # Keywords are regular expressions.
        results = [CheckResult(*each) for each in in_time(request, check_all, answer, scoring=scoring, **rendered)]
        followed = [result.followed for result in results]
        own = Grade(
            all(followed),
            request.fixturename or "",
            _reason(found, results),
            metadata=_details(found, followed, scoring),
        )
        if by is None:
            return own
        return {"": own, **{name: _part_grade(part) for name, part in _parts(found, results, by).items()}}

    ready_made = grading_text(grade, of, "instructions")
    ready_made.__doc__ = "The completion follows all instructions of its row."
    return grader_fixture(
        ready_made, settings=settings, check=lambda rendered: read_instructions(**rendered), run_if=run_if, limited=True
    )


def check_all(answer: str, ids: object, kwargs: object, scoring: Scoring) -> list[CheckResult]:
    """Tell for each instruction whether an answer follows it."""
    return [check(each, answer, scoring) for each in read_instructions(ids, kwargs)]


def check(instruction: Instruction, answer: str, scoring: Scoring) -> CheckResult:
    """Tell whether an answer follows an instruction. A blank one follows none."""
    first = CheckResult(False, "a blank answer")
    for text in variants(answer) if scoring == "loose" else (answer,):
        if text.strip():
            result = instruction.check(text)
            if result.followed:
                return result
            first = result if text == answer else first
    return first


def variants(answer: str) -> Sequence[str]:
    """Return the texts for loose scoring, which wants one to follow: the answer; without its first line, its last one, both;
    and each of these without stars.
    """
    lines = answer.split("\n")
    cut = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(text.replace("*", "") for text in cut)]))


def _reason(found: Sequence[Instruction], results: Sequence[CheckResult]) -> str:
    followed = sum(result.followed for result in results)
    missed = [f"{each.id} ({result.found})" for each, result in zip(found, results, strict=True) if not result.followed]
    said = f"followed {followed} of {len(found)}"
    return f"{said}; not {'; '.join(missed)}" if missed else said


def _parts(
    found: Sequence[Instruction], results: Sequence[CheckResult], by: Level
) -> dict[str, list[tuple[Instruction, CheckResult]]]:
    """Return the instructions of each kind, or of each group of kinds, with what was found of them."""
    parts: dict[str, list[tuple[Instruction, CheckResult]]] = {}
    for each, result in zip(found, results, strict=True):
        parts.setdefault(each.id if by == "kind" else each.id.partition(":")[0], []).append((each, result))
    return parts


def _part_grade(part: Sequence[tuple[Instruction, CheckResult]]) -> Grade:
    """Return the grade for some of a row's instructions."""
    from pytest_evals.grades import Grade

    followed = [result.followed for _, result in part]
    return Grade(
        sum(followed) / len(followed),
        reasoning=_reason([each for each, _ in part], [result for _, result in part]),
        passed=all(followed),
        bounds=(0, 1),
        metadata=corpus.part_data("ratio", (sum(followed), len(followed))),
    )


def _details(found: Sequence[Instruction], followed: Sequence[bool], scoring: Scoring) -> dict[str, Any]:
    packages = frozenset(package for each in found for package in each.kind.packages)
    return {
        "definition": ", ".join(["IFEval", scoring, *([language.definition(packages)] if packages else [])]),
        "instructions": [
            {"id": each.id, "followed": each_followed} for each, each_followed in zip(found, followed, strict=True)
        ],
        "share": sum(followed) / len(followed),
        **corpus.part_data("ratio", (sum(followed), len(followed))),
    }
