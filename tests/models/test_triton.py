"""The Triton kernels, run in Triton's interpreter on a CPU; and when they are used."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
import transformers

from pytest_evals.engines.transformers.cuda import setup, slot_attention
from pytest_evals.engines.transformers.cuda.graphs import EagerCapture
from pytest_evals.engines.transformers.cuda.slot_attention import KERNEL_NOTE, use_kernel
from pytest_evals.engines.transformers.device import choose_exact_dtype
from pytest_evals.engines.transformers.packed.attention import Layer
from pytest_evals.engines.transformers.packed.kernels import plain
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner
from pytest_evals.errors import ModelError

from .conftest import FAMILIES

BATCHES = (1, 2, 7, 16)
# Size of a head, query heads of a key head, lengths of rows, window, softcap, tokens of each row, dtype.
SHAPES: dict[str, tuple[int, int, tuple[int, ...], int, float, int, str]] = {
    "one token": (64, 1, (1,), 0, 0.0, 1, "float32"),
    "grouped": (64, 4, (1, 300, 33), 0, 0.0, 1, "float32"),
    "three parts and a bit": (64, 3, (1000, 769, 768), 0, 0.0, 1, "float32"),
    "eight heads": (80, 8, (257, 256, 255), 0, 0.0, 1, "float32"),
    "odd size": (96, 3, (64, 65, 63), 0, 0.0, 1, "bfloat16"),
    "large": (128, 4, (200, 5), 0, 0.0, 1, "bfloat16"),
    "largest": (256, 1, (70, 100), 0, 0.0, 1, "float16"),
    "small": (8, 2, (40, 3), 0, 0.0, 1, "float32"),
    "window": (64, 4, (600, 10, 100), 100, 0.0, 1, "float32"),
    "window of one part and a bit": (64, 1, (900, 300), 300, 0.0, 1, "bfloat16"),
    "window of one": (64, 2, (300, 1), 1, 0.0, 1, "float32"),
    "softcap": (256, 2, (90, 40), 32, 30.0, 1, "float32"),
    "several tokens a row": (64, 3, (300, 258), 0, 0.0, 4, "float32"),
    "a prompt": (64, 3, (270,), 0, 0.0, 40, "float32"),
    "a prompt with a window": (64, 4, (270,), 16, 0.0, 40, "float32"),
    "a prompt of many heads": (16, 20, (70,), 0, 0.0, 3, "float32"),
}
CLOSE = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 2e-2}


@pytest.fixture(scope="module")
def interpreted() -> Any:
    """What came out in the interpreter, computed once for all tests."""
    pytest.importorskip("triton", reason="Triton has no wheels for this system")
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.interpreted_kernels"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("shape", list(SHAPES))
def test_attention_over_slots_is_that_of_its_definition(interpreted: Any, shape: str) -> None:
    output, sums = interpreted["attention"][shape]
    assert output < CLOSE[SHAPES[shape][-1]]
    assert sums < 5e-6


@pytest.mark.parametrize("what", ["product", "mean", "log softmax", "attention", "prompt"])
def test_a_row_is_the_same_to_the_last_bit_in_batches_of_1_2_7_and_16(interpreted: Any, what: str) -> None:
    assert interpreted["rows"][what] == [True] * len(BATCHES)


def test_replaced_operators_give_what_torchs_own_give(interpreted: Any) -> None:
    assert {name for name, difference in interpreted["operators"].items() if difference > 5e-5} == set()
    assert len(interpreted["operators"]) == 13


def test_a_model_gives_a_row_the_same_logits_to_the_last_bit_and_one_that_does_not_is_refused(interpreted: Any) -> None:
    found = interpreted["model"]
    assert found["difference"] < 0.05
    assert found["fixed"] == ""
    assert "logits of this model depend on the rows beside it" in found["in parts"]


# -- when they are used


class ByDefinition:
    """In the place of the kernel: the same, by operators."""

    everything = False

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def attend(
        self, query: Any, keys: Any, values: Any, last_cells: Any, longest: int, width: int, scale: float, *more: Any
    ) -> Any:
        del longest, more
        rows, (tokens, heads, size) = len(query) // width, query.shape
        keys, values = keys[:rows].repeat_interleave(width, 0), values[:rows].repeat_interleave(width, 0)
        hidden = torch.arange(keys.shape[2]) > last_cells[:, None, None, None]
        mask = torch.zeros(hidden.shape).masked_fill(hidden, -1e30)
        output, sums = plain(query.view(tokens, keys.shape[1], -1, size), keys, values, mask, scale, None)
        return output.reshape(query.shape) * self.factor, sums.reshape(tokens, heads)


def tiny_runner() -> tuple[Any, ModelRunner]:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(FAMILIES["llama"]()).eval()
    return model, ModelRunner(model, "cpu", 1)


def broken() -> Any:
    raise RuntimeError("no kernel image is available\nfor this GPU")


@pytest.mark.parametrize(
    ("make", "faster", "note"),
    [
        (ByDefinition, True, KERNEL_NOTE),
        (ByDefinition, False, "decodes without the Triton kernel for attention: torch's operators are faster"),
        (
            lambda: ByDefinition(1.2),
            True,
            "decodes without the Triton kernel for attention: its logits would differ by",
        ),
        (broken, True, "decodes without the Triton kernel for attention: RuntimeError: no kernel image is available"),
    ],
)
def test_the_kernel_is_used_where_logits_come_out_and_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, make: Any, faster: bool, note: str
) -> None:
    monkeypatch.setattr(slot_attention, "_is_faster", lambda *_: faster)
    model, runner = tiny_runner()
    (found,) = use_kernel(runner, model, "cpu", make=make)
    assert found.startswith(note)
    assert (runner.kernel is not None) == (note == KERNEL_NOTE)
    assert runner.slots.nbytes == 0


class Uncapturable(EagerCapture):
    """A device whose steps fail while a kernel attends."""

    def capture(self, compute: Any) -> Any:
        del compute
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_kernel_with_which_steps_cannot_be_prepared_gives_way_to_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    model, runner = tiny_runner()

    def make(_device: str) -> EagerCapture:
        return Uncapturable() if runner.kernel is not None else EagerCapture()

    monkeypatch.setattr(slot_attention, "_is_faster", lambda *_: True)
    monkeypatch.setattr(setup, "use_kernel", lambda *_, **__: use_kernel(runner, model, "cpu", make=ByDefinition))
    monkeypatch.setattr(setup, "DECODE_MODES", {"graphs": [("CUDA graphs", make)], "plain": ()})
    (note,) = setup.prepare_decoding(runner, model, "cuda:0", "graphs", None)
    assert note.startswith(
        "decodes without the Triton kernel for attention: with it, it decodes without CUDA graphs: Runtime"
    )
    assert runner.kernel is None
    assert runner.decoder is not None
    runner.decode_with(None)
    assert setup.prepare_decoding(runner, model, "cuda:0", "plain", None) == [KERNEL_NOTE]
    runner.kernel = None
    assert setup.prepare_decoding(runner, model, "cpu", "plain", None) == []
    assert runner.kernel is None


def test_kernel_and_operators_are_compared_on_one_layers_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_attention, "_SAMPLE", (2, 16))
    chosen: list[bool] = []
    attend = Layer.attend

    def noted(self: Layer, *tensors: Any) -> torch.Tensor:
        chosen.append(self.step.kernel is not None)
        return attend(self, *tensors)

    monkeypatch.setattr(Layer, "attend", noted)
    model, _ = tiny_runner()
    slot_attention._is_faster(ByDefinition(), model.config, "cpu", torch.float32)
    assert set(chosen) == {True, False}


def test_exact_is_fp32_or_bf16_by_name_on_cuda() -> None:
    assert choose_exact_dtype("auto", "cuda:1") == choose_exact_dtype("fp32", "cpu") == "float32"
    assert choose_exact_dtype("bf16", "cuda") == "bfloat16"
    for wish, device in (("bf16", "cpu"), ("bf16", "mps"), ("fp16", "cuda"), ("fp16", "cpu")):
        with pytest.raises(ModelError, match=f"--evals-exact computes in fp32.*dtype={wish} cannot be combined"):
            choose_exact_dtype(wish, device)
