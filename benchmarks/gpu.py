"""The engine on a GPU beside transformers' ``generate`` and continuous batching, on any machine, without a network.

    python -m benchmarks.gpu                      # a llama of 1.2 billion random weights, in bf16
    python -m benchmarks.gpu --shape 8b --rows 1024
    python -m benchmarks.gpu --config config.json # random weights in the shape that a config.json describes
    python -m benchmarks.gpu --model FOLDER       # a model of transformers
    python -m benchmarks.gpu --tiny               # a try on a CPU, in a minute

Run it in the repository's root folder, with nothing else on the GPU. Every contender has a process of its own and loads
the same weights; all compute the same rows, greedily: prompts of 32 to 640 tokens, half of which begin alike, and limits
of 32 to 256 new tokens.

First comes correctness, each a count of texts that changed among ``--checked`` rows: ``check-fp32``, the engine in fp32 against
``generate`` for one prompt at a time; ``audit``, the engine in bf16 against the same rows computed alone; ``audit-exact``, the same
with ``--evals-exact`` (0 is what it promises; only in bf16 on CUDA, or under ``TRITON_INTERPRET=1``). With ``--budget 540`` what would
begin later than 540 seconds after the start is left out.

Contenders:

* ``evals``: this project's engine, as it chooses to run. ``evals-graphs``: its own loop with CUDA graphs,
  ``evals-static``: without graphs but with their static tensors, ``evals-plain``: with neither.
  ``evals-kernel`` and ``evals-operators``: with the Triton kernel for attention, whether it is faster or not, and with torch's
  operators. ``evals-exact``: bf16 that does not depend on the batch.
* ``generate-N``: ``model.generate`` in batches of N, sorted by limit and length.
* ``continuous``: transformers' continuous batching as it sets itself up.

The table has, for each: seconds to load; tokens a second in the first round, which pays for graphs and caches as a run of
evals does, and in the second; memory in MB of the device before the model is loaded, at most, and after it was dropped;
and how it compares with ``generate`` in fp32, one prompt at a time, for the first rows: the share of identical texts, and
the largest difference of two log-probabilities of the same token while texts agree. In bf16 texts differ by rounding;
in fp32 (``--dtype fp32``) they should not. All numbers go to a JSON file.

Exit status: 0 when all ran and no text changed in ``check-fp32`` and ``audit-exact``, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from tabulate import tabulate

from benchmarks.gpu_contenders import CHECKS, ROUNDS
from benchmarks.gpu_models import SHAPES, Setting
from benchmarks.process import ProgramError, environment_for, run_program

RESULTS = Path(__file__).resolve().parent.parent / ".evals" / "benchmarks"
REFERENCE = "reference"
CONTENDERS = (
    *("evals", "evals-kernel", "evals-operators", "evals-exact"),
    *("evals-graphs", "evals-static", "evals-plain"),
    *("generate-8", "generate-32", "generate-64", "generate-256", "continuous"),
)
_TINY = Setting(shape="tiny", device="cpu", dtype="fp32", batch="16", rows=48, checked=12)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, usual = parser.add_argument, Setting()
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--shape", choices=list(SHAPES), default=usual.shape, help="of random weights (1b)")
    what.add_argument("--config", metavar="FILE", help="a config.json, for random weights")
    what.add_argument("--model", metavar="FOLDER", help="a model of transformers")
    what.add_argument("--tiny", action="store_true", help="a few rows of a tiny model on the CPU, to try the benchmark")
    add("--device", default="auto", help="cuda, cuda:N, cpu or auto")
    add("--dtype", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help="auto: bf16 on a GPU, else fp32")
    add("--batch", default="auto", help="rows of the engine's batches (auto)")
    add("--rows", type=int, default=usual.rows, help=f"rows to compute ({usual.rows})")
    add("--checked", type=int, default=usual.checked, help=f"rows to compare with fp32 ({usual.checked})")
    names = (*CHECKS, *CONTENDERS)
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"checks and contenders: {', '.join(names)}")
    add("--budget", type=float, metavar="SECONDS", help="begin nothing later than this after the start")
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="for one contender (3600)")
    add("--json", type=Path, metavar="PATH", help="where the numbers go (a new file in .evals/benchmarks)")
    options = parser.parse_args()
    if options.rows < 1 or options.checked < 0:
        parser.error("--rows must be at least 1, --checked at least 0")
    return options


def setting_of(options: argparse.Namespace) -> Setting:
    """Return what the options ask for; options that exclude nothing change the tiny setting too."""
    if options.tiny:
        dtype = _TINY.dtype if options.dtype == "auto" else options.dtype
        return replace(_TINY, dtype=dtype, rows=min(options.rows, _TINY.rows))
    return Setting(
        options.shape, options.config, options.model, options.device, options.dtype, options.batch, options.rows,
        options.checked,
    ).resolved  # fmt: skip


def machine(setting: Setting) -> dict[str, Any]:
    """Return what the numbers depend on besides the code."""
    gpu = torch.cuda.get_device_name(setting.device) if setting.device.startswith("cuda") else None
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    return {"device": gpu or f"{platform.machine()} CPU", "python": platform.python_version(), **versions}


def run_contender(name: str, setting: Setting, timeout: float) -> dict[str, Any]:
    """Return the numbers of one contender; ``problem`` says why there are none."""
    orders = {"contender": name, "setting": setting.to_dict()}
    try:
        numbers, _ = run_program(
            "benchmarks.gpu_contenders", orders, sys.executable, environment_for(torch.get_num_threads()), timeout
        )
    except ProgramError as error:
        return {"contender": name, "problem": str(error)}
    return numbers


def agreement(numbers: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return how a contender's checked rows compare with the reference's.

    ``identical``: the share of texts that are the same, as far as the reference goes. ``difference``: the largest
    difference of two log-probabilities of tokens up to where texts part.
    """
    expected = reference["checked"]
    texts: Mapping[str, str] = numbers.get("texts", {})
    same = [texts[key].startswith(text) for key, text in expected["texts"].items() if key in texts]
    found = {"identical": sum(same) / len(same)} if same else {}
    logprobs = numbers.get("checked", {}).get("logprobs") or {}
    differences = [
        abs(one - other)
        for key, values in logprobs.items()
        for one, other in zip(
            values[: _alike(numbers["checked"]["texts"][key], expected["texts"][key])],
            expected["logprobs"][key],
            strict=False,
        )
    ]
    return found | ({"difference": max(differences)} if differences else {})


