"""``pytest-evals export``: the cases of a run in the format of another program."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pytest_evals.cli.common import Subparsers, add_run, complain, standard_output, subcommand
from pytest_evals.errors import EvalsError
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.artifacts.validation import ParsedLine
    from pytest_evals.scores.score import Score

DETAILS = """\
csv, jsonl and parquet have a row for each case: what it is, its prompt and completion, item.FIELD, and for each
grader GRADER (its value), GRADER.passed, GRADER.status and GRADER.reasoning. In csv, a text that a spreadsheet
would run as a formula gets an apostrophe before it; jsonl and parquet keep texts as they are, except for halves
of surrogate pairs, which become escapes. parquet needs the extra 'parquet'. inspect writes logs that 'inspect view'
opens, one for each suite and model, into a folder.

exit status:
  0; 1 if --where chose no case, and then nothing is written

examples:
  pytest-evals export run.jsonl --to csv -o cases.csv
  pytest-evals export --where "outcome == 'missed' and item.level == 'hard'" --to csv -o missed.csv
  pytest-evals export --to jsonl | head -3
  pytest-evals export run.jsonl --to parquet -o cases.parquet
  pytest-evals export run.jsonl --to inspect -o logs
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(subparsers, "export", run, "write the cases of a run in another format", DETAILS)
    add_run(parser)
    parser.add_argument("--to", required=True, choices=tuple(FORMATS), help="the format")
    parser.add_argument("--where", metavar="EXPR", help="only cases for which this is true, as in 'pytest-evals cases'")
    parser.add_argument("-o", "--output", metavar="PATH", default="-", help="where to (the standard output)")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    from pytest_evals.artifacts.reader import ArtifactReader
    from pytest_evals.cli.common import find_run

    artifact = ArtifactReader(find_run(arguments.run_name))
    target = None if arguments.output == "-" else Path(arguments.output)
    if target is not None and isinstance(artifact.path, Path) and target.exists() and target.samefile(artifact.path):
        raise EvalsError(f"--output: {target} is the artifact that is read; choose another path")
    chosen: Cases = artifact
    if arguments.where is not None:
        if arguments.to == "inspect":
            raise EvalsError("--where cannot be combined with --to inspect, whose logs have the scores of whole suites")
        chosen = ChosenCases(artifact, arguments.where)
        if not len(chosen):
            complain("no case was chosen, and nothing is written", "note")
            return 1
    said = FORMATS[arguments.to](chosen, target)
    if target is not None:
        complain(said, "note")
    return 0


class Cases(Protocol):
    """What a table is made of: an artifact, or some of its cases."""

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the cases."""
        ...

    def __len__(self) -> int: ...


class ChosenCases:
    """The cases of an artifact for which the expression ``where`` is true. Raises `EvalsError` for one that is wrong."""

    def __init__(self, artifact: ArtifactReader, where: str) -> None:
        from pytest_evals.artifacts.query import Expression, Names
        from pytest_evals.cli.cases import Query, Selection

        names = Names.of(artifact.samples())
        selection = Selection(artifact, Query(names, Expression(where, names, "--where"), None, ()))
        self._artifact = artifact
        self._chosen = {sample["nodeid"] for sample in selection.ordered(None, reverse=False)}
        selection.complain()

    def __len__(self) -> int:
        return len(self._chosen)

    def samples(self) -> Iterator[ParsedLine]:
        """Yield the cases that were chosen."""
        return (sample for sample in self._artifact.samples() if sample["nodeid"] in self._chosen)


def _text_file(target: Path | None) -> AbstractContextManager[TextIO]:
    from pytest_evals.artifacts.writer import replacing

    return nullcontext(standard_output()) if target is None else replacing(target)


def _csv(artifact: Cases, target: Path | None) -> str:
    from pytest_evals.artifacts.table import columns_of, flat_row
    from pytest_evals.export.csv import write_csv

    columns = columns_of(artifact.samples())
    with _text_file(target) as file:
        write_csv(file, columns, map(flat_row, artifact.samples()))
    return f"{pluralize(len(artifact), 'case')} in {target}"


def _jsonl(artifact: Cases, target: Path | None) -> str:
    from pytest_evals.artifacts.table import flat_row
    from pytest_evals.export.csv import write_jsonl

    with _text_file(target) as file:
        write_jsonl(file, map(flat_row, artifact.samples()))
    return f"{pluralize(len(artifact), 'case')} in {target}"


def _parquet(artifact: Cases, target: Path | None) -> str:
    from pytest_evals.artifacts.table import columns_of, flat_row
    from pytest_evals.artifacts.writer import replacing_path
    from pytest_evals.export.parquet import column_types, write_parquet

    if target is None:
        raise EvalsError("--to parquet needs a file: -o cases.parquet")
    types = column_types(map(flat_row, artifact.samples()))
    ordered = {name: types[name] for name in columns_of(artifact.samples())}
    with replacing_path(target) as part:
        write_parquet(part, ordered, map(flat_row, artifact.samples()))
    return f"{pluralize(len(artifact), 'case')} in {target}"


def _inspect(artifact: ArtifactReader, target: Path | None) -> str:
    from pytest_evals.artifacts.writer import replacing
    from pytest_evals.export.inspect import file_name, write_log
    from pytest_evals.reports.recorded import card_of_artifact

    if target is None or target.is_file():
        raise EvalsError("--to inspect needs a folder, for a log of each suite and model: -o logs")
    card = card_of_artifact(artifact)
    groups: dict[tuple[str, str], list[Score]] = {}
    for score in card.scores:
        groups.setdefault((score.suite, score.model), []).append(score)
    for (suite, model), scores in groups.items():
        path = target / file_name(artifact.run, suite, model)
        total = sum((record.suite, record.model) == (suite, model) for record in card.records)
        with replacing(path) as file:
            write_log(file, artifact.run, artifact.summary, scores, _of(artifact, suite, model), total)
    return f"{len(groups)} logs in {target}"


def _of(artifact: ArtifactReader, suite: str, model: str) -> Iterator[ParsedLine]:
    for sample in artifact.samples():
        if (sample["suite"], sample["interaction"]["source"] or "") == (suite, model):
            yield sample


FORMATS: dict[str, Callable[[Any, Path | None], str]] = {
    "csv": _csv,
    "jsonl": _jsonl,
    "parquet": _parquet,
    "inspect": _inspect,
}
