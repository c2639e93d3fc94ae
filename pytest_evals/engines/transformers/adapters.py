"""Adapters of PEFT in a loaded base: one at a time, put in when it is asked for and taken out without loading the base again.

An adapter stays beside the weights, as PEFT computes it, and is not added to them: then what a case gets does not depend on which
adapters were used before, and quantised bases are changed no further.
"""

from __future__ import annotations

import dataclasses
import gc
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils.hub import cached_file

from pytest_evals.engines.checkpoints.adapters import CONFIG, check_adapter_folder, check_base, read_adapter
from pytest_evals.engines.identity import place_identity
from pytest_evals.engines.model_folder import has_tokenizer, is_path
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.kept_checks import KeptChecks
from pytest_evals.engines.transformers.loading import LoadedModel
from pytest_evals.engines.transformers.selection import Backends, select_backend
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.weights import listed
from pytest_evals.errors import ModelError


class AdapterTurns:
    """The base that was ``loaded``, with one adapter or none, and the ``backends`` that run it so. ``checks`` are what is known of the
    base alone; for ``deferred`` see `select_backend`.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        spec: ModelSpec,
        options: Mapping[str, Any],
        checks: KeptChecks | None = None,
        *,
        deferred: bool = False,
    ) -> None:
        self._base = loaded
        self._checks = checks
        self._deferred = deferred
        self._spec = spec
        self._options = options
        self._forwards = {id(module): module.__dict__["forward"] for module in _changed(loaded.model)}
        self._attention = loaded.model.config._attn_implementation  # noqa: SLF001 - transformers has a setter only
        self._wrapped: Any = None
        self.loaded = loaded
        self.backends: Backends | None = None

    @property
    def current(self) -> Backends:
        """How the model is run now. Raises `RuntimeError` before the first turn."""
        if self.backends is None:
            raise RuntimeError("no turn was taken yet")
        return self.backends

    def turn_to(self, adapter: str | None) -> Backends:
        """Put an adapter in, in the place of the one that is in; return how the model is run with it. The self-checks and
        measurements are made anew.

        Raises `ModelError` for an adapter that cannot be used; then the base is without one.
        """
        meter = None if self.backends is None else self.backends.meter
        self._restore()
        if adapter is not None:
            try:
                self.loaded = self._put_in(adapter)
            except ModelError:
                self._take_out()
                self.backends = self._select(meter, self._checks)
                raise
        self.backends = self._select(meter, None if adapter is not None else self._checks)
        return self.backends

    def _select(self, meter: UsageMeter | None, checks: KeptChecks | None) -> Backends:
        checks = checks or KeptChecks()
        found = select_backend(self.loaded, self._spec, self._options, meter, checks, deferred=self._deferred)
        checks.keep()
        return found

    def _restore(self) -> None:
        """Leave the base as it was loaded."""
        if self.backends is None:
            return
        if self.backends.media is not None:
            self.backends.media.remove()
        self.backends = None
        for module in _changed(self._base.model):
            if id(module) in self._forwards:
                module.forward = self._forwards[id(module)]
            else:
                del module.__dict__["forward"]
        if self._base.model.config._attn_implementation != self._attention:  # noqa: SLF001 - as above
            self._base.model.set_attn_implementation(self._attention)
        self._take_out()
        gc.collect()
        if self._base.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _take_out(self) -> None:
        if self._wrapped is not None:
            self._wrapped.unload()
            self._wrapped = None
            # PEFT would take it for another adapter that is still there.
            self._base.model.__dict__.pop("peft_config", None)
        self.loaded = self._base

    def _put_in(self, adapter: str) -> LoadedModel:
        """Return the base with an adapter. Raises `ModelError`."""
        try:
            import peft
        except ImportError as error:
            raise ModelError("adapters need peft: pip install 'pytest-evals-hf[adapters]'") from error
        place, _, revision = (adapter, "", "") if Path(adapter).is_dir() else adapter.partition("@")
        where = {"revision": revision or None}
        self._check(place, where)
        try:
            config = peft.PeftConfig.from_pretrained(place, **where)
            config.inference_mode = True
            with warnings.catch_warnings():
                # What it warns of is looked at below.
                warnings.simplefilter("ignore")
                self._wrapped = peft.PeftModel(self._base.model, config, adapter_name="default")
                found = self._wrapped.load_adapter(place, "default", torch_device=str(self._base.model.device), **where)
        except Exception as error:  # PEFT raises whatever does not fit
            raise ModelError(
                f"the adapter {adapter!r} cannot be put into {self._spec.text!r}: {type(error).__name__}: {error}"
            ) from error
        _check_whole(adapter, self._spec.text, found)
        self._base.model.eval()
        identity = {**self._base.identity, "adapter": place_identity(adapter, CONFIG)}
        return dataclasses.replace(self._base, identity=identity, tokenizer=self._tokenizer(place, where))

    def _check(self, place: str, where: Mapping[str, Any]) -> None:
        """Raise `ModelError` for an adapter that was made for another base, or that is none."""
        if is_path(place):
            check_adapter_folder(Path(place), self._spec.text)
            return
        try:
            found = cached_file(place, CONFIG, **where)
        except Exception as error:  # the hub and its client raise anything
            raise ModelError(f"the adapter {place!r} cannot be loaded: {type(error).__name__}: {error}") from error
        config = read_adapter(Path(str(found)), place)
        check_base(config, self._spec.name, Path(place), self._spec.text)

    def _tokenizer(self, place: str, where: Mapping[str, Any]) -> Any:
        """Return the tokenizer that was saved with an adapter, else that of the base: training may have brought a chat template, or
        another one.
        """
        if "tokenizer" in self._spec.options:
            return self._base.tokenizer
        folder = Path(place)
        if not folder.is_dir():
            quietly = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
            found = cached_file(place, "tokenizer_config.json", **where, **quietly)
            if found is None:
                return self._base.tokenizer
        elif not has_tokenizer(folder):
            return self._base.tokenizer
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, **where)
        except Exception as error:  # a damaged tokenizer makes its loader raise anything
            raise ModelError(
                f"the tokenizer of the adapter {place!r} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        tokens, rows = len(tokenizer), self._base.model.get_input_embeddings().weight.shape[0]
        if tokens > rows:
            raise ModelError(
                f"the tokenizer of the adapter {place!r} has {tokens} tokens, and its base has embeddings for {rows}; merge the adapter into "
                "the base that it was trained on, and evaluate that"
            )
        if tokenizer.chat_template is None:
            tokenizer.chat_template = self._base.tokenizer.chat_template
        return tokenizer


def _changed(model: torch.nn.Module) -> list[Any]:
    return [module for module in model.modules() if "forward" in module.__dict__]


def _check_whole(adapter: str, base: str, found: Any) -> None:
    """Raise `ModelError` where weights of an adapter are missing, or have no place in the base."""
    missing, unexpected = sorted(found.missing_keys), sorted(found.unexpected_keys)
    if missing:
        raise ModelError(
            f"{len(missing)} weights of the adapter {adapter!r} are missing ({listed(missing)}), and would change nothing or be random; "
            "save it again, whole"
        )
    if unexpected:
        raise ModelError(
            f"{len(unexpected)} weights of the adapter {adapter!r} have no place in {base!r} ({listed(unexpected)}); it was made for "
            "another base"
        )
