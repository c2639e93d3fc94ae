"""Linear layers whose weights are laid out for batches compute what they computed before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch.nn.functional import linear as plain

from pytest_evals.engines.transformers.cpu import linear
from pytest_evals.engines.transformers.cpu.linear import (
    KERNELS,
    FusedLinear,
    LinearKernel,
    fastest,
    find_joints,
    lay_out,
)

ROWS = 16


class Stack(torch.nn.Module):
    """Layers one after another: each of ``stages`` is some layers of so many inputs and outputs that read the same."""

    def __init__(self, *stages: Sequence[tuple[int, int]], bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.device = torch.device("cpu")
        self.embedding = torch.randn(5, stages[0][0][0])
        self.stages = torch.nn.ModuleList(
            torch.nn.ModuleList(torch.nn.Linear(inputs, outputs, bias=bias) for inputs, outputs in stage)
            for stage in stages
        )

    def layers(self) -> list[torch.nn.Linear]:
        return [module for module in self.modules() if isinstance(module, torch.nn.Linear)]

    def forward(self, input_ids: torch.Tensor | None = None, values: torch.Tensor | None = None) -> torch.Tensor:
        result = self.embedding[input_ids] if values is None else values
        for stage in self.stages:
            outputs = [layer(result) for layer in stage]  # type: ignore[attr-defined]  # a list of modules
            result = torch.cat(outputs, dim=-1)
        return result


def stack(*sizes: tuple[int, int], bias: bool = True) -> Stack:
    """Linear layers of so many inputs and outputs, one after another."""
    return Stack(*([size] for size in sizes), bias=bias)


def available(make: Callable[[], LinearKernel]) -> LinearKernel:
    try:
        kernel = make()
        kernel.apply(torch.zeros(1, 8), kernel.pack(torch.zeros(8, 8), 1), None)
    except (AttributeError, RuntimeError):
        pytest.skip("this build of torch does not have it")
    return kernel


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the clock says: layers of any size are packed by the first kernel that computes rightly."""
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    monkeypatch.setattr(linear, "_LEAST_GAIN", 1e-9)


