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
RUN = "".join(f"{dump(line)}\n" for line in (recorded.run_line(), recorded.sample_line(), recorded.summary_line()))
FILES = {
    "models.py": MODELS,
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
