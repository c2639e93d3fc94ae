"""Imports transformers without what a plain model on a CPU never uses.

Loading the class of a model imports 2000 modules beside torch and the model: kernels of torch's compiler, distributed tensors, solvers of
scipy, ways to quantise, and the head of every file of transformers is read to find out which names there are. That takes
longer than loading the weights of a small model. So, for a model that needs none of it, transformers is told that these packages are not
installed, the compiler's decorators do nothing, and the names are kept in the cache folder.

Nothing of it changes what is computed. Where transformers does not have the functions that this replaces, it is imported as
usual.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path
from typing import Any

from pytest_evals.engines.embedded import EMBEDDED, embedded_weights
from pytest_evals.engines.model_cache import conversion_of, keep, read_kept
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.hashing import content_hash

_SWITCHES = "transformers.utils.import_utils"
"""The module of transformers that tells which packages are installed; everything else asks it."""
_HIDDEN = ("is_scipy_available", "is_torchao_available", "is_torch_distributed_available", "is_sklearn_available")
_NEEDS_MORE = ("tp", "quantize", "adapter", "remote_code")
"""Options of a specification with which a model may use any of it."""
_COMPILER = "torch._dynamo"
Structure = dict[frozenset[str], dict[str, set[str]]]


@contextmanager
def light_imports(spec: ModelSpec) -> Iterator[None]:
    """Import lightly in this context, where the model of ``spec`` needs no more."""
    if "transformers" in sys.modules or not _is_plain(spec):
        yield
        return
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        with _idle_decorators(torch):
            yield
    finally:
        sys.meta_path.remove(finder)


def _is_plain(spec: ModelSpec) -> bool:
    """Tell whether a model is known to be neither quantised nor made of more than text."""
    if any(option in spec.options for option in _NEEDS_MORE):
        return False
    folder = Path(spec.name)
    if spec.name == EMBEDDED:
        # Its conversion, before there is one, takes more than a plain load.
        gguf = embedded_weights()
        folder = conversion_of(gguf) if gguf is not None else folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    beyond = ("quantization_config", "vision_config", "audio_config", "encoder_config", "thinker_config", "auto_map")
    return isinstance(config, dict) and not any(config.get(name) for name in beyond)


class _Finder(MetaPathFinder):
    """Has one module changed as soon as it was executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own specification with another loader."""
        if fullname != _SWITCHES:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None:
            found.loader = _Changed(found.loader)
        return found


class _Changed(Loader):
    """Executes a module as its own loader does, and changes it then."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        """See `Loader.create_module`."""
        return self._own.create_module(spec)

    def exec_module(self, module: types.ModuleType) -> None:
        """See `Loader.exec_module`."""
        self._own.exec_module(module)
        for name in _HIDDEN:
            if hasattr(module, name):
                setattr(module, name, _not_installed)
        if hasattr(module, "define_import_structure"):
            module.define_import_structure = _remembered(module.define_import_structure)  # type: ignore[attr-defined]  # a module has what it defines


def _not_installed(*_arguments: Any, **_options: Any) -> bool:
    return False


# -- Which names there are in which file of transformers.


def _remembered(find: Callable[..., Structure]) -> Callable[..., Structure]:
    """Return ``find``, with what it found in a folder of an installed package kept for the next process."""

    def found(module_path: Any, prefix: str | None = None) -> Structure:
        path = Path(module_path)
        folder = path if path.is_dir() else path.parent
        if folder.name != "models" or not {"site-packages", "dist-packages"} & set(folder.parts):
            # Few files, or files that are being edited.
            return find(module_path, prefix=prefix)
        changed = [folder.stat().st_mtime_ns, (folder.parent / "__init__.py").stat().st_mtime_ns]
        place = Path("imports", f"{content_hash([str(folder), prefix, changed, sys.version_info[:2]], 24)}.json")
        known = _structure(read_kept(place))
        if known is not None:
            return known
        structure = find(module_path, prefix=prefix)
        keep(place, {"found": [[sorted(needed), _sorted(files)] for needed, files in structure.items()]})
        return structure

    return found


def _sorted(files: Mapping[str, set[str]]) -> dict[str, list[str]]:
    return {name: sorted(names) for name, names in files.items()}


def _structure(kept: Mapping[str, Any]) -> Structure | None:
    try:
        return {
            frozenset(needed): {str(name): set(names) for name, names in files.items()}
            for needed, files in kept["found"]
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


# -- The compiler's decorators.


@contextmanager
def _idle_decorators(torch: Any) -> Iterator[None]:
    """Let decorators that only tell torch's compiler something do nothing, so that it is not imported for them."""
    if _COMPILER in sys.modules:
        yield
        return
    own = torch.compiler.disable
    idle = types.ModuleType(_COMPILER)
    # Submodules are found where they are.
    idle.__path__ = [str(Path(torch.__file__).parent / "_dynamo")]
    names = ("allow_in_graph", "assume_constant_result", "disable")
    idle.__dict__.update(dict.fromkeys(names, _unchanged))

    def imported(name: str) -> Any:
        """Return anything else that is wanted of the compiler, which is then imported."""
        if name.startswith("__"):
            raise AttributeError(name)
        restore()
        return getattr(importlib.import_module(_COMPILER), name)

    def restore() -> None:
        torch.compiler.disable = own
        if sys.modules.get(_COMPILER) is idle:
            del sys.modules[_COMPILER]
        if torch.__dict__.get("_dynamo") is idle:
            # torch imports it when it is asked for it.
            del torch._dynamo  # noqa: SLF001 - as below

    idle.__dict__["__getattr__"] = imported
    sys.modules[_COMPILER] = torch._dynamo = idle  # noqa: SLF001 - torch has no public name for it
    torch.compiler.disable = _unchanged
    try:
        yield
    finally:
        restore()


def _unchanged(function: Any = None, *_arguments: Any, **_options: Any) -> Any:
    return function if function is not None else _unchanged
