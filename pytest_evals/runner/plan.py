"""What the requests of a session amount to: its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_evals.completion import text_of
from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.request_tracker import request_key
from pytest_evals.engines.resources import Footprint
from pytest_evals.engines.spec import ModelSpec, spec_of_record
from pytest_evals.reuse.setup import known_answers
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English; a plan loads no tokenizer."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The work of one model. ``distinct`` are the requests without those that an identical one answers, ``known`` those of
    them whose answer is known from before (`None`: that is not known yet), ``failing`` those that a replay cannot answer.
    Tokens are those of the rest, estimated from characters.
    """

    spec: ModelSpec
    requests: int
    distinct: int
    known: int | None
    failing: int
    prompt_tokens: int
    longest_tokens: int
    max_new_tokens: int
    footprint: Footprint | None

    @property
    def left(self) -> int:
        """Requests that are computed."""
        return self.distinct - (self.known or 0) - self.failing


@dataclass(frozen=True, slots=True)
class DryRunPlan:
    """What a session would do."""

    suites: tuple[SuiteManifest, ...]
    selected: int
    models: tuple[ModelPlan, ...]
    dtype: str
    judge: str
    recalls: bool = False
    """Answers are taken from before."""
    encodes: Mapping[str, int] = field(default_factory=dict)
    """By encoder, how often graders ask it: once for each case, or more where a case has several statements."""


def make_plan(
    infos: Mapping[str, SuiteManifest],
    requests: Sequence[Request],
    selected: int,
    settings: Settings,
    memory: AnswerCache,
    encodes: Mapping[str, int],
) -> DryRunPlan:
    """Sum up the requests of the selected cases, model by model; ``memory`` is what is known from before, ``encodes`` how often
    graders ask encoders.
    """
    models = []
    for model in dict.fromkeys(request.model for request in requests):
        mine = [request for request in requests if request.model == model]
        models.append(_model_plan(spec_of_record(model, settings.root), mine, memory, settings))
    recalls = bool(memory.replay or memory.sources)
    return DryRunPlan(
        tuple(infos.values()), selected, tuple(models), settings.dtype, settings.judge_name, recalls, encodes
    )


def _model_plan(spec: ModelSpec, requests: Sequence[Request], memory: AnswerCache, settings: Settings) -> ModelPlan:
    distinct: dict[str, Request] = {}
    for request in requests:
        shared = spec.deduplicates and request.repeatable
        distinct[request_key(request) if shared else request.id] = request
    computed = list(distinct.values())
    known = known_answers(memory, spec.text, computed, settings.root, settings.engine_options)
    left = [request for request in computed if request.id not in known.answered | known.failing]
    lengths = [_tokens(request) for request in left]
    return ModelPlan(
        spec=spec,
        requests=len(requests),
        distinct=len(distinct),
        known=len(known.answered) if known.told else None,
        failing=len(known.failing),
        prompt_tokens=sum(lengths),
        longest_tokens=max(lengths, default=0),
        max_new_tokens=sum(map(_most_new_tokens, left)),
        footprint=spec.kind.footprint(spec),
    )


def _most_new_tokens(request: Request) -> int:
    return 0 if request.choices else request.params.max_new_tokens * request.params.n


def _tokens(request: Request) -> int:
    choices = sum(len(choice) for choice in request.choices) // CHARACTERS_PER_TOKEN
    return choices + sum(len(text_of(message)) for message in request.messages) // CHARACTERS_PER_TOKEN + 1
