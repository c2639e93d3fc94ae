"""The likeliest token without all logits: a product in int8 leaves a few tokens that may be it, and these are computed.

The output layer is a fifth of the work of a small model, and of its result a greedy row wants only the place of the largest
number. Rounded to 8 bits, hidden state and weights are multiplied several times as fast, and how far off a rounded product
may be is known: for ``h = h' + e`` and ``w = w' + f`` the Cauchy-Schwarz inequality gives
``|h.w - h'.w'| <= |h| |f| + |e| |w'|``. Tokens that may exceed the least that the best one must have are the shortlist;
their logits are computed in fp32, so the token is the one that all logits would give.

Dettmers et al., "LLM.int8()" (NeurIPS 2022) and Xiao et al., "SmoothQuant" (ICML 2023) round activations of a language
model in this way, the second with the scales of inputs that are used here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from pytest_evals.engines.transformers.cpu.linear import is_plain
from pytest_evals.engines.transformers.cpu.tuning import least_seconds
from pytest_evals.engines.transformers.sequence import TokenSequence

_SAMPLES = 64
_LEAST = 1e-6
"""Inputs that are always 0 have no scale."""
_CHUNK = 8192
"""Tokens whose weights are rounded at a time, to need little memory beside the result."""
_LEAST_GAIN = 1.2
_MOST = 127
_ZERO = 128
"""Numbers from -127 to 127 are stored from 1 to 255: the fast kernels take unsigned inputs."""

Tensor = torch.Tensor


class Int8ArgmaxHead:
    """Finds the likeliest token of hidden states, in the place of the output layer ``head``, while it is `on`.

    ``sample`` are some hidden states, ``[samples, hidden]``, from which the scales of inputs are made. What the layer
    returns is then the largest logit of each token as its only one, and ``tokens`` says whose it is.
    """

    def __init__(self, head: torch.nn.Linear, sample: Tensor, threads: int) -> None:
        from pytest_evals.engines.transformers.cpu.numba.layers import likeliest  # numba need not be there

        self.tokens: Tensor = torch.empty(0, dtype=torch.long)
        self._likeliest = likeliest
        self._threads = threads
        self._active = False
        self._head: Callable[[Tensor], Tensor] = head.forward
        self._weight = head.weight.detach().contiguous()
        self._bias = torch.zeros(head.out_features) if head.bias is None else head.bias.detach()
        self._scale = _balance(self._weight, sample)
        rounded, self._steps, self._errors, self._norms = _rounded(self._weight, self._scale)
        self._zeros = torch.zeros(head.out_features, dtype=torch.int32)
        self._packed = torch.ops.onednn.qlinear_prepack(rounded, None)

    def find(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the largest logit and its token for each of ``[tokens, hidden]``; a logit is NaN where numbers are none."""
        scaled = hidden * self._scale
        steps = scaled.abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / _MOST
        numbers = (scaled / steps).round_()
        sizes = [torch.linalg.vector_norm(each, dim=-1) for each in (scaled, scaled - numbers * steps)]
        rough = self._multiply((numbers + _ZERO).to(torch.uint8))
        values, tokens = torch.empty(len(hidden)), torch.empty(len(hidden), dtype=torch.long)
        of_rows, of_tokens = torch.stack([steps[:, 0], *sizes]), torch.stack([self._errors, self._norms, self._bias])
        tensors = values, tokens, rough, of_rows, of_tokens, hidden.contiguous(), self._weight
        self._likeliest(self._threads, (len(hidden), *self._weight.shape), tensors)
        return values, tokens

    def _multiply(self, numbers: Tensor) -> Tensor:
        """Return the product in units of the rows' steps, ``[tokens, vocabulary]``."""
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            numbers, 1.0, _ZERO, self._packed, self._steps, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return result

    def is_faster(self, sample: Tensor, rows: int) -> bool:
        """Tell whether this is clearly faster than the layer, for one token of ``sample`` and for ``rows`` of them."""
        for count in (1, rows):
            hidden = sample.repeat(-(-count // len(sample)), 1)[:count]
            mine, usual = (least_seconds(partial(compute, hidden)) for compute in (self.find, self._head))
            if mine * _LEAST_GAIN > usual:
                return False
        return True

    def stand_in(self, head: torch.nn.Linear) -> None:
        """Let ``head`` compute in this way while it is `on`."""

        def forward(input: Tensor) -> Tensor:  # noqa: A002 - the name that torch.nn.Linear gives it
            if not self._active:
                return self._head(input)
            values, self.tokens = self.find(input.reshape(-1, input.shape[-1]))
            return values.view(*input.shape[:-1], 1)

        head.forward = forward  # type: ignore[method-assign]  # one layer's own; its class stays as it is

    @contextmanager
    def on(self) -> Iterator[None]:
        """Compute in this way for a while."""
        self._active = True
        try:
            yield
        finally:
            self._active = False


class HeadTokens:
    """Takes for the next tokens what a shortlist found; see `Chooser`."""

    @staticmethod
    def choose(logits: Tensor, rows: Sequence[TokenSequence]) -> list[tuple[int, float | None]]:
        """Return the token of each row: ``logits`` ``[rows, 1]`` are the tokens themselves."""
        del rows
        return [(token, None) for token in logits[:, 0].tolist()]


@torch.inference_mode()
def make_shortlist(
    model: Any, rows: int, threads: int, recall: Callable[[Callable[[], bool]], bool] = lambda find: find()
) -> Int8ArgmaxHead | None:
    """Return a shortlist to replace the model's output layer, if one can be made and is faster.

    The model must compute with its own attention. ``recall`` is called with what finds out whether it is faster, and may already know.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or not is_plain(head.weight) or head.weight.dtype != torch.float32:
        return None
    try:
        sample = _sample(model, head)
        shortlist = Int8ArgmaxHead(head, sample, threads)
        if not recall(lambda: shortlist.is_faster(sample, rows)):
            return None
    except (RuntimeError, AttributeError, ImportError):
        # Not every build of torch has these operators, not every machine numba.
        return None
    shortlist.stand_in(head)
    return shortlist


def _sample(model: Any, head: torch.nn.Linear) -> Tensor:
    """Return hidden states, as the output layer gets them, of tokens drawn at random."""
    seen: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        generator = torch.Generator().manual_seed(0)
        model(input_ids=torch.randint(head.out_features, (1, _SAMPLES), generator=generator))
    finally:
        hook.remove()
    return seen[0].flatten(0, -2)


def _balance(weight: Tensor, sample: Tensor) -> Tensor:
    """Return by what inputs are multiplied, and columns of the weight divided, so that both can be rounded alike."""
    largest = [each.abs().amax(dim=0).clamp(min=_LEAST) for each in (weight, sample)]
    return (largest[0] / largest[1]).sqrt()


def _rounded(weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the scaled weight in 8 bits, the step of each token, and the lengths of what was lost and of what is left."""
    parts = []
    for rows in torch.split(weight, _CHUNK):
        scaled = rows / scale
        steps = scaled.abs().amax(dim=1).clamp_(min=torch.finfo(torch.float32).tiny) / _MOST
        numbers = (scaled / steps.unsqueeze(1)).round_()
        kept = numbers * steps.unsqueeze(1)
        lengths = torch.linalg.vector_norm(scaled - kept, dim=1), torch.linalg.vector_norm(kept, dim=1)
        parts.append((numbers.to(torch.int8), steps, *lengths))
    numbers, steps, errors, norms = (torch.cat(each) for each in zip(*parts, strict=True))
    return numbers, steps, errors, norms
