"""Sits in front of the engines and answers requests whose answer is known before they are sent.

A pool asks three times: when a request comes in (a replay answers without any engine), when it is about to send one to an
engine (by then it is known which weights, template and precision would answer it), and when a result comes back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_evals.completion import Completion, Origin
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.run_date import run_date
from pytest_evals.engines.spec import ModelSpec, spec_of_record
from pytest_evals.generation import GenerationParams
from pytest_evals.hashing import content_hash, of_last
from pytest_evals.media.parts import identified


class AnswerSource(Protocol):
    """Where answers come from."""

    name: str

    def find(self, key: AnswerKey, request: Request) -> Completion | None:
        """Return the answer to the request, if it is known."""
        ...

    def has(self, model: str) -> bool:
        """Tell whether there is an answer of the model with this digest."""
        ...


class AnswerStore(Protocol):
    """Where answers are kept for later runs."""

    def keep(self, key: AnswerKey, completion: Completion) -> None:
        """Keep an answer."""
        ...


class ReplaySource(Protocol):
    """Who answers in the place of models: see `replay`."""

    def answer(self, request: Request, key: AnswerKey) -> Result | None:
        """Return the answer to the request; `None` sends it to its model. ``key`` has no digest of the model."""
        ...


@dataclass
class AnswerCache:
    """See the module. ``exact`` is ``--evals-exact``; ``root`` resolves paths."""

    root: Path
    exact: bool = False
    replay: ReplaySource | None = None
    sources: Sequence[AnswerSource] = ()
    answer_store: AnswerStore | None = None
    _keys: dict[str, AnswerKey] = field(default_factory=dict)
    _specs: dict[str, ModelSpec] = field(default_factory=dict)
    _digests: dict[str, tuple[Mapping[str, object], str]] = field(default_factory=dict)

    def replayed(self, request: Request) -> Result | None:
        """Return the answer to a request for which no engine is needed, or `None`."""
        if self.replay is None:
            return None
        # What is not loaded need not be there.
        deterministic = self._spec(request.model).deduplicates
        return self.replay.answer(request, request_key(request, "", deterministic=deterministic))

    def lookup(self, request: Request, info: EngineInfo) -> Result | None:
        """Return the known answer to what is about to be sent to the engine that ``info`` describes, or `None`."""
        if request.alone:
            # Asked for to be computed.
            return None
        spec = self._spec(request.model)
        key = request_key(request, self._digest(spec, info.identity), deterministic=spec.deduplicates)
        for source in self.sources:
            found = source.find(key, request)
            if found is not None:
                return Result(request.id, found.changed(origin=Origin(str(key), source.name)))
        self._keys[request.id] = key
        return None

    def key_of(self, request: Request) -> AnswerKey | None:
        """Return the key under which the answer to a request that is being computed will be kept, `None` if it will not be."""
        return self._keys.get(request.id)

    def has_any(self, model: str, info: EngineInfo) -> bool:
        """Tell whether there is any answer of ``model`` if ``info`` describes it."""
        digest = self._digest(self._spec(model), info.identity)
        return any(source.has(digest) for source in self.sources)

    def store(self, result: Result) -> Result:
        """Take a result that was computed, and return it with its origin."""
        key = self._keys.pop(result.id, None)
        if key is None or result.completion is None:
            return result
        if self.answer_store is not None:
            self.answer_store.keep(key, result.completion)
        return Result(result.id, result.completion.changed(origin=Origin(str(key))))

    def _spec(self, model: str) -> ModelSpec:
        if model not in self._specs:
            self._specs[model] = spec_of_record(model, self.root)
        return self._specs[model]

    def _digest(self, spec: ModelSpec, identity: Mapping[str, object]) -> str:
        known = self._digests.get(spec.text)
        if known is None or known[0] != identity:
            known = self._digests[spec.text] = (identity, model_digest(identity, spec, exact=self.exact))
        return known[1]


# -- When two requests of two runs are the same: same model, same prompt, same parameters.

_LENGTH = 16


@dataclass(frozen=True, slots=True)
class AnswerKey:
    """Digests of the three, written ``model-prompt-parameters``.

    The parameters include choices and, where it matters, the seed: repeats and seeds are never mixed.
    """

    model: str
    prompt: str
    parameters: str

    def __str__(self) -> str:
        return f"{self.model}-{self.prompt}-{self.parameters}"

    @property
    def asked(self) -> str:
        """The part that is known without a model: ``prompt-parameters``."""
        return f"{self.prompt}-{self.parameters}"

    @classmethod
    def parse(cls, text: object) -> AnswerKey | None:
        """Return the key that was written as ``text``, `None` for anything else."""
        parts = text.split("-") if isinstance(text, str) else []
        return cls(*parts) if len(parts) == 3 else None


def request_key(request: Request, model: str, *, deterministic: bool) -> AnswerKey:
    """Return the key of a request. ``model`` is the digest of its model (see `model_digest`).

    A deterministic engine gives the same greedy answer whatever the seed. For another one the seed counts always: it is
    what tells repeats apart.
    """
    params = request.params
    if params.seed is not None and deterministic and request.repeatable:
        params = dataclasses.replace(params, seed=None)
    asked = content_hash([params.to_dict(), list(request.choices)], _LENGTH) if request.choices else _digest_of(params)
    return AnswerKey(model, content_hash(identified(request.messages), _LENGTH), asked)


@of_last
def _digest_of(params: GenerationParams) -> str:
    return content_hash([params.to_dict(), []], _LENGTH)


def model_digest(identity: Mapping[str, Any], spec: ModelSpec, *, exact: bool = False) -> str:
    """Return the digest of a loaded model: weights, template, precision, versions.

    ``identity`` is what its engine says. A chat template that the specification names is read here: models that differ
    in it share one engine. ``exact`` is how near-ties were to be decided.
    """
    template = spec.options.get("template")
    told = [dict(identity), _content(template) if template else None, exact]
    # Absent where nothing is said, as they were before there were such options.
    beside = {name: spec.options[name] for name in _PROMPT_OPTIONS if name in spec.options}
    if "adapter" in spec.options:
        # As the template: models that differ in it share one engine.
        beside["adapter"] = _adapter(spec.options["adapter"])
    if template and "strftime_now" in _content(template):
        beside["date"] = run_date().isoformat()
    return content_hash([*told, beside] if beside else told, _LENGTH)


_PROMPT_OPTIONS = ("reasoning", "chat_template_kwargs", "input", "values", "truncate")


def _adapter(place: str) -> str:
    from pytest_evals.engines.identity import place_identity

    return place_identity(place, "adapter_config.json")


def _content(template: str) -> str:
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return template
