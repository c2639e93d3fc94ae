"""One type of model through the engine and through ``generate`` one prompt at a time, token for token."""

from __future__ import annotations

import dataclasses
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import transformers.models.llama.modeling_llama  # for processes that are forked: most models share what it imports

from benchmarks.tiny_models import KINDS, config_class_of, make_tokenizer, shrunk
from pytest_evals.completion import Completion
from pytest_evals.engines.protocol import Inbox, Request, Result
from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers.backends.by_length import ByLength
from pytest_evals.engines.transformers.backends.packed import PackedBackend
from pytest_evals.engines.transformers.engine import TransformersEngine, load
from pytest_evals.errors import ModelError
from pytest_evals.generation import GenerationParams

NEW_TOKENS = 16
SCALE = 3.0
"""Weights are this many times larger than a new model's: logits differ clearly."""
SEEDS = (0, 1, 2, 3)
MARGIN = 2e-5
"""Two logits that are closer, as a share of the largest, may change places by rounding: then another seed is taken."""
SHARED = "Answer briefly, zebra. France: Paris. Spain: Madrid. "
TEXTS = (
    "hi",
    "abcdefgh ijkl mnop",
    "zq" * 30,
    "kx j" * 30,
    "pq wj" * 44,
    SHARED + "Peru:",
    SHARED + "Chile and the islands of the west:",
    "x",
)
ALONE = (0, 3)
"""The texts that are asked for in a run of their own."""


@dataclass(slots=True)
class Outcome:
    """What came of a type: ``same``, ``differs``, ``crash``, ``refused`` or ``not built``, how it was run, and why."""

    name: str
    kind: str
    state: str
    backend: str = ""
    reason: str = ""
    seconds: float = 0.0


def trial(kind: str, name: str) -> Outcome:
    """Build a model of a type and compare; never raises."""
    try:
        for seed in SEEDS:
            outcome = _compared(kind, name, seed)
            if outcome is not None:
                return outcome
    except Exception as error:  # noqa: BLE001 - whatever a type does is the finding
        return Outcome(name, kind, "not built", reason=_said(error))
    return Outcome(name, kind, "not built", reason="its logits are too close to compare with any seed")


def _compared(kind: str, name: str, seed: int) -> Outcome | None:
    """Return what came of a type with a seed, `None` where the model itself wavers between two tokens."""
    template = kind != "seq2seq"
    with tempfile.TemporaryDirectory(prefix="architecture-") as place:
        folder = Path(place)
        model = saved(kind, name, folder, seed)
        expected = reference(model, make_tokenizer(), template=template)
        del model
        if expected is None:
            return None
        try:
            return _by_engine(kind, name, folder, expected, template=template)
        except ModelError as error:
            return Outcome(name, kind, "refused", reason=" ".join(str(error).split())[:300])
        except Exception as error:  # noqa: BLE001 - whatever the engine does is the finding
            return Outcome(name, kind, "crash", reason=_said(error))


def saved(kind: str, name: str, folder: Path, seed: int) -> Any:
    """Return a random model of a type that has been saved to ``folder``, read again from there."""
    torch.manual_seed(seed)
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers annotates it not
    config = shrunk(config_class_of(name))
    for each in {id(one): one for one in (config, config.get_text_config(decoder=True))}.values():
        each.bos_token_id, each.eos_token_id, each.pad_token_id = 0, 1, 1
    if config.is_encoder_decoder:
        config.decoder_start_token_id = 0
    auto = KINDS[kind][1]
    model = auto.from_config(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() > 1 and "conv" not in key:
                parameter.mul_(SCALE)
    model.generation_config = transformers.GenerationConfig(  # type: ignore[no-untyped-call]  # transformers annotates it not
        bos_token_id=0,
        eos_token_id=[1],
        pad_token_id=1,
        **({"decoder_start_token_id": 0} if config.is_encoder_decoder else {}),
    )
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def reference(model: Any, tokenizer: Any, *, template: bool) -> list[list[int]] | None:
    """Return the tokens that ``generate`` writes for each text alone; `None` where two logits were too close."""
    written = []
    for text in TEXTS:
        ids = torch.tensor([_ids(tokenizer, text, template=template)])
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=1,
            max_new_tokens=NEW_TOKENS,
            output_logits=True,
            return_dict_in_generate=True,
        )
        best = torch.stack(output.logits)[:, 0].float().topk(2).values
        if not bool((best[:, 0] - best[:, 1]).min() > MARGIN * best.abs().max()):
            return None
        start = 1 if model.config.is_encoder_decoder else ids.shape[1]
        written.append([token for token in output.sequences[0, start:].tolist() if token != 1])
    return written


