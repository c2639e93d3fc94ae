"""Adapters of PEFT: texts are those of PEFT's own generate, and several of one base take turns in one process."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import parse_spec
from pytest_evals.errors import ModelError

from .conftest import (
    FAMILIES,
    GROUPED,
    TEMPLATE,
    answers,
    make_tokenizer,
    open_engine,
    prompt_ids,
    reference,
    request,
    save_model,
    texts,
)

peft = pytest.importorskip("peft")

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LoraConfig", {"r": 4, "target_modules": ["q_proj", "v_proj"]}),
    "all": ("LoraConfig", {"r": 8, "lora_alpha": 32, "use_rslora": True, "target_modules": "all-linear"}),
    "saved": ("LoraConfig", {"r": 4, "target_modules": ["k_proj"], "modules_to_save": ["lm_head", "embed_tokens"]}),
    "head": ("LoraConfig", {"r": 4, "target_modules": ["embed_tokens", "lm_head"]}),
    "dora": ("LoraConfig", {"r": 4, "use_dora": True, "target_modules": ["q_proj", "up_proj"]}),
    "ia3": ("IA3Config", {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}),
    "prompt": ("PromptTuningConfig", {"num_virtual_tokens": 4}),
}
PROMPTS = [request(f"r{n}", "the quick fox " * n, max_new_tokens=8 + n) for n in range(1, 5)]


def save_adapter(folder: Path, base: Path, kind: str = "lora", seed: int = 1) -> Path:
    """Save a random adapter of a base."""
    torch.manual_seed(seed)
    name, settings = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(
            transformers.AutoModelForCausalLM.from_pretrained(base),
            getattr(peft, name)(task_type="CAUSAL_LM", **settings),
        )
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if any(part in name for part in ("lora_A", "lora_B", "ia3", "modules_to_save", "lora_embedding")):
                    parameter.add_(torch.randn_like(parameter) * 0.3)
        model.save_pretrained(folder)
    return folder


def expected(base: Path, adapter: Path, requests: Sequence[Request]) -> dict[str, str]:
    """What PEFT's generate answers, greedy, one prompt at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained(base), adapter).eval()
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(base)
    found: dict[str, str] = {}
    for entry in requests:
        ids = torch.tensor([prompt_ids(tokenizer, entry)])
        output = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=entry.params.max_new_tokens,
        )
        found[entry.id] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return found


def asked_of(adapter: Path | None, name: str = "") -> list[Request]:
    """The prompts, asked of an adapter."""
    return [
        dataclasses.replace(entry, id=f"{name}{entry.id}", adapter=None if adapter is None else str(adapter))
        for entry in PROMPTS
    ]


