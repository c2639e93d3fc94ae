"""Ways to launch a computation again and again: as a CUDA graph, or by calling it.

A graph is launched as a whole, so that a step of many small kernels no longer waits for Python. What is captured reads
and writes tensors that stay where they are, and never looks at a value on the host.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

import torch

from pytest_evals.engines.transformers.sampler import Filters

Launch = Callable[[], None]
_WARM_UP = 2
"""Calls before a capture: libraries choose their kernels and take their workspaces in the first ones."""


class CaptureError(RuntimeError):
    """A computation cannot be captured; called in the usual way it may well work."""


class Capture(Protocol):
    """How a computation on static tensors is made ready to be launched many times."""

    pinned: bool
    """Whether host tensors that are copied to the device are to be in pinned memory."""

    def capture(self, compute: Launch) -> Launch:
        """Return what launches ``compute``. It may be called some times meanwhile. Raises `CaptureError`."""
        ...

    def wait(self) -> None:
        """Wait until all that was launched is done, copies to the host too."""
        ...

    def forget(self) -> None:
        """Take note that nothing which was captured will be launched any more."""
        ...


class EagerCapture:
    """Calls: no graph. For devices without graphs, models that cannot be captured, and tests.

    With a CUDA ``device``, work is launched there as usual, and waited for.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.pinned = device.startswith("cuda")
        self._device = device

    def capture(self, compute: Launch) -> Launch:
        """See `Capture.capture`."""
        return compute

    def wait(self) -> None:
        """See `Capture.wait`."""
        if self.pinned:
            _wait_for_stream(self._device)

    def forget(self) -> None:
        """See `Capture.forget`."""


class CudaGraphs:
    """CUDA graphs, which share one pool of memory: none of them keeps anything between its launches.

    All are captured on one side stream and launched on the current one.
    """

    pinned = True

    def __init__(self, device: str) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch annotates it not
        self._pool = torch.cuda.graph_pool_handle()

    def capture(self, compute: Launch) -> Launch:
        """See `Capture.capture`; ``compute`` is called `_WARM_UP` times, for real."""
        with self._aside():
            for _ in range(_WARM_UP):
                compute()
        usual = torch.cuda.current_stream(self._device)
        graph = torch.cuda.CUDAGraph()
        try:
            # Only this thread's actions can spoil the capture: others may use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                compute()
        except Exception as error:  # CUDA and the model's code may raise anything
            # Ending a spoilt capture raises too, and leaves the side stream as the current one.
            torch.cuda.set_stream(usual)
            # The pool may be left without a graph that holds it, and would not be taken again.
            self._pool = torch.cuda.graph_pool_handle()
            cause = error.__context__ or error
            raise CaptureError(f"{type(cause).__name__}: {_first_line(cause)}") from error
        return graph.replay

    @contextlib.contextmanager
    def _aside(self) -> Iterator[None]:
        """Launch on the side stream, after what was launched before and before what is launched next."""
        usual = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(usual)
        with torch.cuda.stream(self._stream):
            yield
        usual.wait_stream(self._stream)

    def wait(self) -> None:
        """See `Capture.wait`."""
        _wait_for_stream(self._device)

    def forget(self) -> None:
        """See `Capture.forget`."""
        # A pool dies with its last graph; its handle must not be used for another.
        self._pool = torch.cuda.graph_pool_handle()


def _wait_for_stream(device: str) -> None:
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch annotates it not
    event.record(torch.cuda.current_stream(device))
    event.synchronize()


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or "no message").splitlines()[0]


# -- Which steps are captured and when: a capture takes the time of many steps, and pays only for sizes that come again.

StepChoice = Filters | Literal["greedy", "logits"]
"""What a step does with its logits: draw, take the likeliest token, or leave them to the host."""
GraphKey = tuple[StepChoice, int, int]
"""What is done with logits, the number of slots, and the cells that are read of each."""


class GraphCache:
    """Keeps what was captured, by key."""

    def __init__(self, capture: Capture) -> None:
        self.eager_first = True
        """Whether a size must come twice before it is captured."""
        self.notes: list[str] = []
        """Which steps are called instead of captured, and why; the code that reports a note removes it."""
        self._capture = capture
        self._ready: dict[GraphKey, Launch] = {}
        self._met: set[GraphKey] = set()
        self._refused: set[str] = set()

    def find(self, key: GraphKey, fill: Launch, compute: Callable[[GraphKey], None]) -> Launch:
        """Return what launches the step of ``key``.

        ``compute`` is called to capture a step, ``fill`` before that, so that it computes something sensible.
        """
        if key in self._ready:
            return self._ready[key]
        kind = "sampled" if isinstance(key[0], Filters) else key[0]
        if kind in self._refused:
            return lambda: compute(key)
        if self.eager_first and key not in self._met:
            self._met.add(key)
            return lambda: compute(key)
        try:
            fill()
            self._ready[key] = self._capture.capture(lambda: compute(key))
        except CaptureError as error:
            self._refused.add(kind)
            self.notes.append(f"decodes {kind} steps without CUDA graphs: a step cannot be captured ({error})")
            return lambda: compute(key)
        return self._ready[key]

    def forget(self) -> None:
        """Drop everything that was captured: what it read and wrote has moved."""
        self._ready.clear()
        self._met.clear()
        self._capture.forget()
