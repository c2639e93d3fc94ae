"""Model specifications, read and checked without loading anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.embedded import EMBEDDED_PACKAGE, embedded_weights
from pytest_evals.engines.model_folder import has_chat_template
from pytest_evals.engines.spec import ModelSpec, parse_spec
from pytest_evals.errors import ModelError
from tests.unit.building import model_folder


def refusal(text: str, root: Path = Path()) -> str:
    with pytest.raises(ModelError) as caught:
        parse_spec(text, root)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "engine", "name", "revision", "options", "short"),
    [
        ("smollm2", "hf", "smollm2", None, {}, "smollm2"),
        ("  smollm2\n", "hf", "smollm2", None, {}, "smollm2"),
        ("hf:smollm2", "hf", "smollm2", None, {}, "smollm2"),
        ("smollm2?dtype=bf16&batch=8", "hf", "smollm2", None, {"dtype": "bf16", "batch": 8}, "smollm2"),
        ("org/name", "hf", "org/name", None, {}, "name"),
        ("hf:org/Name-1.5B_x", "hf", "org/Name-1.5B_x", None, {}, "Name-1-5B_x"),
        ("org/name@v1.0", "hf", "org/name", "v1.0", {}, "name"),
        ("org/name@refs/pr/1", "hf", "org/name", "refs/pr/1", {}, "name"),
        ("org/name@", "hf", "org/name", None, {}, "name"),
        (
            "org/name?template=none&device=cuda:1",
            "hf",
            "org/name",
            None,
            {"template": "none", "device": "cuda:1"},
            "name",
        ),
        ("org/name?template=a%20b.jinja", "hf", "org/name", None, {"template": "a b.jinja"}, "name"),
        ("org/name?replicas=auto&loop=auto", "hf", "org/name", None, {"replicas": "auto", "loop": "auto"}, "name"),
        ("org/name?replicas=99&loop=packed", "hf", "org/name", None, {"replicas": 99, "loop": "packed"}, "name"),
        ("org/name?loop=generate", "hf", "org/name", None, {"loop": "generate"}, "name"),
        ("scripted:module:function", "scripted", "module:function", None, {}, "function"),
        ("scripted:package.module:_answer", "scripted", "package.module:_answer", None, {}, "answer"),
    ],
)
def test_a_good_specification_is_read(
    text: str, engine: str, name: str, revision: str | None, options: dict[str, str], short: str
) -> None:
    spec = parse_spec(text, Path())
    assert spec == ModelSpec(text.strip(), engine, name, revision, options)
    assert spec.short == short


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no model is named after the engine"),
        ("hf:", "no model is named after the engine"),
        ("?dtype=bf16", "no model is named after the engine"),
        ("hg:org/name", "unknown engine 'hg' (known: hf, ray, openai, scripted)"),
        ("scrpted:m:f", "unknown engine 'scrpted' (known: hf, ray, openai, scripted); did you mean 'scripted'?"),
        (":org/name", "unknown engine ''"),
        ("gpt2", "'gpt2' is neither 'smollm2', a folder (./dir) nor a hub name (org/name)"),
        ("org/name/more", "is neither 'smollm2', a folder (./dir) nor a hub name (org/name)"),
        ("org/", "is neither 'smollm2'"),
        ("or g/name", "is neither 'smollm2'"),
        ("smollm2@v1", "is neither 'smollm2'"),
        ("scripted:module", "a scripted model is written scripted:module:function"),
        ("scripted::f", "a scripted model is written scripted:module:function"),
        ("scripted:m:", "a scripted model is written scripted:module:function"),
        ("scripted:m:f(x)", "a scripted model is written scripted:module:function"),
        ("scripted:m:f?dtype=bf16", "unknown option 'dtype' (known for scripted: reasoning, warm)"),
        (
            "org/name?dtyp=bf16",
            "unknown option 'dtyp' (known for hf: dtype, device, batch, template, reasoning, chat_template_kwargs,",
        ),
        ("org/name?replica=2", "unknown option 'replica' (known for hf: "),
        ("org/name?replicas=0", "replicas must be auto or a whole number from 1 to 99, not '0'"),
        ("org/name?replicas=100", "replicas must be auto or a whole number from 1 to 99, not '100'"),
        ("org/name?replicas=-1", "replicas must be auto or a whole number from 1 to 99, not '-1'"),
        ("org/name?replicas=two", "replicas must be auto or a whole number from 1 to 99, not 'two'"),
        ("org/name?replicas=", "replicas must be auto or a whole number from 1 to 99, not ''"),
        ("org/name?loop=fast", "loop must be auto, packed"),
        ("org/name?loop=", "loop must be auto, packed"),
        ("scripted:m:f?replicas=2", "unknown option 'replicas' (known for scripted: reasoning, warm)"),
        ("org/name?reasoning=yes", "reasoning must be auto, none or OPEN..CLOSE (as <think>..</think>), not 'yes'"),
        (
            "org/name?chat_template_kwargs=[1]",
            'chat_template_kwargs must be an object of JSON, as {"enable_thinking": false}',
        ),
        ("org/name?chat_template_kwargs={", "chat_template_kwargs must be an object of JSON"),
        ("org/name?dtype=bf17", "dtype must be auto, fp32, bf16 or fp16, not 'bf17'"),
        ("org/name?dtype", "dtype must be auto, fp32, bf16 or fp16, not ''"),
        ("org/name?device=gpu", "device must be auto, cpu, cuda, cuda:N or mps, not 'gpu'"),
        ("org/name?batch=0", "batch must be auto or a whole number of at least 1, not '0'"),
        ("org/name?batch=many", "batch must be auto or a whole number of at least 1, not 'many'"),
        ("org/name?template=", "template must be none or the path of a template, not ''"),
    ],
)
def test_a_bad_specification_is_quoted_and_says_what_is_wrong(text: str, words: str) -> None:
    message = refusal(text)
    assert message.startswith(f"model {text!r}: ")
    assert words in message


# -- folders


def test_a_folder_is_made_absolute(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny.v1")
    for text in ("./tiny.v1", "../" + tmp_path.name + "/tiny.v1/", str(folder), f"hf:{folder}"):
        spec = parse_spec(text, tmp_path)
        assert (spec.text, spec.name, spec.short) == (text, str(folder), "tiny-v1")


def test_a_path_with_a_colon_names_no_engine(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "a:b")
    assert parse_spec(str(folder), tmp_path).name == str(folder)


def test_a_missing_folder_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert refusal("./nope", tmp_path) == f"model './nope': no such folder: {tmp_path / 'nope'}"


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = model_folder(tmp_path / "tiny")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert parse_spec("~/tiny", Path("/elsewhere")).name == str(folder)


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ("config.json", "has no config.json, so it is not a transformers model"),
        ("model.safetensors", "holds no weights (looked for *.safetensors and pytorch_model*.bin)"),
        (
            "tokenizer_config.json",
            "has no chat template; a base model is given plain prompts with ./tiny?template=none",
        ),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(without: str, words: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny", without=without)
    message = refusal("./tiny", tmp_path)
    assert message.startswith(f"model './tiny': {folder} ")
    assert words in message


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny", without="tokenizer.json")
    (folder / "tokenizer_config.json").unlink()
    assert "has no tokenizer (tokenizer.json or tokenizer_config.json)" in refusal("./tiny", tmp_path)


def test_empty_weights_are_no_weights(tmp_path: Path) -> None:
    (model_folder(tmp_path / "tiny") / "model.safetensors").write_bytes(b"")
    assert "holds no weights" in refusal("./tiny", tmp_path)


def test_weights_of_pytorch_are_weights_too(tmp_path: Path) -> None:
    (model_folder(tmp_path / "tiny", without="model.safetensors") / "pytorch_model-00001-of-2.bin").write_bytes(b"x")
    assert parse_spec("./tiny", tmp_path).engine == "hf"


@pytest.mark.parametrize("template", ["none", "chat.jinja"])
def test_a_base_model_is_good_with_a_template_option(template: str, tmp_path: Path) -> None:
    model_folder(tmp_path / "tiny", without="tokenizer_config.json")
    assert parse_spec(f"./tiny?template={template}", tmp_path).options == {"template": template}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("tokenizer_config.json", '{"chat_template": "x"}', True),
        ("tokenizer_config.json", '{"chat_template": [{"name": "default", "template": "x"}]}', True),
        ("tokenizer_config.json", '{"chat_template": null}', False),
        ("tokenizer_config.json", "{}", False),
        ("tokenizer_config.json", "[]", False),
        ("tokenizer_config.json", "{", False),
        ("chat_template.jinja", "x", True),
        ("chat_template.json", "{}", True),
        ("other.txt", "x", False),
    ],
)
def test_a_chat_template_is_found_wherever_it_is_saved(name: str, text: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert has_chat_template(tmp_path) is found


# -- the rest


def test_only_scripts_need_no_device_for_themselves() -> None:
    assert parse_spec("smollm2", Path()).heavy
    assert not parse_spec("scripted:m:f", Path()).heavy


def test_only_scripts_are_called_for_every_request() -> None:
    assert parse_spec("smollm2", Path()).deduplicates
    assert not parse_spec("scripted:m:f", Path()).deduplicates


def fake_package(folder: Path, monkeypatch: pytest.MonkeyPatch, *files: str) -> None:
    package = folder / EMBEDDED_PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it was imported')")
    for name in files:
        (package / name).write_text("weights")
    monkeypatch.delitem(sys.modules, EMBEDDED_PACKAGE, raising=False)
    monkeypatch.syspath_prepend(folder)


def test_the_embedded_weights_are_located_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, monkeypatch, "model.gguf")
    assert embedded_weights() == tmp_path / EMBEDDED_PACKAGE / "model.gguf"


def test_a_package_without_weights_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_package(tmp_path, monkeypatch)
    assert embedded_weights() is None


def test_without_the_package_there_are_no_embedded_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> Any:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    assert embedded_weights() is None
