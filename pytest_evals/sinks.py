"""Text from models and data on its way out: what each place would take for more than text is text there.

`SINKS` is the table: a place, and the function through which text goes on its way there. All of them take any string and never
fail; none of them is for text that goes back into a computation.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from pytest_evals.text import encodable, escape, one_line, sanitize

# -- A terminal, and the log of a CI job, which a program reads.

# How terminals set colours. It may be anywhere, and readers of a log may drop it.
_STYLE = r"(?:\x1b\[[0-9;]*m)"
_STYLED = re.compile(rf"({_STYLE}|\r)")
# Each pattern ends with the character that is escaped, so that a command which is written bit by bit is met in its last bit.
_ANYWHERE = (
    # GitHub "##[name]", Azure "##vso[area.name]" and "##[name]", TeamCity and its IDEs "##teamcity[name]".
    rf"#{_STYLE}*#{_STYLE}*(?:(?:vso|teamcity){_STYLE}*)?\["
    # GitLab and Travis: sections that fold.
    r"|section_(?:start|end):|travis_(?:fold|time):"
)
_INSIDE = re.compile(_ANYWHERE, re.IGNORECASE)
# GitHub Actions: "::name parameters::" where a line starts; a carriage return starts one, too.
_COMMAND = re.compile(rf"(?:\A|(?<=[\r\n]))(?:[^\S\r\n]|{_STYLE})*:{_STYLE}*:|{_ANYWHERE}", re.IGNORECASE)
CI_VARIABLES = ("GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "GITLAB_CI")
"""Set where the log is read by GitHub (and Gitea), Azure Pipelines, TeamCity or GitLab."""
_ALIKE = ("TRAVIS", "PYCHARM_HOSTED", "PYTEST_RUN_CONFIG")
"""The same of Travis, and of the test runner of PyCharm and IntelliJ, which speaks TeamCity's language."""
_LONGEST_COMMAND = 80


def for_terminal(text: str, limit: int | None = None) -> str:
    """Return ``text`` for a terminal or a log: `sanitize`, and no line of it a command."""
    return without_commands(sanitize(text, limit))


def without_commands(text: str) -> str:
    """Return ``text`` with the last character of each command to a CI system written as its code."""
    return _COMMAND.sub(_end_escaped, text)


def _end_escaped(match: re.Match[str]) -> str:
    return f"{match[0][:-1]}{escape(match[0][-1])}"


def log_is_read(environment: Mapping[str, str]) -> bool:
    """Tell whether a CI system (or an IDE) takes lines of this process's output for commands."""
    return any(environment.get(name, "").lower() not in ("", "0", "false") for name in (*CI_VARIABLES, *_ALIKE))


class LogFilter:
    """Filters what is written to one stream bit by bit; colours stay. Threads may write at the same time."""

    def __init__(self) -> None:
        self._line = ""
        self._lock = threading.Lock()

    def __call__(self, text: str) -> str:
        """Return what to write instead of ``text``."""
        safe = "".join(part if index % 2 else sanitize(part) for index, part in enumerate(_STYLED.split(text)))
        with self._lock:
            before = self._line
            whole = without_commands(f"{before}{safe}")
            self._line = _end_of(whole)
        return whole[len(before) :]

    def pass_by(self, text: str) -> None:
        """Take note of what is written to the stream as it is."""
        with self._lock:
            self._line = _end_of(without_commands(f"{self._line}{text}"))


def _end_of(text: str) -> str:
    """Return what the next command could begin with: all of a line that is short, else its end, which is not its start."""
    line = text[max(text.rfind("\n"), text.rfind("\r")) + 1 :].lstrip()
    return line if len(line) <= _LONGEST_COMMAND else f".{line[-_LONGEST_COMMAND:]}"


class FilteredStream:
    """A stream that filters text on its way to ``unfiltered``; everything else is that stream's."""

    def __init__(self, unfiltered: TextIO, log_filter: LogFilter | None = None) -> None:
        self.unfiltered = unfiltered
        self._filter = log_filter or LogFilter()
        self._write = unfiltered.write

    def write(self, text: str) -> int:
        """Write text, made harmless."""
        self._write(self._filter(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of them."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unfiltered, name)


# -- Commands of our own to GitHub Actions.


def for_github(text: str, limit: int | None = None) -> str:
    """Return the message of a workflow command: one line, and no other command inside."""
    return (
        _INSIDE.sub(_end_escaped, sanitize(text, limit)).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    )


def for_github_property(text: str) -> str:
    """Return the value of a property of a workflow command."""
    return for_github(text).replace(":", "%3A").replace(",", "%2C")


# -- XML.


def for_junit(text: str) -> str:
    """Return text for JUnit's XML, which lacks control characters, surrogates and U+FFFE; pytest escapes the markup."""
    return sanitize(text)


# -- Markdown, as GitHub, GitLab and others render it.

_MARKUP = re.compile(r"[\\`*_{}\[\]#|~$&<>\u2060]")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\u2060": "&#8288;"}
# Where a word joiner goes, which has no width: after it nothing is a link, a mention or a reference.
_REFERENCE = re.compile(
    r"@"  # people, and addresses of mail
    r"|/(?=/)"  # of URLs, also of those without a scheme
    r"|\bwww(?=\.)"
    r"|\.(?=[^\W\d_]{2})"  # of a domain, which some renderers link as it is
    r"|#(?=\w)"  # issues
    r"""|[!&$](?=\d)|[%~^](?=[\w"])"""  # GitLab's merge requests, epics and snippets; milestones, labels and alerts
    r"|\b(?:[A-Z][A-Z0-9]*|(?i:gh))-(?=\d)"  # GH-3, and the keys of trackers
)
# A commit is named by seven digits or more.
_COMMIT = re.compile(r"(?<![^\W_])[0-9a-f]{7,}(?![^\W_])", re.IGNORECASE)
_DIGITS = re.compile(r".{6}(?=.)")
_LIST = re.compile(r"[-+](?=[\s-]|\Z)|=+\Z|\d+(?=[.)](?:\s|\Z))")
_BACKTICKS = re.compile(r"`+")


def for_markdown(text: str, limit: int = 2000) -> str:
    """Return one line of text for a paragraph or a cell, without a meaning in Markdown or HTML: no markup, link, mention or
    reference. A zero-width character is put inside what would be one; `for_markdown_code` is for what is to be copied.
    """
    joined = _REFERENCE.sub("\\g<0>\u2060", one_line(text, limit))
    joined = _COMMIT.sub(lambda match: _DIGITS.sub("\\g<0>\u2060", match[0]), joined)
    safe = _MARKUP.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), joined)
    start = _LIST.match(safe)
    if start is None:
        return safe
    marker = start[0]
    return f"{marker}\\{safe[len(marker) :]}" if marker[0].isdigit() else f"\\{safe}"


