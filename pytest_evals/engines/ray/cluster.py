"""The cluster: how a run joins it, what a replica wants of it, and what is missing where there is no room."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_evals.engines.spec import ModelSpec
from pytest_evals.errors import ModelError
from pytest_evals.text import one_line, pluralize

WAIT_SECONDS = 300.0
"""How long a replica waits for room, where ``wait`` says nothing."""
_joining = threading.Lock()


def check_installed(written: str) -> None:
    """Raise `ModelError` where Ray is not installed; it is not imported."""
    if importlib.util.find_spec("ray") is None:
        raise ModelError(f"model {written!r} runs on Ray, which is not installed: pip install 'pytest-evals-hf[ray]'")


def joined_ray() -> Any:
    """Return the module ``ray`` of a process that has joined the cluster. Raises `ModelError` where there is none."""
    # Its messages go to the nodes' logs; a person who waits is told by this package.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    with _joining:
        if not ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS") or "auto"
            try:
                ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace="pytest-evals")
            except (
                Exception
            ) as error:  # Ray raises what it likes: no cluster, another version, a network that is closed
                raise ModelError(_why_not_joined(address, error)) from error
    return ray


def _why_not_joined(address: str, error: Exception) -> str:
    said = one_line(f"{type(error).__name__}: {error}", 300)
    if address == "auto":
        return f"there is no Ray cluster: start one with 'ray start --head', or name one in RAY_ADDRESS ({said})"
    return f"the Ray cluster at RAY_ADDRESS={address} cannot be joined ({said})"


@dataclass(frozen=True, slots=True)
class Wish:
    """What one replica takes of a node."""

    cpus: int
    gpus: int

    @property
    def resources(self) -> dict[str, float]:
        """The same by Ray's names, without what is not needed."""
        return {name: float(number) for name, number in (("CPU", self.cpus), ("GPU", self.gpus)) if number}

    def __str__(self) -> str:
        return _listed(self.resources)


def wish_of(spec: ModelSpec, device: str, cluster: Mapping[str, float]) -> Wish:
    """Return what a replica of a model takes in a cluster with these resources. ``device`` is the option of the run.

    A GPU for each rank (``tp``), where the device is ``cuda``, or left open in a cluster that has GPUs; and ``cpus``.
    """
    chosen = str(spec.options.get("device", device))
    wanted = chosen.startswith("cuda") or (chosen == "auto" and cluster.get("GPU", 0) > 0)
    return Wish(int(spec.options.get("cpus", 1)), int(spec.options.get("tp", 1)) if wanted else 0)


def no_room(wish: Wish, seconds: float, nodes: Iterable[Mapping[str, Any]], free: Mapping[str, float]) -> str:
    """Say what is missing. ``nodes`` are those of ``ray.nodes()``, ``free`` the resources that nothing uses."""
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    total = {name: sum(node.get(name, 0.0) for node in alive) for name in wish.resources}
    fits = any(all(node.get(name, 0.0) >= number for name, number in wish.resources.items()) for node in alive)
    largest = " on one node, and no node has as much;" if not fits else ","
    return (
        f"the Ray cluster had no room for this replica within {seconds:g} s: it wants {wish}{largest} "
        f"the cluster has {_listed(total)} on {pluralize(len(alive), 'node')}, of which "
        f"{_listed({name: free.get(name, 0.0) for name in wish.resources})} are free; ask for fewer replicas, or for more time with wait=SECONDS"
    )


def _listed(resources: Mapping[str, float]) -> str:
    return " and ".join(f"{number:g} {name}" for name, number in resources.items())
