"""Which way a model is run: found out when it is loaded, so that every model is run rightly and most of them fast."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import psutil
import torch

from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers import tensor_parallel
from pytest_evals.engines.transformers.backends.by_length import ByLength
from pytest_evals.engines.transformers.backends.generate import GenerateBackend
from pytest_evals.engines.transformers.backends.media import MediaBackend, PackedMedia
from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.backends.protocol import AnySequence, Backend
from pytest_evals.engines.transformers.backends.reference import ReferenceBackend
from pytest_evals.engines.transformers.backends.stateful import StatefulBackend
from pytest_evals.engines.transformers.cpu.linear import PackedWeights, lay_out
from pytest_evals.engines.transformers.cpu.setup import speed_up
from pytest_evals.engines.transformers.cuda.batch_invariance import alone_backend, fix_order
from pytest_evals.engines.transformers.cuda.setup import BlockBackend, prepare_decoding, tally_of
from pytest_evals.engines.transformers.deferred_tuning import DeferredTuning
from pytest_evals.engines.transformers.device import choose_budget, settle_on, shape_of, table_room
from pytest_evals.engines.transformers.kept_checks import KeptChecks
from pytest_evals.engines.transformers.loading import LoadedModel
from pytest_evals.engines.transformers.multimodal import MediaEncoder
from pytest_evals.engines.transformers.packed.kernels import SlotAttention
from pytest_evals.engines.transformers.packed.media_embeddings import MediaEmbeddings, media_difference
from pytest_evals.engines.transformers.packed.model_runner import ModelRunner, attention_of, use_attention
from pytest_evals.engines.transformers.packed.speculation import PromptLookup
from pytest_evals.engines.transformers.row_independence import batching_of, packed_limit, shares_in_flight
from pytest_evals.engines.transformers.sampler import Sampler
from pytest_evals.engines.transformers.scheduling.plan import BatchLimits
from pytest_evals.engines.transformers.scheduling.scheduler import Scheduler
from pytest_evals.engines.transformers.thresholds import certain_limit
from pytest_evals.engines.transformers.usage import UsageMeter
from pytest_evals.engines.transformers.verification import TOLERANCE, largest_difference
from pytest_evals.engines.transformers.weights import mixes_rows
from pytest_evals.errors import ModelError

_LEAST_BYTES = 1 << 27
"""Weights of a model for which loops are compiled: that takes seconds the first time, which a small one does not earn."""
_ANY = -1
"""No length is too long."""
_IN_FLIGHT: Mapping[bool | None, str] = {True: "with shared beginnings", False: "each by itself", None: "no"}
"""How rows may come and go between tokens."""
_ONE = BatchLimits(1, 1)
_LAYOUT_SHARE = 0.25
"""Share of the free memory that packed copies of the weights may take."""


CPU_PARTS = ("linear", "fused", "attention", "head", "lookup", "retention")
"""What the packed backend adds on a CPU, each apart: packed weights of linear layers, fused layers, compiled attention, the 8-bit
head, guessed tokens, and what finished sequences leave for those that go on from them.
"""


@dataclass(slots=True)
class Backends:
    """How one model is run: the loop for most requests first, the one for those that want to be alone last."""

    name: str
    loops: list[Backend]
    budget: BatchLimits
    meter: UsageMeter
    notes: list[str] = field(default_factory=list)
    tuning: DeferredTuning | None = None
    """What would make it faster, and is worth it only for more than a few requests."""
    media: MediaBackend | None = None
    """The loop for requests with images or audio; `None` for a model that reads texts only."""
    limit: int | None = None
    """Rows that may come to more tokens than this are computed with care: beyond it the model computes in another way."""


def select_backend(
    loaded: LoadedModel,
    spec: ModelSpec,
    options: Mapping[str, Any],
    meter: UsageMeter | None = None,
    checks: KeptChecks | None = None,
    *,
    deferred: bool = False,
) -> Backends:
    """Choose the fastest way of running the model that gives its own logits. Raises `ModelError` for a refused wish.

    What it takes is added to ``meter``, if there is one already. ``checks`` are what is known of the model. With ``deferred``, what
    takes a while to set up is left to `Backends.tuning`.

    For measurements and tests, ``options`` may say how to ``decode``, a key of `DECODE_MODES`, what computes ``attention`` of tokens to
    slots (``operators``, or the Triton ``kernel``, without asking which is faster), whether loops are ``compiled``, and ``without`` which of
    `CPU_PARTS` to run.
    """
    checks = KeptChecks() if checks is None else checks
    wish = spec.options.get("loop", "auto")
    on_cuda = loaded.device.startswith("cuda")
    if on_cuda:
        settle_on(loaded.device, loaded.dtype)
    meter = meter or UsageMeter(loaded.device)
    meter.usage.weights_bytes = sum(parameter.nbytes for parameter in loaded.model.parameters())
    invariant = _invariant(loaded, options)
    alone = mixes_rows(loaded.model)
    runner, limit, why_not = None, None, alone or "asked for with ?loop=generate"
    if wish != "generate" and not alone:
        runner, limit, why_not = _packed_runner(loaded, checks)
    if runner is None and alone is None and getattr(loaded.model, "hf_quantizer", None) is not None:
        # Their kernels may round a row otherwise beside others: where packing showed it, and where it was not tried.
        alone = f"{why_not}, and quantised layers may compute a prompt otherwise beside others"
    if runner is None and wish == "packed":
        raise ModelError(f"model {spec.text!r} cannot be run with loop={wish}: {why_not}")
    _check_invariant(spec, invariant, None if runner else why_not)
    notes = []
    if runner is not None:
        mode = str(options.get("decode", "graphs" if on_cuda and loaded.ranks == 1 else "plain"))
        notes += prepare_decoding(
            runner, loaded.model, loaded.device, mode, invariant, str(options.get("attention", "auto"))
        )
    batch = str(spec.options.get("batch", options["batch"]))
    shape = shape_of(loaded.model.config.get_text_config(decoder=True), loaded.model.dtype.itemsize)
    budget = choose_budget(
        batch, loaded.device, free=_own_share(loaded, options), shape=shape, packed=runner is not None
    )
    if loaded.ranks > 1:
        # Every rank must make the same plans.
        budget = BatchLimits(**tensor_parallel.shared(dataclasses.asdict(budget)))
    if runner is None:
        backends = _generating(
            loaded,
            Backends("generate", [], budget, meter),
            alone or why_not,
            checks,
            exact=bool(options.get("exact") or alone),
            in_flight=wish != "generate",
        )
    else:
        backends = _packing(loaded, runner, Backends("packed", [], budget, meter, notes, limit=limit), options)
        _speed_up_on_cpu(loaded, runner, backends, options, checks)
        # What reads media was written for layers as they are then.
        if backends.tuning is not None and (loaded.processor.kinds or not deferred):
            backends.tuning.run()
    if loaded.processor.kinds:
        backends.media = _media_backend(loaded, runner, backends, options)
    return backends


def _media_backend(
    loaded: LoadedModel, runner: ModelRunner | None, backends: Backends, options: Mapping[str, Any]
) -> MediaBackend:
    """Return the loop for requests with images or audio."""
    reference, exact = backends.loops[-1], bool(options.get("exact"))
    encoder = MediaEncoder(loaded.processor)
    plainly: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    if isinstance(reference, ReferenceBackend):
        plainly = reference.plainly
    elif runner is not None:
        plainly = runner.detached
    packed = None
    if (
        runner is not None
        and isinstance(reference, ReferenceBackend)
        and not exact
        and backends.limit is None
        and "media" not in options.get("without", ())
    ):
        packed = _packed_media(loaded, runner, backends, encoder, reference)
    return MediaBackend(
        loaded.model,
        # Where a length decides what is computed, no other row may add to it.
        dataclasses.replace(backends.budget, rows=1) if exact or backends.limit is not None else backends.budget,
        backends.meter,
        loaded.device,
        encoder=encoder,
        plainly=plainly,
        packed=packed,
    )


def _packed_media(
    loaded: LoadedModel, runner: ModelRunner, backends: Backends, encoder: MediaEncoder, reference: ReferenceBackend
) -> PackedMedia | None:
    """Return the packed loop for rows with media, where it gives the model's own logits for a prompt with one."""
    # Captured steps, and other processes that hold a part of the model, know nothing of ids beyond the vocabulary.
    if runner.decoder is not None or loaded.ranks > 1:
        return None
    embeddings = MediaEmbeddings(loaded.model, reference.plainly)
    try:
        difference = media_difference(loaded.model, runner, encoder, embeddings, loaded.tokenizer)
    except Exception:  # noqa: BLE001 - a model's own code and its processor may do anything with what they do not expect
        runner.clear()
        difference = float("inf")
    # Stricter than elsewhere: what differs for a small picture may differ more for a large one.
    if difference > TOLERANCE.get(loaded.model.dtype, 1e-3) / 10:
        embeddings.remove()
        return None
    return PackedMedia(backends.loops[0], embeddings, backends.budget.rows)


