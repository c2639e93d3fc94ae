"""What batching brings a judge: N recorded answers and one binary judge, in batches and one call at a time.

    python -m benchmarks.judging [--cases 200] [--alone 40] [--by probability]

One call at a time is the same suite with a batch of one row; it runs the first ``--alone`` cases. Prints wall time of the calls,
calls, forwards, which share of the machine's rate of matrix products the batches reach (of the tokens that were computed: what
prompts share is computed once), and the verdicts that differ: of probabilities, those on the other side of a half.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.compare import cores, find_model
from benchmarks.process import environment_for
from benchmarks.roofline import measure_machine
from benchmarks.workloads import make_workload

SUITE = """
from pytest_evals import cases, graders

right = graders.judge.binary("The reply names the number that the question asks for.", not_applicable=False, by="BY")

@cases("rows.jsonl", prompt="{{item.question}}", id="id")
def test_judged(right): ...
"""
ROWS = [
    {
        "id": f"c{n}",
        "question": f"How many apples are {n % 17 + 2} apples and {n % 11 + 3} apples? Please explain.",
        "completion": f"If you put {n % 17 + 2} and {n % 11 + 3} together, you have {n % 17 + n % 11 + 5 + n % 3} apples, number {n}.",
    }
    for n in range(1000)
]


@dataclass(frozen=True)
class Measured:
    """One run: seconds in which the judge had work, its calls, what it accounts for, and its verdicts by case."""

    seconds: float
    calls: int
    usage: dict[str, float]
    verdicts: dict[str, float | None]


def measure(folder: Path, count: int, batch: str, by: str) -> Measured:
    """Run the suite on the first rows."""
    (folder / "test_judged.py").write_text(SUITE.replace("BY", by), encoding="utf-8")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS[:count])), encoding="utf-8")
    artifact = folder / f"{batch}.jsonl"
    command = [sys.executable, "-m", "pytest", "--evals", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    options = ["--evals-judge", "smollm2", "--evals-batch", batch, "--evals-artifact", str(artifact), "test_judged.py"]
    subprocess.run([*command, *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in artifact.read_text(encoding="utf-8").splitlines()]
    samples = [line for line in lines if line["type"] == "sample"]
    (use,) = lines[-1]["throughput"]["models"]
    verdicts = {sample["case_id"]: sample["grades"][0]["value"] for sample in samples}
    return Measured(use["seconds"], sum(len(sample["calls"]) for sample in samples), use["usage"], verdicts)


def floor_seconds(run: Measured) -> float:
    """Return the time that the linear layers take for the tokens of a run at the full rate of this machine."""
    environment = environment_for(cores())
    machine = measure_machine(make_workload("W1", 1), find_model(environment), environment, timeout=600)
    told = run.calls if not run.usage["generated_tokens"] else 0
    asked = replace(machine, prompt_tokens=int(run.usage["prompt_tokens"]), scored_logits=told)
    return asked.floor_seconds({"": int(run.usage["generated_tokens"])})


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--alone", type=int, default=40)
    parser.add_argument("--by", choices=["text", "probability"], default="text")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        batched = measure(Path(name), given.cases, "auto", given.by)
        alone = measure(Path(name), given.alone, "1", given.by)
    print(f"{'':<22}{'cases':>7}{'calls':>7}{'forwards':>10}{'seconds':>9}{'s a case':>10}")
    for label, run in (("batched", batched), ("one call at a time", alone)):
        cases = len(run.verdicts)
        print(
            f"{label:<22}{cases:>7}{run.calls:>7}{run.usage['forwards']:>10.0f}{run.seconds:>9.1f}{run.seconds / cases:>10.3f}"
        )
    differ = sum(_side(batched.verdicts[case]) != _side(value) for case, value in alone.verdicts.items())
    ratio = (alone.seconds / len(alone.verdicts)) / (batched.seconds / len(batched.verdicts))
    print(f"a case is {ratio:.1f} times faster in batches; {differ} of {len(alone.verdicts)} verdicts differ")
    print(
        f"batches reach {floor_seconds(batched) / batched.seconds:.0%} of the rate at which the machine multiplies matrices"
    )


def _side(value: float | None) -> bool | None:
    return None if value is None else value >= 0.5


if __name__ == "__main__":
    main()
