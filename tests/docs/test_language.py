"""Documentation, docstrings and messages are written in plain English: turns of phrase that make readers stop are not used."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .blocks import PAGES, ROOT

PROSE = [*PAGES, ROOT / "SECURITY.md"]
PACKAGE = ROOT / "pytest_evals"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PATTERNS = {
    r"\b(?:is|are|was|were|be)\s+had\b": "is, comes from; cannot be combined with",
    r"\b(?:stands?|stood)\b(?!\s+for\b)": "is, appears, belongs",
    r"\bso\s+many\b": "this many, or the number",
    r"\bof\s+(?:which|nothing)\b": "a sentence of its own",
    r"\b(?:whoever|nobody|somebody)\b": "who it is: the user, the test, no one",
    r"\bas\s+ever\b": "as usual",
    r"\ball\s+the\s+same\b": "still, anyway",
    r"\btells?\s+of\b": "says, describes",
    r"(?<!\bthere\s)\b(?:is|are|was|were)\s+no\s+(?!longer\b|more\b|less\b|better\b|worse\b)": "is not a",
    r"\bwhat\b[^.|]{0,60}\bcomes?\s+to\b": "the sum, the result",
    r"\bgoe?s?\s+with\s+neither\b": "cannot be combined with",
}
ALLOWED = {
    "are all the same": "identical: the words are meant as they are",
}
"""Phrases of the package that a pattern finds, and why each may stay."""
_CODE = re.compile(r"^ *```.*?^ *```|<!--.*?-->|`[^`\n]+`|\]\([^)\s]*\)", re.MULTILINE | re.DOTALL)


def found_in(text: str) -> list[str]:
    """Return what to write otherwise, with its line. Code and what programs print are left out."""
    prose = _CODE.sub(lambda match: re.sub(r"[^\n]", "`", match[0]), text)
    return [
        f"line {prose.count(chr(10), 0, match.start()) + 1}: {match[0]!r}; write: {better}"
        for pattern, better in PATTERNS.items()
        for match in re.finditer(pattern, prose, re.IGNORECASE)
    ]


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield docstrings, those of fields and constants among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value


def messages(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the texts in `raise` statements and in help of options, `pytest_evals.options` included."""
    for node in ast.walk(tree):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Raise) and node.exc is not None:
            shown = [node.exc]
        elif isinstance(node, ast.Call):
            shown = [keyword.value for keyword in node.keywords if keyword.arg in ("help", "description", "epilog")]
        elif isinstance(node, ast.AnnAssign | ast.Assign):
            targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
            named = any(isinstance(target, ast.Name) and target.id in ("_OPTIONS", "_INI") for target in targets)
            shown = [node.value] if named and node.value is not None else []
        for each in shown:
            for text in ast.walk(each):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    yield text


def found_in_code(path: Path, texts: Iterator[ast.Constant]) -> list[str]:
    """Return what to write otherwise, with file and line of the text that has it."""
    return [
        f"{path.relative_to(ROOT)}:{text.lineno}, {found}"
        for text in texts
        for found in found_in(_without_allowed(str(text.value)))
    ]


def _without_allowed(text: str) -> str:
    for phrase in ALLOWED:
        text = text.replace(phrase, "")
    return text


@pytest.mark.parametrize("page", PROSE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_documentation_is_plain_english(page: Path) -> None:
    assert found_in(page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "`-n` cannot be had with it.",
        "The verdict stands in the summary.",
        "Run it so many times.",
        "a prompt of\nwhich the rest is gone",
        "Nobody asked for it.",
        "It works as ever.",
        "This is no limit.",
        "See what the sum of them\ncomes to.",
    ],
)
def test_such_a_turn_of_phrase_is_found(text: str) -> None:
    assert len(found_in(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "There is no interval, and it is no longer asked.",
        "A standard error, understood.",
        "```text\nnobody stands there\n```\n",
        "The option `--nobody` and [a page](so-many.md).",
    ],
)
def test_plain_sentences_and_code_pass(text: str) -> None:
    assert found_in(text) == []


def test_docstrings_are_plain_english() -> None:
    found = [
        each
        for path in SOURCES
        for each in found_in_code(path, docstrings(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert found == []


def test_messages_and_help_texts_are_plain_english() -> None:
    found = [
        each for path in SOURCES for each in found_in_code(path, messages(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert found == []


@pytest.mark.parametrize("phrase", ALLOWED)
def test_what_is_allowed_is_needed(phrase: str) -> None:
    assert found_in(phrase) != []
    assert any(phrase in path.read_text(encoding="utf-8") for path in SOURCES)


@pytest.mark.parametrize(
    ("code", "where"),
    [
        ('"""It stands here."""', docstrings),
        ('def f():\n    """It stands here."""', docstrings),
        ('class A:\n    field: int\n    """It stands here."""', docstrings),
        ('raise ValueError(f"it stands at {line}")', messages),
        ('parser.add_argument("--all", help="it stands here")', messages),
        ('_OPTIONS: dict = {"--all": _flag("it stands here")}', messages),
    ],
)
def test_such_a_phrase_in_code_is_found(code: str, where: Callable[[ast.Module], Iterator[ast.Constant]]) -> None:
    assert len(found_in_code(ROOT / "module.py", where(ast.parse(code)))) == 1


def test_other_texts_of_code_are_not_read() -> None:
    tree = ast.parse('TEMPLATE = "somebody stands there"')
    assert [*docstrings(tree), *messages(tree)] == []
