"""Text that is judged, put between markers that it cannot forge.

What a model or a dataset wrote is material, never an instruction: it must not be able to end its block, to open
another one, or to speak in the judge's or the user's turn.
"""

from __future__ import annotations

import hashlib
import re

# What chat templates take for the border of a turn or of the text, in the spelling of any family: <|im_end|>, <|eot_id|> (also
# with full-width lines), <start_of_turn>, [INST], <<SYS>>, <s>, <think>.
_OPENING = re.compile(
    r"<(?=[|\uff5c])|<(?=/?(?:s|bos|eos|pad|unk|think|start_of_turn|end_of_turn|im_start|im_end)>)", re.IGNORECASE
)
_CLOSING = re.compile(r"(?<=[|\uff5c])>")
_BRACKETS = re.compile(r"\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_RESULTS|TOOL_CALLS)\])")
_DOUBLE = re.compile(r"<(?=</?SYS>>)")
_MARKER = re.compile(r"\[(?=\s*(?:BEGIN|END)\b)", re.IGNORECASE)
_TOKEN_LENGTH = 12


def neutral(text: str) -> str:
    """Return ``text`` with everything broken up by a space that a chat template or a tokenizer could take for a border."""
    for pattern, opening in ((_OPENING, "< "), (_CLOSING, " >"), (_BRACKETS, "[ "), (_DOUBLE, "< ")):
        text = pattern.sub(opening, text)
    return text


def fenced(name: str, text: str) -> str:
    """Return ``text`` between ``[BEGIN NAME token]`` and ``[END NAME token]``.

    The token follows from the text and does not stand in it, so that the text can hold no marker of its own block; the
    same text has the same token, so that equal prompts stay equal. What looks like a marker in the text becomes one of
    round brackets.
    """
    safe = _MARKER.sub("(", neutral(text))
    token = _token(safe)
    return f"[BEGIN {name} {token}]\n{safe}\n[END {name} {token}]"


def _token(text: str) -> str:
    digest = text.encode("utf-8", "surrogatepass")
    while True:
        digest = hashlib.sha256(digest).digest()
        token = digest.hex()[:_TOKEN_LENGTH]
        if token not in text:
            return token
