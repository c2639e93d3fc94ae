"""This distribution, what it needs, its extras, and other plugins of pytest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import pytest_evals_hf
from pytest_evals.diagnostics.finding import Finding

EXTRAS = {
    "audio": "audio in prompts",
    "adapters": "LoRA and other adapters (?adapter=)",
    "cloud": "artifacts at s3://, gs:// and other addresses",
    "cpu": "faster generation on a CPU",
    "embeddings": "graders.embedding_similarity",
    "formats": "every 'format' of a JSON Schema",
    "images": "images in prompts",
    "instructions": "graders.instructions (IFEval)",
    "math": "graders.math",
    "mecab": "metrics of Japanese and Korean words",
    "metrics": "graders.bleu, chrf, rouge, meteor, levenshtein",
    "openai": "models on servers (openai:NAME@URL)",
    "pandas": "EvaluationArtifact.to_pandas()",
    "parquet": "Parquet files as data and in export",
    "quantized": "quantised models (?quantize=)",
    "ray": "models on a Ray cluster (ray:NAME)",
    "sentence-transformers": "graders.embedding_similarity(model=...)",
    "structured": "answers by a JSON Schema, a regex or a choice; judges ask for these",
    "xlsx": "Excel workbooks as data",
}
"""What each extra is for."""
BESIDE = {
    "pytest-parallel": "--workers and --tests-per-worker are refused with evals: use -n of pytest-xdist",
    "pytest-repeat": "--count makes cases that gates count as independent: use --evals-repeat",
    "pytest-socket": "with --disable-socket, add --allow-unix-socket: tests reach their engines by a Unix socket",
    "pytest-testmon": "it knows Python code and not models or data: do not let --testmon decide which evals run",
}
"""Plugins that need something to be known, and what."""


def own_package() -> Iterator[Finding]:
    """Yield what is to be said of this distribution and of the other project that has nearly its name."""
    problem, other = pytest_evals_hf.damage(), pytest_evals_hf.other_version()
    version = _version(pytest_evals_hf.DISTRIBUTION)
    folder = Path(pytest_evals_hf.__file__).parent
    if version is None:
        problem = f"it is in {folder} and not installed, so pytest does not load its plugin"
    if problem or other:
        yield Finding(pytest_evals_hf.DISTRIBUTION, "problem", problem or _beside(other), pytest_evals_hf.remedy())
    else:
        yield Finding(pytest_evals_hf.DISTRIBUTION, "ok", f"{version}, in {folder}")
    for entry in importlib.metadata.entry_points(group="pytest11", name="evals"):
        name = entry.dist.name if entry.dist else "?"
        if canonicalize_name(name) not in (pytest_evals_hf.DISTRIBUTION, pytest_evals_hf.OTHER):
            yield Finding(
                "plugins",
                "problem",
                f"{name} has a plugin named 'evals' too, and pytest loads only one of that name",
                f"uninstall it: pip uninstall {name}",
            )


def _beside(version: str | None) -> str:
    return (
        f"{pytest_evals_hf.OTHER} {version} is installed too: it is another project with the same package pytest_evals"
    )


def python() -> Iterator[Finding]:
    """Yield the interpreter. It is the first thing to look at where a package seems to be missing."""
    yield Finding("python", "ok", f"{platform.python_version()} ({sys.executable}), {platform.platform(terse=True)}")


def required() -> Iterator[Finding]:
    """Yield what this distribution needs: the large ones with their versions, the others where they do not fit."""
    shown = ("pytest", "transformers")
    for requirement in _requirements():
        if "extra ==" in str(requirement.marker):
            continue
        lacking = _lacking(requirement)
        if lacking:
            action = f"run: {sys.executable} -m pip install '{str(requirement).partition(';')[0].strip()}'"
            yield Finding(requirement.name, "problem", lacking, action)
        elif requirement.name in shown:
            yield Finding(requirement.name, "ok", str(_version(requirement.name)))


def extras() -> Iterator[Finding]:
    """Yield each extra: whether it is there, and what it is for."""
    requirements = _requirements()
    for name, purpose in sorted(EXTRAS.items()):
        needed = [requirement for requirement in requirements if _belongs_to(requirement, name)]
        lacking = [text for requirement in needed if (text := _lacking(requirement))]
        action = f"pip install '{pytest_evals_hf.DISTRIBUTION}[{name}]'"
        if not needed:
            yield Finding(f"extra {name}", "note", f"the metadata of this installation is older ({purpose})", action)
        elif lacking:
            yield Finding(f"extra {name}", "note", f"{'; '.join(lacking)} (for {purpose})", action)
        else:
            yield Finding(f"extra {name}", "ok", purpose)


def _belongs_to(requirement: Requirement, extra: str) -> bool:
    """Tell whether a requirement is one of an extra alone, on this machine or on others."""
    return extra in _extras_named(requirement)


def plugins(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Yield other plugins of pytest that need something to be known, and settings that keep this one from being loaded."""
    if environment.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        yield Finding(
            "plugins",
            "problem",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD is set, so pytest loads no plugin by itself",
            "unset it, or run: pytest -p pytest_evals.plugin --evals",
        )
    if "no:evals" in environment.get("PYTEST_ADDOPTS", ""):
        yield Finding(
            "plugins", "problem", "PYTEST_ADDOPTS has -p no:evals, so evals cannot be switched on", "remove it"
        )
    found = [f"{name} {version}" for name in ("pytest-xdist",) if (version := _version(name))]
    for name, text in BESIDE.items():
        if version := _version(name):
            yield Finding("plugins", "note", f"{name} {version}: {text}")
    forked = _version("pytest-forked")
    if forked and not pytest.__version__.startswith("9.0."):
        text = f"pytest-forked {forked}: --forked fails every test with pytest {pytest.__version__}"
        yield Finding("plugins", "note", text, "use -n of pytest-xdist")
    if found:
        yield Finding("plugins", "ok", f"{', '.join(found)}: -n 4 runs cases in four processes, with one model for all")


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(text) for text in importlib.metadata.requires(pytest_evals_hf.DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        return []


def _lacking(requirement: Requirement) -> str:
    """Return what is missing for a requirement and its extras, or does not fit; nothing where it is met or not for this machine."""
    if requirement.marker is not None and not any(
        requirement.marker.evaluate({"extra": name}) for name in ("", *_extras_named(requirement))
    ):
        return ""
    version = _version(requirement.name)
    if version is None:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} {version} is installed, and {requirement.specifier} is needed"
    if not requirement.extras:
        return ""
    inner = [Requirement(text) for text in importlib.metadata.requires(requirement.name) or ()]
    wanted = [each for each in inner if any(_belongs_to(each, name) for name in requirement.extras)]
    return next((lacking for each in wanted if (lacking := _lacking(each))), "")


def _extras_named(requirement: Requirement) -> list[str]:
    return re.findall(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
