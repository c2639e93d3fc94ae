"""Parts that are computed in fewer passes compute what they computed; what only looks like one keeps its own way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.transformers.cpu.fused_layers import fuse_layers
from pytest_evals.engines.transformers.cpu.linear import PackedWeights

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 1,
}
FAMILIES: dict[str, tuple[Callable[[], Any], int]] = {
    # Norms, blocks and rotations.
    "llama": (lambda: transformers.LlamaConfig(**SMALL), 5 + 2 + 2),
    "qwen2": (lambda: transformers.Qwen2Config(**SMALL), 5 + 2 + 2),
    "qwen3": (lambda: transformers.Qwen3Config(**SMALL, head_dim=8), 9 + 2 + 2),
    "gemma2": (lambda: transformers.Gemma2Config(**SMALL, head_dim=8), 9 + 2 + 2),
    "phi3": (lambda: transformers.Phi3Config(**SMALL), 5 + 0 + 2),
    # Its norms subtract a mean, and it rotates neighbours.
    "cohere": (lambda: transformers.CohereConfig(**SMALL), 0 + 2 + 0),
    "gpt2": (lambda: transformers.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4), 0),
}


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_a_model_computes_the_same_with_lean_parts_and_its_own_again_without(family: str) -> None:
    make, parts = FAMILIES[family]
    torch.manual_seed(0)
    kind: Any = transformers.AutoModelForCausalLM
    model = kind.from_config(make()).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.1)
    ids = torch.randint(0, 64, (2, 11))
    before = model(input_ids=ids).logits
    layout = PackedWeights()
    fuse_layers(model, layout)
    assert layout.lean == parts
    found = model(input_ids=ids).logits
    torch.testing.assert_close(found, before, rtol=1e-4, atol=1e-4)
    with layout.off():
        assert torch.equal(model(input_ids=ids).logits, before)


class Norm(torch.nn.Module):
    """As most are; a subclass does something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(16) + 0.5)
        self.eps = 1e-5

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * (values.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight


class Other(Norm):
    """Another number is added than the one that it tells of: to be seen with small numbers only."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * (values.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt() * self.weight


class Centred(Norm):
    """Subtracts the mean."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return super().forward(values - values.mean(-1, keepdim=True))


class Demanding(Norm):
    """Wants a second tensor."""

    def forward(self, values: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:  # type: ignore[override]  # on purpose
        return super().forward(values) * gate


@pytest.mark.parametrize(("kind", "lean"), [(Norm, 1), (Other, 0), (Centred, 0), (Demanding, 0)])
def test_only_what_computes_the_same_is_replaced(kind: type[Norm], lean: int) -> None:
    layout = PackedWeights()
    fuse_layers(torch.nn.ModuleList([kind()]), layout)
    assert layout.lean == lean


def test_numbers_of_another_precision_go_the_modules_own_way() -> None:
    norm, layout = Norm(), PackedWeights()
    values = torch.randn(3, 16, dtype=torch.float64)
    expected = norm(values)
    fuse_layers(norm, layout)
    assert layout.lean == 1
    assert norm(values).dtype == torch.float64
    assert torch.equal(norm(values), expected)
    half = Norm().bfloat16()
    fuse_layers(half, layout)
    assert layout.lean == 1
