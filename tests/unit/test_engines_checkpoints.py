"""What the files of a model are, told without loading them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.checkpoints import quantization
from pytest_evals.engines.checkpoints.architectures import check_architectures
from pytest_evals.engines.checkpoints.gguf_files import gguf_footprint, read_gguf
from pytest_evals.engines.checkpoints.quantization import check_quantized, method_of
from pytest_evals.engines.spec import moved_spec, parse_spec
from pytest_evals.errors import ModelError
from pytest_evals.settings import model_text
from tests.unit.building import model_folder


def refusal(text: str, root: Path) -> str:
    with pytest.raises(ModelError) as caught:
        parse_spec(text, root)
    message = str(caught.value)
    assert message.startswith(f"model {text!r}: ")
    return message


def files(folder: Path, **contents: str | bytes) -> Path:
    """A folder with these files; a double underscore in a name is a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


# -- folders


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"model__safetensors": "x"}, "has no config.json, so it is not a transformers model; it has weights (model.safetensors): copy the config.json"),
        ({"pytorch_model__bin": "x"}, "it has weights (pytorch_model.bin): copy the config.json"),
        ({"modules__json": "[]", "model__safetensors": "x"}, "is a model of sentence-transformers: it turns texts into vectors"),
        ({"model_index__json": "{}"}, "is a pipeline of diffusers, which makes images and no text"),
        ({"small__gguf": "x", "large__gguf": "x"}, "holds GGUF files; name one of them, as {folder}/large.gguf"),
        ({"adapter_model__safetensors": "x"}, "holds the weights of an adapter without its adapter_config.json"),
        ({"consolidated__safetensors": "x", "params__json": "{}"}, "in the format of their authors (params.json, consolidated.*)"),
        ({"README__md": "x"}, "has no config.json, so it is not a transformers model"),
    ],
)  # fmt: skip
def test_a_folder_without_a_configuration_is_called_what_it_is(
    contents: dict[str, str], words: str, tmp_path: Path
) -> None:
    folder = files(tmp_path / "model", **contents)
    assert words.format(folder=folder) in refusal("./model", tmp_path)


def test_a_folder_of_checkpoints_points_to_the_latest(tmp_path: Path) -> None:
    for number in (500, 1000):
        model_folder(tmp_path / "run" / f"checkpoint-{number}")
    assert f"the latest at {tmp_path / 'run' / 'checkpoint-1000'}" in refusal("./run", tmp_path)
    assert parse_spec("./run?subfolder=checkpoint-500", tmp_path).name == str(tmp_path / "run" / "checkpoint-500")
    assert "is not below" in refusal("./run?subfolder=../run2", tmp_path)


def test_a_path_with_a_mistake_names_the_one_beside_it(tmp_path: Path) -> None:
    model_folder(tmp_path / "my-model")
    assert f"no such folder: {tmp_path / 'my_model'}; did you mean {tmp_path / 'my-model'}?" in refusal(
        "./my_model", tmp_path
    )
    assert "no such file" in refusal("./other.gguf", tmp_path)
    assert f"is one file of a model; name its folder: {tmp_path / 'my-model'}" in refusal(
        "./my-model/model.safetensors", tmp_path
    )
    assert "for the folder " in refusal("my-model", tmp_path)
    model_folder(tmp_path / "org" / "name")
    assert "is a name on the hub, and there is a folder of that name; for the folder write ./org/name" in refusal(
        "org/name", tmp_path
    )


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "is a pointer of Git LFS and not the file itself; run: git lfs pull"),
        (lambda path: path.write_bytes(b"not weights at all"), "is no safetensors file"),
        (lambda path: path.write_bytes(struct.pack("<Q", 64) + b"{"), "is no safetensors file"),
        (lambda path: path.write_bytes(safetensors(100)[:-1]), "is cut off: "),
    ],
)  # fmt: skip
def test_damaged_weights_are_seen_before_they_are_loaded(
    damage: Callable[[Path], Any], words: str, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(safetensors(100))
    assert parse_spec("./model", tmp_path).name == str(folder)
    damage(folder / "model.safetensors")
    assert words in refusal("./model", tmp_path)


def safetensors(size: int) -> bytes:
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def test_missing_shards_are_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    shards = {f"layer{number}": f"model-{number}.safetensors" for number in range(5)}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {**shards, "a": "model.safetensors"}})
    )
    assert "5 of the files with weights that model.safetensors.index.json names are not in" in refusal(
        "./model", tmp_path
    )


