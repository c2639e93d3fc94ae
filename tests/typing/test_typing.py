"""A suite with types passes the checkers that its authors use in their strictest modes, and mistakes in one are found.

``mistakes.py`` is held by both checkers reporting an ignore that is not needed.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FILES = ("user_suite.py", "mistakes.py")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)


def test_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    options = ("--strict", "--config-file=", "--cache-dir", str(tmp_path))
    done = run(sys.executable, "-m", "mypy", *options, *FILES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"no issues found in {len(FILES)} source files" in done.stdout


def test_pyright_strict() -> None:
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    if shutil.which("node") is None:
        pytest.skip("pyright needs node, which is not on the PATH")
    done = run(sys.executable, "-m", "pyright", "--project", str(FOLDER), "--pythonpath", sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 warnings" in done.stdout


def test_the_suite_runs_too(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text((FOLDER / "user_suite.py").read_text(encoding="utf-8"), encoding="utf-8")
    script = "def answer(messages):\n    return 'It is Paris.'\n\n\ndef judge(messages):\n    return 'PASS'\n"
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    (tmp_path / "conftest.py").write_text("pytest_plugins = ['pytest_evals.testing']\n", encoding="utf-8")
    options = ("--evals", "--evals-model=scripted:script:answer", "--evals-judge=scripted:script:judge")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
