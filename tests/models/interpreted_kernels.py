"""Runs the Triton kernels in Triton's interpreter, which has to be chosen before Triton is imported: in a process of its own.

Prints JSON: what was found, by the name of what was tried.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch
import transformers

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.cuda import batch_invariance
from pytest_evals.engines.transformers.cuda.slot_attention import TritonAttention
from pytest_evals.engines.transformers.cuda.triton import overrides, rows
from pytest_evals.engines.transformers.cuda.triton.attention import attend_to_slots
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer, largest_difference
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams
from tests.models.test_triton import BATCHES, SHAPES

Tensor = torch.Tensor


def plain_attention(
    query: Tensor, keys: Tensor, values: Tensor, cells: Tensor, width: int, window: int, softcap: float
) -> tuple[Tensor, Tensor]:
    """The definition, token by token and head by head, in fp64."""
    tokens, heads, size = query.shape
    group = heads // keys.shape[1]
    outputs, sums = torch.zeros(tokens, heads, values.shape[3]).double(), torch.zeros(tokens, heads).double()
    for token in range(tokens):
        end = int(cells[token]) + 1
        seen = slice(max(0, end - window) if window else 0, end)
        for head in range(heads):
            place = token // width, head // group, seen
            scores = keys[place].double() @ query[token, head].double() * size**-0.5
            if softcap:
                scores = torch.tanh(scores / softcap) * softcap
            outputs[token, head], sums[token, head] = scores.softmax(0) @ values[place].double(), scores.logsumexp(0)
    return outputs, sums


def attention_differences() -> dict[str, list[float]]:
    found = {}
    for name, (size, group, lengths, window, softcap, width, dtype) in SHAPES.items():
        torch.manual_seed(0)
        slots = len(lengths)
        cells = torch.tensor([length - width + ahead for length in lengths for ahead in range(width)])
        query = torch.randn(slots * width, group, size).to(getattr(torch, dtype))
        keys, values = (torch.randn(slots, 1, max(lengths) + 7, size).to(query.dtype) for _ in range(2))
        # What lies behind a row's last cell must not be seen, whatever it is.
        for slot, length in enumerate(lengths):
            keys[slot, :, length:], values[slot, :, length:] = torch.nan, torch.nan
        numbers: dict[str, Any] = {"width": width, "window": window, "softcap": softcap}
        output, sums = attend_to_slots(query, keys, values, cells, max(lengths), scale=size**-0.5, **numbers)
        expected, expected_sums = plain_attention(query, keys, values, cells, **numbers)
        found[name] = [float((output - expected).abs().max()), float((sums - expected_sums).abs().max())]
    return found


def rows_apart() -> dict[str, list[bool]]:
    """Whether results of rows in batches of several sizes are those of the rows alone, to the last bit."""
    torch.manual_seed(0)
    most = max(BATCHES)
    values, weights = torch.randn(most, 300).bfloat16(), torch.randn(70, 300).bfloat16()
    query, keys, held = (torch.randn(most, heads, *rest, 16).bfloat16() for heads, *rest in ((4,), (1, 300), (1, 300)))
    cells = torch.tensor([(37 * index + 5) % 290 for index in range(most)])

    def attended(count: int) -> Tensor:
        longest = int(cells[:count].max()) + 1
        return attend_to_slots(query[:count], keys[:count], held[:count], cells[:count], longest, width=1, scale=0.25)[
            0
        ]

    def prompt(count: int) -> Tensor:
        """The last tokens of one row, which share tiles; each alone is what decoding computes."""
        ends = torch.arange(290 - most, 290)[most - count :]
        return attend_to_slots(query[most - count :], keys[:1], held[:1], ends, 290, width=count, scale=0.25)[0].flip(0)

    tried = {
        "product": lambda count: rows.multiply(values[None, :count], weights.t()[None])[0],
        "mean": lambda count: rows.sum_rows(values[:count], torch.float32, 1 / 300),
        "log softmax": lambda count: rows.normalise_rows(values[:count], rows.LOG_SOFTMAX, torch.float32),
        "attention": attended,
        "prompt": prompt,
    }
    found = {}
    for name, compute in tried.items():
        whole = compute(most)
        found[name] = [torch.equal(compute(count), whole[:count]) for count in BATCHES]
    return found


def operator_differences() -> dict[str, float]:
    """How far operators that were replaced are from torch's own, in fp32."""
    torch.manual_seed(0)
    values, weights, more = torch.randn(3, 1100), torch.randn(1100, 40) / 10, torch.randn(40)
    tried: dict[str, Any] = {
        "linear": lambda: torch.nn.functional.linear(values[None], weights.t(), more),
        "matmul": lambda: values @ weights,
        "bmm": lambda: values[:, None] @ weights.expand(3, -1, -1),
        "mean": lambda: values.mean(-1, keepdim=True),
        "sum of the first dimension": lambda: values[:, :9].sum(0),
        "sum of all": lambda: values.sum((0, 1)),
        "sum of whole numbers": lambda: (values > 0).sum(-1).float(),
        "softmax": lambda: values.softmax(-1),
        "softmax of the first dimension": lambda: values[:, :9].softmax(0),
        "log softmax": lambda: values.log_softmax(-1),
        "logsumexp": lambda: values.logsumexp(-1),
        "cumsum": lambda: values.softmax(-1).cumsum(-1),
        "no rows": lambda: torch.cat([values[:0].mean(-1), values[:0].softmax(-1).flatten(), torch.zeros(1)]),
    }
    expected = {name: compute() for name, compute in tried.items()}
    overrides.override_operators("CPU")
    found = {name: compute() for name, compute in tried.items()}
    overrides.restore_operators()
    return {
        name: float((found[name] - expected[name]).abs().max()) if found[name].shape == expected[name].shape else 1e9
        for name in tried
    }


def short_rows(_vocabulary: int) -> list[TokenSequence]:
    params = GenerationParams(max_new_tokens=2)
    prompts = [*range(18)], [5]
    return [
        TokenSequence(Request(str(each), "", (), params), each, NullTokenizer(), frozenset())
        for each in map(list, prompts)
    ]


def model_checks() -> dict[str, Any]:
    """A whole model: its logits with the kernel, and whether rows depend on each other before and after operators are replaced."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(20)
    runner = ModelRunner(model, "cpu", 1)
    vars(batch_invariance)["rehearsed_rows"] = short_rows  # fewer tokens: the interpreter is slow
    runner.kernel = TritonAttention()
    found: dict[str, Any] = {"difference": largest_difference(model, runner, 32)}
    vars(batch_invariance)["largest_difference"] = lambda *_: 0.0  # as above: once is enough
    runner.kernel = batch_invariance.fix_order("CPU")
    found["fixed"] = checked(runner, model)
    overrides.restore_operators()
    product = rows.multiply

    def in_halves(left: Tensor, right: Tensor, *more: Any) -> Tensor:
        """As a library that cuts the sums of few rows in parts."""
        half = left.shape[2] // 2 if left.shape[1] < 3 else left.shape[2]
        return product(left[..., :half], right[:, :half], *more) + product(left[..., half:], right[:, half:])

    vars(overrides)["multiply"] = in_halves
    overrides.override_operators("CPU")
    found["in parts"] = checked(runner, model)
    return found


def checked(runner: ModelRunner, model: Any) -> str:
    try:
        batch_invariance.check_invariance(runner, model)
    except ModelError as error:
        return str(error)
    return ""


def main() -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        found = {
            "attention": attention_differences(),
            "rows": rows_apart(),
            "operators": operator_differences(),
            "model": model_checks(),
        }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
