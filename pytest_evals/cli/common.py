"""What the parsers of subcommands have in common."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import stat
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias, cast

from pytest_evals.errors import ArtifactError
from pytest_evals.sinks import FilteredStream, for_json, for_terminal, log_is_read

if TYPE_CHECKING:
    from pytest_evals.reports.formatting import Line

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - it has no public name
"""What `argparse` gives a command to add its subcommands to."""
RUN = (
    "an artifact, a folder of them (its newest), or 'latest' (the default; 'latest~1' is the one before) in .evals or the folder "
    "that evals_dir names in pytest's configuration; '-' reads the standard input"
)


def subcommand(
    subparsers: Subparsers, name: str, run: Callable[[argparse.Namespace], int], summary: str, details: str
) -> argparse.ArgumentParser:
    """Add a subcommand. ``summary`` is its line in the list; ``details``, with examples, is below its arguments."""
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


# -- What the command prints: text that fits the terminal, JSON, errors in one line.

_CODES = {"bold": 1, "red": 31, "green": 32, "yellow": 33}


def width() -> int:
    """Return the columns that a line may take: those of the terminal (or ``COLUMNS``), else 80."""
    return max(shutil.get_terminal_size().columns, 40)


def coloured() -> bool:
    """Tell whether marks in colour are wanted: on a terminal, and not with ``NO_COLOR`` or ``TERM=dumb``."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(lines: Iterable[str | Line]) -> None:
    """Print lines of text, in colour where they are marked and colours are wanted. They are written as they come: what follows
    may never be wanted.
    """
    for line in lines:
        text, markup = (line, {}) if isinstance(line, str) else (line.text, line.markup)
        codes = ";".join(str(_CODES[name]) for name, on in markup.items() if on)
        safe = for_terminal(text)
        _write(sys.stdout, f"\x1b[{codes}m{safe}\x1b[0m\n" if codes and coloured() else f"{safe}\n")


def say_json(data: Any) -> None:
    """Print ``data`` as JSON."""
    import json

    say_json_lines([json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)])


def say_json_lines(texts: Iterable[str]) -> None:
    """Print JSON that is written already."""
    for text in texts:
        _write(sys.stdout, f"{for_json(text)}\n")


def standard_output() -> TextIO:
    """Return the standard output for what is written piece by piece; what its encoding cannot hold is escaped.

    On a terminal and in a log that a CI system reads, so is what they would take for more than text; a file has all of it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if sys.stdout.isatty() or (log_is_read(os.environ) and not _is_file(sys.stdout)):
        return cast("TextIO", FilteredStream(sys.stdout))
    return sys.stdout


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def complain(message: str, kind: str = "error") -> None:
    """Print an error (or a note), in one line, on the standard error."""
    _write(sys.stderr, f"pytest-evals: {kind}: {' '.join(for_terminal(message).split())}\n")


def _write(stream: TextIO, text: str) -> None:
    """Write what the stream's encoding can hold; the rest as escapes."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def open_closed_streams() -> None:
    """Give a command that was started with its output closed something to write to: only its exit status counts."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it lives as long as the process


def close_quietly() -> None:
    """Nothing can be written to the standard output any more: what is still to be flushed goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())


# -- What pytest's configuration file says to commands, which run without pytest: where artifacts and the cache are.
#
# It is found and read by pytest itself. What is on pytest's command line (``-o evals_dir=...``) is not known here.


def find_run(written: str) -> Path | str:
    """Return the path of the run that ``written`` means; see `locate`."""
    from pytest_evals.artifacts.locating import locate, means_latest

    return locate(written, artifacts=configured_folder("evals_dir") if means_latest(written) else None)


def artifacts_folder() -> Path:
    """Return the folder of artifacts: as configured, else the nearest ``.evals`` here or above."""
    from pytest_evals.artifacts.locating import find_artifacts, shortened

    return shortened(configured_folder("evals_dir") or find_artifacts(Path.cwd()), Path.cwd())


def cache_folder() -> Path:
    """Return the folder of the cache: as configured, else ``cache`` in the folder of artifacts."""
    from pytest_evals.artifacts.locating import shortened

    found = configured_folder("evals_cache_dir")
    return shortened(found, Path.cwd()) if found else artifacts_folder() / "cache"


def configured_folder(option: str) -> Path | None:
    """Return the folder that ``option`` names in the configuration file that pytest would use here, `None` if it does not.

    Raises `ArtifactError` for a file that pytest refuses, and for an option that is not a path.
    """
    import pytest

    try:
        root, options = _read(Path.cwd())
    except (pytest.UsageError, pytest.fail.Exception) as error:
        raise ArtifactError(f"the configuration of pytest cannot be read: {error}") from error
    value = getattr(options.get(option), "value", None)
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise ArtifactError(f"{option} in the configuration of pytest is not a path: {value!r}")
    return root / Path(value)


def _read(here: Path) -> tuple[Path, dict[str, Any]]:
    try:
        from _pytest.config.findpaths import (
            locate_config,
        )  # the only way that pytest has: making a whole Config runs code

        root, _, options, *_ = locate_config(here, [here])
    except (ImportError, TypeError, ValueError):
        # It is not public, so another pytest may have it otherwise: then it is as if nothing were configured.
        return here, {}
    return root or here, options
