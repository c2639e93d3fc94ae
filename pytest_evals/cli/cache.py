"""``pytest-evals cache``: the answers that ``--evals-cache=write`` keeps."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_evals.cli.common import Subparsers, add_json, say, say_json, subcommand
from pytest_evals.text import pluralize

DETAILS = """\
examples:
  pytest-evals cache info
  pytest-evals cache clear --dir /var/tmp/answers
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "cache", run, "look at the cache of answers, or remove it", DETAILS)
    parser.add_argument("action", choices=("info", "clear"), help="info: how much is in it; clear: remove it")
    parser.add_argument(
        "--dir", type=Path, help="its folder (default: as the configuration file says, else .evals/cache)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print or remove it."""
    import sqlite3

    from pytest_evals.cli.common import cache_folder
    from pytest_evals.errors import EvalsError
    from pytest_evals.reuse.cache import FILE, clear, measure

    folder: Path = cache_folder() if arguments.dir is None else arguments.dir
    try:
        if arguments.action == "clear":
            done = clear(folder)
            _report({"dir": str(folder), "cleared": done}, f"{folder}: {'cleared' if done else 'no cache'}", arguments)
            return 0
        found = (folder / FILE).is_file()
        count, size = measure(folder / FILE) if found else (0, 0)
    except (OSError, sqlite3.Error) as error:
        raise EvalsError(
            f"the cache in {folder} cannot be used: {error}; 'pytest-evals cache clear' removes it"
        ) from error
    text = f"{folder}: {pluralize(count, 'answer')}, {size / 1e6:,.1f} MB" if found else f"{folder}: no cache"
    _report({"dir": str(folder), "answers": count, "bytes": size}, text, arguments)
    return 0


def _report(data: dict[str, object], text: str, arguments: argparse.Namespace) -> None:
    if arguments.json:
        say_json(data)
    else:
        say([text])
