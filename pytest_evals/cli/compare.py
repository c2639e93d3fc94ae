"""``pytest-evals compare``: what changed between runs, and the cases behind it."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_evals.cli.common import Subparsers, add_json, say, say_json, subcommand, whole, width
from pytest_evals.errors import ArtifactError

if TYPE_CHECKING:
    from pytest_evals.baselines.comparison import Comparison, Flip
    from pytest_evals.baselines.loading import Baseline
    from pytest_evals.reports.comparison import Texts
    from pytest_evals.scores.records import CaseRecord

DETAILS = """\
The first run is compared with each of the others, case by case: only cases that both have, with the same row
and with a grade in both. Everything else is counted and said. With a single run of several models, the first
model is compared with each of the others.

A RUN is an artifact, a folder of them (its newest), 'latest', 'latest~1' (the one before), '-', or the name of
a baseline.

The interval is that of the mean difference of paired grades. p is of McNemar's exact test for grades of 0 and 1,
else of the t test (over clusters, where cases have them), adjusted for the number of graders (Holm). A verdict
is better or worse where p is below 0.05.

exit status:
  0; with --check, 1 if a verdict is worse

examples:
  pytest-evals compare latest~1 latest
  pytest-evals compare main latest -v       the baseline 'main'; with the texts of cases that flipped
  pytest-evals compare main latest --check  in CI
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(
        subparsers, "compare", run, "say what changed between runs, or between models of a run", DETAILS
    )
    parser.add_argument("run_names", metavar="RUN", nargs="+", help="what is compared; the first one is the reference")
    parser.add_argument("-v", "--verbose", action="store_true", help="show prompt and both texts of flipped cases")
    parser.add_argument(
        "--limit", type=whole(0), default=10, metavar="N", help="flipped cases to list of each grader (10; 0 is all)"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a verdict is worse")
    add_json(parser)


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One side of a comparison. ``title`` says what it is."""

    title: str
    source: Baseline
    records: tuple[CaseRecord, ...]


def run(arguments: argparse.Namespace) -> int:
    """Compare."""
    from pytest_evals.baselines.comparison import compare

    sides = _sides(arguments.run_names)
    compared = [(sides[0], side, compare(sides[0].records, side.records)) for side in sides[1:]]
    if arguments.json:
        say_json([_as_data(*each) for each in compared])
    else:
        for index, each in enumerate(compared):
            say([""] if index else [])
            say(_lines(*each, limit=arguments.limit or None, texts=arguments.verbose))
    worse = any(change.worse for _, _, comparison in compared for change in comparison.changes)
    return int(arguments.check and worse)


def _sides(names: list[str]) -> list[ComparedRun]:
    from pytest_evals.baselines.loading import load_baseline
    from pytest_evals.cli.common import find_run
    from pytest_evals.reports.formatting import run_words

    found = [load_baseline(find_run(name)) for name in names]
    if len(found) > 1:
        return [
            ComparedRun(f"{source.path}: {'; '.join(map(run_words, source.runs))}", source, source.records)
            for source in found
        ]
    (source,) = found
    models = list(dict.fromkeys(record.model for record in source.records))
    if len(models) < 2:
        raise ArtifactError(f"{source.path} has one model, so there is nothing to compare it with: give a second run")
    return [ComparedRun(f"{source.path}: model {model}", source, _of_model(source.records, model)) for model in models]


def _of_model(records: Iterable[CaseRecord], model: str) -> tuple[CaseRecord, ...]:
    return tuple(record for record in records if record.model == model)


def _notes(before: ComparedRun, after: ComparedRun) -> list[str]:
    from pytest_evals.baselines.pairing import run_differences

    if before.source is after.source:
        return []
    said = [f"{side.source.path}: {side.source.partial}" for side in (before, after) if side.source.partial]
    return [*said, *run_differences(before.source.runs, after.source.runs)]


def _as_data(before: ComparedRun, after: ComparedRun, comparison: Comparison) -> dict[str, Any]:
    return {
        "before": before.title,
        "after": after.title,
        "changes": [change.to_row() for change in comparison.changes],
        "compared": len(comparison.joined.pairs),
        "changed": [pair.case_id for pair in comparison.joined.changed],
        "new": [repeats[0].case_id for repeats in comparison.joined.new],
        "gone": [repeats[0].case_id for repeats in comparison.joined.gone],
        "notes": [*comparison.notes(), *comparison.hints(), *_notes(before, after)],
    }


def _lines(
    before: ComparedRun, after: ComparedRun, comparison: Comparison, *, limit: int | None, texts: bool
) -> Iterator[str]:
    from pytest_evals.engines.short_names import short_names
    from pytest_evals.reports.comparison import comparison_lines, flip_lines, flip_texts
    from pytest_evals.reports.formatting import wrap_text

    columns = width()
    yield from wrap_text(f"before: {before.title}", columns)
    yield from wrap_text(f"after:  {after.title}", columns)
    yield ""
    shorts = short_names(dict.fromkeys(change.model for change in comparison.changes))
    yield from comparison_lines(comparison, columns, shorts)
    for note in _notes(before, after):
        yield from wrap_text(note, columns)
    shown = [flip for change in comparison.changes for flip in change.flips[:limit]]
    if not shown:
        return
    yield from ["", *flip_lines(shown, columns, shorts)]
    for change in comparison.changes:
        if len(change.flips[:limit]) < len(change.flips):
            where = f"{change.suite}.{change.grader}"
            yield f"... {len(change.flips) - len(change.flips[:limit]):,} more of {where}; --limit 0 shows all"
    if texts:
        sides = _texts(before, shown), _texts(after, shown)
        for flip in shown:
            yield from ["", *flip_texts(flip, *sides, columns)]
    else:
        yield "their texts: -v"


def _texts(side: ComparedRun, flips: Iterable[Flip]) -> Texts:
    """Read the samples of flipped cases."""
    records = {
        (each.suite, each.model, each.case_id, each.repeat)
        for flip in flips
        for each in (*flip.pair.before, *flip.pair.after)
    }
    found = {}
    for sample in side.source.samples():
        key = (sample["suite"], sample["interaction"]["source"] or "", sample["case_id"], sample["repeat"])
        if key in records:
            found[key] = sample
    return found
