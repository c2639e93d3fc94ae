"""Tensor parallelism: one model divided over several processes that compute every forward together.

The first rank is the engine's own process. It starts the others (see `tensor_parallel_worker`), and they do what it does, step by
step: each is told which requests arrived and which tokens were chosen, and everything else follows from these. What
travels is JSON in tensors of bytes; nothing is pickled.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any, cast

import torch
from torch import distributed

from pytest_evals.engines.protocol import Inbox, Request
from pytest_evals.engines.transformers.packed.model_runner import TokenSampler
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.processes import start_process

# An engine may be idle for as long as a test run takes; it is ended by the process that started it.
_PATIENCE = datetime.timedelta(days=30)


def start(ranks: int, orders: Mapping[str, Any]) -> None:
    """Make this process the first of ``ranks``, start the others with ``orders``, and join them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.update(shared | _rank(0))
    for rank in range(1, ranks):
        follower = start_process(
            [sys.executable, "-m", "pytest_evals.engines.transformers.tensor_parallel_worker"],
            environment={**os.environ, **_rank(rank)},
            stdin=subprocess.PIPE,
        )
        stdin = cast("IO[bytes]", follower.stdin)
        stdin.write(json.dumps({**orders, "path": sys.path}).encode() + b"\n")
        stdin.flush()
        # The pipe stays open: its end tells a follower that this process is gone.
        threading.Thread(target=_end_with, args=(follower,), name=f"evals-rank-{rank}", daemon=True).start()
    join()


def _rank(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def _end_with(follower: subprocess.Popen[bytes]) -> None:
    """End this process when a follower ends: what it held of the model is gone."""
    status = follower.wait()
    print(f"a rank ended with status {status}", file=sys.stderr, flush=True)  # noqa: T201 - the log of this process is shown when it dies
    os._exit(1)


def join() -> None:
    """Join the other ranks; returns when all are there."""
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=_PATIENCE)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def rank() -> int:
    """Return this process's rank; 0 where nothing is parallel."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def shared(data: Any) -> Any:
    """Return what the first rank gave as ``data``, in every rank. Plain data only."""
    content = json.dumps(data).encode() if rank() == 0 else b""
    size = torch.tensor([len(content)])
    distributed.broadcast(size, 0)
    letters = torch.zeros(int(size), dtype=torch.uint8)
    if rank() == 0:
        letters = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else letters
    distributed.broadcast(letters, 0)
    return json.loads(bytes(letters.tolist()))


class SharedInbox(Inbox):
    """The inbox of every rank: the first takes from the real one, and the others get what it took."""

    def __init__(self, inbox: Inbox | None = None) -> None:
        super().__init__()
        self._inbox = inbox
        self._told_to_stop = False

    def take(self, limit: int | None = None, *, wait: bool = True) -> list[Request]:
        """See `Inbox.take`; every rank must call it at the same time."""
        taken = self._inbox.take(limit, wait=wait) if self._inbox else []
        stop = self._inbox.aborted if self._inbox else False
        told = shared({"requests": [request.to_dict() for request in taken], "stop": stop})
        self._told_to_stop = told["stop"]
        return [Request.from_dict(data) for data in told["requests"]]

    @property
    def aborted(self) -> bool:
        """Tell whether to stop, as the first rank said when requests were taken last."""
        return self._told_to_stop


class SharedSampler:
    """Chooses tokens in the first rank, for all."""

    def __init__(self, sampler: TokenSampler) -> None:
        self._sampler = sampler

    def choose(self, logits: torch.Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        """See `Sampler.choose`."""
        chosen: Any = None
        if rank() == 0:
            try:
                chosen = self._sampler.choose(logits, rows)
            except Exception as error:  # whatever it is, the other ranks wait for a word and would hang
                shared({"error": str(error)})
                raise
        told = shared({"chosen": chosen})
        if "error" in told:
            raise RuntimeError(told["error"])
        return [(token, logprob) for token, logprob in told["chosen"]]
