"""Suite against plugin: what a run comes to beside other plugins of pytest, and under the runners of IDEs.

    python -m campaigns.matrix                      all of it, some minutes
    python -m campaigns.matrix pytest-html vscode   some rows
    python -m campaigns.matrix --write              and the tables of docs/plugins.md and docs/ides.md

Each row runs a small suite with scripted models twice: alone, and beside the plugin. Exit status, ledger, scores, gates, score card and
artifact must be the same, and the plugin's own report must have the gates. Plugins are installed, at their newest versions, into
environments of their own below ``--cache``, without torch: scripted models need none. The exit status is 1 when a row differs.

The runner of VS Code is part of its Python extension: ``--vscode FOLDER`` names the folder ``python_files`` of it, or of a clone of
microsoft/vscode-python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from campaigns import matrix_ides as ides
from campaigns.matrix_plugins import NEWEST, OLDEST, PLUGINS, Plugin
from campaigns.matrix_suite import FILES, Facts, Folder, Result, differences, facts_of

ROOT = Path(__file__).parent.parent
_LIST = """
import importlib.metadata as metadata, json
found = {}
for each in metadata.distributions():
    names = [point.name for point in each.entry_points if point.group == "pytest11"]
    found[each.metadata["Name"].lower().replace("_", "-")] = [each.version, names]
