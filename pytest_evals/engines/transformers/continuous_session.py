"""One manager of transformers' continuous batching at work, from its start to its end.

It runs in a thread of its own, and a model has one at most. What is heeded here, as of transformers 5.23:

* A cache that is not told its size takes most of the memory: ``num_blocks`` follows from the budget and the rows.
* A request that does not fit into the cache ends the thread and fails all others: it must not be handed in.
* Without ``eos_token_id`` nothing ends a text, and the model's own is not looked up.
* The manager seeds torch's global generator, and switches the model's attention.
* Its thread would keep the process alive, and waiting for results of one that hangs would never end.
* Its logger holds the error stream of the time at which it was imported.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import threading
import weakref
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from pytest_evals.engines.transformers.plans import Budget
from pytest_evals.engines.transformers.row import Row

FLASH_PAGE, PAGE = 256, 32
"""Tokens of a block of the cache. Flash kernels want multiples of 256; prefixes are shared in whole blocks."""
SPARE_BLOCKS = 2
"""Blocks that a row may take beyond its own tokens: what it writes next is allocated ahead."""
IN_FLIGHT = 2
"""So many times the rows of a batch are handed in at once, so that none of its places stays free."""
_STOP_SECONDS = 30.0
_NEVER = -1


@dataclass(frozen=True, slots=True)
class Size:
    """The blocks of a cache, and the tokens of each."""

    blocks: int
    page: int

    def holds(self, row: Row) -> bool:
        """Tell whether a row fits, also when it is the only one."""
        return pages(row, self.page) <= self.blocks


def pages(row: Row, page: int) -> int:
    """Return the blocks that a row may come to need."""
    return -(-row.cells // page) + SPARE_BLOCKS


def largest_size(budget: Budget, page: int) -> Size:
    """Return the size of the largest cache that fits into the budget."""
    return Size(budget.cells // page, page)


def size_for(rows: Sequence[Row], budget: Budget, page: int) -> Size:
    """Return the size of a cache in which such rows fill a batch, within the budget."""
    wanted = budget.rows * max(pages(row, page) for row in rows)
    return Size(min(largest_size(budget, page).blocks, wanted), page)


class Session:
    """A running manager. Raises whatever the manager raises that cannot run this model.

    Args:
        model: With an attention that the manager can use.
        budget: The rows of a batch, and the prompt tokens of a forward.
        size: Of the cache.
        ends: Tokens that end a text.
    """

    def __init__(self, model: Any, budget: Budget, size: Size, ends: Collection[int]) -> None:
        self.size = size
        self._ends: list[int] | int = sorted(ends) or _NEVER
        # A copy of nobody's: the manager writes into it.
        generation = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers annotates it not
            do_sample=False, eos_token_id=self._ends, pad_token_id=0
        )
        _release_log()
        self._manager = model.init_continuous_batching(
            generation_config=generation, continuous_batching_config=_config(budget, size)
        )
        self._stop = weakref.finalize(self, _stop, self._manager)
        with _own_randomness(model.device), torch.no_grad():
            self._manager.warmup()
        _start_as_daemon(self._manager)

    def add(self, key: str, row: Row) -> None:
        """Hand in a row, which must fit: see `Size.holds`."""
        self._manager.add_request(
            list(row.tokens), request_id=key, max_new_tokens=row.max_new_tokens, eos_token_id=self._ends
        )

    def outputs(self, seconds: float) -> list[Any]:
        """Return the outputs (see ``GenerationOutput``) that are ready, waiting so long for the first."""
        found = []
        output = self._manager.get_result(timeout=seconds)
        while output is not None:
            if output.is_finished():
                found.append(output)
            output = self._manager.get_result(timeout=0)
        return found

    @property
    def alive(self) -> bool:
        """Tell whether its thread is running."""
        return bool(self._manager.is_running())

    @property
    def steps(self) -> int:
        """Forwards so far, where the manager counts them: a sign of life."""
        return int(getattr(self._manager, "current_batch", 0))

    def ends_soon(self, seconds: float) -> bool:
        """Wait so long for the thread to end; tell whether it has."""
        self._manager.join(0.0, timeout=seconds)
        return not self.alive

    def close(self) -> bool:
        """Stop the manager and free its memory; tell whether its thread has ended."""
        self._stop()
        return not self.alive


def _config(budget: Budget, size: Size) -> Any:
    wanted: dict[str, Any] = {
        "page_size": size.page,
        "block_size": size.page,
        "num_blocks": size.blocks,
        "max_batch_tokens": budget.tokens,
        "max_memory_percent": 0.95,
        "max_requests_per_batch": budget.rows,
        "auto_switch_to_flash": False,
        "seed": 0,
    }
    known = inspect.signature(ContinuousBatchingConfig).parameters
    # Versions differ in names: a newer one has both of the first, and tells who uses the older one.
    unused = {"block_size"} if "page_size" in known else set()
    return ContinuousBatchingConfig(**{name: value for name, value in wanted.items() if name in known.keys() - unused})


@contextlib.contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Keep the global generators as they are."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def _start_as_daemon(manager: Any) -> None:
    """Start the manager's thread so that it keeps no process alive: a thread is what the one that starts it is."""
    starter = threading.Thread(target=manager.start, name="evals-continuous", daemon=True)
    starter.start()
    starter.join()


def _stop(manager: Any) -> None:
    if manager.is_running():
        manager.stop(block=True, timeout=_STOP_SECONDS, hard_stop=True)
    if not manager.is_running():
        manager.destroy()


def _release_log() -> None:
    """Let the logger of continuous batching write where all others do."""
    logger = logging.getLogger("ContinuousBatchingLogger")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.propagate = True
