"""What the parsers of subcommands have in common."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from typing import TypeAlias

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""What `argparse` gives a command to add its subcommands to."""


RUN = (
    "an artifact, a folder of them (its newest), or 'latest' (the default; 'latest~1' is the one before) in .evals or the folder "
    "that evals_dir names in pytest's configuration; '-' reads the standard input"
)


def subcommand(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str
) -> argparse.ArgumentParser:
    """Add a subcommand. ``summary`` is its line in the list; ``details``, with examples, stands below its arguments."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=textwrap.dedent(details),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return what reads an argument that is a whole number, of at least ``least`` and at most ``most``."""
    described = f"a whole number of at least {least}" if most is None else f"a whole number from {least} to {most}"

    def read(written: str) -> int:
        try:
            number = int(written)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"must be {described}, not {written!r}")
        return number

    return read


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``: the same for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add ``RUN``, which by default is the newest."""
    parser.add_argument("run_name", metavar="RUN", nargs="?", default="latest", help=RUN)
