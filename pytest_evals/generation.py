"""Generation parameters of a request, checked before any model loads."""

from __future__ import annotations

import marshal
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.hashing import of_last
from pytest_evals.tools import tool_schemas

# 2 ** 63 divided by the golden ratio: no small multiple of it is close to 0, so that seeds of a case's samples do not
# meet those of another case, also where these are 0, 1, 2...
_SAMPLE_STEP = 5700357409661599241


UsesLogits = Literal["no", "device", "host"]
"""What a parameter does with the logits of the next token: nothing; something that many rows can have done at once on the
device; or something for which the host has to see them, so that steps cannot be captured or left out.
"""


def _declared(default: Any, logits: UsesLogits) -> Any:
    """Return a field with this default (called where it makes one) that says how it uses logits."""
    metadata = {"logits": logits}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class GenerationParams:
    """How one completion is generated. Greedy unless ``temperature`` is above 0.

    Each parameter declares how it uses logits; engines refuse one that does not.

    A model's own sampling defaults are not used: what a suite does not say has the value given here.
    """

    max_new_tokens: int = _declared(256, "no")
    temperature: float = _declared(0.0, "device")
    top_k: int = _declared(0, "device")
    """Sample among the k likeliest tokens; 0 is all of them."""
    top_p: float = _declared(1.0, "device")
    """Sample among the likeliest tokens that together hold this probability."""
    min_p: float = _declared(0.0, "device")
    """Sample among the tokens that have at least this share of the likeliest one's probability."""
    repetition_penalty: float = _declared(1.0, "host")
    """Above 1, tokens in the prompt or the completion so far become less likely; also without sampling."""
    n: int = _declared(1, "no")
    """Samples for each case: ``completion.samples``; ``completion.text`` is the first."""
    stop: tuple[str, ...] = _declared((), "no")
    """Strings that end the completion; the text ends before the first of them."""
    seed: int | None = _declared(None, "no")
    """Seed of this request; by default it follows from ``--evals-seed`` and the case's id."""
    logprobs: bool = _declared(False, "host")
    """Return the log-probability of each generated token."""
    chat_template_kwargs: Mapping[str, Any] = _declared(dict, "no")
    """Variables for the chat template, as ``{"enable_thinking": False}``; one that it never reads is refused."""
    json_schema: Mapping[str, Any] | None = _declared(None, "host")
    """The completion is JSON that is valid under this schema."""
    regex: str | None = _declared(None, "host")
    """The completion matches this regular expression, from its first to its last character."""
    choice: tuple[str, ...] = _declared((), "host")
    """The completion is one of these strings."""
    max_thinking_tokens: int | None = _declared(None, "host")
    """Tokens that the thoughts of a model may have; then they are closed, and the answer begins."""
    thinking_allowance: int = _declared(0, "no")
    """Tokens that thoughts may have beyond ``max_new_tokens``, of a model that thinks; then they are closed. It means nothing to
    other models: it is for those who ask models that they do not know, as judges are.
    """
    sampling: Literal["default", "model"] = _declared("default", "no")
    """``model``: what is not said here is as the model's own ``generation_config`` says."""
    tools: tuple[Mapping[str, Any], ...] = _declared((), "no")
    """Functions that the model may call, as JSON schemas in the form of OpenAI's API."""
    tool_choice: Literal["auto", "none", "required"] = _declared("auto", "host")
    """``none``: the model is shown no tools. ``required``: it writes a call of one of them, and nothing else."""

    @property
    def greedy(self) -> bool:
        """Tell whether the likeliest token is always taken, so that no seed matters; not of a model that is asked how it samples."""
        return self.temperature == 0 and self.sampling == "default"

    @property
    def guided(self) -> bool:
        """Tell whether a grammar decides which tokens are allowed."""
        return self.json_schema is not None or self.regex is not None or bool(self.choice)

    def sample_seed(self, sample: int) -> int:
        """Return the seed of one of ``n`` samples; that of the first is ``seed`` itself."""
        return ((self.seed or 0) + sample * _SAMPLE_STEP) % 2**63

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, for the wire and for digests: what parameters of later versions add is left out at its default, and
        template variables have their first name, so that a request has the digest that it has always had.
        """
        return dict(_plain(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GenerationParams:
        """Return the parameters that `to_dict` described."""
        params: GenerationParams = _shared(data, _read)
        return params


@of_last
def _plain(params: GenerationParams) -> dict[str, Any]:
    data = {name: getattr(params, name) for name in params.__slots__}
    data["template"] = data.pop("chat_template_kwargs")
    return {name: value for name, value in data.items() if name not in _LATER or value != getattr(_DEFAULT, name)}


def _read(data: Mapping[str, Any]) -> GenerationParams:
    lists = {name: tuple(data[name]) for name in ("stop", "choice", "tools") if name in data}
    variables = {"chat_template_kwargs": data["template"]}
    return GenerationParams(**{name: value for name, value in data.items() if name != "template"} | lists | variables)


# -- The cases of a suite mostly have the same parameters: they share one object, that is checked and described once.

_SHARED = 256
_known: dict[tuple[Callable[..., GenerationParams], bytes], GenerationParams] = {}


def _shared(values: Mapping[str, Any], make: Callable[[Mapping[str, Any]], GenerationParams]) -> GenerationParams:
    """Return what ``make`` returns for these values: the same object for values of the same types."""
    try:
        # Unlike equality it tells 1, 1.0 and True apart; version 2 knows no references, which would depend on the objects.
        key = make, marshal.dumps(dict(values), 2)
    except ValueError:  # a function among the tools, or a type of another library
        return make(values)
    if key not in _known:
        if len(_known) >= _SHARED:
            _known.clear()
        _known[key] = make(values)
    return _known[key]


def params_by_use(*uses: UsesLogits) -> frozenset[str]:
    """Return the names of the parameters that declare to use logits in one of these ways."""
    return frozenset(entry.name for entry in fields(GenerationParams) if entry.metadata.get("logits") in uses)


def changed_params(params: GenerationParams) -> set[str]:
    """Return the names of the parameters that are not at their default."""
    return set(_changed(params))


@of_last
def _changed(params: GenerationParams) -> set[str]:
    return {entry.name for entry in fields(params) if getattr(params, entry.name) != getattr(_DEFAULT, entry.name)}


_DEFAULT = GenerationParams()
_LATER = frozenset({"max_thinking_tokens", "thinking_allowance", "sampling", "tools", "tool_choice"})
_KNOWN = tuple(entry.name for entry in fields(GenerationParams))


def parse_generation(values: Mapping[str, Any]) -> GenerationParams:
    """Check ``values`` (rendered, as of ``cases(generation=...)``) and return the parameters.

    Raises `SuiteError` for an unknown name, a wrong type and a value out of range.
    """
    return _shared(values, _parse)


def _parse(values: Mapping[str, Any]) -> GenerationParams:
    if "template" in values:
        values = _renamed(values)
    for name in values:
        if name not in _KNOWN:
            raise SuiteError(
                f"generation: unknown parameter {name!r} (known: {', '.join(_KNOWN)}){did_you_mean(str(name), _KNOWN)}"
            )
    params = GenerationParams(**{name: _CHECKS[name](name, value) for name, value in values.items()})
    guides = [name for name in ("json_schema", "regex", "choice") if getattr(params, name) not in (None, ())]
    if len(guides) > 1:
        raise SuiteError(f"generation: {' and '.join(guides)} exclude each other; give one")
    if params.tool_choice == "required":
        if not params.tools:
            raise SuiteError("generation: tool_choice 'required' needs tools")
        if guides:
            raise SuiteError(f"generation: {guides[0]} and tool_choice 'required' exclude each other; give one")
    if params.n > 1 and params.greedy:
        raise SuiteError("generation: n samples of a greedy completion are all the same; give a temperature above 0")
    return params


def _renamed(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters with ``template`` under its name of today."""
    if "chat_template_kwargs" in values:
        raise SuiteError("generation: template is an older name of chat_template_kwargs; give one of them")
    return {"chat_template_kwargs" if name == "template" else name: value for name, value in values.items()}


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SuiteError(f"generation: {name} must be a whole number of at least {least}, not {value!r}")
    return value