def _alike(one: str, other: str) -> int:
    """Return how many tokens two texts begin with in common; words are at most as many."""
    words, others = one.split(), other.split()
    return next(
        (place for place, pair in enumerate(zip(words, others, strict=False)) if len(set(pair)) > 1), len(words)
    )


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of all contenders."""
    headers = [
        "",
        "load s",
        "first tok/s",
        "later tok/s",
        "before MB",
        "peak MB",
        "after MB",
        "identical",
        "difference",
    ]
    rows = [_cells(numbers) for numbers in found]
    return tabulate(rows, headers, tablefmt="simple", disable_numparse=True, colalign=["left", *["right"] * 8])


def _cells(numbers: Mapping[str, Any]) -> list[str]:
    if "problem" in numbers:
        return [numbers["contender"], "failed", *["-"] * 7]
    rates = [f"{one['tokens'] / one['seconds']:,.0f}" for one in numbers["rounds"]] or ["-"] * ROUNDS
    memory = [
        f"{numbers['memory'][name]:,.0f}" if name in numbers["memory"] else "-" for name in ("before", "peak", "after")
    ]
    compared = numbers.get("agreement", {})
    identical = f"{compared['identical']:.0%}" if "identical" in compared else "-"
    difference = f"{compared['difference']:.1e}" if "difference" in compared else "-"
    return [numbers["contender"], f"{numbers['load_seconds']:.1f}", *rates, *memory, identical, difference]


def main() -> int:
    """Measure, print, and write what there is after every contender."""
    options = read_options()
    setting = setting_of(options)
    path = options.json or RESULTS / time.strftime("gpu-%Y-%m-%dT%H-%M-%S.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    names = options.only or [name for name in (*CHECKS, *CONTENDERS) if runs(name, setting)]
    started = time.monotonic()
    print(f"{setting}\n{machine(setting)}", flush=True)
    reference: dict[str, Any] = {"problem": "no rows checked"}
    found: list[dict[str, Any]] = []
    for name in names:
        left = float("inf") if options.budget is None else options.budget - (time.monotonic() - started)
        if left <= 0:
            print(f"{name}: left out, the budget is spent", flush=True)
            continue
        if name in CONTENDERS and setting.checked and "asked" not in reference:
            reference = {**run_contender(REFERENCE, setting, min(options.timeout, left)), "asked": True}
        numbers = run_contender(name, setting, min(options.timeout, left))
        if name in CONTENDERS and "problem" not in numbers and "problem" not in reference:
            numbers["agreement"] = agreement(numbers, reference)
        found.append(numbers)
        print(f"{name}: {numbers.get('problem') or _told(numbers)}", *numbers.get("notes", ()), sep="\n  ", flush=True)
        everything = {"setting": setting.to_dict(), "machine": machine(setting), "contenders": [reference, *found]}
        path.write_text(json.dumps(everything, indent=1), encoding="utf-8")
    measured = [numbers for numbers in found if numbers["contender"] in CONTENDERS]
    print("", table(measured), "", f"numbers: {path}", sep="\n")
    if "problem" in reference and "asked" in reference:
        print(f"not compared with fp32: {reference['problem']}")
    # In bf16 texts may change with the batch; in fp32 and with `--evals-exact` they may not.
    wrong = any(numbers.get("changed") for numbers in found if numbers["contender"] in ("check-fp32", "audit-exact"))
    return int(wrong or any("problem" in numbers for numbers in found))


def runs(name: str, setting: Setting) -> bool:
    """Tell whether a check or contender has anything to say for a setting."""
    on_cuda = setting.device.startswith("cuda")
    if name in CHECKS and not setting.checked:
        return False
    if name.endswith("-exact"):
        return setting.dtype == "bf16" and (on_cuda or os.environ.get("TRITON_INTERPRET") == "1")
    return on_cuda or name not in ("evals-graphs", "evals-kernel", "evals-operators")


def _told(numbers: Mapping[str, Any]) -> str:
    return f"{len(numbers['changed'])} of {numbers['checked']} texts changed" if "changed" in numbers else "done"


if __name__ == "__main__":
    sys.exit(main())
