"""MBPP's own solutions against its own tests, beside plain Python: the same must pass, and the same must not.

    python -m campaigns.mbpp mbpp.jsonl [STEP]

The file has rows as they are published (Austin et al., 2021, CC-BY-4.0; `mbpp.jsonl`, or those of `sanitized-mbpp.json` one a line). Every
STEP-th row is tried. Each solution is written as it is, in a fence with an example of its use, and between the marks of the published
prompt; and so that it returns nothing, which must fail.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pytest_evals.graders.code import check_task
from pytest_evals.graders.code.levels import find_sandbox
from pytest_evals.graders.code.runner import ProgramLimits, run_program

SECONDS = 30


def returning_nothing(code: str) -> str:
    """Return the program, whose functions return nothing."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Return(None)]
    return ast.unparse(ast.fix_missing_locations(tree))


STYLES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a fence, with an example": lambda code: (
        f"Here is the function:\n```python\n{code}\n```\nUse it so:\n```python\nprint('done')\n```"
    ),
    "between [BEGIN] and [DONE]": "[BEGIN]\n{}\n[DONE]\n".format,
    "returning nothing": returning_nothing,
}


def plain_setup(row: dict[str, Any]) -> list[str]:
    """Return the lines in front of the tests, as either file has them."""
    return [row.get("test_setup_code", ""), *row.get("test_imports", [])]


def passes(row: dict[str, Any], style: str) -> bool:
    """Tell whether the solution of a row passes its tests, written in a style."""
    task = check_task([row["test_list"], row.get("challenge_test_list", [])], setup=plain_setup(row))
    outcome = run_program(
        task.for_answer(STYLES[style](row["code"])), ProgramLimits(seconds=SECONDS), find_sandbox("auto")
    )
    return outcome.errors.count(None) == len(task.tests)


def passes_in_python(row: dict[str, Any], style: str) -> bool:
    """Tell the same of solution and tests in one file, which Python runs."""
    code = returning_nothing(row["code"]) if style == "returning nothing" else row["code"]
    parts = [code, *plain_setup(row), *row["test_list"], *row.get("challenge_test_list", [])]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", "-c", "\n".join(parts)],
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> int:
    """Print how many pass in each style, and which rows differ from plain Python."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines() if len(sys.argv) > 1 else sys.exit(__doc__)
    rows = [json.loads(line) for line in lines][:: int(sys.argv[2]) if len(sys.argv) > 2 else 1]
    agreed = True
    for style in STYLES:
        with ThreadPoolExecutor(2) as pool:
            ours = list(pool.map(passes, rows, [style] * len(rows)))
            plain = list(pool.map(passes_in_python, rows, [style] * len(rows)))
        print(f"{style}: {sum(ours)} of {len(rows)}; in plain Python {sum(plain)}")
        differing = [row["task_id"] for row, one, other in zip(rows, ours, plain, strict=True) if one != other]
        if differing:
            print(f"  different: {', '.join(map(str, differing))}")
        agreed = agreed and not differing
    return int(not agreed)


if __name__ == "__main__":
    sys.exit(main())
