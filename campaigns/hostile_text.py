"""Hostile texts by sink: how many of them were more than text in a log, a terminal, a file or a table.

    python -m campaigns.hostile_text            all of it, some minutes
    python -m campaigns.hostile_text logs csv   some of the parts

Each part writes a small suite whose data holds the texts, runs pytest and the command as a user would, and reads what came out as
the place does that it goes to. The last column is how many got through; it should be 0. `campaigns.hostile_inputs` has texts and
readers.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaigns import hostile_inputs as hostile

CHANNELS = (
    *("assertion", "stdout", "stderr", "logging", "warning", "skipped", "xfailed", "raised", "failed", "property"),
    *("task", "grader", "uncaptured"),
)
"""Ways by which a text of a model comes to what pytest shows."""
SUITE = """
import logging, sys, warnings
import pytest
from pytest_evals import cases, grader, task

ROWS = __import__("json").loads(open("rows.json").read())

@task
async def told(case):
    if case["channel"] == "task":
        print(case["text"])
    return case["text"]

@grader
def read(completion, case):
    if case["channel"] == "grader":
        raise ValueError(completion.text)
    return False

@cases(ROWS, id="id")
def test_it(completion, told, read, case, record_property, capsys):
    text, channel = completion.text, case["channel"]
    if channel == "stdout": print(text)
    if channel == "stderr": print(text, file=sys.stderr)
    if channel == "logging": logging.warning("%s", text)
    if channel == "warning": warnings.warn(text)
    if channel == "skipped": pytest.skip(text)
    if channel == "xfailed": pytest.xfail(text)
    if channel == "raised": raise ValueError(text)
    if channel == "failed": pytest.fail(text)
    if channel == "property": record_property("said", text)
    if channel == "uncaptured":
        with capsys.disabled():
            print("\\n" + text)
            for character in "\\n" + text: print(character, end="")
    assert text == "never", text
"""
PARAMETERS = """
import pytest

@pytest.mark.parametrize("text", __import__("json").loads(open("ids.json").read()), ids=lambda text: text)
def test_plain(text):
    print(text)
    assert not text
"""


@dataclass(frozen=True)
class Found:
    """A row of the table."""

    part: str
    sink: str
    tried: int
    through: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a command said."""

    status: int
    out: str
    error: str


