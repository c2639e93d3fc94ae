"""Steps of always the same tensors: which sizes there are, when they are captured, and what a block of them leaves behind.

In the place of a model stands a function of token and position, so that every token is known beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers import device
from pytest_evals.engines.transformers.cuda.buckets import (
    ALIGNED,
    SlotTableSize,
    block_length,
    cells_bucket,
    rows_bucket,
)
from pytest_evals.engines.transformers.cuda.graphs import (
    CaptureError,
    CudaGraphs,
    EagerCapture,
    GraphCache,
    GraphKey,
    Launch,
)
from pytest_evals.engines.transformers.cuda.static_decode import StaticDecoder
from pytest_evals.engines.transformers.packed.forward_context import ForwardContext
from pytest_evals.engines.transformers.packed.kernels import HIDDEN, fused_decode, plain
from pytest_evals.engines.transformers.packed.kv_cache import KVCache
from pytest_evals.engines.transformers.sampler import (
    UNLIMITED,
    Filters,
    NotANumberError,
    Uniforms,
    draw,
    filtered_probabilities,
    filters_of,
    knobs_of,
    uniforms,
)
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits, PrefillChunk, SchedulerOutput
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

VOCABULARY = 97
END = 0


# -- sizes


def test_there_are_few_sizes_and_each_holds_what_it_is_asked_for() -> None:
    assert sorted({rows_bucket(count, 1000) for count in range(1, 257)}) == [
        *(1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256)
    ]
    assert sorted({cells_bucket(count) for count in range(1, 3073)}) == [256, 512, 768, 1024, 1536, 2048, 3072]
    assert all(count <= rows_bucket(count, 10_000) <= 2 * count for count in range(1, 2000))
    assert all(count <= cells_bucket(count) <= 2 * count for count in range(256, 20_000, 17))


def test_a_size_is_never_above_what_there_is() -> None:
    assert [rows_bucket(count, 20) for count in (3, 17, 20)] == [4, 20, 20]
    assert [cells_bucket(count, 320) for count in (3, 257, 320)] == [256, 320, 320]


@pytest.mark.parametrize(
    ("left", "steps"),
    [
        ([100] * 5, 8),
        ([3, 3], 3),
        ([1], 1),
        ([1] * 9 + [100], 1),
        ([1] + [100] * 9, 8),
        ([8] * 3, 8),
        ([2, 6], 2),
        ([6, 100], 6),
    ],
)
def test_a_block_is_as_long_as_it_pays(left: list[int], steps: int) -> None:
    assert block_length(left, 8) == steps
    assert block_length(left, 1) == 1


def test_a_table_is_made_for_all_rows_that_there_is_room_for() -> None:
    assert SlotTableSize(64, 100_000).table(3, 300) == (64, 512)
    # Longer rows leave room for fewer.
    assert SlotTableSize(64, 10_000).table(3, 300) == (19, 512)
    # What is needed now is never cut; the cells of a slot are then no more than that.
    assert SlotTableSize(64, 10_000).table(30, 300) == (31, 320)
    assert SlotTableSize(4, 100).table(30, 300) == (30, 320)
    assert SlotTableSize(64, 10_000).smaller() == SlotTableSize(32, 5_000)


@pytest.mark.parametrize("cells", [1, 63, 64, 65, 255, 1000, 5001])
def test_cells_of_a_table_are_whole_blocks(cells: int) -> None:
    for room in (SlotTableSize(8, 100), SlotTableSize(8, 10**9)):
        assert room.table(8, cells)[1] % ALIGNED == 0


def test_slots_are_made_for_no_more_cells_than_the_budget_has() -> None:
    budget = BatchLimits(16, 10_000)
    room = device.table_room(budget)
    assert room.rows == 16
    assert room.cells <= budget.cells


# -- slots of a table that is made at once


def row(length: int = 3, **params: Any) -> TokenSequence:
    """A row with a prompt of so many tokens, the last of which is ``length``."""
    request = Request("r", "m", (), GenerationParams(**{"max_new_tokens": 40, **params}))
    return TokenSequence(request, [*[5] * (length - 1), length], NullTokenizer(), frozenset({END}))


def stored(rows: int, cells: int, room: SlotTableSize) -> KVCache:
    slots = KVCache(1)
    slots.room = room
    slots.reserve(rows, cells)
    slots.layer(0, torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    return slots


def test_a_table_stays_where_it_is_until_it_does_not_suffice() -> None:
    slots = stored(2, 100, SlotTableSize(8, 4096))
    version, keys = slots.version, slots.layer(0, torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))[0]
    assert (slots.rows, slots.capacity) == (8, 256)
    slots.reserve(8, 256)
    assert slots.version == version
    assert slots.layer(0, keys, keys)[0] is keys
    slots.reserve(3, 300)
    assert slots.version != version


def test_rows_keep_what_they_have_when_the_table_gets_another_shape() -> None:
    slots = stored(8, 100, SlotTableSize(8, 2048))
    rows = [row(20) for _ in range(8)]
    slots.assign_slots([], rows)
    for mark, each in enumerate(rows):
        each.stored = 20
        for tensor in slots.layer(0, torch.zeros(1), torch.zeros(1)):
            tensor[each.slot, :, :20] = mark + 1
    for each in rows[:6]:
        slots.release(each)
    # Fewer slots of more cells: those who sit further behind move.
    slots.reserve(3, 500)
    assert (slots.rows, slots.capacity) == (4, 512)
    late = row()
    assert {each.slot for each in slots.assign_slots(rows[6:], [late])} == {0, 1}
    for mark, each in enumerate(rows[6:], start=7):
        for tensor in slots.layer(0, torch.zeros(1), torch.zeros(1)):
            assert (tensor[each.slot, :, :20] == mark).all()
    slots.reserve(8, 100)
    assert (slots.rows, slots.capacity) == (8, 256)
    for mark, each in enumerate(rows[6:], start=7):
        assert (slots.layer(0, torch.zeros(1), torch.zeros(1))[0][each.slot, :, :20] == mark).all()


def test_an_empty_table_is_given_back_before_another_is_made() -> None:
    slots = stored(2, 100, SlotTableSize(8, 4096))
    slots.reserve(2, 1000)
    assert slots.nbytes == 0
    slots.layer(0, torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    assert (slots.rows, slots.capacity) == (4, 1024)


# -- what is captured, and when


class Counting(EagerCapture):
    """Calls, and counts what graphs would cost."""

    def __init__(self, refuses: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.captured = 0
        self.waits = 0
        self.refuses = refuses

    def capture(self, compute: Launch) -> Launch:
        if self.refuses():
            raise CaptureError("RuntimeError: not while capturing")
        for _ in range(2):
            compute()
        self.captured += 1
        return super().capture(compute)

    def wait(self) -> None:
        self.waits += 1


def test_a_size_is_captured_when_it_comes_again() -> None:
    capture = Counting()
    launches, computed = GraphCache(capture), list[GraphKey]()
    key: GraphKey = ("greedy", 8, 256)
    launches.find(key, lambda: None, computed.append)()
    assert (capture.captured, computed) == (0, [key])
    for _ in range(3):
        launches.find(key, lambda: None, computed.append)
    assert capture.captured == 1
    launches.forget()
    launches.find(key, lambda: None, computed.append)
    assert capture.captured == 1


def test_what_cannot_be_captured_is_called_and_said_once() -> None:
    capture = Counting(refuses=lambda: True)
    launches, computed = GraphCache(capture), list[GraphKey]()
    launches.eager_first = False
    for cells in (256, 512):
        launches.find(("greedy", 8, cells), lambda: None, computed.append)()
    assert computed == [("greedy", 8, 256), ("greedy", 8, 512)]
    assert launches.notes == [
        "decodes greedy steps without CUDA graphs: a step cannot be captured (RuntimeError: not while capturing)"
    ]
    capture.refuses = lambda: False
    launches.find(("logits", 8, 256), lambda: None, computed.append)
    assert capture.captured == 1


class FakeGraph:
    """In the place of ``torch.cuda.graph``: its capture fails, and so does its end."""

    error: Exception | None = None

    def __init__(self, *_args: object, **options: object) -> None:
        self.options = options

    def __enter__(self) -> None:
        torch.cuda.set_stream(self.options["stream"])  # type: ignore[arg-type]  # a fake one

    def __exit__(self, *_error: object) -> None:
        if self.error is not None:
            raise self.error
        torch.cuda.set_stream("usual")  # type: ignore[arg-type]  # a fake one


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Enough of ``torch.cuda`` to see in which order things are asked of it."""
    seen: dict[str, Any] = {"stream": "usual", "pools": 0}

    class Stream(str):
        __slots__ = ()

        def wait_stream(self, other: str) -> None:
            seen.setdefault("waits", []).append((str(self), str(other)))

    @contextlib.contextmanager
    def stream(chosen: str) -> Iterator[None]:
        before, seen["stream"] = seen["stream"], chosen
        yield
        seen["stream"] = before

    def pool() -> int:
        seen["pools"] += 1
        return int(seen["pools"])

    class Graph:
        def replay(self) -> None:
            seen["replayed"] = True

    monkeypatch.setattr(torch.cuda, "Stream", lambda _device: Stream("side"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _device=None: Stream(seen["stream"]))
    monkeypatch.setattr(torch.cuda, "set_stream", lambda chosen: seen.update(stream=str(chosen)))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", pool)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", FakeGraph)
    monkeypatch.setattr(FakeGraph, "error", None)
    return seen


