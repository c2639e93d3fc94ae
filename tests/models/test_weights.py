"""Checkpoints of every kind: what is missing is never made up, and what cannot be used is refused with one thing to do."""

from __future__ import annotations

import json
import queue
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import httpx2
import huggingface_hub
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.engines.transformers import progress
from pytest_evals.engines.transformers.engine import TransformersEngine, load
from pytest_evals.engines.transformers.gguf import llama3_factors
from pytest_evals.engines.transformers.load_errors import load_failure
from pytest_evals.engines.transformers.progress import downloaded_text, loaded_text
from pytest_evals.errors import ModelError

from .conftest import (
    FAMILIES,
    GROUPED,
    OPTIONS,
    open_engine,
    prompt_ids,
    reference,
    request,
    save_model,
    texts,
    tokenizer_of_all,
)

Weights = dict[str, torch.Tensor]
PROMPTS = [request(f"r{n}", "the quick fox " * n, max_new_tokens=8 + n) for n in range(1, 5)]


def changed(folder: Path, target: Path, change: Callable[[Weights], Weights], **config: Any) -> Path:
    """A copy of a model with other weights, and other settings."""
    shutil.copytree(folder, target)
    save_file(change(load_file(folder / "model.safetensors")), target / "model.safetensors", {"format": "pt"})
    told = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**told, **config}))
    return target


def refusal(folder: Path, query: str = "") -> str:
    with pytest.raises(ModelError) as caught:
        open_engine(folder, query)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: {name: each for name, each in found.items() if name != "lm_head.weight"}, "1 of its weights are not in the checkpoint (lm_head.weight), and would be random numbers: it was saved without its output layer"),
        (lambda found: {name: each for name, each in found.items() if "layers.2." not in name}, "9 of its weights are not in the checkpoint (model.layers.2.input_layernorm.weight, "),
        (lambda found: {f"x.{name}": each for name, each in found.items()}, "the checkpoint has 30 others instead (x.lm_head.weight, "),
        (lambda found: {**{name: each for name, each in found.items() if name != "lm_head.weight"}, "score.weight": torch.zeros(1, 32)}, "it is a classifier or a reward model"),
        (lambda found: {name.replace("q_proj.weight", "q_proj.base_layer.weight"): each for name, each in found.items()}, "it was saved with an adapter attached"),
        (lambda found: {(name.replace("weight", "qweight") if "_proj" in name else name): each for name, each in found.items()}, "its weights are quantised, and its config.json has no quantization_config"),
        (lambda found: {**found, "lm_head.weight": torch.zeros(300, 32)}, "lm_head.weight is [300, 32] in the checkpoint and [320, 32] by config.json"),
        (lambda found: {**found, "model.layers.3.mlp.up_proj.weight": torch.zeros(64, 32)}, "has 1 weights that the model would not use (model.layers.3.mlp.up_proj.weight)"),
        (lambda found: {**found, "model.layers.0.self_attn.q_proj.bias": torch.zeros(32)}, "has 1 weights that the model would not use (model.layers.0.self_attn.q_proj.bias)"),
    ],
    ids=["no-head", "no-layer", "other-names", "reward", "adapter-attached", "quantised", "shape", "more-layers", "bias"],
)  # fmt: skip
def test_weights_that_are_not_there_are_an_error_that_names_them(
    tiny: Path, tmp_path: Path, change: Callable[[Weights], Weights], words: str
) -> None:
    folder = changed(tiny, tmp_path / "model", change)
    message = refusal(folder)
    assert message.startswith(f"model {str(folder)!r} cannot be loaded: ")
    assert words in message


def test_heads_for_other_tasks_and_tied_weights_are_no_error(tiny: Path, tmp_path: Path) -> None:
    folder = changed(tiny, tmp_path / "head", lambda found: {**found, "v_head.summary.weight": torch.zeros(1, 32)})
    assert texts(open_engine(folder), PROMPTS) == reference(tiny, PROMPTS)
    config = FAMILIES["llama"]()
    config.tie_word_embeddings = True
    tied = save_model(tmp_path / "tied", config)
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    assert texts(open_engine(tied), PROMPTS) == reference(tied, PROMPTS)


# -- GGUF


@pytest.fixture(scope="module")
def in_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama with its tokenizer, as llama.cpp keeps it."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


