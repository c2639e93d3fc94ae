"""Fenced blocks in a text, and the program that they are.

Blocks are found as CommonMark has them (fences of backticks or tildes, of any length, in lists and quotes, not closed), and as
models write them: a closing fence whose opening one was in the prompt, one at the end of a line, a block in one line.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from pytest_evals.graders.code.fenced_lines import FENCE, LINE, FencedLines, with_fences
from pytest_evals.graders.code.names import defined, free_names
from pytest_evals.text import stacks_marks

_LANGUAGE = re.compile(r"\s*\{?\s*\.?(?:lang(?:uage)?[-=])?\s*\"?(?P<name>[\w+#-]+(?:\.\d+)?)?", re.IGNORECASE)
_PYTHON = re.compile(r"(?:i?python|py)(?:[23](?:\.\d+)?)?|pyw|sage")
_MARKDOWN = ("markdown", "md", "mdx", "rst", "quarto", "qmd")
_CODE = re.compile(r"(?:async\s+def|def|class)\s+\w+|from\s+[\w.]+\s+import\s|import\s+\w|@\w|[A-Za-z_][\w.]*\s*=[^=]")
_READS_INPUT = re.compile(r"\binput\s*\(|\bstdin\b|open\(\s*0\s*[,)]|/dev/stdin")
LONGEST_READ = 1_000_000
"""Characters of a completion that are read: several times what a model writes in one answer."""
LONGEST_PARSED = 200_000
MOST_TRIES = 40
MOST_PARSED = 1_000_000
"""Characters that are parsed in all tries together."""
DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the word behind its fence in small letters, what is in it, and its lines from ``first`` up to ``last``."""

    language: str
    text: str
    first: int
    last: int

    @property
    def is_python(self) -> bool:
        """Tell whether it says that it is Python."""
        return bool(_PYTHON.fullmatch(self.language))


# -- The blocks of a text.


def fenced_blocks(text: str, depth: int = 0) -> list[Block]:
    """Return the blocks in the order of the text. One that is not closed (the text was cut) goes to the end."""
    lines = FencedLines(LINE.split(text))
    found: list[Block] = []
    number = 0
    while number < len(lines):
        opening = FENCE.fullmatch(lines[number])
        if opening is None:
            number += 1
            continue
        fence, info = opening["fence"], opening["info"]
        if fence[0] == "`" and "`" in info:
            inline = _in_one_line(lines[number], opening)
            found += [Block(*inline, number, number + 1)] if inline else []
            number += 1
            continue
        content, last = _content(lines, number, opening)
        block = Block(_language(info), "".join(f"{line}\n" for line in content), number, last)
        found += _nested(block, depth)
        number = last
    return found


def _language(info: str) -> str:
    match = _LANGUAGE.match(info)
    return (match["name"] or "").lower() if match else ""


def _in_one_line(line: str, opening: re.Match[str]) -> tuple[str, str] | None:
    """Return language and text of a block whose fences are in one line, if it names its language."""
    fence, rest = opening["fence"], opening["info"].rstrip()
    inside = rest[: -len(fence)] if rest.endswith(fence) else ""
    language, _, code = inside.strip().partition(" ")
    if (
        opening["lead"].strip(" \t>")
        or not code.strip()
        or "`" in inside
        or not _language(language)
        or not line.strip()
    ):
        return None
    named = _PYTHON.fullmatch(language.lower()) or language.lower() in ("json", "sql")
    return (language.lower(), f"{code.strip()}\n") if named else None


def _nested(block: Block, depth: int) -> list[Block]:
    """Return the blocks in a block of Markdown, which says what they are; else the block."""
    if depth < DEEPEST and (block.language in _MARKDOWN or (not block.language and not _parsed(block.text))):
        inner = fenced_blocks(block.text, depth + 1)
        if any(part.language for part in inner):
            return [
                replace(part, first=part.first + block.first + 1, last=part.last + block.first + 1) for part in inner
            ]
    return [block]


