"""How well a model expects a text: perplexity, of the likelihoods that choices are weighed by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

import pytest

from pytest_evals.completion import Likelihood
from pytest_evals.errors import GradeError, SuiteError
from pytest_evals.fixtures.grader import Fixture, grader_fixture
from pytest_evals.graders.templating import check_static
from pytest_evals.scores import corpus
from pytest_evals.statistics import LARGEST
from pytest_evals.templates.rendering import render
from pytest_evals.text import one_line, pluralize, quoted

Unit = Literal["token", "byte", "word"]
_WHITE_SPACE = re.compile(r"\s+")


def perplexity(
    text: object, *, per: Unit = "token", bits: bool = False, threshold: float | None = None, run_if: str | None = None
) -> Fixture:
    """Perplexity of ``text`` as the answer to the case's prompt: at least 1, and lower is better. Nothing is generated.

    The statistic ``corpus`` sums log-likelihoods and counts of all texts first. The grade's metadata has ``logprob`` (natural logarithm),
    ``tokens``, ``bytes``, ``words`` and ``bits_per_byte``.

    Args:
        text: A template, or a locator of a text.
        per: The value is exp(-log-likelihood / count) per ``token``, UTF-8 ``byte`` or ``word`` (parts between white space). ``byte`` and
            ``word`` are comparable between tokenizers: lm-evaluation-harness's byte_perplexity and word_perplexity.
        bits: The value is -log2-likelihood / count instead; per byte, bits_per_byte.
        threshold: The highest value that passes; `None` for no verdict.
        run_if: An expression over the case. Where it is false, the grader does not apply.

    Raises:
        SuiteError: A setting is wrong, or the text is empty.
    """
    if per not in get_args(Unit):
        raise SuiteError(f"perplexity: per must be one of {', '.join(get_args(Unit))}, not {per!r}")
    lowest = 0 if bits else 1
    if threshold is not None and (
        isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not lowest <= threshold <= LARGEST
    ):
        raise SuiteError(f"perplexity: threshold must be a number of at least {lowest}, not {threshold!r}")
    check_static(text, check_text)

    def ready_made(request: pytest.FixtureRequest) -> Any:
        from pytest_evals.grades import Grade
        from pytest_evals.runner.delivery import likelihoods_for

        (found,) = likelihoods_for(request.node, request.fixturename or "")
        result = measure(found, per, bits=bits)
        passed = None if threshold is None else result.value <= threshold
        return Grade(result.value, request.fixturename or "", result.reason, passed, metadata=result.details)

    ready_made.__doc__ = "The perplexity of a text under the model."
    return grader_fixture(
        ready_made, settings={"text": text}, asks=lambda scope: (check_text(render(text, scope)),), run_if=run_if
    )


def check_text(text: object) -> str:
    """Return the text. Raises `SuiteError` for an empty one and for what is none."""
    if not isinstance(text, str) or not text:
        raise SuiteError(f"perplexity: text must be a text that is not empty, not {one_line(repr(text), 80)}")
    return text


def words_of(text: str) -> int:
    """Return how many words lm-evaluation-harness counts: the parts between white space, empty ones at the ends too."""
    return len(_WHITE_SPACE.split(text))


class TextPerplexity(NamedTuple):
    """The perplexity of one text. ``details`` go into the grade's metadata."""

    value: float
    reason: str
    details: Mapping[str, Any]


def measure(likelihood: Likelihood, per: Unit, *, bits: bool = False) -> TextPerplexity:
    """Return the perplexity, or its logarithm to the base 2.

    Raises `GradeError` for a probability above 1, which only a function in a model's place can give, and for a perplexity
    that is too large for a number.
    """
    if likelihood.logprob > 0:
        raise GradeError(f"a log-likelihood is at most 0, and the model gave {likelihood.logprob:g}")
    counts = {"tokens": likelihood.tokens, "bytes": likelihood.bytes, "words": words_of(likelihood.text)}
    # As it is summed up for the corpus: in nats, or in bits.
    surprise = abs(likelihood.logprob) / (math.log(2) if bits else 1)
    kind, part = "bits" if bits else "perplexity", (surprise, counts[f"{per}s"])
    value = corpus.of_sums(kind, part)
    if value is None or value > LARGEST:
        raise GradeError(
            f"the perplexity a {per} is exp({surprise / part[1]:.4g}), too large for a number; bits=True gives its logarithm"
        )
    unit = f"bits a {per}" if bits else f"perplexity a {per}"
    return TextPerplexity(
        value,
        f"{unit} {value:.4g} of {quoted(likelihood.text)} ({pluralize(part[1], per)}, log-likelihood {likelihood.logprob:.4f})",
        {
            "definition": unit,
            "logprob": likelihood.logprob,
            **counts,
            "bits_per_byte": abs(likelihood.logprob) / math.log(2) / likelihood.bytes,
            **corpus.part_data(kind, part),
        },
    )
