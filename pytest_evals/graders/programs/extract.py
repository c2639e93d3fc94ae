"""The program in a completion."""

from __future__ import annotations

import re

_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w.+-]*)[^`\n]*\Z")
PYTHON = ("python", "py", "python3")


def program_in(text: str) -> str:
    """Return the last fenced block of Python; else the last block without a language, else the last block; else the text.

    A block that is not closed (the completion was cut) goes to the end.
    """
    blocks = _blocks(text)
    for wanted in (PYTHON, ("",)):
        chosen = [block for language, block in blocks if language in wanted]
        if chosen:
            return chosen[-1]
    return blocks[-1][1] if blocks else text


def _blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block."""
    found: list[tuple[str, list[str]]] = []
    closing: str | None = None
    for line in text.splitlines():
        if closing is not None:
            stripped = line.strip()
            if len(stripped) >= len(closing) and set(stripped) == {closing[0]}:
                closing = None
            else:
                found[-1][1].append(line)
        elif match := _FENCE.match(line):
            closing = match["fence"]
            found.append((match["language"].lower(), []))
    return [(language, "".join(f"{line}\n" for line in lines)) for language, lines in found]
