"""``pytest-evals show``: the score card of a recorded run, again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_evals.cli.common import Subparsers, add_json, add_run, say, say_json, subcommand, width

if TYPE_CHECKING:
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.scorecard import ScoreCard

DETAILS = """\
Scores are computed again from the recorded cases; gates, ledger and throughput are those that the run recorded.

exit status:
  0; with --check, 1 if a gate was not met or the run did not come to its end

examples:
  pytest-evals show                    the newest run in .evals
  pytest-evals show run.jsonl -v       each case with its answer, too
  pytest-evals show run.jsonl --check
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "show", run, "print the score card of a recorded run", DETAILS)
    add_run(parser)
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="show each case with its answer and grades, every gate and every score",
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 if a gate failed or the run was interrupted")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.cli.common import find_run
    from pytest_evals.reports.formatting import run_lines
    from pytest_evals.reports.recorded import card_of_artifact
    from pytest_evals.reports.terminal import score_card_lines

    artifact = ArtifactReader(find_run(arguments.run_name))
    card = card_of_artifact(artifact)
    if arguments.json:
        say_json(as_data(artifact, card))
    else:
        say([*run_lines(artifact.run, width()), ""])
        samples = artifact.samples() if arguments.verbose else ()
        say(score_card_lines(card, width(), int(arguments.verbose), samples))
    failed = not artifact.complete or any(gate.fails for gate in card.gates)
    return int(arguments.check and failed)


def as_data(artifact: ArtifactReader, card: ScoreCard) -> dict[str, Any]:
    """Return what ``--json`` prints: the first line, and what the last line has with scores computed anew."""
    from pytest_evals.redaction import masked_run

    summary = {} if artifact.summary is None else artifact.summary
    return {
        "run": masked_run(artifact.run),
        "complete": artifact.complete,
        "interruption": card.interruption,
        "scores": [score.to_row() for score in card.scores],
        "gates": summary.get("gates", []),
        "ledger": card.ledger.to_dict(),
        "throughput": summary.get("throughput", {}),
        "audit": card.audit,
    }
