"""``pytest-evals report``: the page of a recorded run."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_evals.cli.common import Subparsers, add_run, say, subcommand

DETAILS = """\
The page is one file with everything in it: no network, no server. Open it in a browser, attach it to a CI job, send it.

examples:
  pytest-evals report                    the newest run in .evals
  pytest-evals report new.jsonl --baseline old.jsonl -o report.html
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "report", run, "write the report of a run as a page", DETAILS)
    add_run(parser)
    parser.add_argument(
        "-o", "--output", metavar="PATH", type=Path, help="where the page goes (default: RUN, as .html)"
    )
    parser.add_argument("--baseline", metavar="RUN", help="an earlier run, to show what changed since")


def run(arguments: argparse.Namespace) -> int:
    """Write it, and say where."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.baselines.loading import load_baseline
    from pytest_evals.cli.common import find_run
    from pytest_evals.errors import ArtifactError
    from pytest_evals.reports.html.report import report_page, write_text

    artifact = ArtifactReader(find_run(arguments.run_name))
    baseline = load_baseline(find_run(arguments.baseline)) if arguments.baseline else None
    path: Path = arguments.output or page_path(artifact.path)
    if path.exists() and any(
        path.samefile(run) for run in (artifact.path, baseline and baseline.path) if isinstance(run, Path)
    ):
        raise ArtifactError(f"the page would replace the run {path}; choose another place with -o")
    write_text(path, report_page(artifact, baseline, path), owner_only=True)
    say([f"report: {path}"])
    return 0


def page_path(artifact: Path | str) -> Path:
    """Return where the page of an artifact goes: beside it, or here for one from the standard input."""
    if isinstance(artifact, str):
        return Path("report.html")
    return artifact.with_name(f"{artifact.name.removesuffix('.gz').removesuffix('.jsonl')}.html")
