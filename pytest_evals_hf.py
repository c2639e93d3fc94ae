"""Tells whether the package ``pytest_evals`` is whole and belongs to this distribution, ``pytest-evals-hf``.

An unrelated project, ``pytest-evals``, installs a package of the same name. The one that is installed last overwrites files of the
other, and uninstalling either removes files that both have. This module is outside of the package, so that it survives. pytest
loads it as a plugin of its own, which speaks up where ``pytest_evals/plugin.py`` is missing or is not ours. The command
``pytest-evals`` starts here too.

It is imported in every run of pytest, so it needs the standard library and pytest only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

DISTRIBUTION = "pytest-evals-hf"
OTHER = "pytest-evals"
_OURS = b"Evaluate language models as pytest tests."
"""How the docstring of our package begins."""
_SHARED = ("__init__.py", "plugin.py")
"""The files that both projects install."""


def other_version() -> str | None:
    """Return the version of the other project, `None` where it is not installed."""
    try:
        return importlib.metadata.version(OTHER)
    except importlib.metadata.PackageNotFoundError:
        return None


def damage(path: Sequence[str] | None = None) -> str:
    """Return what is wrong with the package as Python finds it, in one sentence; nothing where it is ours and whole.

    Args:
        path: Where to look for it, by default `sys.path`.
    """
    found = importlib.machinery.PathFinder.find_spec("pytest_evals", path)
    folder = next(iter(found.submodule_search_locations or ()), None) if found else None
    if folder is None:
        return f"the package pytest_evals of {DISTRIBUTION} cannot be found"
    missing = [name for name in _SHARED if not Path(folder, name).is_file()]
    if missing:
        return f"{' and '.join(missing)} of {DISTRIBUTION} are missing in {folder}: uninstalling {OTHER}, another project, removes them"
    if _OURS not in Path(folder, "__init__.py").read_bytes()[:200]:
        other = " ".join(filter(None, (OTHER, other_version())))
        return f"another project, {other}, has overwritten or hidden the package pytest_evals of {DISTRIBUTION} in {folder}"
    return ""


def conflict() -> str:
    """Return what is wrong with the installation and the commands that mend it; nothing where all is well."""
    problem = damage()
    version = other_version()
    if not problem and version is None:
        return ""
    if not problem:
        problem = (
            f"{OTHER} {version} is installed beside {DISTRIBUTION}: it is another project with the same package pytest_evals, and files of "
            "one have overwritten files of the other"
        )
    return f"{problem}; {remedy()}"


def remedy() -> str:
    """Return the commands that leave this project alone and whole."""
    remove = f"pip uninstall -y {OTHER}; " if other_version() is not None else ""
    return f"run: {remove}pip install --force-reinstall --no-deps {_source()}"


def _source() -> str:
    """Return what was installed, as `pip install` takes it: a folder, a file, or the name."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        said = json.loads(importlib.metadata.distribution(DISTRIBUTION).read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        said = {}
    url = urlsplit(str(said.get("url", "")))
    if url.scheme != "file":
        return DISTRIBUTION
    path = url2pathname(url.path)
    quoted = f'"{path}"' if " " in path else path
    return f"-e {quoted}" if said.get("dir_info", {}).get("editable") else quoted


# -- The plugin. Where the package is ours and whole, its own plugin says the rest.


def pytest_addoption() -> None:
    """Refuse to go on where the plugin cannot be loaded: that comes next, and would fail with less of a reason.

    pytest calls this as soon as it has loaded the module, and it loads plugins of a distribution in the order of their names. Where it
    comes to the distribution of the other project first, its plugin fails before anything of ours can speak.
    """
    if not _plugin_is_there() or (damage() and not _plugin_loads()):
        raise pytest.UsageError(conflict())


def _plugin_is_there() -> bool:
    found = importlib.machinery.PathFinder.find_spec("pytest_evals")
    folders = list(found.submodule_search_locations or ()) if found else []
    return any(Path(folder, "plugin.py").is_file() for folder in folders)


def _plugin_loads() -> bool:
    """Tell whether the plugin of the other project, which is in the place of ours, can be imported: it needs packages of its own."""
    try:
        importlib.import_module("pytest_evals.plugin")
    except ImportError:
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Refuse to run evals with files of another project, before its options are found not to exist."""
    words = [*os.environ.get("PYTEST_ADDOPTS", "").split(), *map(str, early_config.invocation_params.args)]
    asked = os.environ.get("PYTEST_EVALS") or any(word.startswith("--evals") for word in words)
    if asked and not early_config.pluginmanager.is_blocked("evals") and damage():
        raise pytest.UsageError(conflict())


def pytest_report_header() -> list[str]:
    """Say it in every run: suites that import names of this project cannot be collected."""
    return [f"evals: {conflict()}"] if damage() else []


# -- The command.


def main() -> int:
    """Run the command ``pytest-evals``. Where it is not there, say why; the exit status is then 1."""
    try:
        from pytest_evals import cli
    except ImportError:
        problem = conflict()
        if not problem:
            raise
        sys.stderr.write(f"pytest-evals: error: {problem}\n")
        return 1
    return cli.main()
