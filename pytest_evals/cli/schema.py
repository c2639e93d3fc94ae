"""``pytest-evals schema``: the JSON Schema of an artifact's lines."""

from __future__ import annotations

import argparse

from pytest_evals.cli.common import Subparsers, say_json, subcommand

DETAILS = """\
The schema (2020-12) describes one line of an artifact.

example:
  pytest-evals schema > artifact.schema.json
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    subcommand(subparsers, "schema", run, "print the JSON Schema of an artifact's lines", DETAILS)


def run(_arguments: argparse.Namespace) -> int:
    """Print it."""
    from pytest_evals.artifacts.schema import json_schema

    say_json(json_schema())
    return 0
