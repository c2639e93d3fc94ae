"""Everything that a session takes from before, opened as its settings say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.protocol import Request
from pytest_evals.errors import ArtifactError
from pytest_evals.reuse_options import Reuse
from pytest_evals.text import pluralize

if TYPE_CHECKING:
    from pytest_evals.reuse.cache import Cache
    from pytest_evals.reuse.recorded_run import CasePlace, Recorded
    from pytest_evals.reuse.replay import Replay
    from pytest_evals.reuse.resume import Resumed


@dataclass(slots=True)
class ReuseContext:
    """What the owner of a session holds: the pool's ``memory``, and what it is made of."""

    memory: AnswerCache
    replay: Replay | None = None
    resumed: Resumed | None = None
    cache: Cache | None = None

    @property
    def reused(self) -> dict[str, Any] | None:
        """Say in the artifact which run was replayed or resumed."""
        if self.replay is not None:
            return {"how": "replay", **self.replay.recorded.to_dict()}
        return {"how": "resume", **self.resumed.recorded.to_dict()} if self.resumed is not None else None

    @property
    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """What the models were loaded as whose completions are replayed."""
        return self.replay.recorded.loaded if self.replay is not None else {}

    def header(self) -> list[str]:
        """Say what is going to be taken from before."""
        lines = []
        if self.replay is not None:
            judge = f"the judge {self.replay.recorded.judge}" if self.replay.recorded.judge else "a judge"
            asked = f"no model under test is asked, and {judge} only for what is not recorded"
            lines.append(f"evals: replay of {self.replay.recorded.described}; {asked}")
        if self.resumed is not None:
            lines.append(f"evals: resumes {self.resumed.described}")
        if self.cache is not None:
            lines.append(f"evals: cache {self.cache.shown}")
        return lines

    def notes(self, counts: Mapping[str, int], calls: Mapping[str, int], cases: Mapping[str, CasePlace]) -> list[str]:
        """Say what was taken from before. ``counts``, ``calls``: completions and answers to calls, by source; ``cases``: places
        by nodeid.
        """
        notes = self.replay.notes(cases.values()) if self.replay is not None else []
        if self.resumed is not None:
            notes += self.resumed.notes(_taken(self.resumed.name, counts, calls), cases)
        if self.cache is not None:
            notes += self.cache.notes(_taken(self.cache.name, counts, calls))
        return notes

    def close(self) -> None:
        """Let go of files."""
        if self.cache is not None:
            self.cache.close()


def _taken(source: str, counts: Mapping[str, int], calls: Mapping[str, int]) -> str:
    answers = f" and {pluralize(calls[source], 'answer')} to calls" if calls.get(source) else ""
    return f"{pluralize(counts.get(source, 0), 'completion')}{answers}"


def open_recollection(
    reuse: Reuse,
    root: Path,
    place_of: Callable[[str], CasePlace | None],
    *,
    replaced: Callable[[str], bool],
    exact: bool,
) -> ReuseContext:
    """Open everything. ``place_of`` and ``replaced``: see `Replay`.

    Raises an `EvalsError` for a run that cannot be read and a cache that cannot be written.
    """
    replay = resumed = cache = None
    if reuse.replay is not None:
        from pytest_evals.reuse.replay import Replay

        replay = Replay(read_run("--evals-replay", reuse.replay), place_of, replaced, reuse.strict)
    if reuse.resume is not None:
        from pytest_evals.reuse.resume import read_chain

        resumed = read_chain(reuse.resume, lambda path: read_run("--evals-resume", path), root)
    if reuse.cache != "off":
        from pytest_evals.reuse.cache import Cache, check_folder

        if reuse.cache == "write":
            check_folder(reuse.cache_folder)
        folder = reuse.cache_folder
        cache = Cache(folder, writes=reuse.cache == "write", shown=_shown(folder))
    sources: Sequence[Resumed | Cache] = [source for source in (resumed, cache) if source is not None]
    return ReuseContext(AnswerCache(root, exact, replay, sources, cache), replay, resumed, cache)


def _shown(path: Path) -> str:
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)


def read_run(option: str, path: Path) -> Recorded:
    """Read the run that an option names. Raises `ArtifactError` that names the option."""
    from pytest_evals.reuse.recorded_run import read_recorded

    shown = _shown(path)
    try:
        recorded = read_recorded(path, shown)
    except ArtifactError as error:
        raise ArtifactError(f"{option}: {error}") from error
    if not recorded.turns and option == "--evals-replay":
        raise ArtifactError(f"{option}: {shown} has no finished case: the run ended before")
    return recorded


# -- How much of what a run would ask is known from before: told without loading anything.


@dataclass(frozen=True, slots=True)
class Known:
    """``answered`` are the ids of requests whose answer is known, ``failing`` those that a replay has no completion for.

    ``told``: false where only the loaded model shows what is known.
    """

    answered: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    told: bool = True


def known_answers(
    memory: AnswerCache, model: str, requests: Sequence[Request], root: Path, options: Mapping[str, Any]
) -> Known:
    """Look up what would be asked of ``model``. ``options`` are what every engine is told."""
    if memory.replay is not None:
        found = {request.id: memory.replayed(request) for request in requests}
        errors = {key for key, result in found.items() if result is not None and result.error is not None}
        answered = {key for key, result in found.items() if result is not None} - errors
        return Known(frozenset(answered), frozenset(errors))
    if not memory.sources:
        return Known()
    from pytest_evals.engines.deferred_loading import predicted_info

    info = predicted_info(model, root, options)
    if info is None:
        return Known(told=False)
    return Known(frozenset(request.id for request in requests if memory.lookup(request, info) is not None))