class Folder:
    """A folder with a suite, in which commands are run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, texts: Sequence[str], channels: Sequence[str] = ("assertion",), source: str = SUITE) -> int:
        """Write the suite with a case for each text and channel; return how many there are."""
        rows = [
            {"id": f"c{number}-{channel}", "channel": channel, "text": filled, "completion": filled}
            for number, text in enumerate(texts)
            for channel in channels
            for filled in [text.replace("{tag}", f"tag{number}{channel}z")]
        ]
        (self.path / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
        (self.path / "test_suite.py").write_text(source, encoding="utf-8")
        (self.path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        return len(rows)

    def pytest(self, *arguments: str, **environment: str) -> Result:
        """Run ``pytest --evals``; the artifact is ``run.jsonl``."""
        base = ("--evals", "--evals-artifact=run.jsonl", "-p", "no:cacheprovider", "-rA", "--color=no")
        result = self.run(sys.executable, "-m", "pytest", *base, *arguments, environment=environment)
        if " passed" not in result.out and " failed" not in result.out:
            raise RuntimeError(f"the suite did not run: {result.out[-2000:]}{result.error[-2000:]}")
        return result

    def command(self, *arguments: str, **environment: str) -> Result:
        """Run ``pytest-evals``."""
        return self.run(sys.executable, "-m", "pytest_evals", *arguments, environment=environment)

    def run(self, *command: str, seconds: float = 300, environment: Mapping[str, str] | None = None) -> Result:
        """Run a command in an environment that no CI system has set up."""
        found = {
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "GITLAB_CI", "GITHUB_STEP_SUMMARY", "PYTEST_ADDOPTS")
        }  # fmt: skip
        done = subprocess.run(
            command,
            cwd=self.path,
            env={**found, "COLUMNS": "100", "PYTHONIOENCODING": "utf-8:surrogatepass", **(environment or {})},
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return Result(done.returncode, *(text.decode("utf-8", "surrogatepass") for text in (done.stdout, done.stderr)))

    def text(self, name: str) -> str:
        """Return what is in a file."""
        return (self.path / name).read_bytes().decode("utf-8", "surrogatepass")


def row(part: str, sink: str, tried: int, through: Iterable[str]) -> Found:
    """Return a row of the table."""
    found = sorted(set(through))
    return Found(part, sink, tried, len(found), tuple(found[:5]))


# -- The parts. Each gets an empty folder and yields rows.


def logs(folder: Folder) -> Iterator[Found]:
    """The log of a job: all that pytest prints, with and without workers, without capturing, and for tests that are no evals."""
    ways: Mapping[str, Sequence[str]] = {
        "": ("-p", "no:xdist"),
        ", -n 2": ("-n", "2"),
        ", -s": ("-s", "-p", "no:xdist"),
        ", -v -l, live log": ("-v", "-l", "--log-cli-level=INFO", "-p", "no:xdist"),
    }
    for language, (texts, reader, environment) in hostile.LANGUAGES.items():
        for way, arguments in ways.items():
            tried = folder.write(texts, CHANNELS)
            result = folder.pytest(*arguments, **environment)
            internal = ["INTERNALERROR"] if "INTERNALERROR" in result.out + result.error else []
            yield row("logs", f"{language}{way}", tried, [*reader(result.out), *reader(result.error), *internal])
        filled = [text.replace("{tag}", f"tag{number}idz") for number, text in enumerate(texts)]
        (folder.path / "ids.json").write_text(json.dumps(filled), encoding="utf-8")
        folder.write([], source=PARAMETERS)
        result = folder.pytest("-v", "-p", "no:xdist", **environment)
        yield row("logs", f"{language}, other tests", len(texts), reader(result.out))


def _commands(folder: Folder) -> dict[str, str]:
    """Return what each subcommand prints about ``run.jsonl``, in a job of each CI system that reads logs."""
    (folder.path / "evals_baselines").mkdir(exist_ok=True)
    folder.command("baseline", "set", "run.jsonl", "--allow-partial", "--texts")
    asked = {
        "show": ("show", "run.jsonl", "-v"),
        "cases": ("cases", "run.jsonl", "--limit", "0"),
        "cases -v": ("cases", "run.jsonl", "-v", "--limit", "0"),
        "cases --nodeids": ("cases", "run.jsonl", "--nodeids"),
        "cases --json": ("cases", "run.jsonl", "--json"),
        "compare -v": ("compare", "run.jsonl", "other.jsonl", "-v", "--limit", "0"),
        "export csv": ("export", "run.jsonl", "--to", "csv"),
        "export jsonl": ("export", "run.jsonl", "--to", "jsonl"),
        "baseline list": ("baseline", "list"),
    }
    results = {name: folder.command(*arguments, GITHUB_ACTIONS="true") for name, arguments in asked.items()}
    return {name: result.out + result.error for name, result in results.items()}


def commands(folder: Folder) -> Iterator[Found]:
    """What ``pytest-evals`` prints of an artifact, and of a stranger's, in which every name is hostile."""
    for language, (texts, reader, _) in hostile.LANGUAGES.items():
        tried = folder.write(texts)
        folder.pytest("-p", "no:xdist")
        _strangers(folder)
        for name, printed in _commands(folder).items():
            yield row("command", f"{language}, {name}", tried, reader(printed))
    tried = folder.write(hostile.TERMINAL)
    folder.pytest("-p", "no:xdist")
    _strangers(folder)
    for name, printed in _commands(folder).items():
        if not name.startswith("export"):  # to a pipe: a file has the text as it is
            yield row("command", f"terminal, {name}", tried, hostile.terminal(printed))


def _strangers(folder: Folder) -> None:
    """Put the texts of the cases into all names of the artifact, and write a second one in which every grade differs."""
    lines = [json.loads(line) for line in folder.text("run.jsonl").strip().split("\n")]
    for name, value in (("run.jsonl", 0.0), ("other.jsonl", 1.0)):
        for line in lines:
            if line["type"] == "sample":
                text = line["interaction"]["completion"]["text"]
                line.update(suite="suite", case_id=text, nodeid=text, outcome="missed")
                line["grades"] = [
                    {"grader_key": "read", "value": value, "passed": bool(value), "reasoning": text, "status": "graded", "metadata": {}}
                ]  # fmt: skip
        lines[0]["suites"] = [{**lines[0]["suites"][0], "name": "suite"}]
        lines[0]["models"] = [{"model": line["case_id"]} for line in lines if line["type"] == "sample"]
        lines[-1].update(scores=[], gates=[])
        text = "".join(f"{json.dumps(line)}\n" for line in lines)
        (folder.path / name).write_text(text, encoding="utf-8")


def terminals(folder: Folder) -> Iterator[Found]:
    """What this plugin prints, and what failed evals show, on a terminal."""
    tried = folder.write(hostile.TERMINAL, ("assertion", "grader", "raised", "failed", "skipped", "xfailed"))
    for way, arguments in {"": ("-p", "no:xdist"), ", -n 2": ("-n", "2")}.items():
        result = folder.pytest("-v", *arguments)
        yield row("terminal", f"pytest -v{way}", tried, hostile.terminal(result.out))


