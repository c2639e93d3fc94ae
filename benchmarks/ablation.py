"""What each part of the CPU path gives: the engine with all of them beside the engine without one, in turns.

    python -m benchmarks.ablation [--rounds 3] [--workloads W1,W3,W5,chat] [--share 0.4] [--parts linear,fused]

Everything runs in one process, on a copy of the same weights, so that only what is measured differs. Loading is not
counted. A round measures the whole and then each part left out, so that a moment in which the machine is busy does not
decide. ``--share`` takes that share of the rows of W3, and of the tokens of each row of the others. Texts must be the same in all runs.

``chat`` is eight conversations of four turns each, in which every turn waits for the one before. What finished sequences
leave is for these, so only that is measured on it.

The table says how much longer the workload takes without a part: 1.10 is 10 % more. The result is also written to
``benchmarks/results/ablation.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from collections.abc import Sequence
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
    seconds: dict[tuple[str, str], list[float]] = {}
    texts: dict[str, dict[str, str]] = {}
    agree = True
    for number in range(arguments.rounds):
        for part in ("", *arguments.parts):
            engine = _engine(loaded, spec, part)
            for name, requests in work.items():
                if name == CHAT and part not in ("", "retention"):
                    continue
                took, found = _run(engine, requests, turns=TURNS if name == CHAT else 1)
                seconds.setdefault((name, part), []).append(took)
                agree &= texts.setdefault(name, found) == found
                print(f"round {number + 1}: {name} {'without ' + part if part else 'whole'}: {took:.2f} s", flush=True)
    table = _table(seconds, arguments.workloads, arguments.parts)
    print("\n" + table + ("" if agree else "\ntexts differ"))
    _write(table, seconds, arguments)
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
    said = (
        {"role": "assistant", "content": answer},
        {"role": "user", "content": "Go on, and explain it in other words."},
    )
    return replace(request, id=f"{request.id.rpartition('.')[0]}.{turn}", messages=(*request.messages, *said))


def _table(seconds: dict[tuple[str, str], list[float]], workloads: Sequence[str], parts: Sequence[str]) -> str:
    """Return the table in Markdown: of the whole the seconds, of each part how much longer it takes without it."""
    whole = {name: statistics.median(seconds[name, ""]) for name in workloads}
    lines = ["| Without | " + " | ".join(workloads) + " |", "| --- |" + " --- |" * len(workloads)]
    lines.append(
        "| nothing | " + " | ".join(f"{whole[name]:.1f} s {_spread(seconds[name, ''])}" for name in workloads) + " |"
    )
    for part in parts:
        cells = [_ratio(seconds.get((name, part)), whole[name]) for name in workloads]
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio(values: Sequence[float] | None, whole: float) -> str:
    return f"{statistics.median(values) / whole:.2f} {_spread(values)}" if values else ""


def _spread(values: Sequence[float]) -> str:
    return f"(±{(max(values) - min(values)) / 2 / statistics.median(values):.0%})"


def _write(table: str, seconds: dict[tuple[str, str], list[float]], arguments: argparse.Namespace) -> None:
    measured = [{"workload": name, "without": part, "seconds": values} for (name, part), values in seconds.items()]
    data = {
        "machine": platform.processor() or platform.machine(),
        "share": arguments.share,
        "table": table.splitlines(),
        "measured": measured,
    }
    path = ROOT / "benchmarks" / "results" / "ablation.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
