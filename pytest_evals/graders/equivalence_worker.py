"""Runs in a process of its own: reads expressions with math-verify, and tells whether two are equal. Started as a script.

It speaks lines of JSON over its standard input and output. A question is ``{"gold": LATEX, "answers": [LATEX, ...], "seconds": LIMIT}``; the answer
says which expressions were readable, and whether the first readable answer is equal to the gold one. Both come from data, so
this process can be ended at any moment, and has a limit of memory where the system knows one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from typing import Any

from pytest_evals.processes import end_with_parent

MEMORY = 4 * 2**30
_GRACE = 5.0
_SMALL = 1e-2
_AGREEMENT = 1e-4


def limit_memory() -> None:
    """An expression may be small and its value larger than any memory."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))


def limit_time(seconds: float) -> None:
    """End this process by itself some time after the other side should have done so: that may be gone. 0 means no limit."""
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds and seconds + _GRACE)


def read(latex: str) -> list[Any]:
    """Return what math-verify makes of an expression in LaTeX, an empty list where it is none. Its reader of plain text is
    left out: it evaluates what it reads with Python.
    """
    from math_verify import parse
    from math_verify.parser import LatexExtractionConfig

    return list(parse(f"${latex}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None))


def are_equal(gold: list[Any], answer: list[Any]) -> bool:
    """Tell whether two expressions are equal as math-verify compares them; decimals below 0.01 also in their first digits, which
    it rounds away.
    """
    from math_verify import verify

    return bool(verify(gold, answer, timeout_seconds=None)) and _agree(gold[0], answer[0])


def _agree(gold: Any, answer: Any) -> bool:
    if not (getattr(gold, "is_number", False) and getattr(answer, "is_number", False)):
        return True
    try:
        first, second = complex(gold), complex(answer)
    except (TypeError, ValueError, OverflowError):
        return True
    largest = max(abs(first), abs(second))
    return largest >= _SMALL or abs(first - second) <= _AGREEMENT * largest


def answered(question: dict[str, Any]) -> dict[str, Any]:
    """Answer one question."""
    gold = read(question["gold"])
    found = next((each for each in map(read, question["answers"]) if each), [])
    equal = bool(gold) and bool(found) and are_equal(gold, found)
    return {"gold": bool(gold), "found": bool(found), "equal": equal}


def main() -> None:
    """Load the library, say so, and answer until the other side is gone."""
    end_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        out.write(f"{json.dumps(message)}\n")
        out.flush()

    try:
        import math_verify  # noqa: F401 - loaded before the first question, whose time is limited
    except Exception as error:  # noqa: BLE001 - whatever a library raises is told to the user
        say(error=f"{type(error).__name__}: {error}")
        return
    logging.disable()
    limit_memory()
    say(ready=True)
    for line in sys.stdin:
        question = json.loads(line)
        limit_time(question["seconds"])
        try:
            found = answered(question)
        except (Exception, RecursionError, MemoryError) as error:  # noqa: BLE001 - the same
            say(failed=f"math-verify raised {type(error).__name__}")
        else:
            say(**found)
        limit_time(0)


if __name__ == "__main__":
    main()
