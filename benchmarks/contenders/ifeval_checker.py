"""IFEval's published checker, as lm-evaluation-harness has it, without the harness.

Reads a line of JSON for each instruction (``id``, ``kwargs``, ``answer``) and writes one with its verdicts (``strict``, ``loose``).
Run with the interpreter of an environment that has lm-eval (``--no-deps`` will do), nltk, langdetect, immutabledict and packaging,
and the folder of NLTK's data as the argument.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path


def checker() -> types.ModuleType:
    """Import the checker alone: its package would import everything else of the harness."""
    import nltk

    nltk.data.path[:] = [sys.argv[1]]
    import langdetect

    # Without a seed the checker's verdicts on languages are drawn by lot.
    langdetect.DetectorFactory.seed = 0
    spec = importlib.util.find_spec("lm_eval")
    folder = Path(next(iter(spec.submodule_search_locations or ())) if spec else "")
    for name, path in (("lm_eval", folder), ("lm_eval.tasks", folder / "tasks")):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    return importlib.import_module("lm_eval.tasks.ifeval.utils")


def main() -> None:
    """Judge what stands on standard input."""
    published = checker()
    logging.disable()
    for line in sys.stdin:
        row = json.loads(line)
        case = published.InputExample(0, [row["id"]], "", [row["kwargs"]])
        strict = published.test_instruction_following_strict(case, row["answer"])
        loose = published.test_instruction_following_loose(case, row["answer"])
        verdicts = {"strict": strict.follow_all_instructions, "loose": loose.follow_all_instructions}
        sys.stdout.write(f"{json.dumps(verdicts)}\n")


if __name__ == "__main__":
    main()
