"""What it costs to keep answers as they arrive, in processor time for each answer.

    python -m benchmarks.recording [--answers 20000] [--rounds 5] [--wall 0.05]

Writes answers as workload W3 has them (8 new tokens) to a journal as an engine does, and reads the journal as a run does in its end. A
run with and without a journal differs by less than two runs differ: so this counts processor time of the calls themselves. ``--wall`` is
what an answer of W3 takes of a run's wall time, in seconds; the share of it is printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from pytest_evals.artifacts.journal import Journal, journal_path
from pytest_evals.completion import Completion
from pytest_evals.engines.journal import JournalWriter
from pytest_evals.engines.protocol import Result

QUESTION = "Janet has 3 apples and buys 4 more. How many apples does she have?"


def _result(number: int) -> Result:
    conversation = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "She has 7 apples."}]
    return Result(
        f"test_short.py::test_short[q{number}]",
        Completion.from_dict(
            {
                "messages": conversation,
                "text": "She has 7 apples.",
                "finish_reason": "length",
                "prompt_tokens": 52,
                "completion_tokens": 8,
                "latency": 0.41,
            }
        ),
    )


def measure(answers: int) -> tuple[float, float]:
    """Return the processor seconds of writing an answer, and those of reading it in the end."""
    results = [_result(number) for number in range(answers)]
    keys = [f"{number:016x}-8192a3b4c5d6e7f8-9a0b1c2d3e4f5061" for number in range(answers)]
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder, "run.jsonl")
        journal = Journal(artifact)
        journal.begin("20261121T224750-d7f85c")
        writer = JournalWriter(str(journal_path(artifact)))
        started = time.process_time()
        for result, key in zip(results, keys, strict=True):
            writer.add(result, "smollm2", key)
        written = time.process_time()
        if list(journal.rest(keys)):
            raise RuntimeError("answers are left that samples have")
        read = time.process_time()
        journal.close(remove=True)
    return (written - started) / answers, (read - written) / answers


def main() -> None:
    """Measure, and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wall", type=float, help="seconds of wall time that an answer of W3 takes")
    given = parser.parse_args()
    rounds = [measure(given.answers) for _ in range(given.rounds)]
    writing, reading = (statistics.median(part) for part in zip(*rounds, strict=True))
    both = writing + reading
    share = f"; {both / given.wall:.2%} of {given.wall:g} s" if given.wall else ""
    print(f"an answer: {writing * 1e6:.1f} us to write, {reading * 1e6:.1f} us to read in the end{share}")


if __name__ == "__main__":
    main()