def junit(folder: Folder) -> Iterator[Found]:
    """JUnit's XML."""
    for way, arguments in {"": ("-p", "no:xdist"), ", -n 2": ("-n", "2")}.items():
        for kind, texts in {"forbidden by XML": hostile.XML, "terminal": hostile.TERMINAL}.items():
            tried = folder.write(texts, CHANNELS)
            folder.pytest("--junitxml=junit.xml", *arguments)
            yield row("junit", f"{kind}{way}", tried, hostile.xml(folder.text("junit.xml")))


def markdown(folder: Folder) -> Iterator[Found]:
    """The summary of a job, rendered with and without HTML."""
    tried = folder.write(hostile.MARKDOWN, ("assertion", "raised", "grader"))
    folder.pytest("-p", "no:xdist", "--evals-summary=summary.md")
    for sink, allowed in {"HTML allowed": True, "HTML not allowed": False}.items():
        text = folder.text("summary.md")
        if not allowed:
            # What is ours shows as it is written, and is no element.
            text = "\n".join(line for line in text.splitlines() if not line.startswith(("<details>", "</details>")))
            text = text.replace("<br>", " ")
        yield row("markdown", sink, tried, hostile.markdown(text, allow_html=allowed))


def tables(folder: Folder) -> Iterator[Found]:
    """CSV for spreadsheets."""
    tried = folder.write(hostile.CSV)
    folder.pytest("-p", "no:xdist")
    folder.command("export", "run.jsonl", "--to", "csv", "-o", "cases.csv")
    yield row("csv", "cases.csv", tried, hostile.spreadsheet(folder.text("cases.csv")))


def surrogates(folder: Folder) -> Iterator[Found]:
    """Halves of surrogate pairs: workers of pytest-xdist, and files for other programs."""
    channels = [channel for channel in CHANNELS if channel != "uncaptured"]
    tried = folder.write(hostile.SURROGATES, channels)
    result = folder.pytest("-n", "2")
    (folder.path / "logs").mkdir()
    cases = folder.text("run.jsonl").count('{"type": "sample"')
    lost = [f"case {number} did not run" for number in range(tried - cases)]
    yield row("surrogates", "pytest -n 2", tried, [*lost, *(["INTERNALERROR"] * ("INTERNALERROR" in result.out))])
    for name in ("jsonl", "csv"):
        folder.command("export", "run.jsonl", "--to", name, "-o", f"cases.{name}")
        yield row("surrogates", f"export {name}", tried, _not_unicode(folder.path / f"cases.{name}"))
    folder.command("export", "run.jsonl", "--to", "inspect", "-o", "logs")
    yield row("surrogates", "export inspect", tried, _not_unicode(next((folder.path / "logs").glob("*.json"))))
    folder.command("report", "run.jsonl", "-o", "page.html")
    page = (folder.path / "page.html").read_bytes()
    yield row("surrogates", "page", tried, [] if page.decode("utf-8", "replace").encode() == page else ["no UTF-8"])


