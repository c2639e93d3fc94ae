"""The table of engines: those of this package, and those that other distributions register."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.engines.kind import EngineKind, EngineOption, Report, one_of, tell_progress, whole_number
from pytest_evals.engines.model_folder import complete_model, locate_model
from pytest_evals.errors import ModelError, SuiteError, did_you_mean

if TYPE_CHECKING:
    from pytest_evals.engines.model_files import ModelFiles
    from pytest_evals.engines.protocol import Engine, EngineInfo
    from pytest_evals.engines.resources import Footprint
    from pytest_evals.engines.spec import ModelSpec

GROUP = "pytest_evals.engines"
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def engine_names() -> tuple[str, ...]:
    """Return the names of all engines whose models write."""
    return tuple(dict.fromkeys((*(name for name in BUILT_IN if name != "encoder"), *(e.name for e in _registered()))))


@functools.cache
def engine_kind(name: str) -> EngineKind:
    """Return the kind of engine with this name. Raises `ModelError` where there is none, or where it cannot be imported."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    for entry in _registered():
        if entry.name == name:
            return _imported(entry)
    names = engine_names()
    raise ModelError(f"unknown engine {name!r} (known: {', '.join(names)}){did_you_mean(name, names)}")


def _registered() -> metadata.EntryPoints:
    return metadata.entry_points(group=GROUP)


def _imported(entry: metadata.EntryPoint) -> EngineKind:
    brought_by = f"{entry.value}, which {entry.dist.name if entry.dist else 'a distribution'} registers"
    try:
        kind = entry.load()
    except Exception as error:  # importing it runs another project's code, which may raise anything
        raise ModelError(f"the engine {entry.name!r} cannot be imported from {brought_by}: {error!r}") from error
    if not isinstance(kind, EngineKind) or kind.name != entry.name:
        raise ModelError(f"the engine {entry.name!r} is not usable: {brought_by}, is not an EngineKind of that name")
    return kind


# -- hf: models of transformers


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise ValueError(text)
    return text


def _template(text: str) -> str:
    if not text:
        raise ValueError(text)
    return text


def _named(text: str) -> str:
    if not text.strip("/\\ "):
        raise ValueError(text)
    return text


_YES = {"true": True, "false": False}


def _yes_or_no(text: str) -> bool:
    if text not in _YES:
        raise ValueError(text)
    return _YES[text]


def _reasoning(text: str) -> str:
    from pytest_evals.replies.form import written_form

    try:
        written_form(text)
    except SuiteError as error:
        raise ValueError(text) from error
    return text