def write_gguf(
    path: Path,
    architecture: str = "llama",
    without: str = "",
    factors: torch.Tensor | None = None,
    theta: float = 10000.0,
) -> None:
    writer: Any = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(theta)
    writer.add_vocab_size(320)
    tokenizer = tokenizer_of_all()
    tokens = [tokenizer.convert_ids_to_tokens(number) or f"<unused{number}>" for number in range(320)]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if number < 5 else 1 for number in range(320)])
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    if without != "template":
        writer.add_chat_template(tokenizer.chat_template)
    generator = torch.Generator().manual_seed(0)
    shapes = {"token_embd": (320, 32), "output_norm": (32,), "output": (320, 32)}
    for layer in range(2):
        parts = {"attn_norm": (32,), "ffn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32)}
        parts |= {"attn_output": (32, 32), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in parts.items()}
    for name, shape in shapes.items():
        if name != without:
            writer.add_tensor(f"{name}.weight", (torch.randn(shape, generator=generator) * 0.4).numpy())
    if factors is not None:
        writer.add_tensor("rope_freqs.weight", factors.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_answers_as_transformers_reads_it(
    in_gguf: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "cache"))
    engine = open_engine(in_gguf)
    assert engine.info.identity["loop"] == "packed"
    model = transformers.AutoModelForCausalLM.from_pretrained(in_gguf.parent, gguf_file=in_gguf.name)
    expected = generated(model, engine.tokenizer, PROMPTS)
    assert texts(engine, PROMPTS) == expected
    spec = parse_spec(f"{in_gguf}", tmp_path)
    assert spec.short == "tiny-gguf"
    footprint = spec.kind.footprint(spec)
    assert footprint is not None
    assert (footprint.parameters, footprint.cache_numbers) == (
        sum(p.numel() for p in model.parameters()),
        2 * 2 * 2 * 8,
    )
    # With another tokenizer it is another model.
    other = open_engine(in_gguf, f"?tokenizer={tiny}")
    assert texts(other, PROMPTS) == generated(model, other.tokenizer, PROMPTS)
    assert other.info.identity != engine.info.identity


def generated(model: Any, tokenizer: Any, requests: Sequence[Request]) -> dict[str, str]:
    """What ``generate`` of a model that is loaded already answers."""
    found = {}
    for entry in requests:
        ids = torch.tensor([prompt_ids(tokenizer, entry)])
        output = model.eval().generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=entry.params.max_new_tokens,
            pad_token_id=1,
            eos_token_id=1,
        )
        found[entry.id] = tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)
    return found


def test_the_positions_of_llama_3_are_scaled_as_its_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "cache"))
    settings: dict[str, Any] = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = transformers.LlamaConfig(**{**GROUPED, "rope_parameters": settings})
    rotary = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    plain = 1 / 500000.0 ** (torch.arange(0, 8, 2) / 8)
    factors = plain / rotary.inv_freq
    assert factors.tolist() == pytest.approx(llama3_factors(settings, 8).tolist())
    write_gguf(tmp_path / "llama3.gguf", factors=factors, theta=500000.0)
    assert open_engine(tmp_path / "llama3.gguf").model.config.rope_parameters == settings
    write_gguf(tmp_path / "other.gguf", factors=factors + 0.5)
    assert "scales its rotary positions (rope_freqs.weight), which transformers" in refusal(tmp_path / "other.gguf")


def test_gguf_files_that_cannot_be_used_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_EVALS_CACHE", str(tmp_path / "cache"))
    write_gguf(tmp_path / "strange.gguf", "granite-hybrid-9")
    message = refusal(tmp_path / "strange.gguf")
    assert "'granite-hybrid-9', which transformers" in message
    assert "llama, " in message
    assert "openai:NAME@URL" in message
    write_gguf(tmp_path / "holes.gguf", without="blk.1.attn_q")
    assert "1 of its weights are not in the checkpoint (model.layers.1.self_attn.q_proj.weight)" in refusal(
        tmp_path / "holes.gguf"
    )
    assert not list((tmp_path / "cache" / "gguf").iterdir())
    write_gguf(tmp_path / "base.gguf", without="template")
    assert "has no chat template; a base model is given plain prompts" in refusal(tmp_path / "base.gguf")


