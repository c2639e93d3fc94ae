"""Stands in front of the engines: answers requests whose answer is known before they are sent.

A pool asks three times: when a request comes in (a replay answers without any engine), when an engine is about to be sent
one (now it is known which weights, template and precision would answer it), and when a result comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_evals.completion import Origin
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.spec import ModelSpec, spec_of_record
from pytest_evals.recall.keys import Key, model_digest, request_key


class Source(Protocol):
    """Where answers come from."""

    name: str

    def find(self, key: Key, request: Request) -> Result | None:
        """Return the answer to the request, if it is known."""
        ...

    def has(self, model: str) -> bool:
        """Tell whether there is an answer of the model with this digest."""
        ...


class Store(Protocol):
    """Where answers are kept for later runs."""

    def keep(self, key: Key, result: Result) -> None:
        """Keep an answer."""
        ...


class Stage(Protocol):
    """Who answers in the place of models: see `replay`."""

    def answer(self, request: Request, key: Key) -> Result | None:
        """Return the answer to the request; `None` sends it to its model. ``key`` has no digest of the model."""
        ...


@dataclass
class Memory:
    """See the module. ``exact`` is ``--evals-exact``; ``root`` resolves paths."""

    root: Path
    exact: bool = False
    stage: Stage | None = None
    sources: Sequence[Source] = ()
    store: Store | None = None
    _keys: dict[str, Key] = field(default_factory=dict)
    _specs: dict[str, ModelSpec] = field(default_factory=dict)
    _digests: dict[str, tuple[Mapping[str, object], str]] = field(default_factory=dict)

    def before(self, request: Request) -> Result | None:
        """Return the answer to a request for which no engine is needed, or `None`."""
        if self.stage is None:
            return None
        # What is not loaded need not be there.
        deterministic = self._spec(request.model).deduplicates
        return self.stage.answer(request, request_key(request, "", deterministic=deterministic))

    def recall(self, request: Request, info: EngineInfo) -> Result | None:
        """Return the known answer to what is about to be sent to the engine that ``info`` describes, or `None`."""
        if request.alone:
            # Asked for to be computed.
            return None
        spec = self._spec(request.model)
        key = request_key(request, self._digest(spec, info.identity), deterministic=spec.deduplicates)
        for source in self.sources:
            found = source.find(key, request)
            if found is not None:
                return dataclasses.replace(found, id=request.id, origin=Origin(str(key), source.name))
        self._keys[request.id] = key
        return None

    def knows(self, model: str, info: EngineInfo) -> bool:
        """Tell whether there is any answer of ``model`` if ``info`` describes it."""
        digest = self._digest(self._spec(model), info.identity)
        return any(source.has(digest) for source in self.sources)

    def learned(self, result: Result) -> Result:
        """Take a result that was computed, and return it with its origin."""
        key = self._keys.pop(result.id, None)
        if key is None or result.error is not None:
            return result
        if self.store is not None:
            self.store.keep(key, result)
        return dataclasses.replace(result, origin=Origin(str(key)))

    def _spec(self, model: str) -> ModelSpec:
        if model not in self._specs:
            self._specs[model] = spec_of_record(model, self.root)
        return self._specs[model]

    def _digest(self, spec: ModelSpec, identity: Mapping[str, object]) -> str:
        known = self._digests.get(spec.text)
        if known is None or known[0] != identity:
            known = self._digests[spec.text] = (identity, model_digest(identity, spec, exact=self.exact))
        return known[1]
