"""Runs in the process of an embedding model: loads it, and answers how similar texts are. Started as a script.

It speaks lines of JSON over its standard input and output; what libraries print goes to its standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from pytest_evals.processes import end_with_parent


class LoadedEncoder(NamedTuple):
    """A model that is ready. ``embed`` returns a vector for each text; ``is_cut`` tells of a text that is too long."""

    definition: str
    embed: Callable[[Sequence[str]], Any]
    is_cut: Callable[[str], bool]


def load_wordllama() -> LoadedEncoder:
    """Load the weights that the package brings."""
    import wordllama

    # Its loader looks for the tokenizer in a folder that the package does not have, and then in the cache's, which it does.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    definition = f"wordllama {version('wordllama')}, l2_supercat, {model.embedding.shape[1]} dimensions"
    return LoadedEncoder(definition, lambda texts: model.embed(list(texts)), lambda _text: False)


def load_sentence_transformer(name: str, device: str) -> LoadedEncoder:
    """Load a model of sentence-transformers: a folder, or a name on the hub."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(name, device=device)
    longest = model.max_seq_length
    definition = f"sentence-transformers {version('sentence-transformers')}, {name}, at most {longest} tokens"

    def is_cut(text: str) -> bool:
        return longest is not None and len(model.tokenizer(text, verbose=False)["input_ids"]) > longest

    return LoadedEncoder(definition, lambda texts: model.encode(list(texts), show_progress_bar=False), is_cut)


def similarities(model: LoadedEncoder, text: str, references: Sequence[str]) -> list[float]:
    """Return the cosine of the text's vector with each reference's; 0 where there is nothing to embed."""
    import numpy as np

    vectors = np.asarray(model.embed([text, *references]), dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    found = []
    for vector, length in zip(vectors[1:], lengths[1:], strict=True):
        product = float(lengths[0] * length)
        cosine = float(vectors[0] @ vector) / product if np.isfinite(product) and product > 0 else 0.0
        found.append(min(max(cosine, -1.0), 1.0))
    return found


def main(model_name: str, device: str) -> None:
    """Load the model, say so, and answer until the other side is gone."""
    end_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(**message: Any) -> None:
        out.write(f"{json.dumps(message)}\n")
        out.flush()

    try:
        model = load_wordllama() if model_name == "wordllama" else load_sentence_transformer(model_name, device)
    except Exception as error:  # noqa: BLE001 - whatever the library raises is told to the user
        say(error=f"{type(error).__name__}: {error}")
        return
    say(definition=model.definition)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            found = similarities(model, asked["text"], asked["references"])
            cut = any(model.is_cut(text) for text in (asked["text"], *asked["references"]))
        except Exception as error:  # noqa: BLE001 - the same
            say(error=f"{type(error).__name__}: {error}")
        else:
            say(similarities=found, cut=cut)


if __name__ == "__main__":
    main(*sys.argv[1:])