print(json.dumps(found))
"""
_HEAVY = ("torch", "transformers", "accelerate", "gguf")


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    who: str
    way: str
    problems: tuple[str, ...]
    note: str = ""
    verdict: str = "as without it"
    """What is said where there is no problem."""

    def markdown(self) -> str:
        """Return the row as Markdown."""
        verdict = "; ".join(self.problems).replace("|", "\\|") or self.verdict
        return f"| {self.who} | {f'`{self.way}`' if self.way else ''} | {verdict} | {self.note} |"


class Environment:
    """An environment with plugins, made where it is not there yet."""

    def __init__(self, folder: Path, plugins: Iterable[str], *, oldest: bool = False) -> None:
        self._folder = folder
        self._plugins = sorted(plugins)
        self._oldest = oldest

    @cached_property
    def python(self) -> Path:
        """Its Python."""
        python = self._folder / "bin" / "python"
        done = self._folder / "installed.txt"
        wanted = "\n".join([*self._needed, *self._plugins])
        if not (done.exists() and done.read_text(encoding="utf-8") == wanted):
            print(f"== making {self._folder}", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-m", "venv", self._folder], check=True)
            constraints = self._folder / "constraints.txt"
            constraints.write_text("\n".join(self._constraints), encoding="utf-8")
            pip = ("-m", "pip", "-q", "--disable-pip-version-check", "install", "-c")
            install: list[str | Path] = [python, *pip, constraints]
            subprocess.run([*install, *self._needed, *self._plugins], check=True)
            subprocess.run([*install, "--no-deps", "-e", ROOT], check=True)
            done.write_text(wanted, encoding="utf-8")
        return python

    @property
    def _needed(self) -> list[str]:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        needed = [need for need in project["dependencies"] if not need.startswith((*_HEAVY, "pytest>"))]
        return [*needed, "pytest==9.0.*" if self._oldest else "pytest"]

    @property
    def _constraints(self) -> list[str]:
        lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not (self._oldest and line.startswith("pytest=="))]

    @cached_property
    def installed(self) -> dict[str, tuple[str, list[str]]]:
        """By distribution, its version and the names of its entry points for pytest."""
        done = subprocess.run([self.python, "-c", _LIST], check=True, stdout=subprocess.PIPE, text=True)
        return {name: (version, names) for name, (version, names) in json.loads(done.stdout).items()}

    def points(self, *names: str) -> list[str]:
        """Return the entry points of distributions."""
        return [point for name in names for point in self.installed.get(name, ("", []))[1]]

    @cached_property
    def expected(self) -> Facts:
        """What the suite comes to without any plugin."""
        with tempfile.TemporaryDirectory(prefix="evals-matrix-") as path:
            folder = Folder(Path(path), self.python)
            folder.write(FILES)
            return facts_of(folder.pytest(), folder.path / "run.jsonl")


def try_plugin(plugin: Plugin, environment: Environment) -> Row:
    """Run the suite beside a plugin, and return what came of it."""
    found = environment.installed.get(plugin.name)
    if found is None:
        return Row(plugin.name, " ".join(plugin.options), ("cannot be installed beside this pytest",), plugin.note)
    suffix = f", pytest {environment.installed['pytest'][0]}" if plugin.environment == OLDEST else ""
    who = f"{plugin.name} {found[0]}{suffix if plugin.name != 'pytest' else ''}"
    with tempfile.TemporaryDirectory(prefix="evals-matrix-") as path:
        folder = Folder(Path(path), environment.python, environment.points(*plugin.needs, plugin.name))
        folder.write(plugin.files or FILES)
        subprocess.run(["git", "init", "-q"], cwd=path, check=False)
        problems = tuple(_problems(plugin, folder, environment))
        works = not problems or _works_without_evals(plugin, folder)
    way = " and ".join(" ".join(part) for part in plugin.parts) if plugin.parts else " ".join(plugin.options)
    if not works:
        return Row(who, way, (), plugin.note, "fails ordinary tests too, while evals are off")
    return Row(who, way, problems, plugin.note)


def _works_without_evals(plugin: Plugin, folder: Folder) -> bool:
    """Tell whether the plugin runs ordinary tests while evals are off."""
    folder.write({"test_ordinary.py": FILES["test_ordinary.py"]})
    try:
        return folder.ordinary(*(plugin.parts[0] if plugin.parts else plugin.options)).status == 0
    except subprocess.TimeoutExpired:
        return False


def _problems(plugin: Plugin, folder: Folder, environment: Environment) -> Iterator[str]:
    try:
        result, facts = _run(plugin, folder)
    except (OSError, ValueError, LookupError) as error:
        yield f"no artifact ({type(error).__name__})"
        return
    except subprocess.TimeoutExpired:
        yield "hangs"
        return
    if "INTERNALERROR" in result.out:
        yield "an internal error of pytest"
    if not plugin.differs:
        yield from differences(facts, environment.expected)
    outcomes = {name.partition("[")[2].rstrip("]").partition("@")[0]: case[0] for name, case in facts.cases.items()}
    for name, outcome in plugin.expected.items():
        if outcomes.get(name) != outcome:
            yield f"the case {name} is {outcomes.get(name)}, not {outcome}"
    if plugin.check:
        yield from plugin.check(folder, result, facts)


def _run(plugin: Plugin, folder: Folder) -> tuple[Result, Facts]:
    if not plugin.parts:
        result = folder.pytest(*plugin.options, **plugin.variables)
        return result, facts_of(result, folder.path / "run.jsonl")
    names = [f"part{number}.jsonl" for number, _ in enumerate(plugin.parts)]
    for name, options in zip(names, plugin.parts, strict=True):
        folder.pytest(*options, artifact=name)
    merged = folder.run("-m", "pytest_evals", "merge", *names, "--output", "merged.jsonl")
    # The command prints the card without pytest's heading.
    return merged, facts_of(Result(merged.status, f" score card {merged.out}"), folder.path / "merged.jsonl")


def try_plugins(names: Sequence[str], environments: Mapping[str, Environment]) -> Iterator[Row]:
    """Yield the rows of plugins; without names those of all."""
    for plugin in PLUGINS:
        if not names or plugin.name in names:
            yield try_plugin(plugin, environments[plugin.environment])


def try_runners(names: Sequence[str], environment: Environment, vscode: Path | None) -> Iterator[Row]:
    """Yield the rows of the runners of IDEs."""
    for name, steps in ides.RUNNERS.items():
        if names and name not in names:
            continue
        try:
            for way, problems, note in steps(environment, vscode):
                yield Row(ides.TITLES[name], way, problems, note)
        except (OSError, ValueError) as error:
            yield Row(ides.TITLES[name], "", (f"no artifact ({type(error).__name__})",))


def write_table(page: Path, name: str, head: str, rows: Iterable[Row]) -> None:
    """Put a table into a page, between its marks."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: made by python -m campaigns.matrix --write -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    lines = [begin, head, "| --- | --- | --- | --- |", *(row.markdown() for row in rows), end]
    page.write_text(before + "\n".join(lines) + after, encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="plugins, 'vscode' or 'pycharm'")
    parser.add_argument("--cache", type=Path, default=ROOT / ".venv-matrix", help="folder of the environments")
    parser.add_argument(
        "--vscode", type=Path, default=ides.find_vscode(), help="folder python_files of VS Code's extension"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into the documentation")
    given = parser.parse_args()
    if given.write and given.names:
        parser.error("--write needs all rows: name none")
    return given


def _printed(rows: Iterable[Row]) -> list[Row]:
    found = []
    for row in rows:
        print(row.markdown(), flush=True)
        found.append(row)
    return found


def main() -> int:
    """Run rows and print their tables."""
    given = _arguments()
    needed: dict[str, set[str]] = {NEWEST: set(), OLDEST: set()}
    for plugin in PLUGINS:
        needed[plugin.environment] |= {plugin.name, *plugin.needs} - {"pytest"}
    environments = {
        NEWEST: Environment(given.cache / "newest", needed[NEWEST]),
        OLDEST: Environment(given.cache / "oldest", needed[OLDEST], oldest=True),
    }
    plugins = _printed(try_plugins(given.names, environments))
    runners = _printed(try_runners(given.names, environments[NEWEST], given.vscode))
    if given.write:
        write_table(ROOT / "docs/plugins.md", "plugins", "| Plugin | Tried with | Verdict | |", plugins)
        write_table(ROOT / "docs/ides.md", "runners", "| Runner | What | Verdict | |", runners)
    return int(any(row.problems for row in [*plugins, *runners]))


if __name__ == "__main__":
    raise SystemExit(main())
