"""``pytest-evals cases``: the cases of a run, chosen and sorted by an expression."""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.cli.common import (
    Subparsers,
    add_json,
    add_run,
    complain,
    say,
    say_json_lines,
    standard_output,
    subcommand,
    whole,
    width,
)
from pytest_evals.errors import EvalsError
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.artifacts.query import Expression, Names
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.artifacts.validation import ParsedLine

SHOWN = 50
"""Cases that are listed unless ``--limit`` says otherwise."""
DETAILS = """\
Expressions are those of templates (Jinja, sandboxed). A case has
  item.FIELD                   the fields of its row
  GRADER.value .passed .status .reasoning       its grades; grades.GRADER where the name is taken
  suite case_id model repeat outcome error error_kind prompt text finish_reason
  reasoning reasoning_tokens tool_calls tokens prompt_tokens latency cluster nodeid tasks.NAME timing.NAME label.GRADER
A case that lacks what others have has none there, and a comparison with none leaves it out.

exit status:
  0; 1 if no case was chosen

examples:
  pytest-evals cases --where "exact.value < 1 and item.level == 'hard'" --sort tokens
  pytest-evals cases run.jsonl --where "outcome == 'errored'" --fields case_id,error
  pytest-evals cases --where "'sorry' in text|lower" -v
  pytest-evals cases --where "outcome == 'missed'" --csv > missed.csv
  pytest --evals $(pytest-evals cases --where "outcome == 'failed'" --nodeids)
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "cases", run, "list the cases of a run", DETAILS)
    add_run(parser)
    parser.add_argument("--where", metavar="EXPR", help="only cases for which this is true")
    parser.add_argument("--sort", metavar="EXPR", help="smallest first, cases without it last")
    parser.add_argument("--reverse", action="store_true", help="sort largest first")
    parser.add_argument("--fields", metavar="EXPR,EXPR", help="what to show of each case")
    parser.add_argument(
        "--limit", type=whole(0), metavar="N", help=f"cases to list ({SHOWN}, with --json and --csv all; 0 is all)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show each case with its texts and reasons")
    parser.add_argument(
        "--csv", action="store_true", help="print CSV for a spreadsheet: question, answer, grades, reasons"
    )
    parser.add_argument("--nodeids", action="store_true", help="print pytest's names of the cases, and nothing else")
    add_json(parser)


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for, checked."""

    names: Names
    where: Expression | None
    sort: Expression | None
    fields: tuple[Expression, ...]


def run(arguments: argparse.Namespace) -> int:
    """List them."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.cli.common import find_run

    other = next((name for name in ("json", "nodeids", "verbose") if getattr(arguments, name)), None)
    if arguments.csv and other:
        raise EvalsError(f"--csv cannot be combined with --{other}")
    artifact = ArtifactReader(find_run(arguments.run_name))
    query = _query(artifact, arguments)
    everything = arguments.json or arguments.nodeids or arguments.csv
    limit = (None if everything else SHOWN) if arguments.limit is None else arguments.limit or None
    selection = Selection(artifact, query)
    _print(artifact, selection.ordered(limit, reverse=arguments.reverse), query, arguments)
    selection.finish()
    if not everything:
        shown = "first is" if limit == 1 else f"first {limit} are"
        more = f"; the {shown} shown, --limit 0 shows all" if limit and selection.found > limit else ""
        say([f"{selection.found:,} of {pluralize(selection.seen, 'case')}{more}"])
    selection.complain()
    return 0 if selection.found else 1


def _seen_from_here(nodeid: str) -> str:
    """Return pytest's name of a test as it is written in this folder, which may be below the one that names begin at."""
    path, colons, rest = nodeid.partition("::")
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / path).is_file()), here)
    return f"{os.path.relpath(root / path, here)}{colons}{rest}"


def _query(artifact: ArtifactReader, arguments: argparse.Namespace) -> Query:
    from pytest_evals.artifacts.query import Expression, Names

    written = (arguments.where, arguments.sort, arguments.fields)
    table = not (arguments.json or arguments.csv or arguments.nodeids or arguments.verbose)
    names = Names.of(artifact.samples()) if table or any(written) else Names()
    where, sort = (
        None if text is None else Expression(text, names, option)
        for text, option in ((arguments.where, "--where"), (arguments.sort, "--sort"))
    )
    fields = [text.strip() for text in (arguments.fields or "").split(",") if text.strip()]
    if not fields and table:
        fields = _default_fields(artifact, names)
    return Query(names, where, sort, tuple(Expression(text, names, "--fields", shown=True) for text in fields))