def test_a_model_and_an_adapter_in_one_folder_are_told_apart_by_the_user(tmp_path: Path) -> None:
    files(
        model_folder(tmp_path / "both"),
        adapter_config__json='{"peft_type": "LORA"}',
        adapter_model__safetensors=safetensors(1),
    )
    assert "holds a whole model and an adapter, and which is meant is not clear" in refusal("./both", tmp_path)
    # What many tools write beside an adapter is not a model.
    folder = files(
        tmp_path / "config", config__json="{}", adapter_config__json='{"peft_type": "LORA"}', adapter_model__bin="x"
    )
    assert f"{folder} is an adapter, and its adapter_config.json does not name its base" in refusal(
        "./config", tmp_path
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("{", "cannot be read"),
        ('{"r": 4}', "is no configuration of an adapter: it has no peft_type"),
        ('{"peft_type": "PREFIX_TUNING"}', "is of the kind PREFIX_TUNING, which is more than changed layers"),
        (
            '{"peft_type": "LORA", "task_type": "SEQ_CLS"}',
            "makes a classifier or an encoder of its base (task_type SEQ_CLS)",
        ),
        ('{"peft_type": "LORA"}', "holds no weights of its adapter"),
    ],
)
def test_an_adapter_that_cannot_be_used_says_why(told: str, words: str, tmp_path: Path) -> None:
    files(tmp_path / "adapter", adapter_config__json=told)
    assert words in refusal("./adapter", tmp_path)
    model_folder(tmp_path / "base")
    assert words in refusal("./base?adapter=./adapter", tmp_path)


def test_adapters_need_peft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files(
        tmp_path / "adapter",
        adapter_config__json='{"peft_type": "LORA", "base_model_name_or_path": "org/base"}',
        adapter_model__bin="x",
    )
    monkeypatch.setattr("pytest_evals.engines.checkpoints.adapters.installed", lambda _name: False)
    assert "pip install 'pytest-evals-hf[adapters]'" in refusal("./adapter", tmp_path)
    assert "pip install 'pytest-evals-hf[adapters]'" in refusal("org/base?adapter=org/adapter", tmp_path)
    assert "adapter must be a folder (./dir) or a hub name (org/name), not 'nothing'" in refusal(
        "org/base?adapter=nothing", tmp_path
    )
    monkeypatch.setattr("pytest_evals.engines.checkpoints.adapters.installed", lambda _name: True)
    assert "is an adapter, and no base for another one" in refusal("./adapter?adapter=./adapter", tmp_path)
    files(
        tmp_path / "run" / "adapter",
        **{path.name.replace(".", "__"): path.read_text() for path in (tmp_path / "adapter").iterdir()},
    )
    assert parse_spec("./run?subfolder=adapter", tmp_path).short == "adapter"
    assert "no such folder with an adapter" in refusal("org/base?adapter=./nothing", tmp_path)


# -- what a model is for


@pytest.mark.parametrize(
    ("architecture", "settings", "words"),
    [
        ("LlamaForSequenceClassification", {}, "is a classifier or reward model: it gives texts a label or a score (LlamaForSequenceClassification in its config.json)"),
        ("Qwen2ForRewardModel", {}, "is a reward model"),
        ("BertModel", {"model_type": "bert"}, "is an encoder: it turns texts into vectors"),
        ("BertForMaskedLM", {"model_type": "bert"}, "is an encoder: it fills in masked words"),
        ("ModernBertForMaskedLM", {"model_type": "modernbert"}, "is an encoder"),
        ("XLMRobertaForTokenClassification", {"model_type": "xlm-roberta"}, "is a tagger"),
        ("DebertaV2ForSequenceClassification", {"model_type": "deberta-v2"}, "is a classifier"),
        ("ViTForImageClassification", {"model_type": "vit"}, "is a classifier of images"),
        ("Wav2Vec2ForCTC", {"model_type": "wav2vec2"}, "is a speech recogniser"),
        ("ColPaliForRetrieval", {"model_type": "colpali"}, "embeds texts and pages"),
        ("BertForSequenceClassification", {"model_type": "bert", "is_decoder": True}, "is a classifier"),
    ],
)  # fmt: skip
def test_a_model_that_writes_no_text_is_called_what_it_is(
    architecture: str, settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    model_folder(tmp_path / "model", architectures=[architecture], **settings)
    message = refusal("./model", tmp_path)
    assert words in message
    assert message.endswith("and does not write text; name a model for text generation")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"architectures": None},
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"},
        {"architectures": ["GPT2DoubleHeadsModel"], "model_type": "gpt2"},
        {"architectures": ["BertLMHeadModel"], "model_type": "bert", "is_decoder": True},
        {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"},
        {"architectures": ["XLNetLMHeadModel"], "model_type": "xlnet"},
        {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava"},
        {"architectures": ["MyOwnModel"], "model_type": "mine"},
        # A decoder that ties its output layer loses nothing where it was saved without.
        {"architectures": ["LlamaModel"], "model_type": "llama"},
    ],
)
def test_a_model_that_may_write_text_is_not_refused(config: dict[str, Any]) -> None:
    check_architectures(config, "x", "x")


