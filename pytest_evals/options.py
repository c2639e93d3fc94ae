"""Options, ini values, and the switch. Loaded in every pytest run: nothing here takes time."""

from __future__ import annotations

import os

import pytest

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def add_options(parser: pytest.Parser) -> None:
    """Register options and ini values."""
    group = parser.getgroup("evals", "LLM evaluations")
    group.addoption("--evals", action="store_true", default=None, dest="evals", help="Run eval tests")
    group.addoption(
        "--evals-model",
        action="append",
        metavar="SPEC",
        dest="evals_model",
        help="Model to evaluate; repeat it for several",
    )
    group.addoption(
        "--evals-judge",
        metavar="SPEC",
        dest="evals_judge",
        help="Model that judges, for tasks and graders that ask for it",
    )
    group.addoption(
        "--evals-gate", action="append", metavar="EXPR", dest="evals_gate", help="Extra gate, as 'exact.mean >= 0.8'"
    )
    group.addoption(
        "--evals-artifact", metavar="PATH", dest="evals_artifact", help="Write the evaluation artifact to PATH"
    )
    group.addoption("--evals-limit", metavar="N", dest="evals_limit", help="Use the first N cases of each dataset")
    group.addoption(
        "--evals-repeat",
        metavar="K",
        dest="evals_repeat",
        help="Run each case K times, each with a seed of its own (default: what the suite says, else 1)",
    )
    group.addoption(
        "--evals-seed", metavar="S", dest="evals_seed", help="Base seed of sampled completions (default: 0)"
    )
    group.addoption(
        "--evals-plan",
        action="store_true",
        default=False,
        dest="evals_plan",
        help="Say what would run, and load nothing",
    )
    group.addoption(
        "--evals-device", metavar="DEVICE", dest="evals_device", help="Where models run: auto, cpu, cuda, cuda:N, mps"
    )
    group.addoption(
        "--evals-dtype", metavar="DTYPE", dest="evals_dtype", help="Precision of models: auto, fp32, bf16, fp16"
    )
    group.addoption("--evals-batch", metavar="N", dest="evals_batch", help="Rows in a batch: auto or a number")
    group.addoption(
        "--evals-exact",
        action="store_true",
        default=False,
        dest="evals_exact",
        help="Compute in fp32 and decide near-ties as for one prompt at a time, so that no text depends on its batch",
    )
    group.addoption(
        "--evals-audit",
        metavar="N",
        dest="evals_audit",
        help="Compute N random cases once more, one at a time, and say how many texts and grades differ",
    )
    group.addoption(
        "--evals-run-code",
        action="store_true",
        default=None,
        dest="evals_run_code",
        help="Let graders run programs that a model wrote (python_tests)",
    )
    group.addoption(
        "--evals-baseline",
        metavar="RUN",
        dest="evals_baseline",
        help="Compare with RUN: the path of an artifact, the name of a baseline, 'latest', or 'none'",
    )
    group.addoption(
        "--evals-replay",
        metavar="RUN",
        dest="evals_replay",
        help="Grade the completions recorded in the artifact RUN; no model under test is loaded",
    )
    group.addoption(
        "--evals-resume",
        metavar="RUN",
        dest="evals_resume",
        help="Take over what the run of the artifact RUN finished, where nothing has changed, and generate the rest",
    )
    group.addoption(
        "--evals-cache",
        metavar="MODE",
        dest="evals_cache",
        help="Answers of earlier runs: off, read (use them) or write (use them and add new ones)",
    )
    group.addoption(
        "--evals-stop-early",
        action="store_true",
        default=False,
        dest="evals_stop_early",
        help="Run the cases of a suite in random order, and stop when all its gates are settled",
    )
    parser.addini("evals_cache", "Answers of earlier runs, as --evals-cache", type="string", default="off")
    parser.addini("evals_cache_dir", "Folder of the cache (default: 'cache' in evals_dir)", type="string", default="")
    parser.addini(
        "evals_replay_strict",
        "In a replay, a case whose prompt or parameters have changed is an error",
        type="bool",
        default=False,
    )
    group.addoption(
        "--evals-html", metavar="PATH", dest="evals_html", help="Write the report, one self-contained page, to PATH"
    )
    group.addoption("--evals-summary", metavar="PATH", dest="evals_summary", help="Write a summary in Markdown to PATH")
    parser.addini("evals", "Run eval tests, as --evals does", type="bool", default=False)
    parser.addini("evals_models", "Models to evaluate, one a line", type="linelist", default=[])
    parser.addini("evals_judge", "Model that judges", type="string", default="")
    parser.addini("evals_aliases", "Short names of models, one 'name = spec' a line", type="linelist", default=[])
    parser.addini("evals_gates", "Gates for every run, one a line", type="linelist", default=[])
    parser.addini("evals_run_code", "Let graders run programs that a model wrote", type="bool", default=False)
    parser.addini("evals_dir", "Folder of artifacts", type="string", default=".evals")
    parser.addini("evals_strict_cases", "A missed case fails even if its suite has gates", type="bool", default=False)
    parser.addini("evals_baseline", "What --evals-baseline is by default", type="string", default="")
    parser.addini(
        "evals_inconclusive",
        "What a gate does that the baseline leaves open: warn, pass or fail",
        type="string",
        default="warn",
    )
    parser.addini(
        "evals_grader_timeout", "Seconds that one grader may take; 0 is no limit", type="string", default="60"
    )
    parser.addini(
        "evals_step_timeout",
        "Seconds that one task may take for itself, waiting for models not counted; 0 is no limit",
        type="string",
        default="300",
    )
    parser.addini(
        "evals_case_calls",
        "Calls of models that one case may make beyond its default turn; 0 is no limit",
        type="string",
        default="200",
    )
    parser.addini(
        "evals_case_tokens",
        "Tokens of prompts and answers that the calls of one case may use; 0 is no limit",
        type="string",
        default="200000",
    )
    parser.addini(
        "evals_stall_timeout",
        "Seconds without a sign of life after which a working engine is ended; 0 is no limit",
        type="string",
        default="600",
    )


def enabled(config: pytest.Config) -> bool:
    """Tell whether evals are on: by option, environment (``PYTEST_EVALS``) or configuration file."""
    if config.getoption("evals"):
        return True
    written = os.environ.get("PYTEST_EVALS", "").strip().lower()
    if written not in (*_TRUE, *_FALSE):
        raise pytest.UsageError(f"PYTEST_EVALS={written!r} is neither true nor false; use 1 or 0")
    return written in _TRUE if written else bool(config.getini("evals"))
