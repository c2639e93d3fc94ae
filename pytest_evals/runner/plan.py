"""What the requests of a session amount to: its plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_evals.completion import Message, text_of
from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.request_tracker import request_key
from pytest_evals.engines.resources import Footprint
from pytest_evals.engines.spec import ModelSpec, spec_of_record
from pytest_evals.media.parts import media_of
from pytest_evals.reuse.setup import known_answers
from pytest_evals.settings import Settings
from pytest_evals.suites.manifest import SuiteManifest
from pytest_evals.text import pluralize

CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English; a plan loads no tokenizer."""


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """The work of one model. ``distinct`` are the requests without those that an identical one answers, ``known`` those of
    them whose answer is known from before (`None`: that is not known yet), ``failing`` those that a replay cannot answer.
    Tokens are those of the rest, estimated from characters; ``without`` says which media are not among them.
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
    without: str = ""

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


def make_plan(
    infos: Mapping[str, SuiteManifest],
    requests: Sequence[Request],
    selected: int,
    settings: Settings,
    memory: AnswerCache,
) -> DryRunPlan:
    """Sum up the requests of the selected cases, model by model; ``memory`` is what is known from before."""
    models = []
    for model in dict.fromkeys(request.model for request in requests):
        mine = [request for request in requests if request.model == model]
        models.append(_model_plan(spec_of_record(model, settings.root), mine, memory, settings))
    recalls = bool(memory.replay or memory.sources)
    return DryRunPlan(tuple(infos.values()), selected, tuple(models), settings.dtype, settings.judge_name, recalls)


def _model_plan(spec: ModelSpec, requests: Sequence[Request], memory: AnswerCache, settings: Settings) -> ModelPlan:
    distinct: dict[str, Request] = {}
    for request in requests:
        shared = spec.deduplicates and request.repeatable
        distinct[request_key(request) if shared else request.id] = request
    computed = list(distinct.values())
    known = known_answers(memory, spec.text, computed, settings.root, settings.engine_options)
    left = [request for request in computed if request.id not in known.answered | known.failing]
    files = spec.kind.files(spec)
    media = [media_of(request.messages) for request in left]
    counted = {
        part["sha256"]: files.image_tokens(part) if files is not None and part["type"] == "image" else None
        for parts in media
        for part in parts
    }
    lengths = [
        _tokens(request) + sum(counted[part["sha256"]] or 0 for part in parts)
        for request, parts in zip(left, media, strict=True)
    ]
    uncounted = Counter(part["type"] for parts in media for part in parts if counted[part["sha256"]] is None)
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
        without=" and ".join(pluralize(count, _MEDIA[kind]) for kind, count in sorted(uncounted.items())),
    )


def _most_new_tokens(request: Request) -> int:
    return 0 if request.choices else request.params.max_new_tokens * request.params.n


_MEDIA = {"image": "image", "audio": "recording"}


def _tokens(request: Request) -> int:
    """Estimate the tokens of a prompt: its texts and calls, the tools that it offers, and the choices."""
    texts = [text for message in request.messages for text in (text_of(message), _calls(message))]
    if request.params.tools and request.params.tool_choice != "none":
        texts += [json.dumps(tool, ensure_ascii=False) for tool in request.params.tools]
    choices = sum(len(choice) for choice in request.choices) // CHARACTERS_PER_TOKEN
    return choices + sum(map(len, texts)) // CHARACTERS_PER_TOKEN + 1


def _calls(message: Message) -> str:
    return json.dumps(message["tool_calls"], ensure_ascii=False) if message.get("tool_calls") else ""