def test_a_graph_is_warmed_up_aside_and_launched_on_the_usual_stream(fake_cuda: dict[str, Any]) -> None:
    streams: list[str] = []
    launch = CudaGraphs("cuda:0").capture(lambda: streams.append(str(fake_cuda["stream"])))
    assert streams == ["side"] * 3
    assert fake_cuda["waits"] == [("side", "usual"), ("usual", "side")]
    assert fake_cuda["stream"] == "usual"
    launch()
    assert fake_cuda["replayed"]


def test_a_capture_that_fails_says_what_failed_first_and_leaves_the_usual_stream(
    fake_cuda: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeGraph, "error", RuntimeError("capture was invalidated"))
    graphs = CudaGraphs("cuda:0")
    calls = iter([None, None, "third"])

    def compute() -> None:
        if next(calls):
            raise ValueError("operation not permitted\nwhen stream is capturing")

    with pytest.raises(CaptureError, match=r"^ValueError: operation not permitted$"):
        graphs.capture(compute)
    assert fake_cuda["stream"] == "usual"
    # A pool without graphs is not used again.
    assert fake_cuda["pools"] == 2
    monkeypatch.setattr(FakeGraph, "error", RuntimeError("capture was invalidated"))
    with pytest.raises(CaptureError, match=r"^RuntimeError: capture was invalidated$"):
        graphs.capture(lambda: None)