def _packing(loaded: LoadedModel, runner: ModelRunner, backends: Backends, options: Mapping[str, Any]) -> Backends:
    """Return the backends of a model that can be packed; what is known of it is in ``backends``."""
    budget, meter, without = backends.budget, backends.meter, frozenset(options.get("without", ()))
    if runner.decoder is not None:
        runner.slots.room = table_room(budget)
        runner.decoder.tally = tally_of(meter)
    elif loaded.device == "cpu" and "lookup" not in without:
        runner.guesser = PromptLookup(meter.guessed)
    reference = ReferenceBackend(loaded.model, runner, PackedWeights(), meter, loaded.device)
    # In an order of additions that rows alone decide, a row computed alone has the same near-ties.
    invariant = runner.kernel if runner.kernel is not None and runner.kernel.everything else None
    sampler = Sampler(reference if options.get("exact") and invariant is None else None)
    runner.use(tensor_parallel.SharedSampler(sampler) if loaded.ranks > 1 else sampler)
    kept_in = None if "retention" in without else runner.slots
    scheduler: Scheduler[AnySequence] = Scheduler(budget, kept_in)
    usual_loop: Backend = (BlockBackend if runner.decoder else PackedBackend)(scheduler, runner, meter, loaded.device)
    if backends.limit is not None:
        # Its own queue: `reference` is for requests that want to be alone.
        beyond = ReferenceBackend(loaded.model, runner, reference.layout, meter, loaded.device)
        usual_loop = ByLength(usual_loop, beyond, backends.limit)
        backends.notes.append(
            f"prompts that may come to more than {backends.limit} tokens with their answers run through transformers' generate, one at "
            "a time: beyond that length the model computes in another way"
        )
    backends.loops = [usual_loop, reference if invariant is None else alone_backend(loaded, invariant, budget, meter)]
    return backends