# -- quantised weights


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny llama whose layers are wide enough for blocks of 64."""
    config = transformers.LlamaConfig(**{**GROUPED, "hidden_size": 64, "intermediate_size": 128})
    return save_model(tmp_path_factory.mktemp("wide"), config)


def reference_config(wish: str) -> Any:
    if wish == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return transformers.TorchAoConfig(Int8WeightOnlyConfig())
    if wish == "bnb8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )


@pytest.mark.parametrize(
    ("wish", "package", "loop"),
    [("bnb4", "bitsandbytes", "packed"), ("bnb8", "bitsandbytes", "generate"), ("int8", "torchao", "packed")],
)
@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_answer_as_transformers_quantises_them(
    wide: Path, wish: str, package: str, loop: str
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    engine = open_engine(wide, f"?quantize={wish}")
    assert (engine.info.identity["quantize"], engine.info.identity["loop"]) == (wish, loop)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        wide, dtype=torch.float32, quantization_config=reference_config(wish)
    )
    assert texts(engine, PROMPTS) == generated(model, tokenizer_of_all(), PROMPTS)
    if wish == "bnb8":
        assert any("one prompt at a time" in note for note in engine.info.notes)


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="needs bitsandbytes")
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_brings_its_quantisation_is_used_with_it(wide: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(
        wide, dtype=torch.float32, quantization_config=reference_config("bnb4")
    )
    model.save_pretrained(tmp_path / "four")
    tokenizer_of_all().save_pretrained(tmp_path / "four")
    assert texts(open_engine(tmp_path / "four"), PROMPTS) == generated(model, tokenizer_of_all(), PROMPTS)
    assert "quantised already (bitsandbytes" in refusal(tmp_path / "four", "?quantize=bnb8")


@pytest.mark.parametrize("method", ["fp8", "compressed-tensors"])
@pytest.mark.filterwarnings("ignore")
def test_other_quantised_checkpoints_load_on_a_cpu(wide: Path, tmp_path: Path, method: str) -> None:
    if method == "compressed-tensors" and find_spec("compressed_tensors") is None:
        pytest.skip("needs compressed-tensors")
    folder = changed(wide, tmp_path / "model", in_8_bits(method), quantization_config=SETTINGS[method])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    # Activations in 8 bits make near-ties of what is none.
    engine = open_engine(folder, exact=method == "compressed-tensors")
    assert texts(engine, PROMPTS) == generated(model, tokenizer_of_all(), PROMPTS)


SETTINGS: dict[str, dict[str, Any]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
                "input_activations": {
                    "num_bits": 8,
                    "type": "int",
                    "symmetric": True,
                    "strategy": "token",
                    "dynamic": True,
                },
            }
        },
    },
}


def in_8_bits(method: str) -> Callable[[Weights], Weights]:
    """What turns the layers of a model into the 8-bit numbers of a method."""

    def change(found: Weights) -> Weights:
        made = dict(found)
        for name, weight in found.items():
            if "_proj" not in name:
                continue
            if method == "fp8":
                rows, columns = (extent // 32 for extent in weight.shape)
                made[name] = weight.to(torch.float8_e4m3fn)
                made[f"{name}_scale_inv"] = torch.ones(rows, columns)
            else:
                scale = weight.abs().amax(dim=1, keepdim=True) / 127
                made[name] = (weight / scale).round().to(torch.int8)
                made[f"{name}_scale"] = scale
        return made

    return change


# -- code of a model's own


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM


class TinyConfig(LlamaConfig):
    model_type = "tiny_of_its_own"


class TinyForCausalLM(LlamaForCausalLM):
    config_class = TinyConfig
"""


