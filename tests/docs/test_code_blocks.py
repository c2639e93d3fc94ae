"""Every fenced code block of the documentation is run or checked. A test's id is the file and line of its block.

What happens to a block follows from its language:

* ``python``: with a test function in it, it is a suite, run with ``--evals``; all its cases must pass. Else it is run as a
  script.
* ``console`` (lines that start with ``$``) and ``sh`` (all lines): each command is checked. ``pytest`` commands are run with
  ``--collect-only``, so that options, models, gates and paths must be right; ``pytest-evals`` commands are run after the suite
  that a ``run`` comment names, else their arguments are checked; of others, targets, options and paths must exist.
* ``ini`` and ``toml``: pytest starts with them as its configuration file and refuses what it does not know.
* ``json``, ``jsonl``, ``yaml``: must be well formed. Commands in the ``run`` and ``script`` of a workflow are checked as
  above.

A block without a language, or of another one, is an error. Comments in the lines before a block say more:

* ``<!-- output -->``: what a program prints; not checked.
* ``<!-- file: NAME -->``: the block is the file of this name, for itself and for the later blocks of the page.
* ``<!-- run: passed=2 xfailed=1 model=echo args="-k fr" -->``: how a suite is run, every part optional. Its outcomes; its
  model: a function of ``MODELS`` in ``conftest.py``, a ``module:function`` in a file of the page, or ``none`` to name no model; more arguments.
* ``<!-- run: after=test_capitals.py -->``: before this script, or these commands, run that suite (with ``model`` and ``args``).

``capitals.jsonl`` and its suite ``capitals_suite.py``, the judges ``script.py`` and ``sure.py``, a folder ``my-model`` with a model, and a
recorded run as ``run.jsonl`` and in ``.evals`` are there for every block.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_evals import cli

from .blocks import PAGES, ROOT, Block, blocks_of

OUTCOMES = ("passed", "failed", "errors", "skipped", "xfailed", "xpassed")
OTHER_PROGRAMS = ("cd", "git", "mypy", "ruff")
BLOCKS = {page: list(blocks_of(page)) for page in PAGES}


@pytest.mark.parametrize(("page", "block"), [pytest.param(p, b, id=b.place) for p in PAGES for b in BLOCKS[p]])
def test_block(page: Path, block: Block, folder: Path) -> None:
    for earlier in BLOCKS[page][: BLOCKS[page].index(block) + 1]:
        if earlier.name:
            (folder / earlier.name).write_text(earlier.text, encoding="utf-8")
    if not block.is_output:
        check = CHECKS.get(block.language)
        known = check is not None or block.name
        assert known, f"{block.place}: language {block.language!r} is not known here; for output write <!-- output -->"
        if check is not None:
            check(block, folder)


def check_python(block: Block, folder: Path) -> None:
    name = block.name or "test_block.py"
    if re.search(r"^\s*def test_", block.text, re.MULTILINE):
        (folder / name).write_text(block.text, encoding="utf-8")
        done = run_suite(block, folder, name)
        nouns = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())
        found = {key: number for key, number in nouns.items() if key in OUTCOMES}
        expected = {key: int(number) for key, number in block.options.items() if key in OUTCOMES}
        right = found == expected if expected else list(found) == ["passed"]
        assert right, f"{block.place}: {found}, not {expected or 'passed'}\n{done.stdout}"
        failing = bool(expected.keys() & {"failed", "errors"})
        assert done.returncode == failing, f"{block.place}: exit status {done.returncode}\n{done.stdout}"
        return
    compile(block.text, block.place, "exec")
    if "after" in block.options:
        run_suite(block, folder, block.options["after"])
    if not block.name:
        done = run("-c", block.text, cwd=folder)
        assert done.returncode == 0, f"{block.place}:\n{done.stdout}"


def run_suite(block: Block, folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    model = block.options.get("model", "capitals")
    spec = f"scripted:{model}" if ":" in model else f"scripted:models:{model}"
    chosen = [] if model == "none" else ["--evals-model", spec]
    return run("-m", "pytest", "--evals", *chosen, name, *shlex.split(block.options.get("args", "")), cwd=folder)


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python; standard error is part of the output."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def check_commands(block: Block, folder: Path) -> None:
    lines = re.sub(r"\\\n\s*", "", block.text).splitlines()
    commands = [line.removeprefix("$") for line in lines if line.startswith("$") or (line and block.language == "sh")]
    assert commands, f"{block.place}: no command"
    if "after" in block.options:
        run_suite(block, folder, block.options["after"])
    for command in commands:
        check_command(command, block, folder)


def check_command(line: str, block: Block, folder: Path) -> None:
    if "&&" in line:
        for command in line.split("&&"):
            check_command(command, block, folder)
        return
    for inner in re.findall(r"\$\((.*)\)", line):
        check_command(inner, block, folder)
    words = shlex.split(re.sub(r"\$\(.*\)", "", line), comments=True)
    # What comes after a pipe or into a file is not looked at; a > in quotes belongs to a gate.
    words = words[: next((place for place, word in enumerate(words) if word in ("|", ">")), None)]
    environment: dict[str, str] = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, environment[name] = words.pop(0).partition("=")
    if not words:
        return
    words = words[2:] if words[1:2] == ["-m"] else words
    program, arguments = Path(words[0]).name, words[1:]
    options = [word for word in arguments if word.startswith("-")]
    paths = [word.partition("::")[0] for word in arguments if word not in options]
    where = f"{block.place}: {line.strip()}:"
    if program in ("pytest-evals", "pytest_evals"):
        check_look(arguments, block, folder, where)
    elif program == "pytest":
        at = ROOT if any((ROOT / path).exists() for path in paths) else folder
        dry = ("--collect-only", "-q", "-o", f"cache_dir={folder}")
        done = run("-m", "pytest", *arguments, *dry, cwd=at, **environment)
        assert done.returncode in (0, 5), f"{where}\n{done.stdout}"
    elif program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(paths) <= set(targets), f"{where} no such target"
    elif program == "pip":
        known = run("-m", "pip", "install", "--help", cwd=folder).stdout
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = re.findall(r"pytest-evals-hf\[(\w+)\]", line)
        assert paths[0] == "install", where
        assert all(re.search(rf"{option.partition('=')[0]}[ ,]", known) for option in options), (
            f"{where} unknown option"
        )
        assert set(extras) <= set(project["optional-dependencies"]), f"{where} unknown extra"
    else:
        target = paths[0] if program in ("python", "python3") else words[0]
        found = (ROOT / target).is_file() or importlib.util.find_spec(program)
        assert program in OTHER_PROGRAMS or found, f"{where} there is no {target}"


def check_look(arguments: list[str], block: Block, folder: Path, where: str) -> None:
    """Check a command of ``pytest-evals``: it is run where there is a run to look at."""
    if "after" in block.options:
        done = run("-m", "pytest_evals", *arguments, cwd=folder)
        assert done.returncode == 0, f"{where}\n{done.stdout}"
    else:
        cli.make_parser().parse_args(arguments)


def check_configuration(block: Block, folder: Path) -> None:
    name = "pytest.ini" if block.language == "ini" else "pyproject.toml" if "[tool." in block.text else "pytest.toml"
    (folder / name).write_text(block.text, encoding="utf-8")
    check_command("pytest --evals --strict-config", block, folder)


def check_json(block: Block, _folder: Path) -> None:
    by_line = block.language == "jsonl" or block.name.endswith(".jsonl")
    for text in block.text.splitlines() if by_line else [block.text]:
        json.loads(text)


def check_yaml(block: Block, folder: Path) -> None:
    for command in commands_in(yaml.safe_load(block.text)):
        check_command(command, block, folder)


def commands_in(value: Any) -> Iterator[str]:
    """Find the commands of a workflow of GitHub or GitLab."""
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if key in ("run", "script", "before_script"):
            for text in [entry] if isinstance(entry, str) else entry:
                yield from re.sub(r"\\\n\s*", "", text).splitlines()
        else:
            yield from commands_in(entry)


CHECKS = {
    "python": check_python,
    "console": check_commands,
    "sh": check_commands,
    "ini": check_configuration,
    "toml": check_configuration,
    "json": check_json,
    "jsonl": check_json,
    "yaml": check_yaml,
}