def _not_unicode(path: Path) -> list[str]:
    """Return the tags of texts that a strict reader of JSON (or of the file) refuses."""
    content = path.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ["no UTF-8"]
    found = []
    for line in text.strip().split("\n") if path.suffix == ".jsonl" else [text] if path.suffix == ".json" else []:
        try:
            json.dumps(json.loads(line), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            found += hostile.TAG.findall(line)
    return found


SECRETS = {
    "option": ("--api-key", "hunter2option"), "option with =": ("--client-secret=hunter2equals",), "token": ("--login-token", "hunter2token"),
    "address": ("--db-url", "postgres://me:hunter2address@db.example/x"), "address with =": ("--db-url=mysql://me:hunter2@at@db.example:3306/x",),
    "query": ("--db-url=https://db.example/?user=me&api_key=hunter2query",), "ini": ("-o", "their_password=hunter2ini"),
    "header": ("--db-url=Authorization: Bearer hunter2header1",), "JSON": ("--db-url", '{"password": "hunter2json"}'),
    "OpenAI": ("--db-url=sk-proj-hunter2hunter2hunter2",), "GitHub": ("--db-url=ghp_hunter2hunter2hunter2hunter2",), "Hugging Face": ("--db-url=hf_hunter2hunter2hunter2hunter2",),
    "Amazon": ("--db-url=AKIAHUNTER2HUNTER2AA",), "web token": ("--db-url=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.hunter2",), "Slack": ("--db-url=xoxb-hunter2-hunter2",),
    "GitLab": ("--db-url=glpat-hunter2hunter2hunter2",), "variable": ("--db-url=zzhunter2variablezz",),
}  # fmt: skip
CONFTEST = """
def pytest_addoption(parser):
    for name in ("--api-key", "--client-secret", "--login-token", "--db-url"):
        parser.addoption(name)
    parser.addini("their_password", "")
"""


def secrets(folder: Folder) -> Iterator[Found]:
    """Keys of other plugins on the command line, in all that is kept of a run."""
    folder.write(["x {tag}"])
    (folder.path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    kept: dict[str, list[str]] = {}
    for name, arguments in SECRETS.items():
        result = folder.pytest(
            "-p",
            "no:xdist",
            "--evals-html=page.html",
            "--evals-summary=summary.md",
            *arguments,
            THEIR_TOKEN="zzhunter2variablezz",
        )
        target = folder.path / f"logs-{len(kept)}-{name.replace(' ', '-')}"
        folder.command("export", "run.jsonl", "--to", "inspect", "-o", str(target))
        places = {
            "artifact": folder.text("run.jsonl"),
            "page": folder.text("page.html"),
            "Inspect log": "".join(path.read_text(encoding="utf-8") for path in target.glob("*.json")),
            "summary": folder.text("summary.md"),
            "terminal": result.out.partition("= FAILURES =")[0],
        }
        for place, text in places.items():
            kept.setdefault(place, [])
            if "hunter2" in text.lower().replace("hunter2ini:", ""):
                kept[place].append(name)
    for place, names in kept.items():
        yield row("secrets", place, len(SECRETS), names)


def files(folder: Folder) -> Iterator[Found]:
    """Who may read what is written, and paths of what is no file."""
    folder.write(["x {tag}"])
    folder.run(sys.executable, "-m", "pytest", "--evals", "-q", "--evals-html=page.html")
    folder.pytest("-p", "no:xdist")
    folder.command("report", "run.jsonl", "-o", "again.html")
    written = [folder.path / name for name in ("run.jsonl", "page.html", "again.html", ".evals")]
    written += (folder.path / ".evals").glob("*.jsonl")
    others = [path.name for path in written if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    yield row("files", "readable by others", len(written), others)
    pipe = folder.path / "pipe.jsonl"
    os.mkfifo(pipe)
    os.mkfifo(folder.path / "run.answers.jsonl")
    # By links, never by their own paths: a program that replaces its target would, as root, replace the device.
    (folder.path / "device.jsonl").symlink_to("/dev/zero")
    (folder.path / "terminal.jsonl").symlink_to("/dev/tty")
    asked: Mapping[str, tuple[str, ...]] = {
        **{f"{option} {path}": (sys.executable, "-m", "pytest", "--evals", "-q", f"{option}={path}") for option in ("--evals-artifact", "--evals-html", "--evals-summary", "--evals-codequality") for path in ("pipe.jsonl", "device.jsonl", "terminal.jsonl")},
        "annotate": (sys.executable, "-m", "pytest_evals", "annotate", "run.jsonl", "--reviewer", "me"),
        "history": (sys.executable, "-m", "pytest_evals", "history", "."),
        "show .": (sys.executable, "-m", "pytest_evals", "show", "."),
    }  # fmt: skip
    through = []
    for name, command in asked.items():
        try:
            result = folder.run(*command, seconds=30)
        except subprocess.TimeoutExpired:
            through.append(f"{name} hangs")
            continue
        if name.startswith("--") and result.status != 4:
            through.append(f"{name} is not refused")
    yield row("files", "pipes and devices", len(asked), through)


PARTS: Mapping[str, Callable[[Folder], Iterator[Found]]] = {
    "logs": logs,
    "commands": commands,
    "terminals": terminals,
    "junit": junit,
    "markdown": markdown,
    "csv": tables,
    "surrogates": surrogates,
    "secrets": secrets,
    "files": files,
}


def main(names: Sequence[str]) -> int:
    """Run parts, print the table, and return 1 where something got through."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"there is no part {unknown[0]!r} (parts: {', '.join(PARTS)})", file=sys.stderr)
        return 2
    through = 0
    print(f"{'part':<11} {'sink':<34} {'tried':>6} {'through':>8}")
    for name in names or PARTS:
        with tempfile.TemporaryDirectory() as path:
            for found in PARTS[name](Folder(Path(path))):
                through += found.through
                examples = f"  {', '.join(found.examples)}"[:100] if found.through else ""
                print(f"{found.part:<11} {found.sink:<34} {found.tried:>6} {found.through:>8}{examples}", flush=True)
    return int(through > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
