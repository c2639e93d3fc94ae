"""Accounts for what was computed: tokens, forwards, seconds, and how well the batches were filled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from pytest_evals.engines.transformers.backends.protocol import AnySequence
from pytest_evals.engines.transformers.scheduling.plan import SchedulerOutput
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode, kept_tokens


@dataclass(slots=True)
class Usage:
    """Sums over a process's life.

    ``prompt_tokens`` were computed, ``shared_tokens`` were not because a prefix held them, ``reused_tokens`` because an
    earlier row had left them, ``padding_tokens`` were computed for nothing; ``guessed_tokens`` were computed ahead, and
    ``right_tokens`` of them came true; ``decode_rows`` is the sum of rows over the ``decodes`` forwards that decoded;
    ``device_seconds`` is the time in forwards, ``peak_bytes`` the most memory of the device that was in use (on a CPU:
    of the process). ``chosen_...`` is what was found to be fastest on this CPU: threads, linear layers that are laid out anew, parts
    of layers computed in fewer passes, and whether (0 or 1) compiled loops compute and the head is computed in 8 bits first.
    """

    forwards: int = 0
    decodes: int = 0
    decode_rows: int = 0
    most_rows: int = 0
    prompt_tokens: int = 0
    shared_tokens: int = 0
    reused_tokens: int = 0
    padding_tokens: int = 0
    generated_tokens: int = 0
    guessed_tokens: int = 0
    right_tokens: int = 0
    device_seconds: float = 0.0
    weights_bytes: int = 0
    peak_bytes: int = 0
    chosen_threads: int = 0
    chosen_packed_layers: int = 0
    chosen_fused_parts: int = 0
    chosen_loops: int = 0
    chosen_short_head: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


class UsageMeter:
    """Keeps the usage of one engine."""

    def __init__(self, device: str) -> None:
        self.usage = Usage()
        self._device = device

    @staticmethod
    def now() -> float:
        """Seconds, for differences."""
        return time.perf_counter()

    @contextmanager
    def forward(self, plan: SchedulerOutput[AnySequence]) -> Iterator[None]:
        """Count a forward that carries out ``plan``, if it succeeds."""
        started = self.now()
        yield
        pieces = plan.pieces
        self.count(
            started,
            prompt=sum(piece.end - piece.begin for piece in pieces),
            decode=len(plan.decode),
            generated=len(plan.decode) + sum(_brings_a_token(piece.target, last=piece.last) for piece in pieces),
        )
        for piece in pieces:
            if isinstance(piece.target, PrefixNode):
                self.usage.shared_tokens -= piece.end - piece.begin
            elif piece.target.prefix and piece.begin == piece.target.prefix.end:
                kept = kept_tokens(piece.target)
                self.usage.reused_tokens += kept
                self.usage.shared_tokens += piece.begin - kept

    def count(
        self, started: float, *, prompt: int, decode: int, generated: int, padding: int = 0, shared: int = 0
    ) -> None:
        """Count one forward that began at ``started``."""
        usage = self.usage
        usage.device_seconds += self.now() - started
        usage.forwards += 1
        usage.decodes += bool(decode)
        usage.decode_rows += decode
        usage.most_rows = max(usage.most_rows, decode)
        usage.prompt_tokens += prompt
        usage.padding_tokens += padding
        usage.shared_tokens += shared
        usage.generated_tokens += generated

    def guessed(self, tokens: int, right: int) -> None:
        """Count tokens that were guessed for a row, and those of them that it wrote."""
        self.usage.guessed_tokens += tokens
        self.usage.right_tokens += right
        self.usage.generated_tokens += right

    def snapshot(self) -> dict[str, Any]:
        """Return the usage as plain data, with the memory as it is now."""
        if self._device == "cpu":
            self.usage.chosen_threads = torch.get_num_threads()
        self.usage.peak_bytes = max(self.usage.peak_bytes, self._memory())
        return self.usage.to_dict()

    def _memory(self) -> int:
        if self._device.startswith("cuda"):
            return int(torch.cuda.max_memory_allocated(self._device))
        return int(psutil.Process().memory_info().rss)


def _brings_a_token(target: AnySequence | PrefixNode, *, last: bool) -> bool:
    return last and not isinstance(target, PrefixNode) and target.generates
