"""What a model's specification says of prompts and replies beside the template: it comes with each request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from pytest_evals.engines.kinds import HF
from pytest_evals.engines.transformers.replies import ReplyReader
from pytest_evals.engines.transformers.reply_form import form_of
from pytest_evals.replies.form import written_form


class PromptOptions:
    """Options of the models that share the loaded weights. ``default`` are those of a model that does not say."""

    def __init__(self, default: Mapping[str, Any]) -> None:
        self._default = default
        self._read: dict[str, Mapping[str, Any]] = {}

    def reasoning(self, model: str) -> str:
        """Return how thoughts are told apart: ``auto``, ``none`` or ``OPEN..CLOSE``."""
        return str(self._of(model).get("reasoning", "auto"))

    def variables(self, model: str) -> Mapping[str, Any]:
        """Return the variables that the specification gives to the chat template."""
        found: Mapping[str, Any] = self._of(model).get("chat_template_kwargs", {})
        return found

    def _of(self, model: str) -> Mapping[str, Any]:
        if model not in self._read:
            written = parse_qs(model.partition("?")[2], keep_blank_values=True)
            own = {name: HF.options[name].read(values[-1]) for name, values in written.items() if name in HF.options}
            self._read[model] = {**self._default, **own}
        return self._read[model]


class ReplyReaders:
    """Readers of what the loaded model writes, as each model's specification asks for."""

    def __init__(self, tokenizer_of: Callable[[str], Any], options: PromptOptions, model_type: str | None) -> None:
        self._tokenizer_of = tokenizer_of
        self._options = options
        self._model_type = model_type
        self._made: dict[tuple[int, str], ReplyReader] = {}

    def of(self, model: str) -> ReplyReader:
        """Return the reader for the model that ``model`` specifies. Raises as ``tokenizer_of`` does."""
        tokenizer, wish = self._tokenizer_of(model), self._options.reasoning(model)
        key = id(tokenizer), wish
        if key not in self._made:
            form = written_form(wish) or form_of(tokenizer, self._model_type)
            self._made[key] = ReplyReader(tokenizer, form)
        return self._made[key]
