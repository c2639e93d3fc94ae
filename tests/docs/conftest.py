"""Where the code blocks of the documentation run, and the files that they find there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.artifacts.sample import dump
from tests.unit import recorded

MODELS = '''
"""Scripted models, chosen with ``model=``."""
KNOWN = {"France": "Paris", "Japan": "Tokyo", "Egypt": "Cairo"}

def capitals(messages):
    question = messages[-1]["content"]
    known = (f"The capital of {country} is {KNOWN[country]}." for country in KNOWN if country in question)
    return next(known, "I do not know.")

def echo(messages):
    return messages[-1]["content"]

def judge(messages):
    return "PASS"
'''
JUDGE = '''
"""A scripted judge: an answer is good if it names Paris; of two, the first is better."""

def judge(messages):
    asked = "\\n".join(message["content"] for message in messages)
    if "[BEGIN ANSWER A" in asked:
        return "A"
    if "[BEGIN STATEMENT" in asked or "[BEGIN DOCUMENT" in asked:
        return "YES" if "Paris" in asked else "NO"
    judged = asked.split("[BEGIN ANSWER")[-1].split("[END ANSWER")[0]
    if "whole number" in asked:
        return "5" if "Paris" in judged else "1"
    if '"score"' in asked:
        return '{"score": 1, "why": "it names the city"}'
    return "PASS" if "Paris" in judged else "FAIL"
'''
SURE = '''
"""A scripted judge with likelihoods."""
import math

def judge(messages):
    return "PASS"

def score(messages, text):
    judged = messages[-1]["content"].split("[BEGIN ANSWER")[1].split("[END ANSWER")[0]
    sure = 0.9 if "Paris" in judged else 0.5
    return math.log({"PASS": 0.8 * sure, "FAIL": 0.8 * (1 - sure), "NA": 0.2}[text])
'''
SUITE = """
from pytest_evals import cases, graders

named = graders.contains("{{item.capital}}")

@cases("capitals.jsonl", prompt="What is the capital of {{item.country}}?", id="id", gates=["named.mean >= 0.6"])
def test_capitals(named):
    assert named
"""
RUN = "".join(f"{dump(line)}\n" for line in (recorded.run_line(), recorded.sample_line(), recorded.summary_line()))
FILES = {
    "models.py": MODELS,
    "capitals_suite.py": SUITE,  # pytest collects it where it is named
    "script.py": JUDGE,
    "sure.py": SURE,
    "capitals.jsonl": """{"id": "fr", "country": "France", "capital": "Paris", "level": "easy"}
{"id": "jp", "country": "Japan", "capital": "Tokyo", "level": "easy"}
{"id": "td", "country": "Chad", "capital": "N'Djamena", "level": "hard"}
""",
    **dict.fromkeys(("my-model/config.json", "my-model/tokenizer.json", "my-model/chat_template.jinja"), "{}"),
    "my-model/model.safetensors": "\x02\0\0\0\0\0\0\0{}",
    **dict.fromkeys(("run.jsonl", ".evals/2020-01-01T00-00-00-0000.jsonl"), RUN),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where blocks run, as on a terminal of a user who has set nothing."""
    for name in (
        "PYTEST_ADDOPTS",
        "PYTEST_EVALS",
        "PYTEST_XDIST_WORKER",
        "CI",
        "GITHUB_ACTIONS",
        "GITLAB_CI",
        "TF_BUILD",
        "TEAMCITY_VERSION",
        "FORCE_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path