def test_an_error_before_the_capture_is_an_error_of_the_model(fake_cuda: dict[str, Any]) -> None:
    def compute() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaGraphs("cuda").capture(compute)
    assert fake_cuda["stream"] == "side"


# -- sampling without a look at values


@pytest.mark.parametrize("more", [Filters(64, mass=True, share=True), Filters(1 << 20, mass=True, share=True)])
def test_filters_that_no_row_uses_change_nothing(more: Filters) -> None:
    logits = torch.randn(5, VOCABULARY, generator=torch.Generator().manual_seed(0)) * 3
    params = [
        GenerationParams(temperature=0.7),
        GenerationParams(temperature=1.0, top_k=3),
        GenerationParams(temperature=1.0, top_p=0.5),
        GenerationParams(temperature=2.0, min_p=0.2),
        GenerationParams(temperature=1.0, top_k=500),
    ]
    expected = torch.cat(
        [
            filtered_probabilities(
                logits[[n]], knobs_of([each], VOCABULARY, logits.device), filters_of([each], VOCABULARY)
            )
            for n, each in enumerate(params)
        ]
    )
    found = filtered_probabilities(logits, knobs_of(params, UNLIMITED, logits.device), more)
    assert torch.equal(found, expected)


def test_numbers_are_the_same_however_many_are_looked_at() -> None:
    one, other = Uniforms(7), Uniforms(7)
    singly = []
    for _ in range(50):
        singly += one.ahead(1)
        one.use(1)
    assert other.ahead(50) == singly
    assert other.ahead(3) == singly[:3]
    other.use(20)
    assert other.ahead(30) == singly[20:]
    assert Uniforms(7, used=45).ahead(5) == singly[45:]


