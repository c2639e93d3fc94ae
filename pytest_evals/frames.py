"""What of a traceback a user of the plugin gets to see."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from pytest_evals.errors import EvalsError

_HERE = str(Path(__file__).parent)


def place_of(error: BaseException) -> str:
    """Return file and line of the last frame that is not this package's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


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
