"""Slots: rows sit where attention reads them in one view, and nobody's keys and values are lost on the way."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator

import pytest
import torch

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.cuda.buckets import SlotTableSize
from pytest_evals.engines.transformers.packed.kv_cache import GROW_BY, ROUND_TO, KVCache, PrefixKV, copied, zeros_like
from pytest_evals.engines.transformers.packed.model_runner import PackedCache
from pytest_evals.engines.transformers.scheduling.prefix_tree import PrefixNode
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams

HEADS, SIZE = 2, 3
ALIGNED = 64
LAYERS = (0, 4)


def row(stored: int = 0, shared: int = 0) -> TokenSequence:
    made = TokenSequence(Request("r", "m", (), GenerationParams()), [1] * max(stored, 1), NullTokenizer(), frozenset())
    made.stored, made.shared = stored, shared
    return made


def slots_of(rows: int, cells: int = 16) -> KVCache:
    slots = KVCache(rows)
    slots.reserve(rows, cells)
    for layer in LAYERS:
        slots.layer(layer, torch.zeros(1, HEADS, SIZE), torch.zeros(1, HEADS, SIZE + 1))
    return slots


def tensors(slots: KVCache) -> Iterator[torch.Tensor]:
    for layer in LAYERS:
        yield from slots.layer(layer, torch.zeros(1, HEADS, SIZE), torch.zeros(1, HEADS, SIZE + 1))


def contents(kind: int, mark: int, length: int) -> torch.Tensor:
    """What a row with this mark has in the kind-th tensor: every cell is different."""
    return (mark * 1000 + kind * 100 + torch.arange(length)).float().expand(HEADS, length)


def write(slots: KVCache, each: TokenSequence, mark: int) -> None:
    assert each.slot is not None
    length = each.stored - each.shared
    for kind, tensor in enumerate(tensors(slots)):
        tensor[each.slot, :, :length] = contents(kind, mark, length).unsqueeze(-1)


def holds(slots: KVCache, each: TokenSequence, mark: int) -> bool:
    assert each.slot is not None
    length = each.stored - each.shared
    return all(
        bool((tensor[each.slot, :, :length] == contents(kind, mark, length).unsqueeze(-1)).all())
        for kind, tensor in enumerate(tensors(slots))
    )


# -- who sits where


def test_rows_that_decode_get_the_first_slots_in_their_order_of_seats() -> None:
    slots = slots_of(4)
    rows = [row() for _ in range(4)]
    assert slots.assign_slots([], rows[:2]) == []
    assert [each.slot for each in rows[:2]] == [0, 1]
    assert slots.assign_slots([rows[1], rows[0]], rows[2:]) == [rows[0], rows[1]]
    assert [each.slot for each in rows] == [0, 1, 2, 3]


def test_a_gap_is_closed_by_the_last_row_which_brings_what_it_has() -> None:
    slots = slots_of(3)
    rows = [row(5), row(6), row(7, shared=2)]
    slots.assign_slots([], rows)
    for mark, each in enumerate(rows):
        write(slots, each, mark)
    slots.release(rows[0])
    assert slots.assign_slots(rows[1:], []) == [rows[2], rows[1]]
    assert (rows[2].slot, rows[1].slot) == (0, 1)
    assert holds(slots, rows[1], 1)
    assert holds(slots, rows[2], 2)


def test_a_row_in_pieces_gives_its_first_slot_to_one_that_decodes_and_keeps_what_it_has() -> None:
    slots = slots_of(3)
    filling, decoding = row(9), row(4)
    slots.assign_slots([], [filling, decoding])
    write(slots, filling, 1)
    write(slots, decoding, 2)
    assert slots.assign_slots([decoding], [filling]) == [decoding]
    assert (decoding.slot, filling.slot) == (0, 1)
    assert holds(slots, filling, 1)
    assert holds(slots, decoding, 2)


def test_a_new_row_takes_a_slot_that_was_left() -> None:
    slots = slots_of(3)
    rows = [row(3) for _ in range(3)]
    slots.assign_slots([], rows)
    slots.release(rows[2])
    late = row()
    slots.assign_slots(rows[:2], [late])
    assert late.slot == 2


def test_a_row_that_was_started_again_gets_a_slot_anew() -> None:
    slots = slots_of(2)
    one, two = row(3), row(3)
    slots.assign_slots([], [one, two])
    one.restart()
    assert slots.assign_slots([two], [one]) == [two]
    assert (two.slot, one.slot) == (0, 1)


@pytest.mark.parametrize("seed", range(10))
def test_everybody_keeps_what_they_have_however_rows_come_and_go(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - data of a test
    slots = slots_of(1, 4)
    marks: dict[int, int] = {}
    decoding: list[TokenSequence] = []
    filling: list[TokenSequence] = []
    for number in range(150):
        others = [*filling, *(row(stored=0, shared=dice.choice([0, 3])) for _ in range(dice.randint(0, 2)))]
        slots.reserve(len(decoding) + len(others), dice.randint(1, 40))
        seated = slots.assign_slots(decoding, others)
        assert {id(each) for each in seated} == {id(each) for each in decoding}
        assert [each.slot for each in seated] == list(range(len(decoding)))
        everyone = [*decoding, *others]
        assert len({each.slot for each in everyone}) == len(everyone)
        for each in everyone:
            if id(each) in marks:
                assert holds(slots, each, marks[id(each)])
            marks[id(each)] = number
            each.stored = each.shared + dice.randint(1, slots.capacity)
            write(slots, each, number)
        running = dice.sample(everyone, k=dice.randint(0, len(everyone)))[:6]
        for each in everyone:
            if each not in running:
                slots.release(each)
                marks.pop(id(each))
        decoding = [each for each in running if each in decoding or dice.random() < 0.7]
        filling = [each for each in running if each not in decoding]


# -- memory


def test_slots_are_as_long_as_asked_rounded_up() -> None:
    assert slots_of(2, 1).capacity == ROUND_TO
    assert slots_of(2, ROUND_TO + 1).capacity == 2 * ROUND_TO
    keys, values = slots_of(2, 10).layer(0, torch.zeros(1, HEADS, SIZE), torch.zeros(1, HEADS, SIZE + 1))
    assert keys.shape == (2, HEADS, ROUND_TO, SIZE)
    assert values.shape == (2, HEADS, ROUND_TO, SIZE + 1)


def test_slots_grow_in_rows_and_cells_and_keep_what_they_hold() -> None:
    slots = slots_of(2, 64)
    rows = [row(10), row(64)]
    slots.assign_slots([], rows)
    for mark, each in enumerate(rows):
        write(slots, each, mark)
    slots.reserve(5, 65)
    assert slots.capacity >= 64 * GROW_BY
    assert [tensor.shape[0] for tensor in tensors(slots)] == [5] * 4
    assert all(holds(slots, each, mark) for mark, each in enumerate(rows))
    for tensor in tensors(slots):
        assert tensor.isfinite().all()


def test_slots_are_made_at_once_for_rows_that_will_come_as_far_as_there_is_room() -> None:
    slots = slots_of(2, 64)
    slots.reserve(3, 64, limit=1000, ahead=8)
    assert (slots.capacity, [tensor.shape[0] for tensor in tensors(slots)]) == (64, [8] * 4)
    slots.reserve(9, 64, limit=1000, ahead=64)
    assert (slots.capacity, [tensor.shape[0] for tensor in tensors(slots)]) == (64, [15] * 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_that_is_not_written_is_zero_and_aligned(dtype: torch.dtype) -> None:
    for shape in ((3, 2, 5, 7), (0, 2, 5, 7)):
        zeros = zeros_like(torch.ones(1, dtype=dtype), shape)
        assert (tuple(zeros.shape), zeros.dtype, zeros.is_contiguous()) == (shape, dtype, True)
        assert zeros.data_ptr() % 64 == 0
        assert not zeros.any()
        zeros.add_(1)
        assert zeros.sum() == zeros.numel()


def test_slots_do_not_shrink_for_smaller_rows() -> None:
    slots = slots_of(4, 100)
    before = [tensor.data_ptr() for tensor in tensors(slots)]
    slots.reserve(1, 1)
    assert (slots.capacity, [tensor.data_ptr() for tensor in tensors(slots)]) == (128, before)


def test_slots_stay_within_the_limit_and_everybody_keeps_what_they_have() -> None:
    """Many short rows, then few long ones: not the most rows ever times the longest row ever."""
    slots = slots_of(16, 64)
    rows = [row(10 + number) for number in range(16)]
    slots.assign_slots([], rows)
    for mark, each in enumerate(rows):
        write(slots, each, mark)
    for each in rows[:13]:
        slots.release(each)
    slots.reserve(4, 250, limit=1024)
    assert (slots.rows, slots.capacity) == (4, 250)
    assert slots.size <= 1024
    assert all(holds(slots, each, mark) for mark, each in enumerate(rows) if mark >= 13)
    # A limit that becomes smaller, as when a prefix takes the room, is heeded too; what is needed is never cut.
    slots.reserve(3, 100, limit=300)
    assert (slots.rows, slots.capacity) == (3, 100)
    slots.reserve(3, 120, limit=300)
    assert (slots.rows, slots.capacity) == (3, 120)
    assert all(holds(slots, each, mark) for mark, each in enumerate(rows) if mark >= 13)
    for each in rows[13:]:
        slots.release(each)
    slots.reserve(0, 0, limit=-5)
    assert slots.size == 0


def test_a_table_made_ahead_leaves_room_for_prefixes() -> None:
    slots = KVCache(1)
    slots.room = SlotTableSize(16, 16 * 256)
    slots.reserve(2, 100, limit=10_000)
    list(tensors(slots))
    assert (slots.rows, slots.capacity) == (16, 256)
    slots.reserve(2, 100, limit=1000)
    list(tensors(slots))
    assert (slots.rows, slots.capacity) == (3, 256)


def test_bytes_are_those_of_slots_and_stores() -> None:
    slots = slots_of(2, 64)
    assert slots.nbytes == len(LAYERS) * 2 * HEADS * 64 * (SIZE + SIZE + 1) * 4
    before = slots.nbytes
    slots.store_of(PrefixNode((1, 2, 3))).write(0, torch.zeros(3, HEADS, SIZE), torch.zeros(3, HEADS, SIZE))
    assert slots.nbytes == before + 3 * HEADS * 2 * SIZE * 4


def test_after_a_failure_all_memory_is_given_back_and_fewer_rows_take_less() -> None:
    slots = slots_of(64, 200)
    slots.store_of(PrefixNode((1,)))
    slots.clear()
    assert (slots.nbytes, slots.capacity, slots.stores) == (0, 0, {})
    slots.reserve(2, 10)
    assert [tensor.shape[:3] for tensor in tensors(slots)] == [(2, HEADS, ROUND_TO)] * 4


# -- prefixes


def test_a_store_keeps_what_it_is_given_by_head() -> None:
    keys, values = torch.randn(5, HEADS, SIZE), torch.randn(5, HEADS, SIZE + 1)
    store = PrefixKV(5)
    store.write(0, keys, values)
    kept_keys, kept_values = store.layers[0]
    assert torch.equal(kept_keys, keys.transpose(0, 1))
    assert torch.equal(kept_values, values.transpose(0, 1))


@pytest.mark.parametrize("tokens", [3, 3000])
def test_copies_of_all_layers_lie_in_one_piece_of_memory(tokens: int) -> None:
    """Small ones in the process's own memory, large ones in what the system gives."""
    layers = {
        layer: (torch.randn(HEADS, 2 * tokens, SIZE), torch.randn(HEADS, 2 * tokens, SIZE + 2).bfloat16())
        for layer in LAYERS
    }
    parts = {layer: (keys[:, tokens:], values[:, tokens:]) for layer, (keys, values) in layers.items()}
    copies = copied(parts)
    assert list(copies) == list(parts)
    flat = [tensor for pair in copies.values() for tensor in pair]
    for copy, part in zip(flat, (tensor for pair in parts.values() for tensor in pair), strict=True):
        assert torch.equal(copy, part)
        assert (copy.dtype, copy.is_contiguous(), copy.data_ptr() % ALIGNED) == (
            part.dtype,
            True,
            flat[0].data_ptr() % ALIGNED,
        )
    assert {copy.untyped_storage().data_ptr() for copy in flat} == {flat[0].data_ptr()}
    assert copied({}) == {}


