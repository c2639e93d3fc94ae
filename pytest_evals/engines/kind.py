"""What a kind of engine is: everything that the rest of the package needs to know of ``hf``, ``scripted`` or another one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_evals.engines.model_files import ModelFiles
    from pytest_evals.engines.protocol import Engine, EngineInfo, Request
    from pytest_evals.engines.resources import Footprint
    from pytest_evals.engines.spec import ModelSpec

Report = Callable[[str], None]
"""Is told what takes long while a model is loaded."""


def tell_progress(report: Report, text: str) -> None:
    """Tell ``report`` what is being done at the moment, where it has a method ``progress`` for it."""
    progress = getattr(report, "progress", None)
    if progress is not None:
        progress(text)


@dataclass(frozen=True, slots=True)
class EngineOption:
    """An option of a model specification, such as ``batch=8``.

    Args:
        described: What the value must be; it follows "NAME must be" in an error.
        read: Makes the value, plain data, of the text. Raises `ValueError` for a wrong text.
        of_prompts: Whether the option only affects how prompts are written, or which adapter answers. Models that differ only in such
            options share one copy of the weights.
        path: Whether the value may be a path, relative to the folder that the specification is relative to.
    """

    described: str
    read: Callable[[str], Any]
    of_prompts: bool = False
    path: bool = False


def one_of(*values: str) -> EngineOption:
    """Return an option that takes one of these words."""
    listed = f"{', '.join(values[:-1])} or {values[-1]}" if len(values) > 1 else values[0]

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return EngineOption(listed, read)


def whole_number(described: str, most: int | None = None, *, auto: bool = False) -> EngineOption:
    """Return an option that takes a whole number from 1 to ``most``; with ``auto`` also that word."""

    def read(text: str) -> int | str:
        if auto and text == "auto":
            return text
        if not (text.isascii() and text.isdigit()) or int(text) < 1 or (most is not None and int(text) > most):
            raise ValueError(text)
        return int(text)

    return EngineOption(described, read)


def name_as_written(name: str, options: Mapping[str, Any], written: str, root: Path) -> tuple[str, str | None]:
    """Take a model's name as it is, without a revision."""
    del options, written, root
    return name, None


def options_as_written(
    name: str, options: Mapping[str, Any], written: str, root: Path
) -> tuple[str, Mapping[str, Any]]:
    """Take a model's name and options as they are."""
    del written, root
    return name, options


def last_part(name: str) -> str:
    """Return what follows the last colon or slash of a name."""
    return name.rstrip("/\\").replace("\\", "/").rpartition("/")[2].rpartition(":")[2]


def not_known(spec: ModelSpec, options: Mapping[str, Any], path: Sequence[str]) -> EngineInfo | None:
    """Know nothing of a model before it is loaded."""
    del spec, options, path
    return None


def no_files(spec: ModelSpec) -> ModelFiles | None:
    """Know no files of a model."""
    del spec
    return None


def no_footprint(spec: ModelSpec) -> Footprint | None:
    """Know nothing of what a model takes."""
    del spec
    return None


def ends_with_run(spec: ModelSpec) -> bool:
    """Let no model stay when a run has ended."""
    del spec
    return False


def no_counter(spec: ModelSpec) -> Callable[[Request], int] | None:
    """Know no way to count the tokens of a prompt without the model."""
    del spec
    return None


@dataclass(frozen=True, slots=True)
class EngineKind:
    """A kind of engine. Other distributions register theirs as an entry point of the group ``pytest_evals.engines``.

    The object is made in every run that names the engine, so its module should import nothing that takes long.

    Args:
        name: The text before the colon of a specification.
        load: Makes the engine, in its own process. Gets the specification, the options of the run (``device``, ``dtype``, ``batch``,
            ``exact``, ``replica``, ``replicas``) and a function that reports progress. Raises `ModelError` if the model cannot be loaded.
        options: The options of a specification, by name. They are checked at the start, and reach ``load`` as values.
        complete: Returns the name and options of the base if the name is that of an adapter, else those given. Gets the arguments of
            ``locate`` and is called before it. Raises `ModelError`.
        locate: Checks a model's name without loading the model, and returns it with its revision. Gets the name, the options, the
            specification as written, and the folder that paths are relative to. Raises `ModelError`.
        identity: Returns what a model would be loaded as, so that known answers need no model; `None` if that is unknown.
        footprint: Returns the memory that a model takes; `None` if that is unknown.
        counter: Returns a function that counts the tokens of a request's prompt, for ``--evals-plan``; `None` if only the loaded model
            can. Raises `ModelError` if its tokenizer cannot be read.
        files: Returns what the model's files say before it is loaded; `None` if it has no files.
        short: Makes the short name for ids and tables of a name.
        heavy: Whether a model needs a device for itself.
        deduplicates: Whether identical greedy requests may share one answer.
        on_each_gpu: Whether each GPU gets a copy of the model by default.
        stays_warm: Returns whether a model may stay loaded for the next run, because no answer depends on earlier ones.
        keeps_identity: Whether a model's identity is stored when it is loaded, for ``identity`` to find.
    """

    name: str
    load: Callable[[ModelSpec, dict[str, Any], Report], Engine]
    options: Mapping[str, EngineOption] = field(default_factory=dict)
    complete: Callable[[str, Mapping[str, Any], str, Path], tuple[str, Mapping[str, Any]]] = options_as_written
    locate: Callable[[str, Mapping[str, Any], str, Path], tuple[str, str | None]] = name_as_written
    identity: Callable[[ModelSpec, Mapping[str, Any], Sequence[str]], EngineInfo | None] = not_known
    footprint: Callable[[ModelSpec], Footprint | None] = no_footprint
    counter: Callable[[ModelSpec], Callable[[Request], int] | None] = no_counter
    files: Callable[[ModelSpec], ModelFiles | None] = no_files
    short: Callable[[str], str] = last_part
    heavy: bool = True
    deduplicates: bool = True
    on_each_gpu: bool = False
    keeps_identity: bool = False
    stays_warm: Callable[[ModelSpec], bool] = ends_with_run
