"""Who takes part in the benchmark on a GPU, each in a process of its own: ``python -m benchmarks.gpu_contenders``.

Every contender computes all rows twice. The first round pays for what is prepared on the way (graphs, kernels, caches),
as a run of evals does; the second does not.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers

from benchmarks.contenders.plain import batches, pad
from benchmarks.gpu_models import Setting, load, make_requests
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import ModelSpec
from pytest_evals.engines.transformers.encoding import encode
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.loading import LoadedModel, end_tokens
from pytest_evals.engines.transformers.selection import select_backend

CHECK_TOKENS = 64
"""Tokens of a checked row that are compared."""
ROUNDS = 2
CHECKS = ("check-fp32", "audit", "audit-exact")


@dataclass(slots=True)
class Outcome:
    """What one contender wrote: texts by row, tokens, and for checked rows the log-probability of each token."""

    texts: dict[str, str]
    tokens: int
    logprobs: dict[str, list[float]] | None = None


Work = Callable[[Sequence[Request]], Outcome]
"""Computes rows; with ``logprobs`` asked for, it tells them too."""


_WAYS: Mapping[str, Mapping[str, Any]] = {
    "kernel": {"attention": "kernel"},
    "operators": {"attention": "operators"},
    "exact": {"exact": True},
}
"""Ways of the engine that are not ways of decoding."""


def open_engine(loaded: LoadedModel, setting: Setting, way: str | None) -> TransformersEngine:
    """Return this project's engine. ``way``: one of `_WAYS` or a way of decoding, `None` as it chooses."""
    asked = _WAYS.get(way, {"decode": way}) if way else {}
    spec = ModelSpec("bench", "hf", "bench", None, {"loop": "packed"} if way else {})
    return TransformersEngine(loaded, select_backend(loaded, spec, {"batch": setting.batch, **asked}))


def engine_work(loaded: LoadedModel, setting: Setting, way: str | None) -> tuple[Work, list[str]]:
    """Return how this project's engine works, and its notes; ``way`` as for `open_engine`."""
    engine = open_engine(loaded, setting, way)

    def work(requests: Sequence[Request]) -> Outcome:
        results = [event for event in engine.generate(Inbox(requests, closed=True)) if isinstance(event, Result)]
        if failed := [result for result in results if result.error]:
            raise RuntimeError(f"{len(failed)} rows failed, the first because {failed[0].error}")
        found = {result.id: list(result.answer.logprobs) for result in results if result.answer.logprobs is not None}
        tokens = sum(result.answer.completion_tokens or 0 for result in results)
        return Outcome({result.id: result.answer.text for result in results}, tokens, found)

    return work, list(engine.info.notes)


def generate_work(loaded: LoadedModel, batch: int) -> Work:
    """Return how transformers' ``generate`` works in batches, sorted so that little is computed for nothing."""
    ends = end_tokens(loaded.model, loaded.tokenizer)

    @torch.inference_mode()
    def work(requests: Sequence[Request]) -> Outcome:
        outcome = Outcome({}, 0, {})
        prompts = [(request, encode(loaded.tokenizer, request.messages, {})) for request in requests]
        prompts.sort(key=lambda pair: (pair[0].params.max_new_tokens, len(pair[1])), reverse=True)
        for some in batches(prompts, batch):
            ids, mask = pad([prompt for _, prompt in some], 0, left=True)
            asked = some[0][0].params.logprobs
            output = loaded.model.generate(
                ids.to(loaded.device),
                attention_mask=mask.to(loaded.device),
                do_sample=False,
                max_new_tokens=some[0][0].params.max_new_tokens,
                pad_token_id=0,
                return_dict_in_generate=True,
                output_logits=asked,
            )
            rows = output.sequences[:, ids.shape[1] :]
            chosen = _logprobs(output.logits, rows).tolist() if asked else [None] * len(some)
            for (request, _), tokens, values in zip(some, rows.tolist(), chosen, strict=True):
                kept = _kept(tokens, request.params.max_new_tokens, ends)
                outcome.texts[request.id] = _text(loaded.tokenizer, kept, ends)
                outcome.tokens += len(kept)
                if values is not None and outcome.logprobs is not None:
                    outcome.logprobs[request.id] = values[: len(kept)]
        return outcome

    return work


def continuous_work(loaded: LoadedModel) -> Work:
    """Return how transformers' continuous batching works, with the size of its cache given on a CPU."""
    ends = end_tokens(loaded.model, loaded.tokenizer)
    sizes: dict[str, Any] = (
        {} if loaded.device.startswith("cuda") else {"page_size": 32, "num_blocks": 512, "max_batch_tokens": 512}
    )

    def work(requests: Sequence[Request]) -> Outcome:
        outcome = Outcome({}, 0)
        config = transformers.GenerationConfig(do_sample=False, eos_token_id=sorted(ends), pad_token_id=0)  # type: ignore[no-untyped-call]  # transformers annotates it not
        with loaded.model.continuous_batching_context_manager(
            generation_config=config, continuous_batching_config=transformers.ContinuousBatchingConfig(**sizes)
        ) as manager:
            for request in requests:
                ids = encode(loaded.tokenizer, request.messages, {})
                limit = request.params.max_new_tokens
                manager.add_request(ids, request_id=request.id, max_new_tokens=limit, eos_token_id=sorted(ends))
            while len(outcome.texts) < len(requests):
                result = manager.get_result(timeout=1)
                if result is None and not manager.is_running():
                    raise RuntimeError(f"continuous batching ended with {len(outcome.texts)} of {len(requests)} rows")
                if result is not None and result.is_finished():
                    if result.error is not None:
                        raise RuntimeError(f"{result.request_id}: {result.error}")
                    outcome.texts[result.request_id] = _text(loaded.tokenizer, result.generated_tokens, ends)
                    outcome.tokens += len(result.generated_tokens)
        return outcome

    return work


