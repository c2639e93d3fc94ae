"""``pytest-evals history``: how scores went from run to run."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pytest_evals.cli.common import Subparsers, add_json, complain, say, say_json, subcommand, whole, width

if TYPE_CHECKING:
    from pytest_evals.reports.history import RecordedRun, Series

DETAILS = """\
A score a run, with its 95% interval and the commit; "+" marks a commit with changes. Files of the folder that are no
artifacts are left out, those that cannot be read are named.

examples:
  pytest-evals history
  pytest-evals history .evals --grader exact --last 20
  pytest-evals history runs/ -o history.html
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "history", run, "show how scores went from run to run", DETAILS)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="folder of artifacts (default: evals_dir of the configuration file, else .evals)",
    )
    parser.add_argument("--suite", metavar="NAME", help="only this suite")
    parser.add_argument("--grader", metavar="NAME", help="only this grader")
    parser.add_argument("--model", metavar="NAME", help="only this model")
    parser.add_argument(
        "--statistic", choices=("mean", "pass_rate"), default="mean", help="what is shown (default: mean)"
    )
    parser.add_argument("--last", metavar="N", type=whole(1), help="only the newest N runs")
    parser.add_argument("-o", "--output", metavar="PATH", type=Path, help="write a page instead")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it, or write the page."""
    from pytest_evals.cli.common import artifacts_folder
    from pytest_evals.engines.short_names import short_names
    from pytest_evals.errors import ArtifactError
    from pytest_evals.reports.history import chosen, history_lines, series
    from pytest_evals.reports.html.page import page
    from pytest_evals.reports.html.report import write_text
    from pytest_evals.reports.recorded import aliases_of

    folder: Path = artifacts_folder() if arguments.folder is None else arguments.folder
    runs = sorted(recorded_runs(folder), key=lambda each: str(each.run["started"]))
    if not runs:
        raise ArtifactError(f"there is not an artifact in {folder}: 'pytest --evals' writes one")
    runs = runs[-arguments.last :] if arguments.last else runs
    every = series(runs, arguments.statistic)
    aliases = {model: alias for each in runs for model, alias in aliases_of(each.run).items()}
    shorts = short_names(dict.fromkeys(each.model for each in every), aliases)
    found = chosen(every, suite=arguments.suite, model=arguments.model, grader=arguments.grader, shorts=shorts)
    if not found:
        _refuse(arguments, folder, every)
    entries = [{**each.to_data(), "short": shorts[each.model]} for each in found]
    data = {"statistic": arguments.statistic, "runs": len(runs), "series": entries}
    if arguments.json:
        say_json(data)
    elif arguments.output:
        write_text(arguments.output, page("history", "Scores from run to run", data), owner_only=True)
        say([f"history: {arguments.output}"])
    else:
        say(history_lines(found, width(), several_models=len({each.model for each in found}) > 1, shorts=shorts))
    return 0


def _refuse(arguments: argparse.Namespace, folder: Path, every: Sequence[Series]) -> NoReturn:
    """Say which of the names that were asked for no score has, or that no score has all of them."""
    from pytest_evals.errors import ArtifactError, did_you_mean

    for option in ("suite", "grader", "model"):
        name, known = getattr(arguments, option), sorted({str(getattr(each, option)) for each in every})
        if name is not None and not any(each == name or each.endswith(f"/{name}") for each in known):
            listed = ", ".join(known) or "none"
            raise ArtifactError(
                f"--{option}: no run in {folder} has a score of {name!r} (there are: {listed}){did_you_mean(name, known)}"
            )
    names = ", ".join(sorted({f"{each.suite}.{each.grader}" for each in every})) or "none"
    raise ArtifactError(f"no run in {folder} has such a score (there are: {names})")


def recorded_runs(folder: Path) -> Iterator[RecordedRun]:
    """Yield the runs in a folder. What cannot be read is named, and does not keep the others from being shown."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.artifacts.sample import to_record
    from pytest_evals.errors import ArtifactError
    from pytest_evals.reports.history import RecordedRun
    from pytest_evals.scores.score import compute_scores

    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; give one that holds artifacts")
    for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
        if path.name.removesuffix(".gz").endswith(".answers.jsonl") or not path.is_file():
            continue
        try:
            artifact = ArtifactReader(path)
            rows = artifact.summary["scores"] if artifact.summary else None
            if rows is None:
                rows = [score.to_row() for score in compute_scores(list(map(to_record, artifact.samples())))]
        except ArtifactError as error:
            complain(f"left out: {error}", "note")
            continue
        yield RecordedRun(artifact.run, artifact.complete, rows)
