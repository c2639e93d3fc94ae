"""What a script consists of is read from its files: its module, and what that imports from the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.engines.script_sources import _is_installed, script_sources


def project(tmp_path: Path, **files: str) -> Path:
    """Write modules by name, ``__`` for the slash and ``INIT`` for ``__init__``."""
    for name, text in files.items():
        path = tmp_path / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import helper", {"helper"}),
        ("import helper as h, other", {"helper", "other"}),
        ("from helper import PREFIX", {"helper"}),
        ("from helper import *", {"helper"}),
        ("def answer(messages):\n    import helper\n    return helper.PREFIX", {"helper"}),
        ("try:\n    import helper\nexcept ImportError:\n    import other", {"helper", "other"}),
        ("import pkg.inner", {"pkg.inner"}),
        ("from pkg import inner", {"pkg.inner"}),
        ("from pkg.inner import x", {"pkg.inner"}),
        ("import deep.mod", {"deep", "deep.mod", "deep.sibling"}),
        ("import chain", {"chain", "helper"}),
        ("import importlib\nhelper = importlib.import_module('helper')", {"helper"}),
        ("helper = __import__('helper')", {"helper"}),
        ("import json, os, numpy, pytest, absent, pytest_evals.testing", set()),
        ("if TYPE_CHECKING:\n    import other", {"other"}),
        ("import circle", {"circle"}),
        ("this is no Python", set()),
    ],
)
def test_every_way_of_importing_counts(tmp_path: Path, text: str, modules: set[str]) -> None:
    root = project(
        tmp_path,
        app=text,
        helper="PREFIX = 1",
        other="",
        pkg__inner="x = 1",
        deep__INIT="from . import sibling",
        deep__mod="from .sibling import y",
        deep__sibling="y = 1",
        chain="from helper import PREFIX",
        circle="import app",
    )
    assert set(script_sources("app", [str(root)]).texts) == {"app", *modules}


def test_relative_imports_follow_their_package(tmp_path: Path) -> None:
    root = project(
        tmp_path,
        a__b__app="from ..c import x\nfrom . import d\nfrom .d import y",
        a__c="x = 1",
        a__b__d="y = 1",
        c="no",
    )
    assert set(script_sources("a.b.app", [str(root)]).texts) == {"a.b.app", "a.c", "a.b.d"}


def test_what_is_installed_is_no_part_of_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path, app="import library", lib__library="x = 1")
    assert set(script_sources("app", [str(root), str(root / "lib")]).texts) == {"app", "library"}
    monkeypatch.setattr("site.getsitepackages", lambda: [str(root / "lib")])
    _is_installed.cache_clear()
    assert set(script_sources("app", [str(root), str(root / "lib")]).texts) == {"app"}


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("def answer(messages):\n    return open('x').read()", "app.py:2"),
        ("from pathlib import Path\nDATA = Path('x').read_text()", "app.py:2"),
        ("import helper", "helper.py:1"),
        ("import os\n\nKEY = os.environ['KEY']", "app.py:3"),
        ("import importlib\nname = 'x'\nimportlib.import_module(name)", "app.py:3"),
        ("exec('x = 1')", "app.py:1"),
        ("def answer(messages):\n    return 'x'", None),
    ],
)
def test_what_a_script_reads_at_run_time_is_told(tmp_path: Path, text: str, reads: str | None) -> None:
    root = project(tmp_path, app=text, helper="DATA = open('data.json')")
    assert script_sources("app", [str(root)]).reads == reads


def test_a_module_that_cannot_be_read_as_text_is_part_of_it_all_the_same(tmp_path: Path) -> None:
    root = project(tmp_path, app="import odd")
    (root / "odd.py").write_bytes(b"# -*- coding: nonsense -*-\n\xff")
    assert script_sources("app", [str(root)]).texts == {"app": "import odd\n", "odd": ""}
    assert script_sources("absent", [str(root)]).texts == {}
