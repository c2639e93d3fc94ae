"""What runs on a GPU is run on fake tensors of one: nothing meets a tensor of the host, and the host waits for the device rarely.

The numbers in these tests are of waits: a value that the host reads, or a copy to the device that is not asynchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.backends.stateful import StatefulBackend
from pytest_evals.engines.transformers.cuda.buckets import SlotTableSize
from pytest_evals.engines.transformers.cuda.graphs import EagerCapture
from pytest_evals.engines.transformers.packed.attention import Layer
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.sequence import ScoringSequence, TokenSequence
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

from .conftest import GROUPED
from .fake_cuda import DEVICE, Waits, fake_cuda

UPLOADS = 5
"""Before a forward with prompts: token ids, positions, cells, offsets, and whose logits are wanted."""
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "seed": 1}
PROMPTS = (5, 40)
SMALL = {**GROUPED, "num_hidden_layers": 2}
"""A layer with a window and one without, where a model has both."""
CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "mistral": lambda: transformers.MistralConfig(**SMALL, sliding_window=16),
    "gemma2": lambda: transformers.Gemma2Config(**SMALL, head_dim=8, sliding_window=16),
}
STATEFUL: dict[str, Callable[[], Any]] = {
    "lfm2": lambda: transformers.Lfm2Config(
        **GROUPED, layer_types=["conv", "full_attention", "conv"], block_auto_adjust_ff_dim=False
    ),
}


class Noted(EagerCapture):
    """Waits for nothing, and counts it as one read."""

    def __init__(self, waits: Waits) -> None:
        super().__init__(DEVICE)
        self._waits = waits

    def wait(self) -> None:
        self._waits.reads["tokens of a block"] += 1


def make_model(config: Any, dtype: torch.dtype) -> Any:
    with torch.device(DEVICE):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def make_rows(**params: Any) -> list[TokenSequence]:
    """Rows with prompts of several lengths, of which two begin alike."""
    return [
        TokenSequence(
            Request(str(index), "", (), GenerationParams(max_new_tokens=6, **params)),
            [*range(10, 10 + length)],
            NullTokenizer(),
            frozenset(),
        )
        for index, length in enumerate(PROMPTS)
    ]


class Run:
    """A model on fake tensors, its runner, and what each forward waited for."""

    def __init__(self, waits: Waits, family: str, dtype: torch.dtype, kernel: Any = None) -> None:
        self.waits = waits
        self.runner = ModelRunner(make_model(CONFIGS[family](), dtype), DEVICE, 1, capture=Noted(waits))
        self.runner.kernel = kernel
        self.runner.slots.room = SlotTableSize(8, 8 * 512)
        self.inside: list[str] = []
        """Waits between the call of the model and its logits."""
        forward = self.runner._logits

        def watched(*arguments: Any, **options: Any) -> torch.Tensor:
            before = waits.reads + waits.uploads
            logits = forward(*arguments, **options)
            self.inside += (waits.reads + waits.uploads) - before
            return logits

        self.runner._logits = watched  # type: ignore[method-assign]
        decoder = self.runner.decoder
        assert decoder is not None
        decoder._forward = watched

    def forwards(self, rows: Sequence[Any]) -> Iterator[tuple[bool, int, int]]:
        """Compute all; yield for each forward whether it was a block of steps, its reads and its uploads."""
        scheduler: Scheduler[Any] = Scheduler(BatchLimits(4, 1 << 16, 32, cascade=None), self.runner.slots)
        scheduler.add(rows)
        self.runner.clear(collect=False)
        self.waits.take()
        assert self.runner.decoder is not None
        while plan := scheduler.plan():
            block = self.runner.decoder.takes(plan)
            scheduler.done(plan, self.runner.run(plan))
            yield block, *self.waits.take()


def triton_attention(**options: Any) -> Any:
    pytest.importorskip("triton")
    from pytest_evals.engines.transformers.cuda.slot_attention import TritonAttention

    return TritonAttention(**options)


@pytest.mark.parametrize(
    ("family", "dtype", "kernel"),
    [
        ("llama", torch.float32, {}),
        ("mistral", torch.bfloat16, None),
        ("gemma2", torch.bfloat16, {"everything": True}),
    ],
)
def test_prompts_blocks_and_scores_run_on_the_device_and_the_host_waits_once_a_forward(
    family: str, dtype: torch.dtype, kernel: dict[str, Any] | None
) -> None:
    with fake_cuda() as waits:
        run = Run(waits, family, dtype, None if kernel is None else triton_attention(**kernel))
        greedy = list(run.forwards(make_rows()))
        # A piece of a prompt that is not its last gives no token.
        assert {(block, reads) for block, reads, _ in greedy} - {(False, 0)} == {(False, 1), (True, 1)}
        assert all(uploads <= (0 if block else UPLOADS) for block, _, uploads in greedy)
        sampled = list(run.forwards(make_rows(**SAMPLED)))
        assert {(block, reads) for block, reads, _ in sampled} - {(False, 0)} == {(False, 1), (True, 1)}
        assert all(not uploads for block, _, uploads in sampled if block)
        seen = list(run.forwards(make_rows(logprobs=True)))
        # Log-probabilities are read after the tokens; which slots the host wants to see is told to the device.
        assert all(reads <= 2 and uploads <= (1 if block else UPLOADS) for block, reads, uploads in seen)
        context = [*range(10, 50)]
        scored = ScoringSequence(Request("s", "", (), GenerationParams()), context, [*range(50, 70)], 0)
        # In two pieces, of which one has likelihoods to tell.
        assert sum(reads for _, reads, _ in run.forwards([scored])) <= len(scored.logprobs)
        assert run.inside == []


def test_a_value_that_is_read_in_a_layer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    attend = Layer.attend

    def curious(self: Layer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if query.sum().item() > 1e9:
            raise AssertionError
        return attend(self, query, key, value)

    monkeypatch.setattr(Layer, "attend", curious)
    with fake_cuda() as waits:
        run = Run(waits, "llama", torch.bfloat16)
        # One for each of 2 layers, in each step of a block, and one for the tokens.
        assert max(reads for _, reads, _ in run.forwards(make_rows())) > 2
        assert any("query.sum().item()" in line for line in run.inside)


@pytest.mark.parametrize("what", ["tensor of the host", "list as an index", "mask"])
def test_a_tensor_of_the_host_and_a_mask_in_a_layer_are_found(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    attend = Layer.attend

    def mixed(self: Layer, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        if what == "tensor of the host":
            query = query * torch.ones(query.shape[-1])
        elif what == "list as an index":
            query = query[list(range(len(query)))]
        else:
            query[query > 0] = 1.0
        return attend(self, query, key, value)

    monkeypatch.setattr(Layer, "attend", mixed)
    with fake_cuda() as waits:
        run = Run(waits, "llama", torch.bfloat16)
        if what == "list as an index":
            list(run.forwards(make_rows()))
            assert any("query[list(range" in line for line in run.inside)
        else:
            with pytest.raises(Exception, match=r"two devices|a mask picks values"):
                list(run.forwards(make_rows()))


@pytest.mark.parametrize("family", list(STATEFUL))
def test_a_model_with_a_state_runs_on_the_device_alone(family: str) -> None:
    with fake_cuda() as waits:
        model = make_model(STATEFUL[family](), torch.bfloat16)
        loop = StatefulBackend(model, BatchLimits(4, 1 << 16, 256), UsageMeter("cpu"), DEVICE)
        rows = make_rows()
        loop.add(rows)
        failed, found = [], []
        while loop:
            waits.take()
            failed += loop.step().failed
            found.append(waits.take())
        assert failed == []
        assert all(row.ended for row in rows)
        # The tokens are read once a step. Ids and lengths are uploaded; a cache that is new uploads that its layers are empty.
        assert {reads for reads, _ in found} == {1}
        assert min(uploads for _, uploads in found) == 2
