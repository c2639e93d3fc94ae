"""The process in which a check runs that may never end: ``python -m pytest_evals.graders.timed_checks_worker``.

It speaks lines of JSON over its standard input and output. A question names a function of this package and its arguments; the answer
has its value, or what it raised.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from typing import Any

from pytest_evals.processes import end_with_parent

_LOADED_FIRST = ("pytest_evals.graders", "jsonschema", "referencing")


def answered(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question."""
    function = getattr(importlib.import_module(question["module"]), question["function"])
    try:
        return {"value": function(*question["given"], **question["named"])}
    except Exception as error:  # noqa: BLE001 - it is raised again where it was asked for
        return {"raised": type(error).__name__, "message": str(error)}


def main() -> None:
    """Answer until the other side is gone."""
    end_with_parent()
    # Ctrl-C goes to all; the process that owns this one decides when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders = json.loads(sys.stdin.readline())
    sys.path[:0] = [entry for entry in orders["path"] if entry not in sys.path]
    # What they import is none of the time of the first check.
    for module in _LOADED_FIRST:
        importlib.import_module(module)
    out.write("{}\n")
    out.flush()
    for line in sys.stdin:
        out.write(f"{json.dumps(answered(json.loads(line)))}\n")
        out.flush()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