def _content(lines: FencedLines, number: int, opening: re.Match[str]) -> tuple[list[str], int]:
    """Return the lines of the block that opens in line ``number``, without what they are indented by; and where it ends."""
    fence, (bare, holder) = opening["fence"], _indent_remover(lines, number, opening["lead"])
    kind = (fence[0], *holder)
    if _is_python(opening) or len(fence) < lines.unclosed.get(kind, len(fence) + 1):
        closing, end = _closing(lines, number, bare, opening)
    else:
        closing, end = None, len(lines)
    if closing is not None:
        return list(map(bare, lines[number + 1 : closing])), closing + 1
    if end == len(lines):
        lines.unclosed[kind] = min(len(fence), lines.unclosed.get(kind, len(fence)))
    content: list[str] = []
    for place in range(number + 1, end):
        line = bare(lines[place])
        # At the end of the last line of code, or indented as the code is.
        if line.rstrip().endswith(fence) and fence[0] == "`":
            kept = line.rstrip().removesuffix(fence)
            return [*content, *([kept] if kept.strip() else [])], place + 1
        content.append(line)
    code = _code_in(content, "")[0] if end < len(lines) else None
    return LINE.split(code.rstrip("\n")) if code else content, end


def _is_python(opening: re.Match[str]) -> bool:
    return bool(_PYTHON.fullmatch(_language(opening["info"])))


def _indent_remover(lines: FencedLines, number: int, lead: str) -> tuple[Callable[[str], str], tuple[str, int]]:
    """Return what takes from a line the marks of quotes, or the indent of the list, that the fence in line ``number`` is in; and how
    many of them that are.
    """
    if ">" in lead:
        depth = lead.count(">")
        quote = re.compile(rf"[ \t]*(?:>[ \t]?){{{depth}}}")
        return (lambda line: quote.sub("", line, count=1)), (">", depth)
    if not lead:
        return str, (" ", 0)
    following = lines.texts[number + 1]
    first = lines[following] if following < len(lines) else ""
    # What is written less far to the right than its fence was not indented with it.
    width = min(len(lead), len(first) - len(first.lstrip()))
    indent = re.compile(rf"[ \t]{{0,{width}}}")
    return (lambda line: indent.sub("", line, count=1)), (" ", width)


def _closing(
    lines: Sequence[str], number: int, bare: Callable[[str], str], opening: re.Match[str]
) -> tuple[int | None, int]:
    """Return the line of the closing fence, and where the block ends without one: where the next one begins. A fence inside of
    a text in three quotes is none, if there is another.
    """
    fence, python = opening["fence"], _is_python(opening)
    quotes = dict.fromkeys(('"""', "'''"), 0)
    first: int | None = None
    for place in range(number + 1, len(lines)):
        line = bare(lines[place])
        stripped = line.strip()
        quoted = any(count % 2 for count in quotes.values())
        if len(stripped) >= len(fence) and set(stripped) == {fence[0]} and len(line) - len(line.lstrip()) <= 3:
            if not quoted:
                return place, place
            first = place if first is None else first
        elif python:
            next_one = FENCE.fullmatch(line)
            begins = next_one and next_one["fence"][0] == fence[0] and _PYTHON.fullmatch(_language(next_one["info"]))
            if begins and (first is not None or not quoted):
                return first, place
            quotes = {mark: count + line.count(mark) for mark, count in quotes.items()}
    return first, len(lines)


def without_fence(text: str) -> str:
    """Return what is in the one block that a text is; the text itself where it is anything else."""
    stripped = text.strip()
    blocks = fenced_blocks(stripped)
    lines = LINE.split(stripped)
    last = lines[-1].strip()
    if len(blocks) == 1 and (blocks[0].first, blocks[0].last) == (0, len(lines)) and last.endswith(("```", "~~~")):
        return blocks[0].text
    # The prompt began the block, and the completion goes on with it.
    if len(blocks) == 1 and blocks[0].first == len(lines) - 1 > 0 and set(last) in ({"`"}, {"~"}):
        return "\n".join(lines[:-1])
    return text


