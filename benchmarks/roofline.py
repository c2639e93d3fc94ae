"""What the machine could do: its rate of single-precision matrix products, and what a workload needs of it.

Run as a program it measures; the rest is arithmetic. Attention is left out: at these lengths it is small beside the
linear layers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import Job
from benchmarks.process import run_program
from benchmarks.workloads import Workload

SIZE = 2048
REPEATS = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """``flops``: operations a second of the best product of two matrices of `SIZE`. ``body`` and ``head``: parameters
    that every computed token takes, and those that only a token with logits takes. ``prompt_tokens``: of the workload,
    the beginning that all prompts share counted once. Of scored rows these are the contexts; ``choice_tokens`` are fed
    after them, of each choice all but the last, and ``scored_logits`` is the number of tokens whose logits are read.
    """

    flops: float
    body: int
    head: int
    prompt_tokens: int
    choice_tokens: int = 0
    scored_logits: int = 0

    def floor_seconds(self, completions: Mapping[str, int]) -> float:
        """Return the time that the linear layers take at the full rate, for completions of so many tokens (none of scored rows).

        The last token of a completion is never fed back; each one that is generated needs logits.
        """
        generated = sum(completions.values())
        computed = self.prompt_tokens + self.choice_tokens + generated - len(completions)
        return 2 * (self.body * computed + self.head * (generated + self.scored_logits)) / self.flops

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def measure_machine(workload: Workload, model: str, environment: Mapping[str, str], timeout: float) -> Machine:
    """Measure in a process of its own. Raises `ProgramError`."""
    outcome, _ = run_program(
        "benchmarks.roofline", Job(model, workload.rows).to_dict(), sys.executable, environment, timeout
    )
    return Machine(**outcome)


def _product_rate() -> float:
    import torch

    left, right = torch.rand(SIZE, SIZE), torch.rand(SIZE, SIZE)
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 2 * SIZE**3 / best


def _parameters(model: Any) -> tuple[int, int]:
    """Return the parameters without any embedding, and those of the layer that makes the logits."""
    inputs, outputs = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    embeddings = {id(weight): weight.numel() for weight in (inputs, outputs)}
    total = sum(weight.numel() for weight in model.parameters())
    return total - sum(embeddings.values()), outputs.numel()


def _distinct_tokens(prompts: list[list[int]]) -> int:
    """Return the number of tokens of all prompts, their common beginning counted once."""
    shared = 0
    for column in zip(*prompts, strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return sum(map(len, prompts)) - shared * (len(prompts) - 1)


def main() -> None:
    """Measure for the job that the command line names first, and write the result to the second one."""
    from benchmarks.contenders.plain import encode, load_plain

    job = Job.from_dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    plain = load_plain(job)
    body, head = _parameters(plain.model)
    if job.scored:
        prompts = [plain.tokenizer(row.context)["input_ids"] for row in job.rows]
        choices = [
            len(plain.tokenizer(row.context + choice)["input_ids"]) - len(prompt)
            for row, prompt in zip(job.rows, prompts, strict=True)
            for choice in row.choices
        ]
        # The first token of every choice of a row is told by the same logits, after its context.
        fed = sum(choices) - len(choices)
        machine = Machine(_product_rate(), body, head, _distinct_tokens(prompts), fed, fed + len(prompts))
    else:
        prompts = [encode(plain.tokenizer, row) for row in job.rows]
        machine = Machine(_product_rate(), body, head, _distinct_tokens(prompts))
    Path(sys.argv[2]).write_text(json.dumps(machine.to_dict()), encoding="utf-8")


if __name__ == "__main__":
    main()
