"""The README, followed word by word by a new user: from the built wheel, in an empty folder, outside of this one.

Only the installing itself is another: the wheel goes into a folder of its own before the packages that are here, and a scripted model
takes the place of the default one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from .blocks import ROOT, blocks_of

README = ROOT / "README.md"
COMMANDS = {
    "pytest-evals doctor": ((0, 1), r"(?m)^ok +pytest-evals-hf: [\d.]+, in {installed}$"),
    "pytest --evals": ((0,), r"test_capitals +named +3/3 +1\.000(?s:.*)gate PASSED +test_capitals: named\.mean >= 0\.6"),
    'pytest --evals "test_capitals.py::test_capitals[Japan]"': ((0,), r"The capital is Tokyo\.(?s:.*)1 passed"),
    "pytest-evals cases -v": ((0,), r"Japan(?s:.*)The capital is Tokyo\."),
    'pytest --evals --evals-gate "named.ci_low >= 0.9"': ((1,), r"FAILED evals\.gates::test_capitals\.named\.ci_low >= 0\.9"),
    "pytest --evals --evals-html report.html": ((0,), r"report\.html"),
}  # fmt: skip
"""What the README says to run, with its exit status and what it prints."""
MODEL = """
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Peru": "Lima"}

def answer(messages):
    question = messages[-1]["content"]
    return next(f"The capital is {CAPITALS[country]}." for country in CAPITALS if country in question)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as ``pip`` and ``build`` have it built, with the backend of ``pyproject.toml``, and without network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    folder = wheel.parent / "installed"
    options = ("--no-deps", "--no-index", "--no-compile", "--quiet", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def commands_of_the_readme() -> list[str]:
    """Return what it says to run, without what installs packages, and without comments."""
    lines = [
        line.removeprefix("$ ")
        for block in blocks_of(README)
        for line in block.text.splitlines()
        if block.language == "console"
    ]
    assert [line for line in lines if line.startswith("pip install")] == lines[:3]
    return [re.sub(r"\s+#.*", "", line) for line in lines[3:]]


def test_the_readme_works_as_written(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTEST_ADDOPTS", "PYTEST_EVALS", "PYTEST_XDIST_WORKER", "CI", "GITHUB_ACTIONS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("PYTHONPATH", str(installed))
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(installed / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    for block in blocks_of(README):
        if block.name:
            (tmp_path / block.name).write_text(block.text, encoding="utf-8")
    (tmp_path / "answers.py").write_text(MODEL, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nevals_models = scripted:answers:answer\n", encoding="utf-8")
    assert commands_of_the_readme() == list(COMMANDS)
    for command, (statuses, printed) in COMMANDS.items():
        done = subprocess.run(shlex.split(command), cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode in statuses, f"{command}\n{done.stdout}{done.stderr}"
        assert re.search(printed.replace("{installed}", re.escape(str(installed))), done.stdout), (
            f"{command}\n{done.stdout}"
        )
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_pytest_says_what_another_project_has_done_to_the_package(installed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    shutil.copytree(installed, folder)
    # Without site, no editable installation is on the path.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), sysconfig.get_path("purelib")])}

    def pytest_says(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-S", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    # The other project is installed over this one.
    theirs = folder / "pytest_evals-0.3.4.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-evals\nVersion: 0.3.4\n", encoding="utf-8")
    (theirs / "entry_points.txt").write_text("[pytest11]\nevals = pytest_evals.plugin\n", encoding="utf-8")
    for name in ("__init__.py", "plugin.py"):
        (folder / "pytest_evals" / name).write_text(
            '"""A pytest plugin for LLM evaluation tests."""\n', encoding="utf-8"
        )
    status, said = pytest_says("--evals")
    assert (status, "pytest-evals 0.3.4, has overwritten" in said, "run: pip uninstall -y" in said) == (
        4,
        True,
        True,
    ), said
    status, said = pytest_says()
    assert (status, "evals: another project, pytest-evals 0.3.4" in said) == (5, True), said
    # It is uninstalled, which removes files that both have.
    shutil.rmtree(theirs)
    for name in ("__init__.py", "plugin.py"):
        (folder / "pytest_evals" / name).unlink()
    status, said = pytest_says()
    assert (status, "plugin.py of pytest-evals-hf are missing" in said) == (4, True), said


def test_the_wheel_has_all_that_belongs_to_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    there = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "pytest_evals").rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {name for name in names if ".dist-info/" not in name} == {*there, "pytest_evals_hf.py"}
    endings = {Path(name).suffix or Path(name).name for name in there}
    assert {".py", ".html", ".css", ".js", ".json", ".typed"} - endings == set(), f"the package has {sorted(endings)}"


def test_what_the_package_index_shows_has_no_link_into_the_clone(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())
        (entries,) = (name for name in archive.namelist() if name.endswith("/entry_points.txt"))
        # The check has to be loaded before what it checks.
        assert (
            "[pytest11]\ncheck-evals = pytest_evals_hf\nevals = pytest_evals.plugin" in archive.read(entries).decode()
        )
    shown = str(metadata.get_payload())
    targets = re.findall(r"\]\(([^)\s]+)\)", shown)
    source = project["urls"]["Source"].removeprefix("https://")
    assert len(targets) == len(re.findall(r"\]\(([^)\s]+)\)", README.read_text(encoding="utf-8")))
    assert [target for target in targets if not target.startswith("https://")] == []
    assert any(target.startswith(f"https://{source}/blob/v{project['version']}/docs/") for target in targets)
    assert any(re.search(r"^https://raw\..*/v[\d.]+/docs/images/run\.svg$", target) for target in targets)
    assert "<!--" not in shown
    urls = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL") or [])
    assert urls.keys() == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < 80