# -- quantised weights


@pytest.mark.parametrize(
    ("config", "method"),
    [
        ({}, None),
        ({"quantization_config": None}, None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "gptq"),
        ({"quantization_config": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}, "bitsandbytes"),
        ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "fp8"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"quantization_config": {"group_size": 64, "bits": 4}}, "mlx"),
        ({"quantization_config": {"something": 1}}, "an unnamed method"),
    ],
)
def test_the_method_is_read_from_the_configuration(config: dict[str, Any], method: str | None) -> None:
    assert method_of(config) == method


def quantised(text: str, root: Path, **told: Any) -> str:
    model_folder(root / "model", quantization_config=told)
    return refusal(text, root)


@pytest.mark.parametrize(
    ("query", "told", "words"),
    [
        ("", {"quant_method": "gptq"}, "quantised by gptq, need optimum and gptqmodel, not installed here: pip install optimum gptqmodel"),
        ("", {"quant_method": "awq"}, "need gptqmodel, not installed here: pip install gptqmodel"),
        ("", {"quant_method": "hqq"}, "need hqq, not installed here: pip install hqq"),
        ("?device=cpu", {"quant_method": "higgs"}, "quantised by higgs, can be used on a CUDA GPU only, and the device is cpu"),
        ("?device=mps", {"quant_method": "bitsandbytes"}, "can be used on a CPU or a CUDA GPU only, and the device is mps"),
        ("", {"quant_method": "compressed-tensors"}, "need compressed-tensors, not installed here: pip install 'pytest-evals-hf[quantized]'"),
        ("?quantize=bnb4", {"quant_method": "fp8"}, "its weights are quantised already (fp8 in its config.json); leave quantize=bnb4 out"),
        ("", {"group_size": 64, "bits": 4}, "are quantised for MLX, which transformers cannot load"),
    ],
)  # fmt: skip
def test_quantised_weights_that_cannot_be_used_here_are_refused_at_the_start(
    query: str, told: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "installed", lambda name: name == "bitsandbytes")
    assert words in quantised(f"./model{query}", tmp_path, **told)


def test_what_is_to_be_quantised_is_checked_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for query, words in {
        "quantize=bnb4": "quantize=bnb4 needs bitsandbytes, not installed here: pip install 'pytest-evals-hf[quantized]'",
        "quantize=int8": "quantize=int8 needs torchao, not installed here: pip install 'pytest-evals-hf[quantized]'",
        "quantize=bnb8&device=mps": "quantize=bnb8 can be used on a CPU or a CUDA GPU only, and the device is mps",
        "quantize=bnb8&tp=2": "quantize cannot be combined with tp",
        "quantize=gptq": "quantize must be bnb4, bnb8 or int8, not 'gptq'",
    }.items():
        monkeypatch.setattr(quantization, "installed", lambda _name: False)
        assert words in refusal(f"org/name?{query}", tmp_path)
    monkeypatch.setattr(quantization, "installed", lambda _name: True)
    assert parse_spec("org/name?quantize=bnb4&device=cuda:1", tmp_path).options["quantize"] == "bnb4"
    check_quantized({"quantization_config": {"quant_method": "of-next-year"}}, None, "cpu", "x")


# -- GGUF files


