"""Errors that a user of the plugin reads.

Each message says what was wrong, where (file, line, option), and what to do next. The plugin turns them into pytest's
own kinds: a usage error at start-up, a collection error for a suite, an error of one case during the run.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType


class EvalsError(Exception):
    """Base of every error that this package raises on purpose."""


class DatasetError(EvalsError):
    """A dataset cannot be read, or one of its rows is not usable."""


class TemplateError(EvalsError):
    """A template or locator names something that the case does not have, or is not well formed."""


class SuiteError(EvalsError):
    """A suite's declaration (the arguments of ``cases``) does not make sense."""


class GateError(EvalsError):
    """A gate expression is not well formed, or names a grader that the suite does not have."""


class ModelError(EvalsError):
    """A model specification is wrong, or the model cannot be used."""


class UnsupportedError(ModelError):
    """The engine cannot do what a request asks for. ``parameter`` is the generation parameter that no request of this engine can have."""

    def __init__(self, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class ModelCallError(EvalsError):
    """A call of a model by a test, task or grader has no answer.

    ``kind`` is ``model`` (this request was refused or failed), ``engine`` (the engine failed) or ``unsupported`` (the engine cannot do what the
    call asks for). ``parameter`` is the one that no call of this model can have, if known.
    """

    def __init__(self, message: str, kind: str = "model", parameter: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.parameter = parameter


class ArtifactError(EvalsError):
    """An artifact cannot be written or read."""


class StepError(EvalsError):
    """A task or grader builds on something that failed."""


class GradeError(EvalsError):
    """The grade has no value, because its grader failed or returned something that cannot be a grade."""


class NotApplicable(EvalsError):  # noqa: N818 - it is a status of the case, not an error
    """The grade has no value, because its grader does not apply to the case."""


class AwaitsAnswer(NotApplicable):
    """The grade has no value yet, because people have not answered."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    import difflib  # errors are imported in every run, and this is rarely needed

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


# -- What of a traceback a user of the plugin gets to see.

_HERE = str(Path(__file__).parent)


def place_of(error: BaseException) -> str:
    """Return file and line of the last frame that is not this package's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_HERE)]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def trim_traceback(error: BaseException) -> BaseException:
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
