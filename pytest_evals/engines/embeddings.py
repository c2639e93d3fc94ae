"""Models that embed texts: how similar a text is to others, in batches of all cases.

The part of the encoder engine that needs no torch of ours: wordllama brings static vectors, sentence-transformers its own models.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_evals.completion import Completion, Failure, text_of
from pytest_evals.engines.encoder_kind import WORDLLAMA
from pytest_evals.engines.model_cache import files_digest
from pytest_evals.engines.protocol import Capabilities, EngineInfo, Event, Inbox, Request, Result, Started, refusal
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError
from pytest_evals.hashing import content_hash

VERSION = 1
"""Part of every fingerprint; raise it when the same request may give other numbers."""
_MOST = 512
"""Requests that are computed together. Models that pad sort the texts of a call by length themselves."""


@dataclass(frozen=True, slots=True)
class LoadedEmbedder:
    """A model that is ready. ``embed`` returns a vector for each text; ``is_cut`` tells whether a text is too long."""

    embed: Callable[[Sequence[str]], Any]
    is_cut: Callable[[str], bool]
    device: str
    limit: int | None = None


def load_embedder(name: str, device: str) -> LoadedEmbedder:
    """Load a model: wordllama, or what sentence-transformers loads, a folder or a name on the hub."""
    return _wordllama() if name == WORDLLAMA else _sentence_transformer(name, device)


def _wordllama() -> LoadedEmbedder:
    import wordllama

    # Its loader looks for the tokenizer in a folder that the package does not have, and then in the cache's, which it does.
    model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return LoadedEmbedder(lambda texts: model.embed(list(texts)), lambda _text: False, "cpu")


def _sentence_transformer(name: str, device: str) -> LoadedEmbedder:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(name, device=None if device == "auto" else device)
    longest = model.max_seq_length

    def is_cut(text: str) -> bool:
        return longest is not None and len(model.tokenizer(text, verbose=False)["input_ids"]) > longest

    def embed(texts: Sequence[str]) -> Any:
        return model.encode(list(texts), show_progress_bar=False)

    return LoadedEmbedder(embed, is_cut, str(model.device), longest)


def embeddings_identity(spec: ModelSpec) -> dict[str, Any]:
    """Return what identifies a model: its library, and its weights."""
    if spec.name == WORDLLAMA:
        weights = f"{WORDLLAMA} {metadata.version(WORDLLAMA)}"
        return {"engine": "embeddings", "weights": weights, "version": VERSION}
    folder = Path(spec.name)
    weights = files_digest(folder) if folder.is_dir() else f"{spec.name}@{spec.revision}"
    library = metadata.version("sentence-transformers")
    return {"engine": "embeddings", "weights": weights, "version": VERSION, "sentence-transformers": library}


def similarities(vectors: Any) -> list[float]:
    """Return the cosine of the first vector with each other one, in double precision; 0 where there is nothing to embed."""
    import numpy as np

    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    found = []
    for vector, length in zip(rows[1:], lengths[1:], strict=True):
        product = float(lengths[0] * length)
        cosine = float(rows[0] @ vector) / product if np.isfinite(product) and product > 0 else 0.0
        found.append(min(max(cosine, -1.0), 1.0))
    return found


class EmbeddingEngine:
    """A loaded model. A request's messages are a text and what it is compared with; its scores are the cosines, by their place."""

    def __init__(self, model: LoadedEmbedder, identity: dict[str, Any], seconds: float = 0.0) -> None:
        self.capabilities = Capabilities(params=frozenset({"seed"}))
        self.info = EngineInfo(model.device, None, model.limit, identity, rows=_MOST, seconds=seconds)
        self._model = model

    def generate(self, requests: Inbox) -> Iterator[Event]:
        """See `Engine.generate`."""
        while arrived := requests.take(_MOST):
            fine = []
            for request in arrived:
                refused = refusal(request, self.capabilities)
                if refused is None:
                    fine.append(request)
                else:
                    yield Result(request.id, error=refused)
            if fine:
                yield Started(tuple(request.id for request in fine))
                yield from self._answers(fine)
            if requests.aborted:
                return

    def close(self) -> None:
        """Nothing to do: the end of the process frees what was loaded."""

    def _answers(self, requests: Sequence[Request]) -> Iterator[Result]:
        begun = time.perf_counter()
        asked = [[text_of(message) for message in request.messages] for request in requests]
        # A text that several compare with is embedded once.
        places = {text: place for place, text in enumerate(dict.fromkeys(text for texts in asked for text in texts))}
        try:
            vectors = self._model.embed(list(places))
            cut = {text for text in places if self._model.is_cut(text)}
        except Exception as error:  # noqa: BLE001 - whatever the library raises is told to the user
            message = f"the model failed: {type(error).__name__}: {error}"
            yield from (Result(request.id, error=Failure("model", message)) for request in requests)
            return
        latency = time.perf_counter() - begun
        for request, texts in zip(requests, asked, strict=True):
            found = similarities([vectors[places[text]] for text in texts])
            completion = Completion(
                finish_reason="length" if cut.intersection(texts) else "stop",
                completion_tokens=0,
                scores={str(place): value for place, value in enumerate(found)},
                fingerprint=content_hash([dict(self.info.identity), texts], length=24),
                latency=latency,
            )
            yield Result(request.id, completion)


def load_embeddings(spec: ModelSpec, options: dict[str, Any], report: Callable[[str], None]) -> EmbeddingEngine:
    """Load the model that ``spec`` names. Raises `ModelError`."""
    started = time.perf_counter()
    device = str(spec.options.get("device", options["device"]))
    report("loading")
    try:
        model = load_embedder(spec.name, device)
    except Exception as error:  # a library may raise anything for a model that it cannot load
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ModelError(
            f"the embedding model {spec.name!r} cannot be loaded: {type(error).__name__}: {reason}"
        ) from error
    return EmbeddingEngine(model, embeddings_identity(spec), time.perf_counter() - started)