@pytest.fixture(scope="module")
def adapters(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One adapter of each kind."""
    root = tmp_path_factory.mktemp("adapters")
    return {kind: save_adapter(root / kind, tiny, kind, seed) for seed, kind in enumerate(KINDS)}


def test_adapters_of_one_base_take_turns_and_answer_as_peft_does(tiny: Path, adapters: dict[str, Path]) -> None:
    engine = open_engine(tiny)
    kinds = [kind for kind in KINDS if kind != "prompt"]
    told = [each for kind in kinds for each in asked_of(adapters[kind], kind)]
    # Those of several arrive mixed, and the base is asked in between and afterwards.
    mixed = [*told[::2], *asked_of(None, "base"), *told[1::2]]
    found = texts(engine, mixed)
    right = {kind: expected(tiny, adapters[kind], PROMPTS) for kind in kinds}
    assert {key: found[key] for key in found if not key.startswith("base")} == {
        f"{kind}{key}": text for kind in kinds for key, text in right[kind].items()
    }
    base = {f"base{key}": text for key, text in reference(tiny, PROMPTS).items()}
    assert {key: found[key] for key in found if key.startswith("base")} == base
    # Nothing of them is left.
    again = answers(engine, [*asked_of(None, "base"), *asked_of(adapters["lora"], "lora")])
    assert {key: result.answer.text for key, result in again.items()} == {
        **base,
        **{f"lora{key}": text for key, text in right["lora"].items()},
    }
    assert len({result.answer.fingerprint for result in again.values()}) == len(again)


def test_adapters_work_where_batches_go_through_generate(tiny: Path, adapters: dict[str, Path]) -> None:
    engine = open_engine(tiny, "?loop=generate")
    found = texts(engine, asked_of(adapters["all"]))
    assert found == expected(tiny, adapters["all"], PROMPTS)


def test_an_adapter_that_cannot_be_put_in_fails_its_requests_alone(
    tiny: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    wide = save_model(tmp_path / "wide", transformers.LlamaConfig(**{**GROUPED, "hidden_size": 64}))
    deep = save_model(tmp_path / "deep", transformers.LlamaConfig(**{**GROUPED, "num_hidden_layers": 4}))
    torn = tmp_path / "torn"
    shutil.copytree(adapters["lora"], torn)
    kept = {
        name: each for name, each in load_file(torn / "adapter_model.safetensors").items() if "layers.1" not in name
    }
    save_file(kept, torn / "adapter_model.safetensors")
    wrong = {
        "wide": (save_adapter(tmp_path / "of-wide", wide), "size mismatch"),
        "deep": (
            save_adapter(tmp_path / "of-deep", deep),
            "4 weights of the adapter .* have no place in .*it was made for another base",
        ),
        "torn": (torn, "4 weights of the adapter .* are missing .*save it again, whole"),
        "gone": (tmp_path / "gone", "cannot be loaded|no such folder"),
    }
    engine = open_engine(tiny)
    found = answers(
        engine,
        [*asked_of(None, "base"), *(each for name, (place, _) in wrong.items() for each in asked_of(place, name))],
    )
    for name, (_, words) in wrong.items():
        error = found[f"{name}r1"].error
        assert error is not None
        assert error.kind == "engine"
        assert re.search(words, error.message), error.message
    assert {key: result.answer.text for key, result in found.items() if key.startswith("base")} == {
        f"base{key}": text for key, text in reference(tiny, PROMPTS).items()
    }


def test_an_adapter_brings_its_own_template_and_tokenizer(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", FAMILIES["llama"](), make_tokenizer(None))
    adapter = save_adapter(tmp_path / "adapter", base)
    with pytest.raises(ModelError, match="has no chat template"):
        parse_spec(str(adapter), tmp_path)
    make_tokenizer(TEMPLATE.replace("<end>", "<end><user>")).save_pretrained(adapter)
    spec = parse_spec("./adapter", tmp_path)
    assert (spec.name, spec.options, spec.short) == (str(base), {"adapter": str(adapter)}, "adapter")
    engine = open_engine(base, f"?adapter={adapter}")
    prompt = request("r", "fox", max_new_tokens=4)
    found = answers(engine, [dataclasses.replace(prompt, adapter=str(adapter)), dataclasses.replace(prompt, id="base")])
    assert found["r"].answer.prompt_tokens == len(
        prompt_ids(transformers.AutoTokenizer.from_pretrained(adapter), prompt)
    )
    assert "has no chat template" in str(found["base"].error)


# -- before anything is loaded


def refusal(text: str, root: Path) -> str:
    with pytest.raises(ModelError) as caught:
        parse_spec(text, root)
    return str(caught.value)


def test_an_adapter_for_another_base_is_refused_at_the_start(
    tiny: Path, other: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    adapter = adapters["lora"]
    message = refusal(f"{other}?adapter={adapter}", tmp_path)
    assert f"was made for the base {str(tiny)!r}, and not for {str(other)!r}" in message
    assert "was made for the base" in refusal(f"some/other?adapter={adapter}", tmp_path)
    assert "of the kind PROMPT_TUNING, which is more than changed layers" in refusal(str(adapters["prompt"]), tmp_path)
    # A checkpoint of the Trainer, and one whose base is known by a name on the hub.
    checkpoint = tmp_path / "run" / "checkpoint-500"
    shutil.copytree(adapter, checkpoint)
    (checkpoint / "optimizer.pt").write_bytes(b"x")
    config = json.loads((checkpoint / "adapter_config.json").read_text())
    assert parse_spec("./run/checkpoint-500", tmp_path).short == "checkpoint-500"
    assert f"there are models below it, the latest at {checkpoint}" in refusal("./run", tmp_path)
    for base, words in {
        "org/name": None,
        None: "does not name its base; name it yourself: BASE?adapter=./run/checkpoint-500",
        "/home/somebody/base": "is an adapter of '/home/somebody/base', which is neither a folder here nor a hub name",
    }.items():
        (checkpoint / "adapter_config.json").write_text(
            json.dumps({**config, "base_model_name_or_path": base, "revision": "v2"})
        )
        if words is None:
            spec = parse_spec("./run/checkpoint-500", tmp_path)
            assert (spec.name, spec.revision) == ("org/name", "v2")
            assert parse_spec(f"Org/Name?adapter={checkpoint}", tmp_path).options["adapter"] == str(checkpoint)
            assert "was made for the base 'org/name', and not for 'smollm2'" in refusal(
                f"smollm2?adapter={checkpoint}", tmp_path
            )
        else:
            assert words in refusal("./run/checkpoint-500", tmp_path)
            assert parse_spec(f"{tiny}?adapter=./run/checkpoint-500", tmp_path).name == str(tiny)
    assert "adapter cannot be combined with tp" in refusal(f"{tiny}?adapter={checkpoint}&tp=2", tmp_path)
