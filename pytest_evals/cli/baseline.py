"""``pytest-evals baseline``: named baselines, as files that can be committed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_evals.cli.common import Subparsers, add_json, add_run, say, say_json, subcommand, width
from pytest_evals.errors import ArtifactError, did_you_mean
from pytest_evals.redaction import masked_run
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.scores.score import Score

DETAILS = """\
A baseline is a file in evals_baselines (the nearest such folder here or above; made here if there is none): scores,
and grades of each case with digests of its row and prompt, without their texts unless --texts. Commit it, and
compare runs with it by its name:
  pytest --evals --evals-baseline main
  pytest-evals compare main latest

The suites of the run take the place of the same suites in the baseline; other suites stay. A run that does not
have every case (interrupted, -k, --evals-limit) is refused.

examples:
  pytest-evals baseline set                       the newest run becomes 'main'
  pytest-evals baseline set run.jsonl --name nightly
  pytest-evals baseline show main
  pytest-evals baseline list
  pytest-evals baseline rm nightly
"""
SET = """\
example:
  pytest-evals baseline set run.jsonl --name nightly
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand, with its own."""
    parser = subcommand(subparsers, "baseline", set_, "keep named baselines that later runs are compared with", DETAILS)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = subcommand(actions, "set", set_, "set a baseline from a run", SET)
    add_run(add)
    add.add_argument("--name", default="main", metavar="NAME", help="name of the baseline (main)")
    add.add_argument("--texts", action="store_true", help="keep rows, prompts and completions in it, too")
    add.add_argument("--allow-partial", action="store_true", help="put in the cases of a run that does not have all")
    add.add_argument("--replace", action="store_true", help="drop the suites that the run does not have")
    for name, action, summary in (
        ("show", show, "print what a baseline holds"),
        ("list", list_, "list baselines"),
        ("rm", remove, "remove a baseline"),
    ):
        each = subcommand(actions, name, action, summary, "")
        if name == "show":
            each.add_argument("name", metavar="NAME", nargs="?", default="main", help="its name (main)")
        if name == "rm":
            each.add_argument("name", metavar="NAME", help="its name")
        else:
            add_json(each)


def set_(arguments: argparse.Namespace) -> int:
    """Set one."""
    from pytest_evals.artifacts.locating import find_baselines
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.baselines.loading import set_baseline
    from pytest_evals.cli.common import find_run
    from pytest_evals.reports.formatting import wrap_text
    from pytest_evals.reuse.command import RunCommand

    path = find_run(arguments.run_name)
    artifact = ArtifactReader(path)
    done = set_baseline(
        arguments.name,
        artifact,
        find_baselines(Path.cwd()),
        texts=arguments.texts,
        allow_partial=arguments.allow_partial,
        replace=arguments.replace,
    )
    say([*_table(done.scores), ""])
    said = [f"baseline {arguments.name} is set from {path}: {pluralize(done.cases, 'case')} in {_shown(done.path)}"]
    errored = f"without a grade to compare with, because of an error: {pluralize(done.errored, 'case')}"
    said += [errored] if done.errored else []
    said += [f"as they were: {', '.join(done.kept)}, which this run does not have"] if done.kept else []
    said += [f"gone from it: {pluralize(done.gone, 'case')}"] if done.gone else []
    say(line for text in said for line in wrap_text(text, width()))
    command = RunCommand.of_run(artifact.run, path)
    # In one piece, to be pasted.
    say([f"commit it, and compare with it: {command.compare_with(arguments.name)}"] if command else [])
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one."""
    from pytest_evals.artifacts.locating import locate
    from pytest_evals.artifacts.sample import to_record
    from pytest_evals.baselines.file import BaselineReader
    from pytest_evals.reports.formatting import run_lines
    from pytest_evals.scores.score import compute_scores

    reader = BaselineReader(Path(locate(arguments.name)))
    scores = compute_scores([to_record(sample) for sample in reader.samples()])
    if arguments.json:
        runs = [masked_run(run) for run in reader.runs]
        say_json({"path": str(reader.path), "runs": runs, "scores": [score.to_row() for score in scores]})
    else:
        say([line for run in reader.runs for line in run_lines(run, width())])
        say(["", *_table(scores), "", f"file: {_shown(reader.path)}"])
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """List them."""
    from pytest_evals.artifacts.locating import baseline_names, baseline_path, find_baselines
    from pytest_evals.baselines.file import BaselineReader
    from pytest_evals.reports.formatting import run_words

    folder = find_baselines(Path.cwd())
    found = {name: BaselineReader(baseline_path(name, folder)).runs for name in baseline_names(folder)}
    if arguments.json:
        say_json([{"name": name, "runs": [masked_run(run) for run in runs]} for name, runs in found.items()])
    else:
        say(f"{name}: {'; '.join(map(run_words, runs))}" for name, runs in found.items())
        say([] if found else [f"no baselines in {_shown(folder)}; 'pytest-evals baseline set' makes one"])
    return 0


def remove(arguments: argparse.Namespace) -> int:
    """Remove one."""
    from pytest_evals.artifacts.locating import baseline_names, baseline_path, find_baselines

    folder = find_baselines(Path.cwd())
    if arguments.name not in baseline_names(folder):
        names = baseline_names(folder)
        known, hint = ", ".join(names) or "none", did_you_mean(arguments.name, names)
        raise ArtifactError(f"there is no baseline {arguments.name!r} in {_shown(folder)} (baselines: {known}){hint}")
    baseline_path(arguments.name, folder).unlink()
    say([f"removed {_shown(baseline_path(arguments.name, folder))}"])
    return 0


def _table(scores: Sequence[Score]) -> list[str]:
    from pytest_evals.reports import formatting
    from pytest_evals.reports.formatting import Column, fitted_table, without_repeats

    several = len({score.model for score in scores}) > 1
    columns = [
        Column("suite", without_repeats([score.suite for score in scores]), heading=True),
        *([Column("model", [score.model for score in scores], heading=True)] if several else []),
        Column("grader", [score.grader for score in scores]),
        Column("n", [f"{score.n}/{score.applicable}" for score in scores], numeric=True),
        Column("mean", [formatting.value(score.mean) for score in scores], numeric=True),
        Column("stderr", [formatting.value(score.stderr) for score in scores], numeric=True, rank=1),
        Column("passed", [formatting.percent(score.pass_rate) for score in scores], numeric=True, rank=1),
    ]
    return fitted_table(columns, width())


def _shown(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
