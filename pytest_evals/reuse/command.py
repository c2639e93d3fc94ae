"""Commands to run next: made of the command line of a run, so that they repeat its models, judge, paths and options."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_evals.gates import GateResult
    from pytest_evals.scorecard import ScoreCard

_ARTIFACT, _RESUME, _REPLAY, _BASELINE = "--evals-artifact", "--evals-resume", "--evals-replay", "--evals-baseline"
_OF_THE_WHOLE = ("--evals-html", "--evals-summary", "--evals-codequality", "--junitxml", "--junit-xml")
"""Files about a whole run: part of it should not replace them."""
_ASKS_MODELS = ("--evals-model", "--evals-repeat", "--evals-audit")
"""What cannot be combined with a replay."""
_CHOOSE_BY_LAST_RUN = (
    "--lf",
    "--last-failed",
    "--ff",
    "--failed-first",
    "--nf",
    "--new-first",
    "--sw",
    "--stepwise",
    "--stepwise-skip",
    "--sw-skip",
)
_FLAGS = frozenset({*_CHOOSE_BY_LAST_RUN, "--evals-stop-early"})


@dataclass(frozen=True, slots=True)
class RunCommand:
    """The command line of a run, from which others are made that can be pasted in a shell.

    ``words`` are what followed ``pytest``, ``addopts`` is what ``PYTEST_ADDOPTS`` was, ``artifact`` is where the run was
    recorded, ``folder`` where it was started, if that is another folder than the current one. ``paths`` are those of the words that
    say which tests to run, `None` where that is not known.
    """

    words: Sequence[str]
    artifact: Path
    addopts: str | None = None
    folder: str | None = None
    paths: Sequence[str] | None = None

    @classmethod
    def of_run(cls, run: Mapping[str, Any], artifact: Path | str) -> RunCommand | None:
        """Return the command of a recorded run, from its first line; `None` of one that was read from the standard input."""
        if not isinstance(artifact, Path):
            return None
        folder = run.get("folder")
        elsewhere = isinstance(folder, str) and Path(folder) != Path.cwd() and Path(folder).is_dir()
        words = [str(word) for word in run["command"]][1:]
        path = artifact.resolve() if elsewhere else artifact
        return cls(words, path, run.get("addopts"), str(folder) if elsewhere else None)

    def resume(self) -> str | None:
        """Return the command that goes on with the run; `None` of a replay, in which nothing is computed that could be lost."""
        return None if self._has(_REPLAY) else self._made((_RESUME,), [f"{_RESUME}={self.artifact}"])

    def rerun_failed(self) -> str | None:
        """Return the command that runs again what failed; `None` where pytest does not remember that."""
        given = [*self._options, *_split(self.addopts)]
        if any(word.endswith("no:cacheprovider") for word in given):
            return None
        return self._made((_RESUME, *_OF_THE_WHOLE, *_FLAGS), ["--lf"])

    def rerun(self) -> str:
        """Return the command that runs the same again, without files about the whole run."""
        return self._made((_RESUME, *_OF_THE_WHOLE, *_FLAGS), [])

    def rerun_cases(self, chosen: str) -> str | None:
        """Return the command that runs again the cases of the run for which the expression ``chosen`` is true."""
        if self.paths is None or self._has(_REPLAY):
            return None
        words = list(reversed(self.words))
        for path in self.paths:
            if path not in words:
                return None
            words.remove(path)
        words = [word for word in reversed(words) if word != "--"]
        again = replace(self, words=words, paths=()).rerun()
        found = f'pytest-evals cases {quoted_path(str(self.artifact))} --where "{chosen}" --nodeids'
        if os.name == "nt":
            names = self.artifact.with_suffix(".cases.txt")
            return f"{found} > {quoted_path(str(names))} && {again} {quoted_path(f'@{names}')}"
        return f"{again} $({found})"

    def replay(self) -> str:
        """Return the command that grades the answers of the run again: without models, which are those of the run."""
        return self._made((_RESUME, _REPLAY, *_ASKS_MODELS, *_FLAGS), [f"{_REPLAY}={self.artifact}"], also_addopts=True)

    def compare_with(self, baseline: str) -> str:
        """Return the command that runs the same again, compared with a baseline."""
        return self._made((_RESUME, _BASELINE), [f"{_BASELINE}={baseline}"])

    @property
    def _options(self) -> Sequence[str]:
        return self.words[: self.words.index("--")] if "--" in self.words else self.words

    def _has(self, option: str) -> bool:
        given = (*self._options, *_split(self.addopts))
        return any(word == option or word.startswith(f"{option}=") for word in given)

    @property
    def _is_away(self) -> bool:
        """Whether the artifact goes to an address outside of this machine: a later run then replaces it there as a whole."""
        given = [*self._options, *_split(self.addopts)]
        return any(word.startswith(f"{_ARTIFACT}=") and "://" in word for word in given) or any(
            before == _ARTIFACT and "://" in word for before, word in pairwise(given)
        )

    def _made(self, without: Sequence[str], added: Sequence[str], *, also_addopts: bool = False) -> str:
        """Return a command with other options; a run that had been given a file gets one of its own."""
        options = self._options
        away = self._is_away
        kept = list(_without(options, tuple(without) if away else (_ARTIFACT, *without)))
        addopts = self.addopts
        if also_addopts and addopts:
            addopts = shlex.join(_without(_split(addopts), without))
        command = [
            *(["pytest"] if "--evals" in kept else ["pytest", "--evals"]),
            *kept,
            *([f"{_ARTIFACT}={_another(self.artifact)}"] if self._has(_ARTIFACT) and not away else []),
            *added,
            *self.words[len(options) :],
        ]
        if os.name == "nt":
            return subprocess.list2cmdline(command)
        environment = f"PYTEST_ADDOPTS={shlex.quote(addopts or '')} " if addopts or self.addopts else ""
        go = f"cd {shlex.quote(self.folder)} && " if self.folder else ""
        return f"{go}{environment}{shlex.join(command)}"


# -- What a run advises to do next: commands that can be pasted, each with the run that it is about.


def hints(card: ScoreCard, command: RunCommand | None) -> list[str]:
    """Return commands for what there is to look at; nothing where there is nothing, or no artifact to look into."""
    if card.artifact is None:
        return []
    ledger, run = card.ledger, quoted_path(card.artifact)
    found = []
    if command and card.resume is None and (ledger.errored or ledger.failed):
        found.append(command.rerun_failed())
    wrong = next((name for name in ("missed", "failed", "errored") if getattr(ledger, name)), None)
    chosen = f"outcome == '{wrong}'" if wrong else behind_gates(card)
    if chosen:
        found.append(f'pytest-evals cases {run} -v --where "{chosen}"')
    if any(score.pending for score in card.scores):
        found.append(f"pytest-evals annotate {run}")
    if card.baseline and any(each.verdict in ("worse", "unclear") for each in card.movements):
        found.append(f"pytest-evals compare {quoted_path(card.baseline)} {run} -v")
    return [*filter(None, found), *_first_baseline(card, run, command)]


def behind_gates(card: ScoreCard) -> str | None:
    """Return the expression for the cases behind gates that failed: those whose test missed, else those that the grader of the gate did
    not pass; `None` where there are none.
    """
    failed = [gate for gate in card.gates if gate.fails]
    suites, models = dict.fromkeys(gate.suite for gate in failed), dict.fromkeys(gate.model for gate in failed)
    mine = [record for record in card.records if record.suite in suites and record.model in models]
    where = [
        _one_of(name, list(chosen))
        for name, chosen, known in (
            ("suite", suites, {record.suite for record in card.records}),
            ("model", models, {record.model for record in card.records}),
        )
        if len(chosen) < len(known)
    ]
    if any(record.outcome == "missed" for record in mine):
        return " and ".join([*where, "outcome == 'missed'"])
    graders = {key for gate in failed if (key := _grader_of(gate, card))}
    wrong = dict.fromkeys(
        grade.grader_key
        for record in mine
        for grade in record.grades
        if grade.passed is False
        and grade.grader_key in graders
        and all(map(str.isidentifier, grade.grader_key.split(".")))
    )
    tests = [f"grades.{key}.passed == false" for key in wrong]
    if not tests:
        return None
    return " and ".join([*where, tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"])


def _grader_of(result: GateResult, card: ScoreCard) -> str | None:
    from pytest_evals.gates import recorded_gate, resolve

    gate = recorded_gate(result.gate)
    names = dict.fromkeys(score.grader for score in card.scores if score.suite == result.suite)
    return resolve(gate, result.suite, names) if gate else None


def _one_of(name: str, chosen: Sequence[str]) -> str:
    return f"{name} == '{chosen[0]}'" if len(chosen) == 1 else f"{name} in {list(chosen)}"


def _first_baseline(card: ScoreCard, run: str, command: RunCommand | None) -> list[str]:
    """Return the commands that save this run as the missing baseline; none unless every case ran."""
    if not card.wants_baseline or not command or card.ledger.not_run or card.interruption:
        return []
    return [
        f"pytest-evals baseline set {run} --name {quoted_path(card.wants_baseline)}",
        command.compare_with(card.wants_baseline),
    ]


def quoted_path(path: str) -> str:
    """Return a path as a shell takes it."""
    return subprocess.list2cmdline([path]) if os.name == "nt" else shlex.quote(path)


# -- Parts of a command line.


def _split(addopts: str | None) -> list[str]:
    try:
        return shlex.split(addopts or "")
    except ValueError:
        return []


def _without(words: Sequence[str], options: Sequence[str]) -> Iterator[str]:
    """Yield the words that are none of the ``options`` nor their values."""
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in options:
            skip = word not in _FLAGS
        elif not word.startswith(tuple(f"{option}=" for option in options)):
            yield word


def _another(artifact: Path) -> PurePath:
    """Return the path of a file that is not there yet: ``run-2.jsonl`` beside ``run.jsonl``."""
    ending = "".join(artifact.suffixes[-2:]) if artifact.name.endswith(".gz") else artifact.suffix
    stem = artifact.name.removesuffix(ending)
    base, dash, number = stem.rpartition("-")
    first = int(number) + 1 if dash and number.isdigit() and len(number) < 4 else 2
    name = base if first > 2 or (dash and number == "1") else stem
    paths = (artifact.with_name(f"{name}-{each}{ending.removesuffix('.gz')}") for each in count(first))
    return next(path for path in paths if not path.exists())