def _ids(tokenizer: Any, text: str, *, template: bool) -> list[int]:
    if not template:
        return list(tokenizer(text)["input_ids"])
    return list(
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
    )


def _by_engine(kind: str, name: str, folder: Path, expected: Sequence[list[int]], *, template: bool) -> Outcome:
    query = "" if template else "?template=none"
    tokenizer = make_tokenizer()
    texts = [tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in expected]
    engine = opened(folder, query)
    outcome = Outcome(name, kind, "same", _backend(engine))
    passes = {
        "together": range(len(TEXTS)),
        **{f"alone {index}": [index] for index in ALONE},
        "in pieces": range(len(TEXTS)),
    }
    wrong = []
    for label, indexes in passes.items():
        if label == "in pieces" and not in_pieces(engine):
            continue
        answers = ask(engine, list(indexes))
        errors = [result.error for result in answers.values() if result.error is not None]
        if errors:
            outcome.state = "refused" if all(error.kind == "unsupported" for error in errors) else "crash"
            outcome.reason = " ".join(f"{label}: {errors[0].message}".split())[:300]
            return outcome
        found = {index: raw(result.answer) for index, result in answers.items() if result.answer is not None}
        bad = [index for index in indexes if found[index] != texts[index]]
        if bad:
            wrong.append(f"{label}: {len(bad)} of {len(list(indexes))} (texts {', '.join(map(str, bad))})")
    if wrong:
        outcome.state, outcome.reason = "differs", "; ".join(wrong)
    else:
        outcome.reason = " | ".join(engine.info.notes)
    return outcome


def opened(folder: Path, query: str = "", **options: Any) -> TransformersEngine:
    """Load an engine in this process."""
    usual = {"device": "cpu", "dtype": "fp32", "batch": "auto"}
    return load(parse_spec(f"{folder}{query}", folder), {**usual, **options}, lambda _text: None)


def in_pieces(engine: TransformersEngine) -> bool:
    """Have prompts filled a few tokens at a time, three rows together, and shared beginnings attended to where they are; tell whether
    the engine does such a thing.
    """
    loop = engine._loops[0]  # noqa: SLF001 - there is no public way to make every prompt a long one
    loop = loop.usual if isinstance(loop, ByLength) else loop
    if not isinstance(loop, PackedBackend):
        return False
    scheduler = loop._scheduler  # noqa: SLF001 - as above
    scheduler.clear()
    scheduler.budget = dataclasses.replace(scheduler.budget, rows=3, tokens=37, cascade=1)
    return True


def ask(engine: TransformersEngine, indexes: Sequence[int]) -> dict[int, Result]:
    """Return the results of the texts with these numbers."""
    requests = [
        Request(
            str(index), "m", ({"role": "user", "content": TEXTS[index]},), GenerationParams(max_new_tokens=NEW_TOKENS)
        )
        for index in indexes
    ]
    events = engine.generate(Inbox(requests, closed=True))
    return {int(event.id): event for event in events if isinstance(event, Result)}


def raw(completion: Completion) -> str:
    """Return the text as generated, without the token that ended it."""
    return (completion.raw if completion.raw is not None else completion.text).removesuffix("<end>")


def _backend(engine: TransformersEngine) -> str:
    return str(engine.info.identity["loop"])


def _said(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {' '.join(str(error).split())[:220]} ({Path(last.filename).name}:{last.lineno})"