def test_code_of_a_model_runs_only_where_it_is_allowed(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = changed(
        tiny,
        tmp_path / "own",
        dict,
        model_type="tiny_of_its_own",
        architectures=["TinyForCausalLM"],
        auto_map={"AutoConfig": "tiny_code.TinyConfig", "AutoModelForCausalLM": "tiny_code.TinyForCausalLM"},
    )
    (folder / "tiny_code.py").write_text(CODE)
    message = refusal(folder)
    assert f"its files bring code of their own; if you trust it, allow it: {folder}?remote_code=true\n" in message
    assert "trust_remote_code=True" in message
    assert f"{folder}?dtype=fp32&remote_code=true" in refusal(folder, "?dtype=fp32")
    engine = open_engine(folder, "?remote_code=true")
    assert texts(engine, PROMPTS) == reference(tiny, PROMPTS)
    assert engine.info.identity["remote_code"] is True
    assert "code of the model's repository ran (?remote_code=true)" in engine.info.notes


# -- what transformers and the hub say


def hub_error(kind: type[Exception], status: int, text: str = "said by the hub") -> Exception:
    response = httpx2.Response(status, request=httpx2.Request("GET", "https://huggingface.co/x"))
    error: Exception = kind(text, response=response)  # type: ignore[call-arg]  # those of the hub take a response
    return error


def wrapped(cause: Exception | None, text: str) -> OSError:
    error = OSError(text)
    error.__cause__ = cause
    return error


errors = huggingface_hub.errors
GATED = "You are trying to access a gated repo.\nMake sure to have access to it at https://huggingface.co/org/name.\n401 Client Error."


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (wrapped(hub_error(errors.GatedRepoError, 401), GATED), "it is gated; ask for access at https://huggingface.co/org/name, then run: hf auth login (or set HF_TOKEN)"),
        (wrapped(hub_error(errors.RepositoryNotFoundError, 404), "org/name is not a local folder and is not a valid model identifier\nlisted"), "the hub has no model 'org/name', or it is private; check the name (a folder is written ./org/name), or run: hf auth login"),
        (wrapped(hub_error(errors.RevisionNotFoundError, 404), "v9 is not a valid git identifier"), "org/name has no revision 'v9'"),
        (hub_error(errors.HfHubHTTPError, 401), "the hub does not accept the token"),
        (hub_error(errors.HfHubHTTPError, 403), "the token may not read org/name"),
        (hub_error(errors.HfHubHTTPError, 429), "the hub has answered too many requests"),
        (hub_error(errors.HfHubHTTPError, 503), "the hub answers with an error of its own (503)"),
        (wrapped(errors.OfflineModeIsEnabled("offline"), "We couldn't connect"), "and HF_HUB_OFFLINE is set; run once, where there is a network: hf download org/name --revision v9"),
        (wrapped(errors.LocalEntryNotFoundError("none"), "We couldn't connect to 'https://huggingface.co' to load the files"), "and the hub cannot be reached; run once, where there is a network: hf download org/name"),
        (OSError("org/name does not appear to have a file named config.json."), "org/name lacks files of a transformers model"),
        (ImportError("This modeling file requires the following packages that were not found in your environment: einops, flash_attn. Run `pip install einops flash_attn`"), "run: pip install einops flash_attn"),
    ],
)  # fmt: skip
def test_an_error_names_one_thing_to_do_and_shows_the_whole_message(error: Exception, advice: str) -> None:
    message = load_failure(ModelSpec("org/name@v9", "hf", "org/name", "v9"), error)
    first, _, rest = message.partition("\n")
    assert first.startswith("model 'org/name@v9' cannot be loaded: ")
    assert advice in first
    assert rest == f"{type(error).__name__}: {error}"


def test_a_name_that_is_not_in_the_cache_says_so_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match=r"is not in the hub's cache .* and HF_HUB_OFFLINE is set; run once"):
        load(parse_spec("some-org/some-name", tmp_path), OPTIONS, lambda _text: None)


# -- progress


def test_loading_tells_how_far_it_is(tiny: Path) -> None:
    class Report:
        def __init__(self) -> None:
            self.said: list[str] = []
            self.told: list[str] = []

        def __call__(self, text: str) -> None:
            self.said.append(text)

        def progress(self, text: str) -> None:
            self.told.append(text)

    report = Report()
    engine = load(parse_spec(str(tiny), tiny), OPTIONS, report)
    assert isinstance(engine, TransformersEngine)
    assert report.said[0] == "loading on cpu as float32"
    assert report.told[-2:] == ["reading weights, 100%", "checking how it is computed"]
    assert len(report.told) == len(load_file(tiny / "model.safetensors")) + 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (loaded_text(0.25, 4_000_000_000), "reading weights, 1.0 of 4.0 GB"),
        (loaded_text(0.25, 0), "reading weights, 25%"),
        (downloaded_text(1_300_000_000, 4_500_000_000), "downloading, 1.30 of 4.50 GB"),
        (downloaded_text(1_300_000_000, 0), "downloading, 1.30 GB"),
    ],
)
def test_bytes_are_told_where_they_are_known(text: str, words: str) -> None:
    assert text == words


def test_a_download_is_seen_by_what_comes_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(progress, "_LOOK_SECONDS", 0.001)
    sizes = [
        SimpleNamespace(rfilename="model.safetensors", size=3_000_000_000),
        SimpleNamespace(rfilename="x/model.safetensors", size=9),
    ]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_arguments, **_options: SimpleNamespace(siblings=sizes)
    )
    told: queue.Queue[str] = queue.Queue()
    blobs = tmp_path / "models--org--name" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / "before").write_bytes(bytes(20_000_000))
    watch = progress.DownloadWatch("org/name", None, None, told.put)
    (blobs / "new.incomplete").write_bytes(bytes(30_000_000))
    while "0.03 of 3.00 GB" not in told.get(timeout=60):
        pass
    watch.end()