# -- The program of a completion.


def program_in(text: str, *, wanted: Collection[str] = (), script: bool = False, before: str = "") -> str:
    """Return the program that a completion gives.

    It is the last block that defines the names ``wanted`` (as a ``script``: that reads its input), with the blocks that this one
    builds on and those that define the same again. Blocks that only use it, show its output, or are of another language are
    left out. Without such a block it is the last one of Python, the last without a language, the last, or the text.

    What follows the first `LONGEST_READ` characters is not read.
    """
    text = text[:LONGEST_READ]
    loose, blocks = _read(with_fences(text), before)
    python = [block for block in blocks if block.is_python]
    bare = [block for block in blocks if not block.language]
    sources = [_Source(block.text, before) for block in blocks if block.is_python or not block.language]
    unfenced = [_Source(part, before) for part in loose]
    for among in (sources, [*unfenced, *sources]):
        start = {place for name in wanted for place in _last_with(name, among)}
        if start:
            return _joined(among, start)
    reading = [place for place, source in enumerate(sources) if _READS_INPUT.search(source.text)] if script else []
    if reading:
        return _joined(sources, {reading[-1]})
    rest = [unfenced[0].text] if unfenced and not python and (script or unfenced[0].continues) else []
    rest += [source.text for source in sources if source.continues][-1:]
    if rest:
        return rest[0]
    for chosen in (python, bare):
        if chosen:
            return _joined(sources, {max(i for i, source in enumerate(sources) if source.written == chosen[-1].text)})
    if blocks:
        return blocks[-1].text
    return unfenced[0].text if unfenced and not _parses(text, before) else text


def _last_with(name: str, sources: Sequence[_Source]) -> list[int]:
    """Return the place of the last one that defines the name, if there is one."""
    return [place for place, source in enumerate(sources) if name in source.defines][-1:]


class _Source:
    """A piece of code: what it defines, and what it uses. One that cannot be parsed defines what looks like it."""

    def __init__(self, text: str, before: str) -> None:
        self.written = text
        tree = _parsed(text)
        if tree is None and (tree := _parsed(textwrap.dedent(text))) is not None and not before:
            text = textwrap.dedent(text)
        self.text = text
        self.continues = tree is None and bool(before) and _parsed(f"{before}\n{text}") is not None
        if tree is None:
            self.defines = set(re.findall(r"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(\w+)", text, re.MULTILINE))
            self.functions, self.uses = self.defines, set[str]()
            return
        self.defines = set(defined(tree))
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        self.functions = {node.name for node in tree.body if isinstance(node, kinds)}
        try:
            self.uses = free_names(_without_escapes(text))
        except (SyntaxError, ValueError, RecursionError):
            self.uses = set()


def _joined(sources: Sequence[_Source], start: set[int]) -> str:
    """Return the code of these blocks, of those that define what they use, and of later ones that define it again."""
    last = {name: place for place, source in enumerate(sources) for name in source.defines}
    makers: dict[str, list[int]] = {}
    for place, source in enumerate(sources):
        for name in source.functions:
            makers.setdefault(name, []).append(place)
    chosen, fresh, first = set[int](), set(start), len(sources)
    made, functions, looked = set[str](), set[str](), set[str]()
    while fresh:
        chosen |= fresh
        made.update(name for place in fresh for name in sources[place].defines)
        missing = {name for place in fresh for name in sources[place].uses} - made - looked
        looked |= missing
        found = {last[name] for name in missing if name in last}
        added = {name for place in fresh for name in sources[place].functions} - functions
        functions |= added
        # Places before the first one do not count until an earlier one is chosen.
        before, first = first, min(first, *fresh)
        found.update(place for name in added for place in makers[name] if place >= first)
        found.update(place for place in range(first, min(before, len(sources))) if sources[place].functions & functions)
        fresh = found - chosen
    return "\n".join(sources[place].text for place in sorted(chosen))


