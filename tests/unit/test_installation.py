"""Two projects install a package ``pytest_evals``: which one is there, what is broken, and what to do, in each order of installing."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pytest_evals
import pytest_evals_hf

OURS = Path(pytest_evals.__file__).read_text(encoding="utf-8")
THEIRS = '"""A pytest plugin for running and analyzing LLM evaluation tests."""\n'
Install = Callable[..., Any]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Have Python find these versions, and this record of where ours came from."""

    def install(other: str | None = None, **direct: Any) -> None:
        def version(name: str) -> str:
            if name == "pytest-evals" and other is None:
                raise PackageNotFoundError(name)
            return str(other)

        def distribution(_: str) -> Any:
            return SimpleNamespace(read_text=lambda _: json.dumps(direct) if direct else None)

        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(importlib.metadata, "distribution", distribution)

    return install


def package(folder: Path, **files: str) -> list[str]:
    """Write a package as ``pip`` leaves it, and return the path on which it is."""
    (folder / "pytest_evals").mkdir(parents=True)
    for name, text in files.items():
        (folder / "pytest_evals" / f"{name}.py").write_text(text, encoding="utf-8")
    return [str(folder)]


def test_this_package_is_ours_and_whole() -> None:
    assert pytest_evals_hf.damage() == ""
    assert pytest_evals_hf.other_version() is None
    assert pytest_evals_hf.conflict() == ""


def test_files_of_the_other_project_over_ours_are_found(tmp_path: Path, installed: Install) -> None:
    installed("0.3.4")
    path = package(tmp_path, __init__=THEIRS, plugin="", registration="")
    assert "pytest-evals 0.3.4, has overwritten" in pytest_evals_hf.damage(path)


def test_an_editable_installation_is_hidden_by_a_folder_before_it(tmp_path: Path, installed: Install) -> None:
    installed("0.3.4")
    theirs, ours = (
        package(tmp_path / "a", __init__=THEIRS, plugin=""),
        package(tmp_path / "b", __init__=OURS, plugin=""),
    )
    assert "hidden" in pytest_evals_hf.damage([*theirs, *ours])
    assert pytest_evals_hf.damage([*ours, *theirs]) == ""


@pytest.mark.parametrize(
    ("files", "missing"),
    [
        ({"registration": ""}, "__init__.py and plugin.py of"),
        ({"__init__": OURS}, "plugin.py of"),
        ({"plugin": ""}, "__init__.py of"),
    ],
)
def test_files_that_uninstalling_removed_are_named(
    tmp_path: Path, installed: Install, files: dict[str, str], missing: str
) -> None:
    installed()
    found = pytest_evals_hf.damage(package(tmp_path, **files))
    assert found.startswith(missing)
    assert "missing" in found


def test_a_package_that_is_gone_is_said(tmp_path: Path) -> None:
    assert "cannot be found" in pytest_evals_hf.damage([str(tmp_path)])


def test_both_side_by_side_is_a_conflict_also_where_ours_was_installed_last(installed: Install) -> None:
    installed("0.3.4")
    found = pytest_evals_hf.conflict()
    assert "pytest-evals 0.3.4 is installed beside pytest-evals-hf" in found
    assert "run: pip uninstall -y pytest-evals; pip install --force-reinstall --no-deps pytest-evals-hf" in found


@pytest.mark.parametrize(
    ("direct", "command"),
    [
        ({}, "--no-deps pytest-evals-hf"),
        ({"url": "file:///src/clone", "dir_info": {"editable": True}}, "--no-deps -e /src/clone"),
        ({"url": "file:///src/clone", "dir_info": {}}, "--no-deps /src/clone"),
        ({"url": "file:///my%20files/x.whl", "archive_info": {}}, '--no-deps "/my files/x.whl"'),
        ({"url": "https://example.org/x.whl", "archive_info": {}}, "--no-deps pytest-evals-hf"),
    ],
)
def test_the_command_installs_what_was_installed(installed: Install, direct: dict[str, Any], command: str) -> None:
    installed(None, **direct)
    assert pytest_evals_hf.remedy() == f"run: pip install --force-reinstall {command}"


def config(*arguments: str, blocked: bool = False) -> Any:
    manager = SimpleNamespace(is_blocked=lambda _: blocked)
    return SimpleNamespace(invocation_params=SimpleNamespace(args=arguments), pluginmanager=manager)


def test_a_run_of_evals_with_other_files_is_refused_and_any_other_run_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytest_evals_hf, "damage", lambda: "another project has overwritten it")
    monkeypatch.delenv("PYTEST_EVALS", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    for asking in ("--evals", "--evals-model=x"):
        with pytest.raises(pytest.UsageError, match="another project has overwritten it; run: pip install"):
            pytest_evals_hf.pytest_load_initial_conftests(config(asking))
    pytest_evals_hf.pytest_load_initial_conftests(config("-q"))
    pytest_evals_hf.pytest_load_initial_conftests(config("--evals", blocked=True))
    assert pytest_evals_hf.pytest_report_header()[0].startswith("evals: another project has overwritten it")
    monkeypatch.setenv("PYTEST_EVALS", "1")
    with pytest.raises(pytest.UsageError):
        pytest_evals_hf.pytest_load_initial_conftests(config())


def test_a_plugin_of_the_other_project_that_cannot_be_loaded_is_said_before_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pytest_evals_hf, "damage", lambda: "another project has overwritten it")
    # It is there and loads: other tests than evals may go on.
    pytest_evals_hf.pytest_addoption()
    monkeypatch.setitem(sys.modules, "pytest_evals.plugin", None)
    with pytest.raises(pytest.UsageError, match="another project has overwritten it; run: pip install"):
        pytest_evals_hf.pytest_addoption()


def test_nothing_is_said_where_all_is_well() -> None:
    pytest_evals_hf.pytest_addoption()
    pytest_evals_hf.pytest_load_initial_conftests(config("--evals"))
    assert pytest_evals_hf.pytest_report_header() == []


def test_a_plugin_that_is_gone_is_said_before_pytest_loads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", package(tmp_path, registration=""))
    with pytest.raises(pytest.UsageError, match=r"plugin\.py of pytest-evals-hf are missing"):
        pytest_evals_hf.pytest_addoption()


def test_a_command_that_is_not_there_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("pytest_evals.cli", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "pytest_evals.cli", None)
    with pytest.raises(ImportError):
        pytest_evals_hf.main()
    monkeypatch.setattr(pytest_evals_hf, "damage", lambda: "another project has hidden it")
    assert pytest_evals_hf.main() == 1
    assert capsys.readouterr().err.startswith("pytest-evals: error: another project has hidden it; run: pip ")
