"""Whether the contenders say the same: texts against ``generate`` one prompt at a time, sums against each other.

A text that leaves the reference where its two likeliest tokens are closer than `TIE` is a tie by rounding. Any other
difference is a mismatch: somebody computes something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.job import Answer, Job, Row
from benchmarks.measurement import Measurement
from benchmarks.process import run_program
from benchmarks.workloads import Workload

TIE = 1e-3
"""Largest distance, in logits, of two tokens between which rounding may decide."""
SUM_TOLERANCE = 1e-3
"""Largest distance of two log-likelihoods of the same choice."""

Texts = Mapping[str, Mapping[str, str]]
"""Row -> contender -> text."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that a contender answered differently than the reference: from the generated token ``token`` on.

    ``margin`` is the distance of the reference's two likeliest tokens there, `None` where it has no token at this place.
    """

    contender: str
    row: str
    token: int
    margin: float | None

    @property
    def tie(self) -> bool:
        """Tell whether rounding explains it."""
        return self.margin is not None and self.margin < TIE


@dataclass(frozen=True, slots=True)
class Agreement:
    """What was found.

    Of texts: ``rows`` is how many each contender answered; all were compared with each other, and ``referenced`` of them
    with ``generate`` one at a time. Of sums: ``largest`` is the largest distance of two for the same choice, and ``pair``
    the contenders that have it.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    differences: tuple[Difference, ...] = ()
    referenced: int = 0
    largest: float | None = None
    pair: tuple[str, str] | None = None

    def of(self, contender: str) -> list[Difference]:
        """Return the differences of one contender."""
        return [difference for difference in self.differences if difference.contender == contender]

    @property
    def mismatches(self) -> int:
        """How many differences rounding does not explain."""
        far = self.largest is not None and self.largest > SUM_TOLERANCE
        return sum(not difference.tie for difference in self.differences) + far

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "differences": [{**asdict(one), "tie": one.tie} for one in self.differences]}


@dataclass(frozen=True, slots=True)
class Judge:
    """Where the reference is computed: see ``contenders.reference``."""

    model: str
    python: str
    environment: Mapping[str, str]
    timeout: float

    def differences(self, rows: Sequence[Row], texts: Texts, known: Mapping[str, Answer]) -> list[Difference]:
        """Return where the ``texts`` of ``rows`` leave the reference, which is ``known`` of some rows.

        Raises `ProgramError`.
        """
        order = {
            **Job(self.model, tuple(rows)).to_dict(),
            "known": {row.id: known[row.id].tokens for row in rows if row.id in known},
            "texts": {row.id: texts[row.id] for row in rows},
        }
        outcome, _ = run_program("benchmarks.contenders.reference", order, self.python, self.environment, self.timeout)
        return [
            Difference(name, verdict["id"], found["token"], found["margin"])
            for verdict in outcome["verdicts"]
            for name, found in verdict["differences"].items()
        ]


def compare(workload: Workload, measurements: Sequence[Measurement], judge: Judge) -> Agreement:
    """Compare the answers of all contenders. Raises `ProgramError` when the reference cannot be computed."""
    done = {measurement.contender: measurement.answers for measurement in measurements if measurement.answers}
    if workload.scored:
        largest, pair = _largest_distance(done)
        return Agreement(largest=largest, pair=pair)
    texts: dict[str, dict[str, str]] = {row.id: {} for row in workload.rows}
    for name, answers in done.items():
        for answer in answers:
            texts[answer.id][name] = answer.text
    known = {answer.id: answer for answer in done.get("generate-1", ())}
    doubtful = [row for row in workload.rows if len(set(texts[row.id].values())) > 1]
    differences = judge.differences(doubtful, texts, known) if doubtful else []
    rows = {name: len(answers) for name, answers in done.items()}
    return Agreement(rows, tuple(differences), len(known.keys() | {row.id for row in doubtful}))


def _largest_distance(
    done: Mapping[str, Sequence[Answer]],
) -> tuple[float | None, tuple[str, str] | None]:
    """Return the largest distance of the first contender's sums to another's, and which two these are."""
    names = list(done)
    if len(names) < 2:
        return None, None
    first = {answer.id: answer.sums or () for answer in done[names[0]]}
    found = [
        (abs(one - other), (names[0], name))
        for name in names[1:]
        for answer in done[name]
        for one, other in zip(first[answer.id], answer.sums or (), strict=True)
    ]
    return max(found)