def _read(text: str, before: str) -> tuple[list[str], list[Block]]:
    """Return code that is in no block, and the blocks. A fence without a language right behind code closes what the prompt
    opened.
    """
    lines = LINE.split(text)
    fences = [place for place, line in enumerate(lines) if FENCE.fullmatch(line)]
    first = fences[0] if fences else len(lines)
    code, end = _code_in(lines[:first], before)
    if not fences or code is None or end < first or _language(lines[first].strip("`~ \t")):
        return [code] if code else [], fenced_blocks(text)
    return [code], fenced_blocks("\n".join(lines[first + 1 :]))


def _code_in(lines: Sequence[str], before: str) -> tuple[str | None, int]:
    """Return the longest run of lines that is code, and its end: from the first line that looks like it, up to the last
    paragraph with which it parses.
    """
    whole = "\n".join(lines)
    if not whole.strip() or len(whole) > LONGEST_PARSED:
        return None, 0
    looks = [place for place, line in enumerate(lines) if _CODE.match(line)][:1]
    for start in dict.fromkeys([0, *looks]):
        ends = [place for place in range(len(lines), start, -1) if place == len(lines) or not lines[place].strip()]
        for end in ends[: min(MOST_TRIES, max(2, MOST_PARSED // len(whole)))]:
            part = "\n".join(lines[start:end])
            goes_on = (
                bool(before) and start == 0 and part[:1] in (" ", "\t") and _parsed(f"{before}\n{part}") is not None
            )
            tree = _parsed(part)
            if part.strip() and (goes_on or (tree is not None and _does_something(tree))):
                return f"{part}\n", end
            if tree is not None and not before:
                break  # names alone: so is what is in front of them
    return None, 0


def _does_something(tree: ast.Module) -> bool:
    """Tell whether code does more than name things: a sentence of one word parses too."""
    return any(not isinstance(node, ast.Expr) for node in tree.body)


def _parses(text: str, before: str) -> bool:
    return _parsed(text) is not None or (bool(before) and _parsed(f"{before}\n{text}") is not None)


def _parsed(text: str) -> ast.Module | None:
    """Return what code is made of, `None` where it is none that can be run by itself."""
    # Python puts the marks of its names in order, too: see `unicode_form`.
    if len(text) > LONGEST_PARSED or stacks_marks(text):
        return None
    try:
        tree = ast.parse(_without_escapes(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return None if any(isinstance(node, ast.Return) for node in tree.body) else tree


def _without_escapes(text: str) -> str:
    """Return code without backslashes in its texts: Python warns of some, and a warning may be an error."""
    return re.sub(r"\\[^\r\n]", "xx", text)


# -- The program behind the code that is in front of it.


def behind(before: str, program: str) -> tuple[str, bool]:
    """Return the whole program, and whether it goes on with the last function of ``before``."""
    if not before.strip():
        return program, False
    indented = next((line for line in LINE.split(program) if line.strip()), "")[:1] in (" ", "\t")
    forms = [f"{before}\n{program}", before + program, f"{before}\n{textwrap.indent(program, '    ')}"]
    if before[-1] in " \t(,=[" and _parsed(before + program) is not None:
        return before + program, True
    if not indented and _parsed(before) is not None and _parsed(program) is not None:
        return f"{_future(program)}{before}\n{_without_future(program)}", False
    for form in forms:
        if _parsed(form) is not None:
            return form, True
    return f"{_future(program)}{before}\n{_without_future(program)}", indented


def _future(program: str) -> str:
    """Return the statements that have to come first in a file, if any."""
    return "".join(f"{statement}\n" for statement in _future_statements(program)[0])


def _without_future(program: str) -> str:
    return _future_statements(program)[1]


def _future_statements(program: str) -> tuple[list[str], str]:
    tree = _parsed(program)
    lines = LINE.split(program)
    taken: list[str] = []
    for node in tree.body if tree is not None else ():
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            taken.append(ast.unparse(node))
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return taken, "\n".join(lines) if taken else program
