"""``pytest-evals import``: configurations of other tools become suites."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pytest_evals.cli.common import Subparsers, complain, say, subcommand
from pytest_evals.errors import EvalsError

TOOLS = ("openai", "promptfoo", "lm-eval")
DETAILS = """\
FILE is
  openai     a file of OpenAI Evals' registry (YAML), or an eval of the Evals API (JSON)
  promptfoo  promptfooconfig.yaml
  lm-eval    the YAML of a task of lm-evaluation-harness

What is written are test_NAME.py and its rows, NAME.jsonl. What cannot be carried over is listed, here and at the top of
test_NAME.py. Nothing is run, and nothing is fetched.

examples:
  pytest-evals import promptfoo promptfooconfig.yaml --output evals
  pytest-evals import openai registry/evals/test-basic.yaml
  pytest-evals import openai eval.json --rows rows.jsonl
  pytest-evals import lm-eval gsm8k.yaml
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "import", run, "write a suite from a configuration of another tool", DETAILS)
    parser.add_argument("tool", metavar="TOOL", choices=TOOLS, help=f"one of {', '.join(TOOLS)}")
    parser.add_argument("file", metavar="FILE", type=Path, help="its configuration")
    parser.add_argument(
        "--output", "-o", metavar="FOLDER", type=Path, default=Path(), help="where to write (default: here)"
    )
    parser.add_argument(
        "--rows", metavar="FILE", type=Path, help="rows of an eval of the Evals API, where it holds none"
    )
    parser.add_argument("--force", action="store_true", help="overwrite files that exist")


def run(arguments: argparse.Namespace) -> int:
    """Read, write, and say what was written and what was not."""
    from pytest_evals.importing import evals_api, lm_eval, promptfoo, registry
    from pytest_evals.importing.suite import ImportFileError
    from pytest_evals.importing.writing import write

    path: Path = arguments.file
    is_api = arguments.tool == "openai" and path.suffix == ".json"
    if arguments.rows is not None and not is_api:
        raise ImportFileError("--rows is for an eval of OpenAI's Evals API (a .json file) alone")
    try:
        if is_api:
            suite = evals_api.read(path, arguments.rows)
        else:
            suite = {"openai": registry, "promptfoo": promptfoo, "lm-eval": lm_eval}[arguments.tool].read(path)
        written = write(suite, arguments.output, force=arguments.force)
    except (EvalsError, OSError):
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ImportFileError(
            f"{path} is not as {arguments.tool} writes it: {type(error).__name__}: {error}"
        ) from error
    for file in written:
        complain(f"wrote {file}", "note")
    if suite.notes:
        say(
            [
                "not carried over, or not quite the same (also at the top of the suite):",
                *(f"- {note}" for note in suite.notes),
            ]
        )
    say([*suite.hints, f"look at it: pytest --evals --evals-plan {shlex.quote(str(written[0]))}"])
    return 0
