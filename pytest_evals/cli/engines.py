"""``pytest-evals engines``: the models that ``--evals-warm`` keeps loaded."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from pytest_evals.cli.common import Subparsers, add_json, say, say_json, subcommand

if TYPE_CHECKING:
    from pytest_evals.engines.warm_registry import WarmEntry

DETAILS = """\
examples:
  pytest-evals engines
  pytest-evals engines --stop
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the subcommand."""
    parser = subcommand(
        subparsers, "engines", run, "list the models that --evals-warm keeps loaded, or end them", DETAILS
    )
    parser.add_argument("--stop", action="store_true", help="end all of them, also those that a run uses")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print or end them."""
    from pytest_evals.engines.warm_process import stop
    from pytest_evals.engines.warm_registry import entries

    if arguments.stop:
        ended = [entry for entry in entries() if stop(entry)]
        if arguments.json:
            say_json({"ended": [{"model": entry.model, "pid": entry.pid} for entry in ended]})
        else:
            say([f"ended {entry.model} (pid {entry.pid})" for entry in ended] or ["no model is kept loaded"])
        return 0
    found = [data for entry in entries() if (data := _state(entry)) is not None]
    if arguments.json:
        say_json({"engines": found})
    else:
        say([_line(data) for data in found] or ["no model is kept loaded"])
    return 0


def _state(entry: WarmEntry) -> dict[str, Any] | None:
    """Return what is known of an engine, `None` where it is gone."""
    import psutil

    from pytest_evals.engines.warm_process import ask, is_alive

    if not is_alive(entry.pid):
        ask(entry)
        return None
    said = ask(entry)
    try:
        memory = psutil.Process(entry.pid).memory_info().rss
    except psutil.Error:
        memory = None
    return {
        "model": entry.model,
        "pid": entry.pid,
        "age": round(time.time() - entry.started, 1),
        "memory": memory,
        "answers": said is not None,
        "runs": said and said["runs"],
        "idle": said and said["idle"],
        "left": said and said["left"],
    }


def _line(data: dict[str, Any]) -> str:
    memory = "" if data["memory"] is None else f", {data['memory'] / 1e6:,.0f} MB"
    if not data["answers"]:
        state = "does not answer"
    elif data["runs"]:
        state = f"used by {data['runs']} run{'s' if data['runs'] > 1 else ''}"
    else:
        state = f"idle, ends in {data['left']:.0f} s"
    return f"{data['model']}: pid {data['pid']}, started {data['age']:.0f} s ago{memory}, {state}"