# -- blocks


NO_HOST = {"_local_scalar_dense", "nonzero", "lift_fresh", "equal", "masked_select", "_unique2", "is_nonzero"}


class WithoutTheHost(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch annotates it not
    """Refuses what a graph cannot hold: a value that the host reads, or a tensor that it brings."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in NO_HOST, f"a step does {name}"
        if name in {"index", "index_put", "index_put_", "_index_put_impl_"}:
            picked = [entry for entry in args[1] if entry is not None]
            assert all(entry.dtype not in {torch.bool, torch.uint8} for entry in picked), (
                f"a step does {name} by a mask"
            )
        return func(*args, **(kwargs or {}))


class Strict(Counting):
    """Makes sure that every step could be captured."""

    def capture(self, compute: Launch) -> Launch:
        def watched() -> None:
            with WithoutTheHost():  # type: ignore[no-untyped-call]  # as above
                compute()

        return super().capture(watched)


Writer = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def count_up(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """The token after n is n + 1, wherever it stands."""
    del positions
    following = (tokens + 1) % VOCABULARY
    return (following.unsqueeze(1) == torch.arange(VOCABULARY)).float()


def decoder_of(
    rows: Sequence[TokenSequence], steps: int = 8, write: Writer = count_up, slots: int = 8
) -> StaticDecoder:
    """A decoder whose rows are seated, with their prompts stored and a first token generated."""
    table = stored(slots, 256, SlotTableSize(slots, slots * 256))
    table.assign_slots([], rows)
    for each in rows:
        each.stored = len(each.prompt)
        each.accept(each.prompt[-1] + 1, None)

    def forward(ids: torch.Tensor, step: ForwardContext) -> torch.Tensor:
        assert len(ids) == step.decoding == len(step.positions)
        return write(ids, step.positions)

    decoder = StaticDecoder(forward, table, "cpu", Strict(), steps)
    decoder.launches.eager_first = False
    return decoder


def run_to_the_end(decoder: StaticDecoder, rows: Sequence[TokenSequence]) -> int:
    """Decode until all rows have ended; return the number of blocks."""
    blocks = 0
    left = list(rows)
    while left:
        finished = decoder.run(left)
        left = [each for each in left if not any(each is other for other in finished)]
        assert all(each.stored == len(each.prompt) + len(each.generated) - 1 for each in rows)
        blocks += 1
    return blocks


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_every_row_gets_the_tokens_that_follow_its_own_up_to_its_own_end(steps: int) -> None:
    # The second ends by itself in the middle of a block: 96 is followed by 0.
    rows = [row(3, max_new_tokens=30), row(80, max_new_tokens=40), row(7, max_new_tokens=9)]
    decoder = decoder_of(rows, steps)
    run_to_the_end(decoder, rows)
    assert rows[0].generated == list(range(4, 34))
    assert rows[1].generated == [*range(81, 97), END]
    assert rows[2].generated == list(range(8, 17))
    assert [each.finish_reason for each in rows] == ["length", "stop", "length"]


def test_the_host_looks_once_a_block() -> None:
    rows = [row(3, max_new_tokens=33), row(5, max_new_tokens=33)]
    decoder = decoder_of(rows)
    assert run_to_the_end(decoder, rows) == 4
    capture = decoder._capture
    assert isinstance(capture, Counting)
    assert capture.waits == 4


def test_the_meter_is_told_of_rows_and_slots_in_each_step() -> None:
    rows = [row(3, max_new_tokens=30), row(90, max_new_tokens=30), row(4, max_new_tokens=30)]
    decoder = decoder_of(rows)
    told: list[tuple[list[int], int]] = []
    decoder.tally = lambda live, slots: told.append((list(live), slots))
    decoder.run(rows)
    # 91 is there; 92 to 96 and the end make six.
    assert told == [([3, 3, 3, 3, 3, 3, 2, 2], 4)]


def test_positions_go_on_with_the_tokens_and_never_beyond_a_rows_own() -> None:
    seen: list[list[int]] = []

    def write(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        seen.append(positions.tolist())
        return count_up(tokens, positions)

    rows = [row(3, max_new_tokens=5), *(row(10, max_new_tokens=40) for _ in range(7))]
    table = stored(8, 256, SlotTableSize(8, 2048))
    table.assign_slots([], rows)
    for each in rows:
        each.stored = len(each.prompt)
        each.accept(each.prompt[-1] + 1, None)
    decoder = StaticDecoder(lambda ids, step: write(ids, step.positions), table, "cpu", EagerCapture(), 8)
    assert decoder.run(rows) == [rows[0]]
    assert [positions[0] for positions in seen] == [3, 4, 5, 6, 7, 7, 7, 7]
    assert [positions[1] for positions in seen] == list(range(10, 18))


def test_slots_in_the_middle_may_be_free_until_there_are_too_many() -> None:
    rows = [row(length, max_new_tokens=4 if length < 8 else 60) for length in range(3, 13)]
    decoder = decoder_of(rows, 3, slots=16)
    left = rows[5:]
    while len([each for each in rows if each.finish_reason]) < 5:
        decoder.run([each for each in rows if not each.finish_reason])
    assert [each.slot for each in left] == [5, 6, 7, 8, 9]
    decoder.run(left)
    # Five rows need eight places, not sixteen.
    assert sorted(each.slot for each in left if each.slot is not None) == [0, 1, 2, 3, 4]
    run_to_the_end(decoder, left)
    assert all(each.generated == list(range(each.prompt[-1] + 1, each.prompt[-1] + 61)) for each in left)


def test_rows_of_other_lengths_and_counts_are_steps_of_other_sizes() -> None:
    rows = [row(3, max_new_tokens=250), row(4, max_new_tokens=10), row(5, max_new_tokens=10)]
    table = stored(3, 300, SlotTableSize(4, 4096))
    table.assign_slots([], rows)
    for each in rows:
        each.stored = len(each.prompt)
        each.accept(each.prompt[-1] + 1, None)
    capture = Strict()
    decoder = StaticDecoder(lambda ids, step: count_up(ids, step.positions), table, "cpu", capture, 8)
    decoder.launches.eager_first = False
    while not rows[0].finish_reason:
        decoder.run([each for each in rows if not each.finish_reason])
    assert set(decoder.launches._ready) == {("greedy", 4, 256), ("greedy", 1, 256)}
    assert capture.captured == 2


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_sampled_rows_draw_what_they_draw_alone_whatever_the_length_of_blocks(steps: int) -> None:
    table = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(3)) * 2

    def write(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return table[tokens] + positions.unsqueeze(1) / 50

    def rows() -> list[TokenSequence]:
        return [
            row(3, temperature=1.0, seed=1, max_new_tokens=21),
            row(4, temperature=0.8, seed=2, top_k=5, max_new_tokens=30),
            row(5, max_new_tokens=17),
            row(6, temperature=1.3, seed=3, top_p=0.7, min_p=0.05, max_new_tokens=26),
        ]

    found = rows()
    decoder = decoder_of(found, steps, write)
    run_to_the_end(decoder, found)
    expected = rows()
    for each in expected:
        each.accept(each.prompt[-1] + 1, None)
        while not each.finish_reason:
            logits = write(
                torch.tensor(each.generated[-1:]), torch.tensor([len(each.prompt) + len(each.generated) - 1])
            )
            token = logits.argmax(-1) if each.request.params.greedy else draw(logits, [each])
            each.accept(int(token), None)
    assert [each.generated for each in found] == [each.generated for each in expected]
    for one, other in zip(found, expected, strict=True):
        if not one.request.params.greedy:
            assert uniforms(one).ahead(4) == uniforms(other).ahead(4)


def test_like_demands_of_sampled_rows_are_one_step() -> None:
    rows = [row(3, temperature=1.0, top_k=top_k, seed=top_k, max_new_tokens=60) for top_k in (5, 6, 7, 8)]
    decoder = decoder_of(rows)
    while live := [each for each in rows if not each.finish_reason]:
        decoder.run(live)
    assert {key[0] for key in decoder.launches._ready} == {Filters(8)}


def test_logits_that_are_no_numbers_are_an_error_before_any_token_of_the_block() -> None:
    rows = [row(3), row(4)]
    decoder = decoder_of(rows, write=lambda tokens, _positions: torch.full((len(tokens), VOCABULARY), torch.nan))
    with pytest.raises(NotANumberError):
        decoder.run(rows)
    assert [len(each.generated) for each in rows] == [1, 1]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_was_computed_before_logits_were_no_numbers_is_kept(bad: float) -> None:
    def write(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return count_up(tokens, positions).masked_fill((positions == 6).unsqueeze(1), bad)

    # The first has ended when it would get there, the second gets there with its fourth token.
    rows = [row(3, max_new_tokens=3), row(4, max_new_tokens=30)]
    decoder = decoder_of(rows, write=write)
    assert decoder.run(rows) == [rows[0]]
    assert rows[0].generated == [4, 5, 6]
    assert rows[1].generated == [5, 6, 7]
    with pytest.raises(NotANumberError):
        decoder.run(rows[1:])


def test_one_row_that_computes_nonsense_after_its_end_disturbs_nobody() -> None:
    def write(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return count_up(tokens, positions).masked_fill((tokens == END).unsqueeze(1), torch.nan)

    rows = [row(94, max_new_tokens=30), row(4, max_new_tokens=12)]
    decoder = decoder_of(rows, write=write)
    run_to_the_end(decoder, rows)
    assert rows[0].generated == [95, 96, END]
    assert rows[1].generated == list(range(5, 17))


def test_the_host_gets_the_logits_of_rows_in_their_order() -> None:
    rows = [row(9), row(3), row(5)]
    decoder = decoder_of(rows)
    found = decoder.logits([rows[2], rows[0]])
    assert found.argmax(-1).tolist() == [7, 11]
    assert [len(each.generated) for each in rows] == [1, 1, 1]


def test_plans_with_anything_else_to_do_are_not_taken() -> None:
    rows = [row(9), row(3)]
    decoder = decoder_of(rows)
    plan: SchedulerOutput[TokenSequence] = SchedulerOutput(decode=rows)
    assert decoder.takes(plan)
    assert not decoder.takes(SchedulerOutput())
    assert not decoder.takes(SchedulerOutput(decode=rows, pieces=[PrefillChunk(row(4), 0, 4, last=True)]))
    assert not decoder.takes(SchedulerOutput(decode=rows, admitted=[row(4)]))
    rows[0].shared = 2
    assert not decoder.takes(plan)
    rows[0].shared, rows[0].slot = 0, None
    assert not decoder.takes(plan)


def test_what_was_captured_is_forgotten_when_the_slots_move() -> None:
    rows = [row(3), row(4)]
    decoder = decoder_of(rows, 2)
    decoder.run(rows)
    capture = decoder._capture
    assert isinstance(capture, Counting)
    assert capture.captured == 1
    decoder._slots.reserve(2, 1000)
    decoder.run(rows)
    assert capture.captured == 2
    assert rows[0].generated == [4, 5, 6, 7, 8]


# -- attention of such steps


@pytest.mark.parametrize("share", [1, 4])
def test_fused_attention_is_attention_by_its_definition(share: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (torch.randn(3, 2, size, 8, generator=generator) for size in (share, 64, 64))
    columns = torch.arange(64)
    mask = torch.zeros(3, 64).masked_fill_(columns > torch.tensor([[0], [17], [63]]), HIDDEN)[:, None, None]
    found = fused_decode(query, keys, values, mask, 0.3)
    torch.testing.assert_close(found, plain(query, keys, values, mask, 0.3, None)[0])


def test_full_precision_is_asked_for_in_fp32_only(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device.settle_on("cuda", "bfloat16")
    assert torch.backends.cudnn.allow_tf32
    device.settle_on("cuda:1", "float32")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert chosen == ["cuda:1"]