def _default_fields(artifact: ArtifactReader, names: Names) -> list[str]:
    """Return what a table shows: what tells cases apart, grades, and the text."""
    several = [
        name
        for name, count in (("suite", len(artifact.run["suites"])), ("model", len(artifact.run["models"])))
        if count > 1
    ]
    grades = [f"grades.{key}.value" for key in names.graders if all(part.isidentifier() for part in key.split("."))]
    return ["outcome", *several, "case_id", *grades, "text"]


class Selection:
    """The cases that were asked for, found while they are read. ``incomparable`` counts those that could not be told."""

    def __init__(self, artifact: ArtifactReader, query: Query) -> None:
        self._artifact = artifact
        self._query = query
        self._stream = self._choose(artifact.samples())
        self.found = 0
        self.seen = 0
        self.incomparable = 0
        self.reason = ""

    def _choose(self, samples: Iterable[ParsedLine]) -> Iterator[ParsedLine]:
        where = self._query.where
        for sample in samples:
            self.seen += 1
            try:
                chosen = where is None or where.value(sample)
            except TypeError as error:
                self.incomparable, self.reason = self.incomparable + 1, str(error)
                continue
            if chosen:
                self.found += 1
                yield sample
        if self.seen and self.incomparable == self.seen and where is not None:
            raise EvalsError(
                f"--where {where.text!r} cannot be told for any case: {'; '.join([self.reason, *self.puzzles()])}"
            )

    def complain(self) -> None:
        """Say which cases could not be told, and what may be wrong with an expression by which no case was chosen."""
        if self.incomparable:
            left = pluralize(self.incomparable, "case")
            complain(f"{left} {'was' if self.incomparable == 1 else 'were'} left out: {self.reason}", "note")
        for puzzle in self.puzzles():
            complain(puzzle, "note")

    def puzzles(self) -> list[str]:
        """Say what may be wrong with an expression by which no case was chosen."""
        where = self._query.where
        if where is None or self.found:
            return []
        from pytest_evals.artifacts.query import why_none

        return why_none(where.text, self._artifact.samples(), self._query.names)

    def ordered(self, limit: int | None, *, reverse: bool) -> Iterable[ParsedLine]:
        """Return the first ``limit`` cases in the order asked for."""
        from pytest_evals.artifacts.query import order

        sort = self._query.sort
        if sort is None:
            return itertools.islice(self._stream, limit)

        def rank(sample: ParsedLine) -> tuple[Any, ...]:
            value = sort.value_or_none(sample)
            return (value is not None, order(value)) if reverse else order(value)

        if limit is None:
            return sorted(self._stream, key=rank, reverse=reverse)
        return (heapq.nlargest if reverse else heapq.nsmallest)(limit, self._stream, key=rank)

    def finish(self) -> None:
        """Count what was not listed."""
        for _ in self._stream:
            pass


def _print(artifact: ArtifactReader, chosen: Iterable[ParsedLine], query: Query, arguments: argparse.Namespace) -> None:
    from pytest_evals.artifacts.sample import dump
    from pytest_evals.artifacts.table import columns_of, flat_row

    if arguments.csv:
        from pytest_evals.export.csv import write_csv

        columns = [each.text for each in query.fields] or columns_of(artifact.samples())
        rows = ({each.text: each.value_or_none(case) for each in query.fields} or flat_row(case) for case in chosen)
        write_csv(standard_output(), columns, rows)
    elif arguments.json:
        say_json_lines(
            dump({each.text: each.value_or_none(case) for each in query.fields} or flat_row(case)) for case in chosen
        )
    elif arguments.nodeids:
        say(_seen_from_here(case["nodeid"]) for case in chosen)
    elif arguments.verbose:
        from pytest_evals.reports.cases import case_lines

        say(line for case in chosen for line in [*case_lines(case, width()), ""])
    else:
        from pytest_evals.reports.cases import cases_table

        cells = [[each.value_or_none(case) for each in query.fields] for case in chosen]
        say(cases_table([each.text for each in query.fields], cells, width()) if cells else [])
