"""Options, ini values, and the switch. Loaded in every pytest run: nothing here takes time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def _flag(text: str) -> dict[str, Any]:
    return {"action": "store_true", "default": False, "help": text}


def _value(metavar: str, text: str) -> dict[str, Any]:
    return {"metavar": metavar, "help": text}


def _values(metavar: str, text: str) -> dict[str, Any]:
    return {"action": "append", "metavar": metavar, "help": text}


# In the order of --help. argparse names a value after its option: --evals-run-code is evals_run_code.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--evals": _flag("Run eval tests"),
    "--evals-model": _values("SPEC", "Model to evaluate; repeat it for several (default: smollm2)"),
    "--evals-judge": _value("SPEC", "Model that judges, for tasks and graders that ask for it (default: smollm2)"),
    "--evals-gate": _values("EXPR", "Extra gate, as 'exact.mean >= 0.8'"),
    "--evals-artifact": _value(
        "PATH",
        "Write the evaluation artifact to PATH, a file or an address such as s3://BUCKET/run.jsonl (default: a new file in evals_dir)",
    ),
    "--evals-limit": _value("N", "Use the first N cases of each dataset"),
    "--evals-where": _value("EXPR", "Run only the cases for whose row EXPR is true, as \"item.level == 'hard'\""),
    "--evals-repeat": _value(
        "K", "Run each case K times, each with a seed of its own (default: what the suite says, else 1)"
    ),
    "--evals-seed": _value("S", "Base seed of sampled completions (default: 0)"),
    "--evals-plan": _flag("Say what would run, and load nothing"),
    "--evals-device": _value("DEVICE", "Where models run: auto (the default), cpu, cuda, cuda:N, mps"),
    "--evals-dtype": _value("DTYPE", "Precision of models: auto (the default), fp32, bf16, fp16"),
    "--evals-batch": _value("N", "Rows in a batch: auto (the default) or a number"),
    "--evals-exact": _flag(
        "Compute in fp32 and decide near-ties as for one prompt at a time, so that no text depends on its batch"
    ),
    "--evals-audit": _value(
        "N", "Compute N random cases once more, one at a time, and say how many texts and grades differ"
    ),
    "--evals-fetch": _flag(
        "Let images and audio of cases be fetched from the web; each is fetched once and kept in evals_dir"
    ),
    "--evals-run-code": _flag("Let graders run programs that a model wrote (python_tests)"),
    "--evals-code-sandbox": _value(
        "LEVEL",
        "How these programs are confined: auto (the default), bubblewrap, landlock, seccomp, none, docker, podman",
    ),
    "--evals-baseline": _value(
        "RUN", "Compare with RUN: the path of an artifact, the name of a baseline, 'latest', or 'none'"
    ),
    "--evals-replay": _value(
        "RUN", "Grade the completions recorded in the artifact RUN; no model under test is loaded"
    ),
    "--evals-resume": _value(
        "RUN", "Take over what the run of the artifact RUN finished, where nothing has changed, and generate the rest"
    ),
    "--evals-cache": _value(
        "MODE", "Answers of earlier runs: off (the default), read (use them) or write (use them and add new ones)"
    ),
    "--evals-stop-early": _flag("Run the cases of a suite in random order, and stop when all its gates are settled"),
    "--evals-warm": _value(
        "DURATION", "Keep models loaded until no run has used them for DURATION, as 10m, and use those of earlier runs"
    ),
    "--evals-time-limit": _value(
        "TIME", "Ask no model after TIME (90s, 30m, 2h, 1h30m); the cases with answers are graded, the others not run"
    ),
    "--evals-html": _value("PATH", "Write the report, one self-contained page, to PATH"),
    "--evals-summary": _value("PATH", "Write a summary in Markdown to PATH"),
    "--evals-summary-size": _value(
        "N", "Write the summary as a message for a chat (Slack, Teams), in at most N characters: 200 or more"
    ),
    "--evals-codequality": _value(
        "PATH", "Write gates that are not met and cases that failed to PATH, as GitLab's code quality report"
    ),
}
# Type, default and description of each value of the configuration file.
_INI: Mapping[str, tuple[Any, Any, str]] = {
    "evals_cache": ("string", "off", "Answers of earlier runs, as --evals-cache (default: off)"),
    "evals_cache_dir": ("string", "", "Folder of the cache (default: 'cache' in evals_dir)"),
    "evals_replay_strict": ("bool", False, "In a replay, a case whose prompt or parameters have changed is an error"),
    "evals": ("bool", False, "Run eval tests, as --evals does"),
    "evals_models": ("linelist", [], "Models to evaluate, one a line (default: smollm2)"),
    "evals_judge": ("string", "", "Model that judges (default: smollm2)"),
    "evals_aliases": ("linelist", [], "Short names of models, one 'name = spec' a line"),
    "evals_prices": ("linelist", [], "Prices of models, one 'name = PROMPT COMPLETION' a line: of a million tokens"),
    "evals_gates": ("linelist", [], "Gates for every run, one a line"),
    "evals_fetch": ("bool", False, "Let images and audio of cases be fetched from the web, as --evals-fetch"),
    "evals_run_code": ("bool", False, "Let graders run programs that a model wrote"),
    "evals_code_sandbox": (
        "string",
        "auto",
        "How these programs are confined, as --evals-code-sandbox (default: auto)",
    ),
    "evals_code_image": ("string", "", "Image of containers for these programs (default: python:X.Y-slim)"),
    "evals_dir": ("string", ".evals", "Folder of artifacts (default: .evals)"),
    "evals_recorded": (
        "string",
        "allow",
        "Completions that the rows bring where a model could be asked: allow (the default) or refuse",
    ),
    "evals_annotations": (
        "string",
        "auto",
        "Annotations in GitHub Actions: auto (the default: not beside a plugin that makes them), on or off",
    ),
    "evals_strict_cases": ("bool", False, "A missed case fails even if its suite has gates"),
    "evals_baseline": ("string", "", "What --evals-baseline is by default"),
    "evals_inconclusive": (
        "string",
        "warn",
        "What a gate does that the baseline leaves open: warn (the default), pass or fail",
    ),
    "evals_summary_size": ("int", 0, "Size of the summary, as --evals-summary-size (default: none, all of it)"),
    "evals_grader_timeout": ("float", 60, "Seconds that one grader may take (default: 60; 0 means no limit)"),
    "evals_step_timeout": (
        "float",
        300,
        "Seconds that one task may take for itself, waiting for models not counted (default: 300; 0 means no limit)",
    ),
    "evals_case_calls": (
        "int",
        200,
        "Calls of models that one case may make beyond its default turn (default: 200; 0 means no limit)",
    ),
    "evals_case_tokens": (
        "int",
        200000,
        "Tokens of prompts and answers that the calls of one case may use (default: 200000; 0 means no limit)",
    ),
    "evals_time_limit": (
        "string",
        "0",
        "Time after which no model is asked, as --evals-time-limit (default: 0, no limit)",
    ),
    "evals_stall_timeout": (
        "float",
        600,
        "Seconds without a sign of life after which a working engine is ended (default: 600; 0 means no limit)",
    ),
    "evals_warm": (
        "string",
        "",
        "How long models stay loaded for the next run, as --evals-warm (default: they end with the run)",
    ),
    "evals_load_timeout": (
        "float",
        3600,
        "Seconds that loading a model may take (default: 3600; 0 means no limit)",
    ),
}


KEYS = tuple(_INI)
LEAST_SUMMARY = 200
"""Characters in which a summary can say the verdict, one reason, and where the rest is."""
TAKES_VALUE = frozenset(option for option, terms in _OPTIONS.items() if "metavar" in terms)


def add_options(parser: pytest.Parser) -> None:
    """Register options and ini values."""
    group = parser.getgroup("evals", "LLM evaluations")
    for option, terms in _OPTIONS.items():
        group.addoption(option, **terms)
    for name, (kind, default, text) in _INI.items():
        parser.addini(name, text, type=kind, default=default)


NAMES = tuple(_OPTIONS)


def is_ours(option: str) -> bool:
    """Tell whether this is an option of a run with evals, other than the switch itself."""
    return option in _OPTIONS and option != "--evals"


def enabled(config: pytest.Config) -> bool:
    """Tell whether evals are on: by option, environment (``PYTEST_EVALS``) or configuration file."""
    if config.getoption("evals"):
        return True
    written = environment_switch()
    if written.lower() not in (*_TRUE, *_FALSE):
        raise pytest.UsageError(f"PYTEST_EVALS={written.lower()!r} is neither true nor false; use 1 or 0")
    return written.lower() in _TRUE if written else bool(config.getini("evals"))


def written_number(config: pytest.Config, key: str) -> str:
    """Return what the configuration has for a key that is a number: in TOML a number, or one in quotes as in an ini file."""
    try:
        value = config.getini(key)
    except (pytest.UsageError, TypeError, ValueError) as error:
        # pytest ends all its sentences about a value of another type with the value.
        return str(error).rpartition(": ")[2].strip("'\"")
    return value if isinstance(value, str) else str(int(value)) if float(value).is_integer() else str(value)


def read_time_limit(config: pytest.Config) -> float:
    """Return the seconds of ``--evals-time-limit``, else of its key; 0 means no limit. Raises `pytest.UsageError` for what is not a time."""
    from pytest_evals.text import read_duration

    option = config.getoption("evals_time_limit")
    name, written = ("evals_time_limit", written_number(config, "evals_time_limit"))
    if option is not None:
        name, written = "--evals-time-limit", option
    seconds = read_duration(written)
    if seconds is None:
        raise pytest.UsageError(
            f"{name}: {written!r} is not a length of time (write 90, 90s, 30m, 2h or 1h30m; 0 means no limit)"
        )
    return seconds


def environment_switch() -> str:
    """Return what ``PYTEST_EVALS`` says, nothing where it is not set."""
    return os.environ.get("PYTEST_EVALS", "").strip()


WHY_SKIPPED = "an eval: run it with --evals (or 'evals = true' in the configuration file, or PYTEST_EVALS=1)"


def skipped_note(reasons: Iterable[str]) -> str:
    """Say how many tests were skipped since evals are off, by the reasons of all that were; nothing where none was."""
    number = sum(WHY_SKIPPED in reason for reason in reasons)
    them = "1 eval skipped; --evals runs it" if number == 1 else f"{number} evals skipped; --evals runs them"
    return f"evals are off: {them}" if number else ""


# -- How long models stay loaded.

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_MOST_WARM = 24 * 3600.0


def is_ci(environment: Mapping[str, str]) -> bool:
    """Tell whether this runs where no one will run it again soon."""
    return environment.get("CI", "").strip().lower() not in _FALSE


def warm_seconds(config: pytest.Config) -> float:
    """Return the seconds of ``--evals-warm`` or ``evals_warm``, 0 where models end with the run. Raises `pytest.UsageError`."""
    option = config.getoption("evals_warm")
    name, written = ("--evals-warm", option) if option is not None else ("evals_warm", config.getini("evals_warm"))
    text = str(written).strip().lower()
    if text in ("", "0", "off") and (text or option is None):
        return 0.0
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= _MOST_WARM:
        raise pytest.UsageError(f"{name}: {written!r} is not a duration of up to 24 h, as 90s, 10m or 1h (off: none)")
    if sys.platform == "win32":
        raise pytest.UsageError(f"{name}: models cannot stay loaded on this system, which has no Unix sockets")
    return seconds
