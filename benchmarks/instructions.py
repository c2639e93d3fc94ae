"""Prints, for each of IFEval's 25 kinds of instruction, on how many answers `graders.instructions` agrees with the published checker.

    python -m benchmarks.instructions PYTHON NLTK_DATA [--rows 5000] [--seed 0] [--record FILE --sample 400]

PYTHON is the interpreter of an environment with the published checker:

    python -m venv published && published/bin/pip install nltk langdetect immutabledict packaging
    published/bin/pip install --no-deps lm-eval

NLTK_DATA is a folder with NLTK's tokenizers/punkt_tab (python -m nltk.downloader -d FOLDER punkt_tab). ``--record`` writes a part of the
rows with the published verdicts, as the tests have them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from benchmarks.instruction_rows import MAKERS, Row, rows
from pytest_evals.graders.ifeval import check
from pytest_evals.graders.ifeval.kinds import read_instructions

CHECKER = Path(__file__).with_name("contenders") / "ifeval_checker.py"
Verdicts = Mapping[str, bool]


def published(python: str, data: str, made: Sequence[Row]) -> list[Verdicts]:
    """Return the verdicts of the published checker."""
    asked = "".join(f"{json.dumps(row._asdict())}\n" for row in made)
    answered = subprocess.run(
        [python, str(CHECKER), data], input=asked, capture_output=True, text=True, encoding="utf-8", check=False
    )
    if answered.returncode:
        sys.exit(answered.stderr)
    return [json.loads(line) for line in answered.stdout.splitlines()]


def ours(row: Row) -> Verdicts:
    """Return the verdicts of this package."""
    (instruction,) = read_instructions([row.id], [row.kwargs])
    return {
        "strict": check(instruction, row.answer, "strict").followed,
        "loose": check(instruction, row.answer, "loose").followed,
    }


def main() -> None:
    """Compare, print, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("nltk_data")
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--sample", type=int, default=400)
    arguments = parser.parse_args()
    made = list(rows(arguments.rows, arguments.seed))
    theirs = published(arguments.python, arguments.nltk_data, made)
    agreed, followed, differing = Counter[str](), Counter[tuple[str, str]](), []
    for row, verdicts in zip(made, theirs, strict=True):
        found = ours(row)
        agreed[row.id] += found == verdicts
        for scoring in ("strict", "loose"):
            followed[row.id, scoring] += verdicts[scoring]
        if found != verdicts:
            differing.append((row, verdicts, found))
    total = Counter(row.id for row in made)
    table = [(name, total[name], followed[name, "strict"], followed[name, "loose"], agreed[name]) for name in MAKERS]
    table.append(("all", *(sum(column) for column in list(zip(*table, strict=True))[1:])))
    print(tabulate(table, ("kind", "answers", "follow strictly", "follow loosely", "agree on both")))
    for row, verdicts, found in differing[:20]:
        print(f"\n{row}\npublished {verdicts}, here {found}")
    if arguments.record:
        arguments.record.write_text("".join(sample(made, theirs, arguments.sample)), encoding="utf-8")


def sample(made: Sequence[Row], theirs: Sequence[Verdicts], size: int) -> Iterator[str]:
    """Give about ``size`` rows with the published verdicts as lines of JSON: of each kind as many that are followed as not."""
    taken = Counter[tuple[str, bool]]()
    for row, verdicts in zip(made, theirs, strict=True):
        taken[row.id, verdicts["strict"]] += 1
        if taken[row.id, verdicts["strict"]] <= size // (2 * len(MAKERS)):
            yield f"{json.dumps({**row._asdict(), **verdicts})}\n"


if __name__ == "__main__":
    main()
