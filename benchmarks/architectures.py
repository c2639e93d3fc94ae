"""Every type of model that the installed transformers knows, through the engine against its own ``generate``: a table.

``python -m benchmarks.architectures [--kind causal|seq2seq|image-text] [--only NAME ...] [--resume FILE] [--summary FILE]``

For each type a tiny random model is built and saved, and eight prompts, short ones and such as are longer than its windows and sparse
budgets, are answered together, in pieces three at a time, and some alone. The tokens must be those that ``generate`` gives each
prompt alone. Each type runs in a process of its own, with a limit of time.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

KINDS = ("causal", "seq2seq", "image-text")
STATES = ("same", "differs", "crash", "refused", "not built")
SECONDS = 300.0
"""A type that takes longer has crashed."""


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=KINDS, help="all kinds by default")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these types only")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="keep outcomes here, and skip types that it has")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="write the table as Markdown")
    parser.add_argument("--limit", type=float, default=SECONDS, metavar="SECONDS", help="for one type")
    arguments = parser.parse_args()
    known = _read(arguments.resume)
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.architecture_trial"])
    outcomes = []
    for kind, name in _wanted(arguments.kind or KINDS, arguments.only):
        outcome = known.get((kind, name))
        if outcome is None:
            outcome = _tried(context, kind, name, arguments.limit)
            if arguments.resume:
                with arguments.resume.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(outcome) + "\n")
            sys.stdout.write(
                f"{outcome['state']:10} {kind:10} {name:32} {outcome['backend']:10} {outcome['seconds']:5.1f} s  {outcome['reason'][:200]}\n"
            )
            sys.stdout.flush()
        outcomes.append(outcome)
    table = summary(outcomes)
    sys.stdout.write(table)
    if arguments.summary:
        arguments.summary.write_text(table, encoding="utf-8")
    sys.exit(any(outcome["state"] in {"differs", "crash"} for outcome in outcomes))


def _wanted(kinds: Iterable[str], only: Iterable[str]) -> list[tuple[str, str]]:
    from benchmarks.tiny_models import names_of

    chosen = set(only)
    found = [(kind, name) for kind in kinds for name in names_of(kind) if not chosen or name in chosen]
    unknown = chosen - {name for _, name in found}
    if unknown:
        raise SystemExit(f"transformers knows no such type: {', '.join(sorted(unknown))}")
    return found


def _tried(context: Any, kind: str, name: str, seconds: float) -> dict[str, Any]:
    """Return what came of a type, tried in a process of its own."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, kind, name), daemon=True)
    started = time.monotonic()
    process.start()
    sender.close()
    blank = {"name": name, "kind": kind, "state": "crash", "backend": "", "seconds": 0.0}
    try:
        arrived = receiver.poll(seconds)
        outcome: dict[str, Any] = receiver.recv() if arrived else {**blank, "reason": f"took more than {seconds:g} s"}
    except EOFError:
        process.join()
        outcome = {**blank, "reason": f"its process ended with {process.exitcode}"}
    process.kill()
    process.join()
    return {**outcome, "seconds": round(time.monotonic() - started, 1)}


def _child(sender: Any, kind: str, name: str) -> None:
    import logging
    import warnings

    import torch
    import transformers

    from benchmarks.architecture_trial import trial

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # transformers annotates it not
    torch.set_num_threads(1)
    with contextlib.suppress(BrokenPipeError):
        sender.send(dataclasses.asdict(trial(kind, name)))


def _read(path: Path | None) -> dict[tuple[str, str], dict[str, Any]]:
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {(line["kind"], line["name"]): line for line in lines}


def summary(outcomes: list[dict[str, Any]]) -> str:
    """Return the totals and, of each type that is not simply the same, what came of it, as Markdown."""
    from importlib import metadata

    lines = [
        f"transformers {metadata.version('transformers')}",
        "",
        f"| kind | {' | '.join(STATES)} |",
        "| --- |" + " --- |" * len(STATES),
    ]
    for kind in KINDS:
        states = collections.Counter(outcome["state"] for outcome in outcomes if outcome["kind"] == kind)
        if states:
            lines.append(f"| {kind} | " + " | ".join(str(states[state]) for state in STATES) + " |")
    ways = collections.Counter(
        (outcome["kind"], outcome["backend"]) for outcome in outcomes if outcome["state"] == "same"
    )
    lines += ["", *(f"- {kind}: {count} the same by {way}" for (kind, way), count in sorted(ways.items()))]
    lines += ["", "| type | kind | outcome | run by | why |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {outcome['name']} | {outcome['kind']} | {outcome['state']} | {outcome['backend']} | {outcome['reason'].replace('|', '/')} |"
        for outcome in sorted(outcomes, key=lambda each: (STATES.index(each["state"]), each["kind"], each["name"]))
        if outcome["state"] != "same"
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