def gguf(**metadata: str | int) -> bytes:
    """A GGUF file with these entries, a dot for a double underscore, and one tensor of 6 numbers."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text(name.replace("__", "."))
        + (struct.pack("<I", 8) + text(value) if isinstance(value, str) else struct.pack("<IQ", 10, value))
        for name, value in metadata.items()
    ]
    vocabulary = text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    scores = text("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + bytes(8)
    tensor = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 2, 3, 0, 0)
    return b"GGUF" + struct.pack("<IQQ", 3, 1, len(entries) + 2) + b"".join(entries) + vocabulary + scores + tensor


LLAMA: dict[str, str | int] = {
    "general__architecture": "llama",
    "llama__block_count": 2,
    "llama__embedding_length": 32,
    "llama__attention__head_count": 4,
    "llama__attention__head_count_kv": 2,
    "tokenizer__chat_template": "{{ messages }}",
}


def test_the_header_of_a_gguf_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf(**LLAMA))
    header = read_gguf(path)
    assert (header.architecture, header.parameters, header.metadata["tokenizer.ggml.tokens"]) == ("llama", 6, 2)
    spec = parse_spec("./a.gguf", tmp_path)
    assert (spec.name, spec.short) == (str(path), "a-gguf")
    footprint = gguf_footprint(path)
    assert footprint is not None
    assert (footprint.parameters, footprint.cache_numbers) == (6, 2 * 2 * 2 * 8)
    assert spec.kind.footprint(spec) == footprint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it does not begin as GGUF files do"),
        (b"PK\x03\x04 and so on, a zip", "it does not begin as GGUF files do"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "it is of version 1, and 2 and 3 are known"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "it is of version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 1 << 60), "its header is damaged"),
        (gguf(**LLAMA)[:-5], "its header is cut off or damaged"),
        (gguf(**LLAMA)[:40], "its header is cut off or damaged"),
        (gguf(**{**LLAMA, "split__count": 3}), "is one of 3 parts, and only whole GGUF files can be read"),
        (gguf(**{**LLAMA, "general__architecture": "clip"}), "is the part of a model that reads images"),
        (gguf(other="x"), "holds no model (no architecture, or no weights)"),
        (gguf(general__architecture="llama"), "has no chat template; a base model is given plain prompts with ./a.gguf?template=none"),
    ],
)  # fmt: skip
def test_a_gguf_file_that_is_no_model_says_why(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(content)
    assert words in refusal("./a.gguf", tmp_path)


def test_a_template_may_come_with_another_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf(general__architecture="llama"))
    model_folder(tmp_path / "model")
    for options in ("template=none", "tokenizer=./model", "tokenizer=org/name@v1"):
        assert parse_spec(f"./a.gguf?{options}", tmp_path).engine == "hf"
    assert "has no tokenizer" in refusal("./a.gguf?tokenizer=./nothing", tmp_path)
    assert "tokenizer must be a folder (./dir) or a hub name (org/name), not 'name'" in refusal(
        "org/name?tokenizer=name", tmp_path
    )


# -- the rest of a specification


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("remote_code=yes", "remote_code must be true or false, not 'yes'"),
        ("subfolder=", "subfolder must be the path of a folder below the model's, not ''"),
        ("revision=v2", "it names two revisions, 'v1' and 'v2'; leave one of them out"),
    ],
)
def test_options_of_models_are_checked(query: str, words: str, tmp_path: Path) -> None:
    assert words in refusal(f"org/name@v1?{query}", tmp_path)


def test_a_revision_is_written_either_way(tmp_path: Path) -> None:
    assert parse_spec("org/name?revision=v1", tmp_path).revision == parse_spec("org/name@v1", tmp_path).revision == "v1"
    model_folder(tmp_path / "model")
    assert "revision is for models of the hub; a folder has none" in refusal("./model?revision=v1", tmp_path)
    for text in ("smollm2?subfolder=x", "./a.gguf?subfolder=x"):
        assert "subfolder is for folders and for models of the hub" in refusal(text, tmp_path)
    assert parse_spec("org/name?remote_code=true&subfolder=a/b", tmp_path).options == {
        "remote_code": True,
        "subfolder": "a/b",
    }


def test_paths_of_options_move_with_the_specification(tmp_path: Path) -> None:
    suite = tmp_path / "tests" / "evals"
    model_folder(suite / "model")
    model_folder(tmp_path / "other")
    assert model_text("./model?tokenizer=../../other&dtype=fp32", suite, tmp_path, {}) == (
        "./tests/evals/model?tokenizer=./other&dtype=fp32"
    )
    assert model_text("hf:./model", suite, tmp_path, {}) == "./tests/evals/model"
    assert model_text("org/name@v1?tokenizer=../../other", suite, tmp_path, {}) == "org/name@v1?tokenizer=./other"
    assert moved_spec("./m?adapter=.%2Fa%20b", suite, tmp_path) == "./tests/evals/m?adapter=./tests/evals/a%20b"
    assert moved_spec("openai:./m@http://x/v1?tokenizer=./t", suite, tmp_path) == "openai:./m@http://x/v1?tokenizer=./t"
    assert moved_spec("~/m", Path("/x"), tmp_path) == (Path.home() / "m").as_posix()
