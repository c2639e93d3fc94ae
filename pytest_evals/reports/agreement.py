"""How far those who answered the same question agree, as lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_evals.agreement.calibration import Calibration, Rate
from pytest_evals.agreement.raters import Agreement, PairAgreement
from pytest_evals.reports import formatting
from pytest_evals.reports.formatting import Line, wrapped_lines
from pytest_evals.statistics.agreement import Coefficient
from pytest_evals.text import pluralize, quoted

_MOST_PAIRS = 6
_LONGEST_QUESTION = 60
_INDENT = "    "
_NOT_ASKED = "people beside graders that were not asked"


def agreement_texts(found: Iterable[Agreement], *, whole: bool = True) -> list[str]:
    """Return what is said of each question, each text for itself. Not ``whole``: nothing of graders that were asked nothing,
    and of many pairs those that agree least.
    """
    return [f"{about}: {text}" for about, texts in agreement_blocks(found, whole=whole).items() for text in texts]


def agreement_lines(found: Iterable[Agreement], width: int, *, whole: bool = True) -> list[Line]:
    """Return the same for a terminal: a line for each question, and below it what is said of it."""
    lines = []
    for about, texts in agreement_blocks(found, whole=whole).items():
        lines += wrapped_lines(f"{about}:", width)
        for text in texts:
            lines += [Line(f"{_INDENT}{line.text}") for line in wrapped_lines(text, width - len(_INDENT))]
    return lines


def agreement_blocks(found: Iterable[Agreement], *, whole: bool = True) -> dict[str, list[str]]:
    """Return the same by what it is about."""
    blocks: dict[str, list[str]] = {}
    for each in found:
        if each.question or whole:
            about = f"agreement on {quoted(each.question, _LONGEST_QUESTION)}" if each.question else _NOT_ASKED
            blocks.setdefault(f"{about} in {each.suite}", []).extend(_texts(each, whole=whole))
    return blocks


def _texts(found: Agreement, *, whole: bool) -> list[str]:
    of = f" ({found.grader})" if found.grader else ""
    several = len(found.raters) > 2
    share = f"{formatting.percent(found.agreement)}{' of pairs' if several else ''}"
    parts = [f"{', '.join(found.raters[:-1])} and {found.raters[-1]}{of} agree on {share} (n={found.n})"]
    if found.measure != "interval" and not several:
        parts.append(f"kappa {coefficient(found.pairs[0].kappa)}")
    return ["; ".join([*parts, f"alpha {coefficient(found.alpha)}"]), *(_pairs(found, whole=whole) if several else [])]


def _pairs(found: Agreement, *, whole: bool) -> list[str]:
    """Return a text for each pair of several raters."""
    pairs = sorted(found.pairs, key=_kappa)[: None if whole else _MOST_PAIRS]
    said = [
        f"{pair.one} and {pair.other} on {formatting.percent(pair.agreement)} (n={pair.n}){_own(pair)}"
        for pair in pairs
    ]
    left = len(found.pairs) - len(pairs)
    return [*said, *([f"and {pluralize(left, 'pair')} in better agreement"] if left else [])]


def _own(pair: PairAgreement) -> str:
    return "" if pair.kappa.value is None else f"; kappa {coefficient(pair.kappa)}"


def _kappa(pair: PairAgreement) -> float:
    return pair.agreement if pair.kappa.value is None else pair.kappa.value


# -- Graders against the labels of people, as lines of text.


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
    counts = ", ".join([f"n={made.n}", *left_out])
    parts = [
        f"people and {where} agree on {formatting.percent(made.agreement)} ({counts})",
        f"kappa {coefficient(made.kappa)}",
        f"alpha {coefficient(made.alpha)}",
    ]
    texts = ["; ".join(parts)]
    accuracy = made.accuracy
    if accuracy is not None and made.human_rate is not None:
        shares = ((accuracy.sensitivity, "passes", "good"), (accuracy.specificity, "fails", "bad"))
        said = [
            f"{verb} {formatting.percent(share)} of the {kind}" for share, verb, kind in shares if share is not None
        ]
        texts.append(
            f"{made.grader} {' and '.join(said)} answers, as people see them: they pass {formatting.percent(made.human_rate)}"
        )
        texts += [_rate(made, rate, shorts) for rate in made.rates]
    if made.reliability is not None:
        told = made.reliability
        texts.append(
            f"probabilities of {where}: Brier score {told.brier:.3f}, expected calibration error {told.ece:.3f} (n={told.n})"
        )
    return [*texts, *_corrected(made, shorts), *_fitted(made)]


def _corrected(made: Calibration, shorts: Mapping[str, str]) -> list[str]:
    """Say what the mean is when labels of a part of the cases correct the judge's grades of all."""
    found = made.corrected
    if found is None or made.mean is None:
        return []
    from pytest_evals.statistics.prediction_powered import FEW_LABELS

    model = shorts.get(made.model, made.model)
    where = f"{made.suite}[{model}]" if model else made.suite
    few = "; with so few labels the interval is too narrow" if found.labelled < FEW_LABELS else ""
    interval = f"[{found.interval.low:.3f}, {found.interval.high:.3f}]"
    of = f"{pluralize(found.labelled, 'label')} of {found.labelled + found.others} cases"
    raw = f"{where}: mean of {made.grader} {made.mean:.3f}"
    return [f"{raw}, corrected {found.mean:.3f} {interval} by {of} (prediction-powered inference){few}"]


def _fitted(made: Calibration) -> list[str]:
    found = made.fitted
    if found is None:
        return []
    before = f", {found.before:.2f} at the threshold in use" if found.before is not None else ""
    held_out = f", {found.held_out:.2f} on labels that did not choose it" if found.held_out is not None else ""
    return [
        f"{made.grader}: a threshold of {found.threshold:.3g} has {found.criterion} {found.value:.2f}{held_out}{before}"
    ]


def reliability_lines(made: Calibration) -> list[str]:
    """Return the reliability table: of each range of probabilities their mean, and how often people agreed."""
    if made.reliability is None:
        return []
    rows = [
        (f"{each.low:.1f}-{each.high:.1f}", f"{each.n}", f"{each.probability:.2f}", f"{each.frequency:.2f}")
        for each in made.reliability.bins
    ]
    heads = ("range", "n", made.grader, "people")
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]


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
    raw = f"{where}: {made.grader} passes {formatting.percent(rate.raw)}"
    if rate.corrected is None:
        return f"{raw}; no correction, because {made.grader} tells good from bad answers no better than a coin"
    interval = (
        f" [{formatting.percent(rate.interval[0])}, {formatting.percent(rate.interval[1])}]" if rate.interval else ""
    )
    return f"{raw}, corrected {formatting.percent(rate.corrected)}{interval} (n={rate.n})"


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
