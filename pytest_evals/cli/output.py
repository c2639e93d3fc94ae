"""What the command prints: text that fits the terminal, JSON, errors in one line."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from pytest_evals.plain import plain

_CODES = {"bold": 1, "red": 31, "green": 32, "yellow": 33}


def width() -> int:
    """Return the columns that a line may take: those of the terminal (or ``COLUMNS``), else 80."""
    return max(shutil.get_terminal_size().columns, 40)


def coloured() -> bool:
    """Tell whether marks in colour are wanted: on a terminal, and not with ``NO_COLOR`` or ``TERM=dumb``."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def say(lines: Iterable[str]) -> None:
    """Print lines of text. They are written as they come: what follows may never be wanted."""
    for line in lines:
        _write(sys.stdout, f"{line}\n")


def marked(text: str, **markup: bool) -> str:
    """Return ``text`` in colour, where colours are wanted. ``markup`` is pytest's: ``red=True``."""
    codes = ";".join(str(_CODES[name]) for name, on in markup.items() if on)
    return f"\x1b[{codes}m{text}\x1b[0m" if codes and coloured() else text


def say_json(data: Any) -> None:
    """Print ``data`` as JSON."""
    import json

    _write(sys.stdout, f"{json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)}\n")


def standard_output() -> TextIO:
    """Return the standard output for what is written piece by piece; what its encoding cannot hold is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def complain(message: str, kind: str = "error") -> None:
    """Print an error (or a note), in one line, on the standard error."""
    _write(sys.stderr, f"pytest-evals: {kind}: {' '.join(plain(message).split())}\n")


def _write(stream: TextIO, text: str) -> None:
    """Write what the stream's encoding can hold; the rest as escapes."""
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))


def open_closed_streams() -> None:
    """Give a command something to write to that was started with its output closed: nobody reads it, its status counts."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - it lives as long as the process


def close_quietly() -> None:
    """Nothing can be written to the standard output any more: what is still to be flushed goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