def _check_invariant(spec: ModelSpec, invariant: SlotAttention | None, why_not: str | None) -> None:
    """Raise `ModelError` where a model is asked to be exact in bf16 and cannot be packed."""
    if invariant is not None and why_not is not None:
        raise ModelError(
            f"model {spec.text!r}: --evals-exact in bf16 needs the packed way of running, and {why_not}; without dtype=bf16 it computes "
            "in fp32"
        )


def _invariant(loaded: LoadedModel, options: Mapping[str, Any]) -> SlotAttention | None:
    """Have rows computed in an order of their own where exactness is asked for in bf16; return the attention that does."""
    if not options.get("exact") or loaded.model.dtype != torch.bfloat16:
        return None
    if loaded.ranks > 1:
        raise ModelError(
            "--evals-exact in bf16 cannot be combined with ?tp=: sums over ranks have an order of their own"
        )
    return fix_order("CUDA" if loaded.device.startswith("cuda") else loaded.device.upper())


def _speed_up_on_cpu(
    loaded: LoadedModel, runner: ModelRunner, backends: Backends, options: Mapping[str, Any], checks: KeptChecks
) -> None:
    """Put what makes a packed model faster on a CPU into ``backends.tuning``."""
    reference = backends.loops[-1]
    if loaded.device != "cpu" or loaded.ranks > 1 or not isinstance(reference, ReferenceBackend):
        return
    rows, without = backends.budget.rows, frozenset(options.get("without", ()))
    wanted = bool(options.get("compiled", backends.meter.usage.weights_bytes >= _LEAST_BYTES))

    def tune() -> None:
        with runner.detached():
            # With slots of its own: rows may be under way.
            trial = ModelRunner(loaded.model, loaded.device, 1)
            if "linear" not in without:
                with trial.detached():
                    room = int(_own_share(loaded, options) * _LAYOUT_SHARE)
                    lay_out(loaded.model, rows, room, reference.layout, partial(_recall_name, checks))
            speed_up(trial, loaded.model, reference.layout, rows, compiled=wanted, without=without, checks=checks)
        runner.threads, runner.shortlist = trial.threads, trial.shortlist
        usage = backends.meter.usage
        usage.chosen_packed_layers = sum(reference.layout.packed.values())
        usage.chosen_fused_parts = reference.layout.lean
        usage.chosen_loops, usage.chosen_short_head = int(runner.threads is not None), int(runner.shortlist is not None)
        checks.keep()

    backends.tuning = DeferredTuning(tune, backends.meter)


