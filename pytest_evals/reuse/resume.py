"""``--evals-resume RUN``: what an earlier run finished is taken over where nothing that it depends on has changed.

A run that resumed another one and ended early has not all that the other one had, so the runs before it count too.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_evals.completion import Completion
from pytest_evals.engines.answer_cache import AnswerKey
from pytest_evals.engines.protocol import Request
from pytest_evals.errors import ArtifactError
from pytest_evals.reuse.recorded_run import Recorded, RecordedTurn

_CHANGES = {"model": "another model", "prompt": "another prompt", "parameters": "other parameters"}
_GZIP = b"\x1f\x8b"
_LONGEST_LINE = 64 * 1024 * 1024


class Resumed:
    """Answers by key, from a recorded run and from those before it (``runs``, the newest first); and why there were none.

    ``lost`` names a run that one of them resumed and that is not there any more.
    """

    name = "resume"

    def __init__(self, runs: Sequence[Recorded], lost: str | None = None) -> None:
        self.runs = runs
        self.lost = lost
        self._missing: dict[str, str] = {}
        self._used: set[str] = set()

    @property
    def recorded(self) -> Recorded:
        """The run that was named."""
        return self.runs[0]

    @property
    def described(self) -> str:
        """Name the runs, and tell how far each came."""
        return ", which resumed ".join(run.described for run in self.runs)

    def find(self, key: AnswerKey, request: Request) -> Completion | None:
        """Return the answer to the same request."""
        for run in self.runs:
            if str(key) in run.answers:
                self._used.add(run.shown)
                return run.answers[str(key)]
        turns = [run.turns[request.id] for run in self.runs if request.id in run.turns]
        # One with a completion tells what has changed since.
        turns.sort(key=lambda turn: turn.answer is None)
        self._missing[request.id] = _why(key, turns[0] if turns else None)
        return None

    def has(self, model: str) -> bool:
        """Tell whether there is an answer of the model with this digest."""
        return any(key.startswith(f"{model}-") for run in self.runs for key in run.answers)

    def notes(self, taken: str, cases: Mapping[str, object]) -> list[str]:
        """Say what was ``taken`` over, how many of ``cases`` were generated, and why."""
        reasons = Counter(why for nodeid, why in self._missing.items() if nodeid in cases)
        listed = ", ".join(f"{number} {why}" for why, number in sorted(reasons.items()))
        again = f", {sum(reasons.values())} generated ({listed})" if reasons else ", none generated"
        before = [run.shown for run in self.runs[1:] if run.shown in self._used]
        runs = " and, before it, ".join([self.recorded.shown, *before])
        lost = f"{self.runs[-1].shown} resumed {self.lost}, which is not there any more" if self.lost else None
        return [f"resumed from {runs}: {taken} taken over{again}", *([lost] if lost else [])]


def _why(key: AnswerKey, turn: RecordedTurn | None) -> str:
    """Return what hinders a completion from being taken over, to be said after a number."""
    if turn is None:
        return "not in it"
    if turn.answer is None or turn.key is None:
        return "without a completion there"
    changed = [words for part, words in _CHANGES.items() if getattr(key, part) != getattr(turn.key, part)]
    return f"with {' and '.join(changed)}" if changed else "without a completion there"


# -- The runs before a run.


def read_chain(path: Path, read: Callable[[Path], Recorded], root: Path) -> Resumed:
    """Return the run at ``path`` with those that it resumed, the one that it resumed itself first.

    Raises `ArtifactError` where the first one cannot be read; one before it that cannot be read is lost.
    """
    runs = [read(path)]
    while runs[-1].resumed is not None and len({run.run_id for run in runs}) == len(runs):
        link = runs[-1].resumed
        before = _file_of(link, path, root)
        try:
            if before is None:
                return Resumed(runs, str(link.get("path")))
            runs.append(read(before))
        except ArtifactError:
            return Resumed(runs, str(link.get("path")))
        path = before
    return Resumed(runs)


def _file_of(link: Mapping[str, Any], path: Path, root: Path) -> Path | None:
    """Return the file of the run that the artifact at ``path`` says it resumed: where it was, or moved along with that artifact."""
    written = Path(str(link.get("path")))
    folder = path.parent
    beside = (each for pattern in ("*.jsonl", "*.jsonl.gz") for each in sorted(folder.glob(pattern)))
    places = chain((Path.cwd() / written, root / written, folder / written.name), beside)
    return next((place.resolve() for place in _runs(places) if _run_id(place) == link.get("run_id")), None)


def _runs(places: Iterator[Path]) -> Iterator[Path]:
    return (place for place in places if place.is_file())


def _run_id(path: Path) -> str | None:
    """Return the id of the run at ``path``, `None` of what is not an artifact."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as lines:
            run_id = json.loads(lines.readline(_LONGEST_LINE)).get("run_id")
    except (OSError, EOFError, ValueError, AttributeError, zlib.error):
        return None
    return run_id if isinstance(run_id, str) else None
