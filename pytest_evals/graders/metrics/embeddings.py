"""Cosine similarity of embeddings. A model lives in a process of its own, which starts with the first text and ends with this
one: its libraries stay out of the process of the tests.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_evals.errors import EvalsError, SuiteError
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.graders.templating import require
from pytest_evals.processes import start_process
from pytest_evals.text import quoted

WORDLLAMA = "wordllama"
HOST = Path(__file__).with_name("embeddings_worker.py")


def check_model(model: str, base: Path) -> str:
    """Return the model's name; a folder relative to ``base`` becomes a path. Raises `SuiteError` for what cannot be loaded."""
    if not isinstance(model, str) or not model.strip():
        raise SuiteError(f"embedding_similarity: model must be a name or a folder, not {model!r}")
    if model == WORDLLAMA:
        require("wordllama", "embeddings", "embedding_similarity")
        return model
    require("sentence_transformers", "sentence-transformers", f"embedding_similarity(model={model!r})")
    if not model.startswith((".", "/", "~")) and not Path(model).is_absolute():
        return model
    folder = (base / Path(model).expanduser()).resolve()
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise SuiteError(f"embedding_similarity: no model in {folder}: it has neither modules.json nor config.json")
    return str(folder)


def embedding_similarity(text: str, references: Sequence[str], *, model: str, device: str) -> Measured:
    """Return the cosine, -1..1; of several references the most similar one counts."""
    encoder = _encoder(model, device)
    found, cut = encoder.similarities(text, references)
    value = max(found)
    reference = references[found.index(value)]
    details = {"definition": f"cosine, {encoder.definition}", **({"truncated": True} if cut else {})}
    return Measured(value, f"similarity {value:.3f} of {quoted(text)} to {quoted(reference)}", details)


@functools.lru_cache(maxsize=8)
def _encoder(model: str, device: str) -> Encoder:
    encoder = Encoder(model, device)
    atexit.register(encoder.close)
    return encoder


class Encoder:
    """An embedding model. Its process starts when it is first asked, and again after it ended."""

    def __init__(self, model: str, device: str) -> None:
        self.definition = ""
        self._command = [sys.executable, "-P", str(HOST), model, device]
        self._model = model
        self._process: subprocess.Popen[str] | None = None
        self._failure: EvalsError | None = None
        self._lock = threading.Lock()

    def similarities(self, text: str, references: Sequence[str]) -> tuple[list[float], bool]:
        """Return the cosine with each reference, and whether a text was cut. Raises `EvalsError` when there is none."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            try:
                if self._process is None:
                    self._start()
                answer = self._ask(text=text, references=list(references))
            except BaseException:
                # Half a conversation (a time limit ended it) cannot go on.
                self.close()
                raise
        return list(answer["similarities"]), bool(answer["cut"])

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with process:
                pass

    def _start(self) -> None:
        self._process = start_process(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
        try:
            self.definition = str(self._answer()["definition"])
        except EvalsError as error:
            # It would fail again, for every case.
            self._failure = error
            raise

    def _ask(self, **message: Any) -> Any:
        assert self._process is not None  # noqa: S101 - started before, for mypy
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe, for mypy
        with contextlib.suppress(OSError):  # it is gone, which the answer tells
            self._process.stdin.write(f"{json.dumps(message)}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process is not None  # noqa: S101 - started before, for mypy
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe, for mypy
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"its process ended with status {self._process.wait()}"}
        if "error" in answer:
            raise EvalsError(f"the embedding model {self._model!r} failed: {answer['error']}")
        return answer