def _recall_name(checks: KeptChecks, name: str, find: Callable[[], str]) -> str:
    return checks.recall(name, str, find, timed=True)


def _generating(
    loaded: LoadedModel, backends: Backends, why_not: str, checks: KeptChecks, *, exact: bool, in_flight: bool
) -> Backends:
    """Return the backends of a model that cannot be packed; what is known of it is in ``backends``. ``exact``: as if nothing else
    were computed. ``in_flight``: rows may come and go between tokens, where the model allows it.
    """
    budget, meter = backends.budget, backends.meter
    alone = GenerateBackend(loaded.model, _ONE, meter, loaded.device, pads=False)
    if exact:
        note = f"runs through transformers' generate, one prompt at a time for exactness: {why_not}"
        single = dataclasses.replace(budget, rows=1)
        return Backends("generate", [alone], single, meter, [note], limit=certain_limit(loaded.model))
    together, pads, limit = checks.recall("batching", list, lambda: list(batching_of(loaded.model)))
    if in_flight and together and limit is None:
        found = checks.recall("in flight", str, lambda: _IN_FLIGHT[shares_in_flight(loaded)])
        if found != _IN_FLIGHT[None]:
            shares = found == _IN_FLIGHT[True]
            stateful = StatefulBackend(loaded.model, budget, meter, loaded.device, scoring=alone, shares=shares)
            note = f"runs in flight over transformers' own cache: {why_not}"
            # `alone` is asked for one row at a time by two sides: each needs a queue of its own.
            apart = GenerateBackend(loaded.model, _ONE, meter, loaded.device, pads=False)
            return Backends("stateful", [stateful, apart], budget, meter, [note])
    usual = GenerateBackend(
        loaded.model, budget if together else _ONE, meter, loaded.device, pads=pads and together, limit=limit
    )
    kind = "padded batches" if pads else "batches of prompts of one length"
    if limit is not None:
        kind += f", those of more than {limit} tokens one at a time"
    if not together:
        kind, budget = "batches of one prompt, because others in a batch would change its logits", _ONE
    note = f"runs through transformers' generate in {kind}: {why_not}"
    return Backends("generate", [usual, alone], budget, meter, [note], limit=limit)


def _packed_runner(loaded: LoadedModel, checks: KeptChecks) -> tuple[ModelRunner | None, int | None, str]:
    """Return a runner that computes what the model computes, and up to which length if not any; or why there is none."""
    model = loaded.model
    config = model.config
    if config.is_encoder_decoder:
        return None, None, "it is an encoder-decoder"
    if getattr(model, "_is_stateful", False):
        return None, None, "it keeps a state instead of keys and values"
    text = config.get_text_config(decoder=True)
    kinds = set(getattr(text, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return None, None, f"it has layers of {', '.join(sorted(kinds))}"
    before = attention_of(model)
    try:
        runner = ModelRunner(model, loaded.device, 1)
        difference = checks.recall(
            "difference of logits", float, lambda: largest_difference(model, runner, text.vocab_size)
        )
        if difference <= TOLERANCE.get(model.dtype, 1e-3):
            limit = checks.recall("length", int, lambda: packed_limit(model, runner, text.vocab_size) or _ANY)
            return runner, None if limit == _ANY else limit, ""
        reason = f"its logits would differ by {difference:.1%}"
    except Exception as error:  # noqa: BLE001 - a model's own code may do anything with attention that it does not know
        reason = f"its attention cannot be plugged in ({type(error).__name__}: {error})"
    use_attention(before)
    return None, None, reason


def _own_share(loaded: LoadedModel, options: Mapping[str, Any]) -> int:
    """Return the free bytes that this process may use; replicas on a CPU divide them."""
    return free_memory(loaded.device) // (int(options.get("replicas", 1)) if loaded.device == "cpu" else 1)


def free_memory(device: str) -> int:
    """Return the bytes that are free on the device now."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
