"""Errors that a user of the plugin reads.

Each message says what was wrong, where (file, line, option), and what to do next. The plugin turns them into pytest's
own kinds: a usage error at start-up, a collection error for a suite, an error of one case during the run.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """The engine cannot do what a request asks for; without that wish it can answer."""


class ModelCallError(EvalsError):
    """A call of the model that a test, task or grader made has no answer. ``kind``: ``model`` (it refused or failed on this
    request), ``engine`` (the engine failed) or ``unsupported`` (the engine cannot do what the call asks for).
    """

    def __init__(self, message: str, kind: str = "model") -> None:
        super().__init__(message)
        self.kind = kind


class ArtifactError(EvalsError):
    """An artifact cannot be written or read."""


class StepError(EvalsError):
    """A task or grader builds on something that failed."""


class GradeError(EvalsError):
    """The value of a grade was asked for, and the grader had failed."""


class NotApplicable(EvalsError):  # noqa: N818 - it is a status of the case, not an error
    """The value of a grade was asked for, and the grader does not apply to this case."""


class AwaitsAnswer(NotApplicable):
    """The value of a grade was asked for, and the people who give it have yet to answer."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
