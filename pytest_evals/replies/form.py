"""How a family of models writes what is not its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_evals.errors import SuiteError


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What comes before and after a block of thoughts.

    ``control``: they are tokens that a model never makes of a text, so that a block may be anywhere; others count only
    where a reply begins. ``must_close``: without its end it is not a block, but a heading of the answer.
    """

    opening: str
    closing: str
    control: bool = False
    must_close: bool = False


@dataclass(frozen=True, slots=True)
class ReplyForm:
    """How a model writes its replies.

    ``thoughts`` are the delimiters that it may use, ``channels`` says that it writes harmony's channels (gpt-oss).
    ``unopened``: a closing delimiter may be alone, because a chat template may have opened the block. ``tools`` names the
    form of its tool calls: see `pytest_evals.replies.tool_calls`. ``separator`` is what the chat template writes between a block
    of thoughts and the answer. ``always``: the template writes a block before every answer, if only an empty one.
    """

    thoughts: tuple[Delimiters, ...] = ()
    channels: bool = False
    unopened: bool = False
    tools: str | None = None
    separator: str = ""
    always: bool = False

    @property
    def thinks(self) -> bool:
        """Tell whether thoughts can be told apart from the answer."""
        return bool(self.thoughts) or self.channels


THINK = Delimiters("<think>", "</think>")
KNOWN_DELIMITERS = (
    THINK,
    Delimiters("<thinking>", "</thinking>"),
    Delimiters("<thought>", "</thought>"),
    Delimiters("<thoughts>", "</thoughts>"),
    Delimiters("<reasoning>", "</reasoning>", must_close=True),
    Delimiters("[THINK]", "[/THINK]"),
    Delimiters("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    Delimiters("<seed:think>", "</seed:think>"),
    Delimiters("<|begin_of_thought|>", "<|end_of_thought|>"),
    Delimiters("<|START_THINKING|>", "<|END_THINKING|>"),
    Delimiters("<|inner_prefix|>", "<|inner_suffix|>"),
    Delimiters("<|channel>thought\n", "<channel|>"),
    Delimiters("<unused94>thought\n", "<unused95>"),
)
"""Those of published families: DeepSeek-R1, Qwen3 and most others; Magistral; Kimi; Seed-OSS; OpenThinker; Command A; Apertus;
Gemma 4; MedGemma.
"""
HARMONY_TOKENS = tuple(f"<|{name}|>" for name in ("start", "channel", "message", "constrain", "end", "return", "call"))
ANY_FORM = ReplyForm(KNOWN_DELIMITERS, channels=True, unopened=True)
"""For a text known only to be written by a model: a recorded completion, what a script returns."""
PLAIN_FORM = ReplyForm()
"""All of a reply is its answer."""

_WRITTEN = re.compile(r"(?P<opening>.+)\.\.(?P<closing>.+)", re.DOTALL)


def written_form(wish: str) -> ReplyForm | None:
    """Return the form that ``reasoning=`` of a model asks for: `None` for ``auto``, which the model itself answers.

    Raises `SuiteError` for what is neither ``auto`` nor ``none`` nor ``OPEN..CLOSE``.
    """
    if wish == "auto":
        return None
    if wish == "none":
        return PLAIN_FORM
    found = _WRITTEN.fullmatch(wish)
    if found is None or not found["opening"].strip() or not found["closing"].strip():
        raise SuiteError(f"reasoning must be auto, none or OPEN..CLOSE (as <think>..</think>), not {wish!r}")
    return ReplyForm((Delimiters(found["opening"], found["closing"]),), unopened=True)
