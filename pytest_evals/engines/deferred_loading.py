"""Avoids loading models for answers that are already known.

Before a model is loaded, `identity` tells what it would be loaded as. If the answers to all requests are known of such a
model, they are given without loading it. If any is not, the model is loaded and asked as usual, and what it was loaded
as decides what is known. The pool's lock guards all of it. Finding out takes a thread of its own, since it reads files.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_evals.engines.answer_cache import AnswerCache
from pytest_evals.engines.identity import cached_identity, remember
from pytest_evals.engines.protocol import EngineInfo, Result
from pytest_evals.engines.replica_set import ReplicaSet, replicas_of, weights_of
from pytest_evals.engines.resources import gpu_count
from pytest_evals.engines.spec import spec_of_record


class DeferredLoading:
    """See the module.

    Args:
        root: Resolves paths and modules.
        options: What every engine is told.
        memory: What is known from before.
        lock: The pool's.
        go_on: Called with the lock held once more is known.
    """

    def __init__(
        self,
        root: Path,
        options: Mapping[str, Any],
        memory: AnswerCache | None,
        lock: threading.Condition,
        go_on: Callable[[], None],
    ) -> None:
        self._root = root
        self._options = options
        self._memory = memory if memory is not None and memory.sources else None
        self._lock = lock
        self._go_on = go_on
        self._looking: set[str] = set()
        self._found: dict[str, EngineInfo | None] = {}
        self._needed: set[str] = set()

    def prepare(self, replica_set: ReplicaSet, model: str) -> bool:
        """Take note that ``model`` will be asked; return whether it may be loaded for that ahead of time."""
        if self._memory is None or replica_set.loaded:
            return True
        name = replica_set.spec.text
        if name not in self._found:
            replica_set.announced.add(model)
            self._look(replica_set)
            return False
        info = self._found[name]
        return info is None or not self._memory.has_any(model, info)

    def undecided(self, replica_set: ReplicaSet) -> bool:
        """Tell whether it is still being found out what the model would be loaded as; that begins here."""
        name = replica_set.spec.text
        if self._memory is None or replica_set.loaded or name in self._found or name in self._needed:
            return False
        self._look(replica_set)
        return True

    def answers(self, replica_set: ReplicaSet) -> list[Result]:
        """Return the answers to everything that waits for a model that is not loaded, none unless all are known."""
        name = replica_set.spec.text
        info = self._found.get(name)
        if self._memory is None or info is None or replica_set.loaded or name in self._needed:
            return []
        found = []
        for request in replica_set.pending():
            known = self._memory.lookup(request, info)
            if known is None:
                self._needed.add(name)
                return []
            found.append(known)
        if found and replica_set.predicted_info is None:
            replica_set.predicted_info = info
        return found

    def loaded(self, replica_set: ReplicaSet, info: EngineInfo) -> str | None:
        """Take note of what a model was loaded as; return what the user should know of it."""
        name = replica_set.spec.text
        self._needed.discard(name)
        self._found[name] = info
        remember(replica_set.spec, self._told(replica_set), info)
        then = replica_set.predicted_info.identity if replica_set.predicted_info is not None else info.identity
        changed = [key for key in {**then, **info.identity} if then.get(key) != info.identity.get(key)]
        if not changed:
            return None
        listed = ", ".join(f"{key} {then.get(key)} then, {info.identity.get(key)} now" for key in changed)
        return f"answers were taken from before while it was not loaded, and it is another model now: {listed}"

    def _told(self, replica_set: ReplicaSet) -> dict[str, Any]:
        return _told(self._options, len(replica_set.replicas))

    def _look(self, replica_set: ReplicaSet) -> None:
        name = replica_set.spec.text
        if name not in self._looking:
            self._looking.add(name)
            look = threading.Thread(target=self._find_out, args=(replica_set,), name="evals-identify", daemon=True)
            look.start()

    def _find_out(self, replica_set: ReplicaSet) -> None:
        try:
            info = cached_identity(replica_set.spec, self._told(replica_set), _path(self._root))
        except Exception:  # noqa: BLE001 - whatever is odd about its files is said when the model is loaded, which must not wait for ever
            info = None
        with self._lock:
            self._found.setdefault(replica_set.spec.text, info)
            announced, replica_set.announced = replica_set.announced, set()
            if any(self.prepare(replica_set, model) for model in announced):
                replica_set.expect()
            self._go_on()


def predicted_info(model: str, root: Path, options: Mapping[str, Any]) -> EngineInfo | None:
    """Return what ``model`` would be loaded as, `None` where that is not known."""
    spec = weights_of(spec_of_record(model, root))
    replicas = replicas_of(spec, str(options.get("device", "auto")), gpu_count())
    return cached_identity(spec, _told(options, replicas), _path(root))


def _told(options: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    return {**options, "replicas": replicas}


def _path(root: Path) -> list[str]:
    return [str(root), *(entry for entry in sys.path if entry)]