def _logprobs(logits: Sequence[torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
    """Return the log-probability of each token, ``[rows, tokens]``."""
    found = [step.float().log_softmax(-1).gather(1, rows[:, place : place + 1]) for place, step in enumerate(logits)]
    return torch.cat(found, dim=1)


def _kept(tokens: Sequence[int], limit: int, ends: frozenset[int]) -> list[int]:
    kept = list(tokens)[:limit]
    end = next((place for place, token in enumerate(kept) if token in ends), len(kept) - 1)
    return kept[: end + 1]


def _text(tokenizer: Any, tokens: Sequence[int], ends: frozenset[int]) -> str:
    kept = list(tokens[:-1] if tokens and tokens[-1] in ends else tokens)
    text: str = tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


# -- measuring


class Memory:
    """Memory in MB: of the device, where it is CUDA, else of the process."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._device = device

    def now(self) -> float:
        """What is in use, by whomever."""
        if self._cuda:
            free, total = torch.cuda.mem_get_info(self._device)
            return (total - free) / 1e6
        return float(psutil.Process().memory_info().rss) / 1e6

    def peak(self) -> float:
        """The most that this process reserved."""
        return torch.cuda.max_memory_reserved(self._device) / 1e6 if self._cuda else self.now()


# -- correctness


def check(name: str, setting: Setting) -> dict[str, Any]:
    """Return how many texts of how many rows changed, and which.

    ``check-fp32``: of the engine in fp32, against ``generate`` for one prompt at a time. ``audit``: of the engine in the setting's
    precision, against the same rows computed alone, as ``--evals-audit`` does; ``audit-exact``: the same with ``--evals-exact``.
    """
    loaded = load(setting, "fp32" if name == "check-fp32" else None)
    requests = make_requests(setting, loaded.model.config.get_text_config(decoder=True).vocab_size)
    some = requests[: setting.checked]
    if name == "check-fp32":
        expected = generate_work(loaded, 1)(some).texts
        work, notes = engine_work(loaded, setting, None)
        found = work(requests).texts
    else:
        engine = open_engine(loaded, setting, "exact" if name == "audit-exact" else None)
        alone = [replace(request, id=f"alone {request.id}", alone=True) for request in some]
        events = engine.generate(Inbox([*requests, *alone], closed=True))
        texts = {event.id: event.answer.text for event in events if isinstance(event, Result)}
        expected, found = {request.id: texts[f"alone {request.id}"] for request in some}, texts
        notes = list(engine.info.notes)
    changed = [request.id for request in some if found[request.id] != expected[request.id]]
    return {"contender": name, "checked": len(some), "changed": changed, "notes": notes}


def measure(name: str, setting: Setting) -> dict[str, Any]:
    """Load, compute, check and unload; return the numbers and the texts as plain data."""
    memory = Memory(setting.device)
    numbers = {"contender": name, **_measured(name, setting, memory)}
    gc.collect()
    if setting.device.startswith("cuda"):
        torch.cuda.empty_cache()
    numbers["memory"]["after"] = memory.now()
    return numbers


def _measured(name: str, setting: Setting, memory: Memory) -> dict[str, Any]:
    """Do it in a function of its own: when it returns, nothing holds the model."""
    before, started = memory.now(), time.perf_counter()
    loaded = load(setting, "fp32" if name == "reference" else None)
    work, notes = _work(name, loaded, setting)
    numbers: dict[str, Any] = {"load_seconds": time.perf_counter() - started, "notes": notes, "rounds": []}
    numbers["memory"] = {"before": before, "loaded": memory.now()}
    requests = make_requests(setting, loaded.model.config.get_text_config(decoder=True).vocab_size)
    if name != "reference":
        for _ in range(ROUNDS):
            with _timed() as timed:
                outcome = work(requests)
            numbers["rounds"].append({"seconds": timed[0], "tokens": outcome.tokens})
        numbers["memory"]["peak"] = memory.peak()
        numbers["texts"] = {request.id: outcome.texts[request.id] for request in requests[: setting.checked]}
    if name != "continuous":
        checked = work([_checked(request) for request in requests[: setting.checked]])
        numbers["checked"] = {"texts": checked.texts, "logprobs": checked.logprobs}
    return numbers


def _work(name: str, loaded: LoadedModel, setting: Setting) -> tuple[Work, list[str]]:
    family, _, detail = name.partition("-")
    if family == "evals":
        return engine_work(loaded, setting, detail or None)
    if family == "continuous":
        return continuous_work(loaded), []
    return generate_work(loaded, int(detail or 1)), []


def _checked(request: Request) -> Request:
    limit = min(request.params.max_new_tokens, CHECK_TOKENS)
    return replace(request, params=replace(request.params, max_new_tokens=limit, logprobs=True))


@contextmanager
def _timed() -> Iterator[list[float]]:
    """Yield a list that gets the seconds; results are on the host by then, so that nothing is still under way."""
    found: list[float] = []
    started = time.perf_counter()
    yield found
    found.append(time.perf_counter() - started)


def main() -> int:
    """Do what the file of the first argument orders, and write the numbers to that of the second."""
    order, outcome = map(Path, sys.argv[1:3])
    orders = json.loads(order.read_text(encoding="utf-8"))
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    name, setting = orders["contender"], Setting(**orders["setting"])
    numbers = (check if name in CHECKS else measure)(name, setting)
    outcome.write_text(json.dumps(numbers), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
