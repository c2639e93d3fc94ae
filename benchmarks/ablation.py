"""What each part of the CPU path gives: the engine with all of them beside the engine without one, in turns.

    python -m benchmarks.ablation [--rounds 3] [--workloads W1,W3,W5,chat] [--share 0.4] [--parts linear,fused]

Everything runs in one process, on a copy of the same weights, so that only what is measured differs. Loading is not
counted. In each round, each part is measured in pairs: the workload with it and without it, one right after the other, the
first of the two in turns, so that neither a busy moment of the machine nor the order decides. ``--share`` takes that share of the rows
of W3, and of the tokens of each row of the others. Texts must be the same in all runs.

``chat`` is eight conversations of four turns each, in which every turn waits for the one before. What finished sequences
leave is for these, so only that is measured on it.

The table says how much longer the workload takes without a part, as the median of the pairs and their range: 1.10 is 10 % more.
The result is also written to ``.evals/benchmarks/ablation.json``.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.job import Row
from benchmarks.workloads import ROOT, make_workload
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.loading import LoadedModel, load_model
from pytest_evals.engines.transformers.selection import CPU_PARTS, select_backend
from pytest_evals.generation import GenerationParams

OPTIONS: dict[str, Any] = {"device": "cpu", "dtype": "fp32", "batch": "auto"}
CHAT, TURNS = "chat", 4


def main() -> int:
    """Measure, print the table and write it. Exit status 1 when texts differ."""
    arguments = _arguments()
    spec = parse_spec(arguments.model, Path.cwd())
    torch.set_num_threads(arguments.threads)
    loaded = load_model(spec, OPTIONS, lambda _: None)
    work = {name: _requests(name, arguments.share) for name in arguments.workloads}
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = {}
    texts: dict[str, dict[str, str]] = {}
    agree = True
    for number, part, (name, requests) in itertools.product(range(arguments.rounds), arguments.parts, work.items()):
        if name == CHAT and part != "retention":
            continue
        took: dict[str, float] = {}
        # An engine is made anew for each run: what it kept of the run before would decide the next one.
        for left_out in ("", part) if (number + arguments.parts.index(part)) % 2 else (part, ""):
            engine = _engine(loaded, spec, left_out)
            took[left_out], found = _run(engine, requests, turns=TURNS if name == CHAT else 1)
            agree &= texts.setdefault(name, found) == found
        pairs.setdefault((name, part), []).append((took[""], took[part]))
        print(f"round {number + 1}: {name} {took['']:.2f} s, without {part} {took[part]:.2f} s", flush=True)
    table = _table(pairs, arguments.workloads, arguments.parts)
    print("\n" + table + ("" if agree else "\ntexts differ"))
    _write(table, pairs, arguments)
    return 0 if agree else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listed = lambda text: text.split(",")  # noqa: E731 - of this place alone
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--workloads", type=listed, default=["W1", "W3", "W5", CHAT])
    parser.add_argument("--parts", type=listed, default=list(CPU_PARTS))
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(CPU_PARTS):
        parser.error(f"unknown part {min(unknown)!r} (known: {', '.join(CPU_PARTS)})")
    return arguments


def _requests(name: str, share: float) -> list[Request]:
    if name == CHAT:
        return [_ask(row, f"{row.id}.0", 48) for row in make_workload("W1").rows[:8]]
    rows = make_workload(name).rows
    if name == "W3":
        rows = rows[:: round(1 / share)]
    tokens = 1.0 if name == "W3" else share
    return [_ask(row, row.id, max(1, round(row.max_new_tokens * tokens))) for row in rows]


def _ask(row: Row, key: str, tokens: int) -> Request:
    messages: list[Any] = [dict(message) for message in row.messages]
    return Request(key, "m", tuple(messages), GenerationParams(max_new_tokens=tokens))


def _engine(loaded: LoadedModel, spec: ModelSpec, part: str) -> TransformersEngine:
    fresh = replace(loaded, model=copy.deepcopy(loaded.model))
    options = OPTIONS | {"without": (part,) if part else ()}
    return TransformersEngine(fresh, select_backend(fresh, spec, options))


def _run(engine: TransformersEngine, requests: Sequence[Request], turns: int) -> tuple[float, dict[str, str]]:
    """Return how long the requests took, and their texts; after each turn but the last the user asks to go on."""
    began = time.perf_counter()
    found: dict[str, str] = {}
    for turn in range(turns):
        results = {
            event.id: event for event in engine.generate(Inbox(requests, closed=True)) if isinstance(event, Result)
        }
        found |= {key: result.answer.text for key, result in results.items()}
        requests = [_next_turn(request, results[request.id].answer.text, turn + 1) for request in requests]
    return time.perf_counter() - began, found


def _next_turn(request: Request, answer: str, turn: int) -> Request:
    said: tuple[Any, Any] = (
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "Go on, and explain it in other words."},
    )
    return replace(request, id=f"{request.id.rpartition('.')[0]}.{turn}", messages=(*request.messages, *said))


def _table(
    pairs: Mapping[tuple[str, str], Sequence[tuple[float, float]]], workloads: Sequence[str], parts: Sequence[str]
) -> str:
    """Return the table in Markdown: of the whole the seconds, of each part how much longer it takes without it."""
    lines = ["| Without | " + " | ".join(workloads) + " |", "| --- |" + " --- |" * len(workloads)]
    whole = {
        name: [pair[0] for (one, _), found in pairs.items() if one == name for pair in found] for name in workloads
    }
    lines.append("| nothing | " + " | ".join(f"{statistics.median(whole[name]):.1f} s" for name in workloads) + " |")
    for part in parts:
        ratios = [[without / with_it for with_it, without in pairs.get((name, part), ())] for name in workloads]
        told = [f"{statistics.median(row):.2f} ({min(row):.2f} to {max(row):.2f})" if row else "" for row in ratios]
        lines.append(f"| {part} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def _write(
    table: str, pairs: Mapping[tuple[str, str], Sequence[tuple[float, float]]], arguments: argparse.Namespace
) -> None:
    measured = [
        {"workload": name, "without": part, "seconds_with_and_without": found} for (name, part), found in pairs.items()
    ]
    data = {
        "machine": platform.processor() or platform.machine(),
        "share": arguments.share,
        "table": table.splitlines(),
        "measured": measured,
    }
    path = ROOT / ".evals" / "benchmarks" / "ablation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