def test_where_the_system_maps_no_more_memory_the_process_has_some(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: int, **_options: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", refuse)
    whole = {0: (torch.randn(HEADS, 9000, SIZE), torch.randn(HEADS, 9000, SIZE))}
    assert torch.equal(copied(whole)[0][1], whole[0][1])


def test_what_is_kept_of_a_single_head_does_not_hold_what_was_computed_beside_it() -> None:
    computed = torch.randn(100, 1, SIZE)
    store = PrefixKV(5)
    store.write(0, computed[:5], computed[:5])
    assert store.layers[0][0].untyped_storage().nbytes() == 5 * SIZE * 4


def test_a_store_is_filled_in_pieces_and_divided() -> None:
    keys, values = torch.randn(9, HEADS, SIZE), torch.randn(9, HEADS, SIZE + 1)
    slots = KVCache(1)
    lower = PrefixNode(tuple(range(9)))
    for piece in (slice(0, 4), slice(4, 5), slice(5, 9)):
        slots.store_of(lower).write(0, keys[piece], values[piece], at=piece.start)
    assert torch.equal(slots.store_of(lower).layers[0][0], keys.transpose(0, 1))
    upper = PrefixNode(lower.tokens[:3])
    lower.tokens, lower.parent, lower.start = lower.tokens[3:], upper, 3
    slots.split(upper, lower)
    for prefix, part in ((upper, slice(0, 3)), (lower, slice(3, 9))):
        kept_keys, kept_values = slots.store_of(prefix).layers[0]
        assert torch.equal(kept_keys, keys[part].transpose(0, 1))
        assert torch.equal(kept_values, values[part].transpose(0, 1))
        # Nothing but this part stays when the other one goes.
        assert kept_keys.untyped_storage().nbytes() < kept_keys.nbytes + kept_values.nbytes + 2 * ALIGNED


def test_a_row_that_has_just_left_its_slot_leaves_its_cells_to_a_stretch() -> None:
    slots = slots_of(2)
    each = row(12, shared=3)
    slots.assign_slots([], [row(), each])
    write(slots, each, 5)
    slots.release(each)
    kept = PrefixNode(tuple(range(6)), start=5)
    slots.keep(each, kept)
    for index, layer in enumerate(LAYERS):
        for kind, found in enumerate(slots.store_of(kept).layers[layer]):
            expected = contents(2 * index + kind, 5, 9)[:, 2:8]
            assert torch.equal(found, expected.unsqueeze(-1).expand_as(found))


def test_a_prefix_has_one_store_until_it_is_dropped() -> None:
    slots = KVCache(1)
    one, other = PrefixNode((1, 2)), PrefixNode((1, 2))
    store = slots.store_of(one)
    assert store.length == 2
    assert slots.store_of(one) is store
    assert slots.store_of(other) is not store
    slots.drop(one)
    slots.drop(one)
    assert slots.store_of(one) is not store


@pytest.mark.parametrize("shared", [0, 4, 9])
def test_what_prefixes_hold_beyond_the_shared_part_is_copied_before_the_rows_own_cells(shared: int) -> None:
    slots = slots_of(2)
    upper = PrefixNode(tuple(range(4)))
    lower = PrefixNode(tuple(range(5)), upper, start=4)
    for prefix, mark in ((upper, 1), (lower, 2)):
        for index, layer in enumerate(LAYERS):
            keys = contents(2 * index, mark, len(prefix.tokens)).t().unsqueeze(-1)
            values = contents(2 * index + 1, mark, len(prefix.tokens)).t().unsqueeze(-1)
            slots.store_of(prefix).write(layer, keys.expand(-1, -1, SIZE), values.expand(-1, -1, SIZE + 1))
    each = row(11, shared)
    each.prefix = lower
    slots.assign_slots([], [row(), each])
    write(slots, each, 7)
    slots.copy_prefixes(each)
    for kind, tensor in enumerate(tensors(slots)):
        whole = torch.cat([contents(kind, 1, 4), contents(kind, 2, 5)], dim=1)[:, shared:]
        own = contents(kind, 7, 11 - shared)[:, 9 - shared :]
        assert torch.equal(tensor[1, :, : 11 - shared, 0], torch.cat([whole, own], dim=1))


def test_the_cache_that_a_model_sees_keeps_nothing() -> None:
    cache = PackedCache()
    keys, values = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    assert cache.update(keys, values, 5) == (keys, values)
    assert cache.get_seq_length() == 0
