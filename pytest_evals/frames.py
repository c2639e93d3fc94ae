"""What of a traceback a user of the plugin gets to see."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from pytest_evals.errors import EvalsError

_HERE = str(Path(__file__).parent)


def to_the_point(error: BaseException) -> BaseException:
    """Drop the frames of this package behind the last one that is not its own: an `EvalsError` says in words what was wrong."""
    if isinstance(error, EvalsError):
        last: TracebackType | None = None
        frame = error.__traceback__
        while frame is not None:
            last = frame if not frame.tb_frame.f_code.co_filename.startswith(_HERE) else last
            frame = frame.tb_next
        if last is None:
            return error.with_traceback(None)
        last.tb_next = None
    return error
