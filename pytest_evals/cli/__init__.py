"""The command ``pytest-evals``: looks at runs that were recorded, and runs nothing itself.

Each subcommand is a module of this package with ``add_parser(subparsers)``, which calls `common.subcommand`, and ``run(arguments) -> int``,
which returns the exit status. A new one needs its name in `COMMANDS`.

Exit status: 0 done, 1 a finding where the subcommand's help says so, 2 a usage error or a file that cannot be used, 130
Ctrl-C, 141 the reader of a pipe went away. Modules of subcommands import what takes time inside ``run``: help must be
quick.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import keyword
import sys
from collections.abc import Iterator, Sequence

from pytest_evals.cli.common import close_quietly, complain, open_closed_streams
from pytest_evals.errors import EvalsError

COMMANDS = (
    "show",
    "compare",
    "cases",
    "history",
    "merge",
    "report",
    "annotate",
    "export",
    "import",
    "baseline",
    "cache",
    "engines",
    "doctor",
    "schema",
)
"""In the order of the help."""
EXAMPLES = """\
examples:
  pytest-evals show
  pytest-evals compare latest~1 latest
  pytest-evals cases --where "outcome == 'failed'" --sort tokens
  pytest-evals export --to csv -o cases.csv
  pytest-evals baseline set latest --name main
  pytest-evals schema > artifact.schema.json
  pytest-evals doctor

exit status:
  0 done
  1 a finding: show --check, compare --check, cases that chose none, merge, and doctor
  2 wrong usage, or something that cannot be read or written

'pytest-evals COMMAND --help' says more.
"""
USAGE_ERROR = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (default: that of the process) and return its exit status."""
    open_closed_streams()
    try:
        arguments = make_parser().parse_args(argv)
        with _no_collecting():
            status: int = arguments.run(arguments)
        sys.stdout.flush()
    except SystemExit as end:  # argparse, after help, version or a usage error
        return end.code if isinstance(end.code, int) else USAGE_ERROR
    except EvalsError as error:
        complain(str(error))
        return USAGE_ERROR
    except BrokenPipeError:
        close_quietly()
        return PIPE_CLOSED
    except OSError as error:
        # Files that a command reads or writes itself are named in errors of its own.
        close_quietly()
        complain(f"{error.filename or 'the standard output'} cannot be used: {error.strerror or error}")
        return USAGE_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Keep the garbage collector from going through a million records again and again: they are plain data, and freeing
    them is not its work.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with all subcommands."""
    from pytest_evals.artifacts.provenance import version

    parser = argparse.ArgumentParser(
        prog="pytest-evals",
        description="Look at what 'pytest --evals' recorded.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"pytest-evals {version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = f"{name}_" if keyword.iskeyword(name) else name
        importlib.import_module(f"pytest_evals.cli.{module}").add_parser(subparsers)
    return parser
