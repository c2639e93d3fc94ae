"""Which chat template writes a model's prompts: its own, another one (``?template=FILE``) or none.

Models that differ in this alone share one copy of the weights, so it is looked up for each request.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from pytest_evals.errors import ModelError


class Tokenizers:
    """The tokenizer of the loaded model, with the chat template that each model's specification asks for.

    ``default`` is what is asked for by those that do not say.
    """

    def __init__(self, tokenizer: Any, default: str | None = None) -> None:
        self._own = tokenizer
        self._default = default
        self._made: dict[str, Any] = {}

    def of(self, model: str) -> Any:
        """Return the tokenizer for the model that ``model`` specifies; without a chat template if it says none. A template is a
        file, or one of several that the model brings under names.

        Raises `ModelError` for a model that has no template and was given none, and for a file that cannot be read.
        """
        wish = parse_qs(model.partition("?")[2]).get("template", [self._default])[-1]
        named = self._own.chat_template if isinstance(self._own.chat_template, Mapping) else {}
        if wish is None:
            if self._own.chat_template is None:
                raise ModelError(
                    f"model {model!r} has no chat template; give a base model plain prompts with ?template=none, "
                    "or another template with ?template=FILE"
                )
            return self._own
        if wish not in self._made:
            tokenizer = copy.copy(self._own)
            tokenizer.chat_template = None if wish == "none" else named.get(wish) or _read(model, wish)
            self._made[wish] = tokenizer
        return self._made[wish]


def _read(model: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ModelError(f"model {model!r}: the chat template {path!r} cannot be read: {error.strerror}") from error