def _variables(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(text)  # noqa: TRY004 - what a reader of an option raises
    return values


_REASONING = EngineOption("auto, none or OPEN..CLOSE (as <think>..</think>)", _reasoning, of_prompts=True)


def _locate_transformers(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    if options.get("on") != "ray":
        stray = next((option for option in _OF_RAY if option in options), None)
        if stray:
            raise ModelError(f"model {written!r}: {stray} is an option of models on Ray (on=ray)")
        return locate_model(name, options, written, root)
    return _locate_on_ray(name, options, written, root)


def _locate_on_ray(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    from pytest_evals.engines.ray.cluster import check_installed

    check_installed(written)
    if options.get("replicas") == "auto":
        raise ModelError(f"model {written!r}: on Ray the number of replicas is said: replicas=8, say")
    if ":" in options.get("device", ""):
        raise ModelError(f"model {written!r}: on Ray the cluster chooses the GPU: device=cuda")
    return locate_model(name, options, written, root)


def _seconds(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value <= 0:
        raise ValueError(text)
    return value


def _load_transformers(spec: ModelSpec, options: dict[str, Any], report: Report) -> Engine:
    from pytest_evals.engines.light_imports import light_imports

    tell_progress(report, "importing transformers")
    with light_imports(spec):
        from pytest_evals.engines.transformers.engine import load

        return load(spec, options, report, quick=True)


def _identity_of_files(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    from pytest_evals.engines.identity import kept_identity

    del path
    return kept_identity(spec, options)


def _footprint_of_files(spec: ModelSpec) -> Footprint | None:
    from pytest_evals.engines.resources import footprint_of_files

    return footprint_of_files(spec.name)


def _files(spec: ModelSpec) -> ModelFiles:
    from pytest_evals.engines.model_files import ModelFiles

    return ModelFiles(spec)


# -- scripted: a function of the user's


def _locate_script(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    del options, root
    module, _, function = name.partition(":")
    if not module or not function.isidentifier():
        raise ModelError(f"model {written!r}: a scripted model is written scripted:module:function")
    return name, None


def _load_script(spec: ModelSpec, options: dict[str, Any], report: Report) -> Engine:
    from pytest_evals.engines.scripted import ScriptedEngine

    del options, report
    return ScriptedEngine(spec.name, spec.options.get("reasoning", "auto"))


def _identity_of_script(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    from pytest_evals.engines.identity import script_identity
    from pytest_evals.engines.protocol import EngineInfo

    del options
    identity = script_identity(spec.name, path)
    return EngineInfo(identity=identity) if identity else None


_OF_RAY: Mapping[str, EngineOption] = {
    "cpus": whole_number("a whole number of at least 1"),
    "wait": EngineOption("a number of seconds above 0", _seconds),
}
HF = EngineKind(
    "hf",
    _load_transformers,
    options={
        "dtype": one_of("auto", "fp32", "bf16", "fp16"),
        "device": EngineOption("auto, cpu, cuda, cuda:N or mps", _device),
        "batch": whole_number("auto or a whole number of at least 1", auto=True),
        "template": EngineOption("none or the path of a template", _template, of_prompts=True),
        "reasoning": _REASONING,
        "chat_template_kwargs": EngineOption(
            'an object of JSON, as {"enable_thinking": false}', _variables, of_prompts=True
        ),
        "loop": one_of("auto", "packed", "generate"),
        "replicas": whole_number("auto or a whole number from 1 to 99", 99, auto=True),
        "tp": whole_number("a whole number from 1 to 99", 99),
        "adapter": EngineOption("the folder or hub name of an adapter", _named, of_prompts=True, path=True),
        "quantize": one_of("bnb4", "bnb8", "int8"),
        "tokenizer": EngineOption("the folder or hub name of a tokenizer", _named, path=True),
        "subfolder": EngineOption("the path of a folder below the model's", _named),
        "revision": EngineOption("a branch, tag or commit", _named),
        "remote_code": EngineOption("true or false", _yes_or_no),
        "on": one_of("local", "ray"),
        **_OF_RAY,
    },
    complete=complete_model,
    locate=_locate_transformers,
    identity=_identity_of_files,
    footprint=_footprint_of_files,
    files=_files,
    on_each_gpu=True,
    keeps_identity=True,
    # Ranks of a divided model end with the process that started them.
    stays_warm=lambda spec: spec.options.get("tp", 1) == 1,
)
RAY = replace(
    HF,
    name="ray",
    options={name: option for name, option in HF.options.items() if name != "on"},
    locate=_locate_on_ray,
)
SCRIPTED = EngineKind(
    "scripted",
    _load_script,
    options={"reasoning": replace(_REASONING, of_prompts=False), "warm": one_of("true", "false")},
    locate=_locate_script,
    identity=_identity_of_script,
    heavy=False,
    deduplicates=False,
    # A script may count its calls; only its author knows that it does not.
    stays_warm=lambda spec: spec.options.get("warm") == "true",
)


def _served() -> EngineKind:
    # Imported where it is named: most runs know nothing of servers.
    from pytest_evals.engines.openai.kind import openai_kind

    return openai_kind(replace(_REASONING, of_prompts=False))


def _encoder() -> EngineKind:
    # Imported where a grader names one.
    from pytest_evals.engines.encoder_kind import encoder_kind

    return encoder_kind(HF.options["device"])


BUILT_IN: Mapping[str, Callable[[], EngineKind]] = {
    "hf": lambda: HF,
    "ray": lambda: RAY,
    "openai": _served,
    "scripted": lambda: SCRIPTED,
    "encoder": _encoder,
}
