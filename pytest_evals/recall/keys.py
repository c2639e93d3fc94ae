"""When two requests of two runs are the same: same model, same prompt, same parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.ids import content_hash

_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Key:
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
    def parse(cls, text: object) -> Key | None:
        """Return the key that was written as ``text``, `None` for anything else."""
        parts = text.split("-") if isinstance(text, str) else []
        return cls(*parts) if len(parts) == 3 else None


def request_key(request: Request, model: str, *, deterministic: bool) -> Key:
    """Return the key of a request. ``model`` is the digest of its model (see `model_digest`).

    A deterministic engine gives the same greedy answer whatever the seed. For another one the seed counts always: it is
    what tells repeats apart.
    """
    params = request.params
    if deterministic and request.repeatable:
        params = dataclasses.replace(params, seed=None)
    return Key(
        model,
        content_hash(list(request.messages), _LENGTH),
        content_hash([params.to_dict(), list(request.choices)], _LENGTH),
    )


def model_digest(identity: Mapping[str, Any], spec: ModelSpec, *, exact: bool = False) -> str:
    """Return the digest of a loaded model: weights, template, precision, versions.

    ``identity`` is what its engine says. A chat template that the specification names is read here: models that differ
    in it share one engine. ``exact`` is how near-ties were to be decided.
    """
    template = spec.options.get("template")
    return content_hash([dict(identity), _content(template) if template else None, exact], _LENGTH)


def _content(template: str) -> str:
    try:
        return Path(template).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return template
