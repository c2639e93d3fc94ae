"""What a gate can be on: the statistics of a score by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pytest_evals import statistics
from pytest_evals.scores.score import Score
from pytest_evals.text import pluralize

GateStatistic = Callable[[Score], float | None]
_BY_NAME: Mapping[str, GateStatistic] = {
    "mean": lambda score: score.mean,
    "pass_rate": lambda score: score.pass_rate,
    "min": lambda score: min(score.values, default=None),
    "max": lambda score: max(score.values, default=None),
    "median": lambda score: statistics.median(score.values),
    "stderr": lambda score: score.stderr,
    "ci_low": lambda score: score.interval.low if score.interval else None,
    "ci_high": lambda score: score.interval.high if score.interval else None,
    "coverage": lambda score: score.coverage,
    "min_case": lambda score: score.min_case,
    "corpus": lambda score: score.corpus,
    "corrected": lambda score: score.corrected.mean if score.corrected else None,
    "corrected_low": lambda score: score.corrected.interval.low if score.corrected else None,
    "corrected_high": lambda score: score.corrected.interval.high if score.corrected else None,
    "count": lambda score: sum(score.values),
    "rate": lambda score: score.mean,
}
OF_ERRORS = ("count", "rate")
"""Those of errors alone."""
MEASURED = ("mean", "min", "max", "median", "stderr", "ci_low", "ci_high", "min_case", "coverage")
"""Those (and percentiles) that tokens and latency have: what passes or fails has more."""
KNOWN = (*(name for name in _BY_NAME if name not in OF_ERRORS), "pNN", "pass@k", "pass^k")
COMPARABLE = "mean, pass_rate, median, pNN, pass@k, pass^k, corpus, rate"
_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d+)?)")
_SAMPLES = re.compile(r"pass([@^])([1-9]\d{0,5})")


def is_statistic(name: str) -> bool:
    """Tell whether there is such a statistic."""
    return name in _BY_NAME or percentile_of(name) is not None or samples_of(name) is not None


def percentile_of(name: str) -> float | None:
    """Return the share that ``pNN`` (or ``median``) means; `None` for other statistics."""
    match = _PERCENTILE.fullmatch(name)
    share = float(match[1]) / 100 if match else None
    return 0.5 if name == "median" else share if share is not None and share <= 1 else None


def samples_of(name: str) -> tuple[str, int] | None:
    """Return ``@`` or ``^`` and the k of ``pass@k`` and ``pass^k``; `None` for other statistics."""
    match = _SAMPLES.fullmatch(name)
    return (match[1], int(match[2])) if match else None


def comparable(name: str) -> bool:
    """Tell whether the statistic can be compared with a baseline, case by case or by resampling cases."""
    return (
        name in ("mean", "pass_rate", "corpus", "rate")
        or percentile_of(name) is not None
        or samples_of(name) is not None
    )


def is_share(name: str) -> bool:
    """Tell whether the statistic is a share or probability: from 0 to 1, whatever the values are."""
    return name in ("pass_rate", "coverage", "rate") or samples_of(name) is not None


def value_of(score: Score, name: str) -> float | None:
    """Return the statistic; `None` where the grades do not give it, see `why_none`."""
    samples = samples_of(name)
    if samples:
        kind, k = samples
        estimate = score.pass_at(k) if kind == "@" else score.pass_hat(k)
        return estimate.mean if estimate else None
    if name in _BY_NAME:
        return _BY_NAME[name](score)
    return statistics.quantile(score.values, percentile_of(name) or 0.0)


def why_none(score: Score, name: str) -> str:
    """Say why `value_of` is `None`, and what to do."""
    if not score.n:
        return f"no case has a grade ({pluralize(score.errors, 'error')}, {score.not_applicable} not applicable)"
    if name == "corpus" or name.startswith("corrected"):
        return _NO_CORPUS if name == "corpus" else _why_uncorrected(score)
    if name in ("ci_low", "ci_high") and score.stderr is not None:
        hint = "use mean" if score.bounds else "say with bounds= what the grader can give, or use mean"
        return f"all {len(score.cases)} cases have the same value, so nothing tells how far others may be; {hint}"
    if name in ("stderr", "ci_low", "ci_high"):
        return f"it takes at least two cases (or clusters) to know the error of a mean, and there is {len(set(score.clusters or score.cases))}"
    samples = samples_of(name)
    if samples and score.has_verdicts:
        return f"{name} takes {samples[1]} samples of each case, and some have {score.repeats}; see --evals-repeat"
    without = score.n - len(score.verdicts)
    return (
        f"{without} of {score.n} grades have no verdict, so there is no {name}; "
        "use mean, or return a Grade with passed="
    )


_NO_CORPUS = "its grades bring no counts of a corpus-level metric (those of bleu, chrf and perplexity do); use mean"


def _why_uncorrected(score: Score) -> str:
    labelled = sum(case.label is not None for case in score.cases)
    hint = "every case has a label; use mean" if labelled == len(score.cases) else "see cases(label=...)"
    return f"it takes labels of two cases or more, and cases without one, and {labelled} of {len(score.cases)} have one; {hint}"
