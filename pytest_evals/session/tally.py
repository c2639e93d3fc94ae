"""What the finished cases of a session come to so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_evals.artifacts.sample import source_of, to_record
from pytest_evals.scores.records import CaseRecord
from pytest_evals.session.throughput import Tokens
from pytest_evals.suites.info import SuiteInfo


class Tally:
    """``tokens``: what reached the cases, by model. A rerun of a case replaces its record."""

    def __init__(self) -> None:
        self._records: dict[str, CaseRecord] = {}
        self._sources: dict[str, str | None] = {}
        self._call_sources: dict[str, list[str]] = {}
        self.tokens: dict[str, Tokens] = {}

    def __contains__(self, nodeid: str) -> bool:
        return nodeid in self._records

    def add(self, sample: Mapping[str, Any]) -> None:
        """Take a finished case."""
        completion = sample["interaction"]["completion"]
        source = source_of(completion)
        self._records[sample["nodeid"]] = to_record(sample)
        self._sources[sample["nodeid"]] = source
        if completion and completion["completion_tokens"] is not None and source is None:
            self._count(sample["interaction"]["source"] or "", completion)
        calls = [(call, source_of(call)) for call in sample.get("calls") or ()]
        self._call_sources[sample["nodeid"]] = [source for _, source in calls if source]
        for call, source in calls:
            if call.get("text") is not None and source is None:
                self._count(call["model"], call)

    def _count(self, model: str, answer: Mapping[str, Any]) -> None:
        tokens = self.tokens.setdefault(model, Tokens())
        tokens.count(answer["prompt_tokens"] or 0, answer["completion_tokens"] or 0)

    def records(self, infos: Iterable[SuiteInfo]) -> list[CaseRecord]:
        """Return the records of the suites, in the order in which their cases were declared."""
        return [self._records[nodeid] for info in infos for nodeid in info.items if nodeid in self._records]

    @property
    def sources(self) -> Counter[str]:
        """How many completions were not computed in this run, by where they come from."""
        return Counter(source for source in self._sources.values() if source)

    @property
    def call_sources(self) -> Counter[str]:
        """The same of calls that tasks and graders made."""
        return Counter(source for sources in self._call_sources.values() for source in sources)