def for_markdown_code(text: str, limit: int = 2000, *, cell: bool = False) -> str:
    """Return one line of text as code, in which nothing is markup. ``cell``: it is in a table, where a pipe ends a cell."""
    line = one_line(text, limit)
    if not line:
        return ""
    fence = "`" * (_longest(line) + 1)
    space = " " if "`" in (line[0], line[-1]) else ""
    code = f"{fence}{space}{line}{space}{fence}"
    return code.replace("|", "\\|") if cell else code


def for_markdown_block(text: str, limit: int = 2000) -> str:
    """Return text of several lines as a block of code, whose fence is longer than any in it."""
    safe = sanitize(text.strip(), limit)
    fence = "`" * max(_longest(safe) + 1, 3)
    return f"{fence}text\n{safe}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)


# -- Messages of chat programs: Slack, Teams, Discord. Each has a markup of its own, and none takes a backslash for an escape.

# What is special in one of them, as a character that looks alike and is special in none.
_ALIKE_IN_CHAT = str.maketrans({"`": "'", "*": "\u2217", "~": "\u223c", "|": "\u2223"})
_CHAT_ENTITIES = re.compile(r"[&<>]")
# Slack shows ":name:" as an emoji; "_x_" is emphasis where it stands alone; "](" makes a link of what is before it.
_CHAT_MARKUP = re.compile(r":(?=\w+:)|\](?=[(\[:])|(?<!\w)_|_(?!\w)")


def for_chat(text: str, limit: int = 2000) -> str:
    """Return one line of text for a message in a chat: no markup, mention or link in Slack, Teams or Discord, and none in Markdown.

    ``<``, ``>`` and ``&`` become entities, as Slack wants it; a zero-width character is put inside what would be a mention or link.
    """
    joined = _REFERENCE.sub("\\g<0>\u2060", one_line(text, limit))
    joined = _CHAT_MARKUP.sub("\\g<0>\u2060", joined.translate(_ALIKE_IN_CHAT))
    start = _LIST.match(joined)
    if start is not None or joined.startswith("#"):
        joined = f"\u2060{joined}"
    return _CHAT_ENTITIES.sub(lambda match: _ENTITIES[match[0]], joined)


# -- Tables for spreadsheets.

# What starts a formula, also in full width, for some languages. White space before it may be dropped.
_FORMULA = re.compile(r"[\s\ufeff\u200b]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?\Z")
# Where a reader with other separators, or one that is blind to quotes, would start a cell. Lists have dashes there, and are
# not formulas without something to call.
_INNER = re.compile(
    r"[\r\n\t;](?=[^\S\r\n\t]*(?:[=@\uff1d\uff20]|[+\-\uff0b\uff0d][^\r\n\t;]*[(|!]))",
)


def for_csv(text: str) -> str:
    """Return a cell of text that no spreadsheet runs: a ``'`` precedes what could be a formula, which a number is not."""
    safe = encodable(text).replace("\0", "\\x00")
    if _NUMBER.match(safe):
        return safe
    inner = _INNER.sub(r"\g<0>'", safe)
    return f"'{inner}" if _FORMULA.match(safe) else inner


# -- JSON on the standard output.


def for_json(text: str) -> str:
    """Return a JSON text that means the same, with what hides in its strings and what would be a command as JSON's escapes."""
    shown = sanitize(text, write=_json_escape)
    return _COMMAND.sub(lambda match: f"{match[0][:-1]}{_json_escape(match[0][-1])}", shown)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


SINKS: Mapping[str, Callable[[str], str]] = {
    "terminal": for_terminal,
    "github": for_github,
    "github property": for_github_property,
    "junit": for_junit,
    "markdown": for_markdown,
    "markdown code": for_markdown_code,
    "markdown block": for_markdown_block,
    "chat": for_chat,
    "csv": for_csv,
    "json": for_json,
    "utf-8": encodable,
}
"""Where text goes, and how it gets there."""
