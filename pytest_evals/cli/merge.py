"""``pytest-evals merge``: runs of parts of the cases become one run, whose gates are judged."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_evals.cli.common import RUN, Subparsers, add_json, say, say_json, subcommand, width

if TYPE_CHECKING:
    from pytest_evals.baselines.comparison import Comparison
    from pytest_evals.scorecard import ScoreCard
    from pytest_evals.session.shards import MergedRun

DETAILS = """\
For jobs that share the cases of a run (pytest-split, pytest-shard, -k, folders): each of them collects all cases of a suite and runs
some, so that none can judge its gates. Here all gates are judged, over all cases.

Runs must be parts of one run: the same data, graders, gates, models, seed and limits. Of a case that several have, the last one counts.

exit status:
  0; 1 if a gate is not met, or if cases are missing

examples:
  pytest-evals merge shards/*.jsonl
  pytest-evals merge shard-1.jsonl shard-2.jsonl --output run.jsonl
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(
        subparsers, "merge", run, "put runs of parts of the cases together, and judge the gates", DETAILS
    )
    parser.add_argument("run_names", metavar="RUN", nargs="+", help=RUN)
    parser.add_argument("-o", "--output", type=Path, metavar="PATH", help="write the artifact of all to PATH")
    parser.add_argument("--baseline", metavar="RUN", help="the run that gates with 'baseline' compare with")
    parser.add_argument(
        "--strict", action="store_true", help="an inconclusive gate is not met (evals_inconclusive = fail)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="add a line for each case")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Merge, print and judge."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.cli.common import find_run
    from pytest_evals.reports.terminal import score_card_lines
    from pytest_evals.session.shards import merge

    merged = merge([ArtifactReader(find_run(name)) for name in arguments.run_names])
    compared, baseline = _compared(merged, arguments.baseline)
    card = merged.card(compared, baseline, strict=arguments.strict)
    complete = not card.ledger.not_run
    if arguments.output:
        card = _write(merged, card, arguments.output, complete=complete)
    if arguments.json:
        from pytest_evals.session.artifact_lines import summary_line

        say_json(summary_line(card, complete=complete))
    else:
        say(score_card_lines(card, width(), int(arguments.verbose)))
    return int(not complete or any(gate.fails for gate in card.gates))


def _compared(merged: MergedRun, written: str | None) -> tuple[Comparison | None, str | None]:
    """Compare with the baseline. Raises `ArtifactError` where a gate needs one and none is named."""
    from pytest_evals.baselines.comparison import compare
    from pytest_evals.baselines.loading import load_baseline
    from pytest_evals.cli.common import artifacts_folder
    from pytest_evals.errors import ArtifactError

    if written is None:
        if merged.relative:
            raise ArtifactError(f"gate {merged.relative!r} compares with a baseline: name one with --baseline")
        return None, None
    baseline = load_baseline(written, Path.cwd(), artifacts_folder())
    records = [record for record in baseline.records if record.suite in merged.infos]
    return compare(records, merged.records), str(baseline.path)


def _write(merged: MergedRun, card: ScoreCard, path: Path, *, complete: bool) -> ScoreCard:
    """Write the artifact of all; return the card with its place. Raises `ArtifactError` where it cannot be written."""
    from dataclasses import replace

    from pytest_evals.artifacts.sample import dump
    from pytest_evals.artifacts.writer import ArtifactWriter, check_writable
    from pytest_evals.errors import ArtifactError
    from pytest_evals.session.artifact_lines import summary_line

    if any(path.resolve() == Path(artifact.path).resolve() for artifact in merged.artifacts):
        raise ArtifactError(f"{path} is one of the runs that are merged; choose another file")
    check_writable(path)
    writer = ArtifactWriter(path)
    writer.start(merged.run_line())
    for sample in merged.samples():
        writer.write(dump(sample))
    for answer in merged.answers():
        writer.write(dump(answer))
    problem = writer.finish(summary_line(card, complete=complete))
    if problem:
        raise ArtifactError(problem)
    return replace(card, artifact=str(path))