def slow(_weight: torch.Tensor, _rows: int) -> torch.Tensor:
    raise RuntimeError("not this shape")


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (129, 70), (32, 513), (300, 1)])
@pytest.mark.parametrize("shape", [(1,), (ROWS,), (ROWS + 21,), (1, 1), (1, ROWS + 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_each_kernel_multiplies_like_torch_whatever_the_number_of_rows(
    make: Callable[[], LinearKernel], inputs: int, outputs: int, shape: tuple[int, ...], bias: bool
) -> None:
    kernel = available(make)
    torch.manual_seed(1)
    weight, values = torch.randn(outputs, inputs), torch.randn(*shape, inputs)
    added = torch.randn(outputs) if bias else None
    with torch.inference_mode():
        found = kernel.apply(values, kernel.pack(weight, ROWS), added)
    torch.testing.assert_close(found, plain(values, weight, added), rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("bias", [True, False])
def test_packed_layers_compute_what_they_computed_and_off_brings_the_old_ones_back(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], LinearKernel], bias: bool
) -> None:
    kernel = available(make)
    calls: list[int] = []

    def counted(values: torch.Tensor, packed: torch.Tensor, added: torch.Tensor | None) -> torch.Tensor:
        calls.append(len(values))
        return kernel.apply(values, packed, added)

    monkeypatch.setattr(linear, "KERNELS", [lambda: LinearKernel("counted", kernel.pack, counted)])
    # The first three read the same input: one product.
    model, values = Stack([(40, 70), (40, 20), (40, 10)], [(100, 40)], [(40, 70)], bias=bias), torch.randn(9, 40)
    before = model(values=values)
    layout = lay_out(model, ROWS, 1 << 30)
    assert layout.packed == {"counted": 5}
    assert layout.nbytes == 4 * (40 * 100 + 100 * 40 + 40 * 70)
    calls.clear()
    for _ in range(2):
        torch.testing.assert_close(model(values=values), before, rtol=1e-4, atol=1e-4)
    assert calls == [9] * 3 * 2
    with layout.off():
        assert torch.equal(model(values=values), before)
    assert calls == [9] * 3 * 2
    with pytest.raises(ZeroDivisionError), layout.off():
        raise ZeroDivisionError
    # The same tensor with other numbers in it is another input.
    values.mul_(2)
    with layout.off():
        expected = model(values=values)
    torch.testing.assert_close(model(values=values), expected, rtol=1e-4, atol=1e-4)


def test_layers_with_one_input_are_found_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    model = Stack([(8, 3), (8, 5)], [(8, 4)], [(4, 2), (4, 2), (4, 1)])
    found = find_joints(model)
    assert [[(layer.in_features, layer.out_features) for layer in joint.layers] for joint in found] == [
        [(8, 3), (8, 5)],
        [(8, 4)],
        [(4, 2), (4, 2), (4, 1)],
    ]
    assert [joint.shape for joint in found] == [(8, 8), (4, 8), (5, 4)]
    assert sum(joint.nbytes for joint in found) == 4 * (64 + 32 + 20)


def test_layers_that_are_called_twice_or_not_at_all_stay_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_SIZE", 1)
    twice = Stack([(8, 4), (8, 4)], [(8, 8)])
    twice.stages.append(torch.nn.ModuleList([twice.layers()[2]]))
    assert [len(joint.layers) for joint in find_joints(twice)] == [1, 1, 1]
    unused = Stack([(8, 4), (8, 4)])
    unused.more = torch.nn.Linear(8, 8)
    assert [len(joint.layers) for joint in find_joints(unused)] == [2, 1]


@pytest.mark.parametrize("biased", [(True, False), (False, True), (True, True), (False, False)])
def test_joined_layers_keep_their_own_biases(biased: tuple[bool, bool]) -> None:
    layers = [torch.nn.Linear(8, 4, bias=bias) for bias in biased]
    joint = FusedLinear(layers)
    values = torch.randn(3, 8)
    expected = torch.cat([layer(values) for layer in layers], dim=-1)
    torch.testing.assert_close(plain(values, joint.weight(), joint.bias()), expected)


@pytest.mark.usefixtures("eager")
def test_without_memory_for_all_of_them_no_layer_is_packed() -> None:
    model = stack((64, 64), (64, 64))
    assert lay_out(model, ROWS, 2 * 64 * 64 * 4 - 1).packed == {}
    assert all("forward" not in vars(layer) for layer in model.layers())
    assert sum(lay_out(model, ROWS, 2 * 64 * 64 * 4).packed.values()) == 2


@pytest.mark.usefixtures("eager")
def test_only_layers_that_are_linear_and_nothing_else_in_fp32_or_bf16_are_packed() -> None:
    class Special(torch.nn.Linear):
        """May compute anything."""

    class Mixed(Stack):
        def forward(self, input_ids: torch.Tensor | None = None, values: torch.Tensor | None = None) -> torch.Tensor:
            result = self.embedding[input_ids] if values is None else values
            return self.stages[0](result.half()).float() + self.stages[1](result)  # type: ignore[no-any-return]  # a tensor

    model = Mixed([(64, 64)])
    model.stages = torch.nn.ModuleList([torch.nn.Linear(64, 64).half(), Special(64, 64)])
    assert lay_out(model, ROWS, 1 << 30).packed == {}


@pytest.mark.usefixtures("eager")
def test_layers_in_bf16_compute_what_they_computed() -> None:
    model = Stack([(64, 70), (64, 20)], [(90, 64)]).bfloat16()
    model.embedding = model.embedding.bfloat16()
    values = torch.randn(9, 64, dtype=torch.bfloat16)
    with torch.inference_mode():
        before = model(values=values)
        assert sum(lay_out(model, ROWS, 1 << 30).packed.values()) == 3
        after = model(values=values)
    assert after.dtype == torch.bfloat16
    torch.testing.assert_close(after, before, rtol=1.6e-2, atol=1e-2)


def test_small_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_LEAST_GAIN", 1e-9)
    assert lay_out(stack((64, 64)), ROWS, 1 << 30).packed == {}
    assert sum(lay_out(stack((128, 128)), ROWS, 1 << 30).packed.values()) == 1


@pytest.mark.usefixtures("eager")
def test_a_kernel_that_computes_wrongly_or_not_at_all_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> LinearKernel:
        raise AttributeError("no such operator")

    wrong = LinearKernel("wrong", lambda weight, _: weight, lambda values, packed, _: plain(values, packed) * 1.01)
    refusing = LinearKernel("refusing", slow, plain)
    right = LinearKernel("right", lambda weight, _: weight, plain)
    monkeypatch.setattr(linear, "KERNELS", [missing, lambda: wrong, lambda: refusing])
    layers = [FusedLinear([torch.nn.Linear(64, 64)])]
    assert fastest(layers, ROWS) is None
    monkeypatch.setattr(linear, "KERNELS", [missing, lambda: wrong, lambda: refusing, lambda: right])
    assert fastest(layers, ROWS) is right


def test_a_kernel_must_be_clearly_faster_to_be_worth_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"torch": 1.0, "same": 0.97, "faster": 0.5, "fastest": 0.4}

    def named(name: str) -> Callable[[], LinearKernel]:
        def apply(values: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            return plain(values, packed, bias)

        apply.__name__ = name
        return lambda: LinearKernel(name, lambda weight, _: weight, apply)

    monkeypatch.setattr(linear, "_seconds", lambda apply, *_: seconds.get(apply.__name__, 1.0))
    layers = [FusedLinear([torch.nn.Linear(8, 8)])]
    monkeypatch.setattr(linear, "KERNELS", [named("same")])
    assert fastest(layers, ROWS) is None
    monkeypatch.setattr(linear, "KERNELS", [named("faster"), named("fastest"), named("same")])
    found = fastest(layers, ROWS)
    assert found is not None
    assert found.name == "fastest"