def _number(name: str, value: object, low: float, high: float) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise SuiteError(f"generation: {name} must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _stop(name: str, value: object) -> tuple[str, ...]:
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, (list, tuple)) or not all(isinstance(entry, str) and entry for entry in strings):
        raise SuiteError(f"generation: {name} must be a non-empty string or a list of them, not {value!r}")
    return tuple(strings)


def _above_zero(name: str, value: object, high: float) -> float:
    number = _number(name, value, 0, high)
    if number == 0:
        raise SuiteError(f"generation: {name} must be above 0")
    return number


def _seed(name: str, value: object) -> int | None:
    return None if value is None else _integer(name, value, 0)


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise SuiteError(f"generation: {name} must be true or false, not {value!r}")
    return value


def _mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SuiteError(f"generation: {name} must be a mapping, not {value!r}")
    return dict(value)


def _schema(name: str, value: object) -> Mapping[str, Any] | None:
    if value is None:
        return None
    import jsonschema

    schema = dict(_mapping(name, value))
    try:
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SuiteError(f"generation: {name} is not a valid JSON schema: {error.message}") from error
    return schema


def _regex(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise SuiteError(f"generation: {name} must be a regular expression, not {value!r}")
    try:
        re.compile(value)
    except re.error as error:
        raise SuiteError(f"generation: {name} {value!r} is not a regular expression: {error}") from error
    return value


def _choice(name: str, value: object) -> tuple[str, ...]:
    strings = value if isinstance(value, (list, tuple)) else None
    if strings is None or not strings or not all(isinstance(entry, str) and entry for entry in strings):
        raise SuiteError(f"generation: {name} must be a list of non-empty strings, not {value!r}")
    return tuple(dict.fromkeys(strings))


def _word(name: str, value: object, *words: str) -> Any:
    if value not in words:
        raise SuiteError(f"generation: {name} must be {' or '.join(words)}, not {value!r}")
    return value


def _tools(_name: str, value: object) -> tuple[Mapping[str, Any], ...]:
    try:
        return tool_schemas(value)
    except SuiteError as error:
        raise SuiteError(f"generation: {error}") from error


_CHECKS: dict[str, Any] = {
    "max_new_tokens": lambda name, value: _integer(name, value, 1),
    "temperature": lambda name, value: _number(name, value, 0, 100),
    "top_k": lambda name, value: _integer(name, value, 0),
    "top_p": lambda name, value: _above_zero(name, value, 1),
    "min_p": lambda name, value: _number(name, value, 0, 1),
    "repetition_penalty": lambda name, value: _above_zero(name, value, 100),
    "n": lambda name, value: _integer(name, value, 1),
    "stop": _stop,
    "seed": _seed,
    "logprobs": _flag,
    "chat_template_kwargs": _mapping,
    "json_schema": _schema,
    "regex": _regex,
    "choice": _choice,
    "max_thinking_tokens": lambda name, value: None if value is None else _integer(name, value, 0),
    "thinking_allowance": lambda name, value: _integer(name, value, 0),
    "sampling": lambda name, value: _word(name, value, "default", "model"),
    "tools": _tools,
    "tool_choice": lambda name, value: _word(name, value, "auto", "none", "required"),
}
