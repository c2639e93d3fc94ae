"""``sampling="model"``: what a model's own ``generation_config`` says of how its tokens are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import GenerationConfig

from pytest_evals.errors import UnsupportedError
from pytest_evals.generation import GenerationParams, changed_params

_SAMPLED = ("temperature", "top_k", "top_p", "min_p")
_ALWAYS = ("repetition_penalty",)
_HIDDEN = ("suppress_tokens", "begin_suppress_tokens")
# What changes texts and is done by no engine of this package.
_BEYOND = (
    *(
        "num_beams",
        "num_beam_groups",
        "penalty_alpha",
        "use_mtp",
        "min_length",
        "min_new_tokens",
        "no_repeat_ngram_size",
    ),
    *("encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "bad_words_ids", "typical_p", "epsilon_cutoff"),
    *("eta_cutoff", "top_h", "forced_bos_token_id", "forced_eos_token_id", "exponential_decay_length_penalty"),
    *("sequence_bias", "guidance_scale", "watermarking_config", "stop_strings", "dola_layers", "token_healing"),
)


@dataclass(frozen=True, slots=True)
class OwnSampling:
    """Parameters by name; tokens that are never chosen, and those that are not chosen first; settings that cannot be honoured."""

    params: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[int, ...] = ()
    hidden_first: tuple[int, ...] = ()
    beyond: Mapping[str, Any] = field(default_factory=dict)

    def applied(self, params: GenerationParams) -> GenerationParams:
        """Return the parameters with the model's own where nothing else was asked for. Raises `UnsupportedError`."""
        if self.beyond:
            listed = ", ".join(f"{name}={value!r}" for name, value in self.beyond.items())
            raise UnsupportedError(
                f"sampling='model': the generation_config of the model sets {listed}, which is not supported; give parameters "
                "instead"
            )
        own = {name: value for name, value in self.params.items() if name not in changed_params(params)}
        return replace(params, **own, sampling="default")

    def to_dict(self) -> dict[str, Any]:
        """Return what is not at its default, for the artifact."""
        hidden = {
            name: list(tokens) for name, tokens in zip(_HIDDEN, (self.hidden, self.hidden_first), strict=True) if tokens
        }
        return {**self.params, **hidden, **{name: str(value) for name, value in self.beyond.items()}}


def own_sampling(config: Any) -> OwnSampling:
    """Return what the generation config of a model says, as ``generate`` would read it."""
    defaults: dict[str, Any] = GenerationConfig._get_default_generation_params()  # noqa: SLF001 - what generate fills in for what a config leaves open

    def read(name: str) -> Any:
        value = getattr(config, name, None)
        return defaults.get(name) if value is None else value

    params = {name: read(name) for name in _SAMPLED if read(name) is not None} if read("do_sample") else {}
    params |= {name: float(read(name)) for name in _ALWAYS if read(name) not in (None, 1.0)}
    beyond = {name: read(name) for name in _BEYOND if read(name) != defaults.get(name) and read(name) is not None}
    hidden, first = (tuple(read(name) or ()) for name in _HIDDEN)
    return OwnSampling(
        _typed(params), hidden, first, {name: value for name, value in beyond.items() if value not in (0, False, [])}
    )


def _typed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(value) if name == "top_k" else float(value) for name, value in params.items()}
