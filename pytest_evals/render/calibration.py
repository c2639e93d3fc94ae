"""Graders against the labels of people, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_evals.render import numbers
from pytest_evals.statistics.coefficient import Coefficient
from pytest_evals.trust.calibration import Calibration, Rate


def calibration_texts(made: Calibration, shorts: Mapping[str, str]) -> list[str]:
    """Return what a score card says: agreement first, then pass rates beside what they are when the grader's errors are
    taken off.
    """
    where = f"{made.grader} in {made.suite}"
    left_out = [
        f"{count} {word}"
        for count, word in ((made.unlabelled, "without a label"), (made.ungraded, "without a grade"))
        if count
    ]
    counted = ", ".join([f"n={made.n}", *left_out])
    parts = [
        f"people and {where} agree on {numbers.percent(made.agreement)} ({counted})",
        f"kappa {coefficient(made.kappa)}",
        f"alpha {coefficient(made.alpha)}",
    ]
    texts = ["; ".join(parts)]
    accuracy = made.accuracy
    if accuracy is not None and made.human_rate is not None:
        shares = ((accuracy.sensitivity, "passes", "good"), (accuracy.specificity, "fails", "bad"))
        said = [f"{verb} {numbers.percent(share)} of the {kind}" for share, verb, kind in shares if share is not None]
        texts.append(
            f"{made.grader} {' and '.join(said)} answers, as people see them: they pass {numbers.percent(made.human_rate)}"
        )
        texts += [_rate(made, rate, shorts) for rate in made.rates]
    return texts


def coefficient(found: Coefficient) -> str:
    """Return a coefficient with its interval."""
    if found.value is None:
        return "undefined"
    interval = f" [{_rounded(found.interval[0])}, {_rounded(found.interval[1])}]" if found.interval else ""
    return f"{_rounded(found.value)}{interval}"


def _rounded(value: float) -> str:
    """Two decimals; what rounds to 0 has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def _rate(made: Calibration, rate: Rate, shorts: Mapping[str, str]) -> str:
    model = shorts.get(rate.model, rate.model)
    where = f"{rate.suite}[{model}]" if model else rate.suite
    raw = f"{where}: {made.grader} passes {numbers.percent(rate.raw)}"
    if rate.corrected is None:
        return f"{raw}; no correction, because {made.grader} tells good from bad answers no better than a coin"
    interval = f" [{numbers.percent(rate.interval[0])}, {numbers.percent(rate.interval[1])}]" if rate.interval else ""
    return f"{raw}, corrected {numbers.percent(rate.corrected)}{interval} (n={rate.n})"


def confusion_lines(made: Calibration) -> list[str]:
    """Return the confusion table: people's labels down, the grader's across."""
    heads = [f"{category:g}" for category in made.categories]
    cells = [[str(count) for count in row] for row in made.confusion]
    left = max(map(len, ["people", *heads]))
    widths = [max(map(len, [head, *(row[index] for row in cells)])) for index, head in enumerate(heads)]

    def line(first: str, row: list[str]) -> str:
        return "  ".join([first.rjust(left), *(cell.rjust(width) for cell, width in zip(row, widths, strict=True))])

    return [
        f"{'people'.rjust(left)}  {made.grader}",
        line("", heads),
        *(line(head, row) for head, row in zip(heads, cells, strict=True)),
    ]
