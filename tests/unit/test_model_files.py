"""What the files of a model tell before it is loaded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.model_files import ModelFiles
from pytest_evals.engines.spec import ModelSpec

PLAIN = "{% for message in messages %}{{ message.content }}{% endfor %}"
TOOLS = PLAIN + "{% for tool in tools %}{{ tool }}{% endfor %}"
NONE = "has a chat template that shows no tools"


def files(folder: Path, written: dict[str, Any], **options: str) -> ModelFiles:
    for name, content in written.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return ModelFiles(ModelSpec("m", "hf", str(folder), None, options))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"chat_template.jinja": PLAIN}, NONE),
        ({"chat_template.jinja": TOOLS}, None),
        ({"tokenizer_config.json": {"chat_template": PLAIN}}, NONE),
        ({"tokenizer_config.json": {"chat_template": TOOLS}}, None),
        ({"processor_config.json": {"chat_template": PLAIN}}, NONE),
        ({"tokenizer_config.json": {"chat_template": [{"name": "default", "template": PLAIN}]}}, NONE),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [
                        {"name": "default", "template": PLAIN},
                        {"name": "tool_use", "template": TOOLS},
                    ]
                }
            },
            None,
        ),
        ({"chat_template.jinja": PLAIN, "additional_chat_templates/tool_use.jinja": TOOLS}, None),
        ({"chat_template.jinja": PLAIN + "{# my_tools #}"}, NONE),
        ({}, None),
        ({"tokenizer_config.json": "{"}, None),
    ],
)
def test_a_template_that_never_names_tools_is_found_in_the_files(
    tmp_path: Path, written: dict[str, Any], expected: str | None
) -> None:
    assert files(tmp_path, written).without_tools() == expected


def test_another_template_is_read_in_the_place_of_the_models_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine.jinja"
    mine.write_text(TOOLS, encoding="utf-8")
    written = {"chat_template.jinja": PLAIN}
    assert files(tmp_path, written, template=str(mine)).without_tools() is None
    assert files(tmp_path, written, template="none").without_tools() == "has no chat template"
    # It may be the name of one of several templates.
    assert files(tmp_path, written, template="rag").without_tools() is None
    assert files(tmp_path, written, tokenizer="another").without_tools() is None
    mine.write_text(PLAIN, encoding="utf-8")
    assert files(tmp_path, written, template=str(mine)).without_tools() == NONE


def test_a_model_that_reads_texts_only_is_told_by_its_configuration(tmp_path: Path) -> None:
    text = {"config.json": {"model_type": "llama", "is_encoder_decoder": False}}
    assert (
        files(tmp_path, text).without_media("image")
        == "reads texts only; give it texts, or ask a model that reads more"
    )
    for name in ("vision_config", "audio_config", "auto_map", "thinker_config"):
        assert files(tmp_path, {"config.json": {"model_type": "x", name: {}}}).without_media("image") is None
    assert files(tmp_path / "gone", {}).without_media("image") is None


def test_a_processor_that_needs_torchvision_says_so_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec

    def without(name: str, *arguments: Any) -> Any:
        return None if name == "torchvision" else found(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    for kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl_moe", "qwen2_5_omni", "smolvlm", "internvl", "llava_onevision"):
        why = files(tmp_path, {"config.json": {"model_type": kind, "vision_config": {}}}).without_media("image")
        assert why is not None
        assert "its processor needs torchvision, which is not installed: pip install torchvision" in why
    for kind in ("gemma3", "idefics3", "llava", "qwen2_audio"):
        assert (
            files(tmp_path, {"config.json": {"model_type": kind, "vision_config": {}}}).without_media("image") is None
        )
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    assert (
        files(tmp_path, {"config.json": {"model_type": "qwen2_vl", "vision_config": {}}}).without_media("image") is None
    )


QWEN = {"patch_size": 14, "merge_size": 2, "min_pixels": 56 * 56, "max_pixels": 28 * 28 * 1280}


@pytest.mark.parametrize(
    ("config", "processor", "size", "tokens"),
    [
        # As smart_resize of transformers has it: 640 x 480 becomes 644 x 476.
        ({"model_type": "qwen2_vl"}, QWEN, (640, 480), 23 * 17),
        ({"model_type": "qwen2_vl"}, QWEN, (10, 10), 4),
        ({"model_type": "qwen2_5_vl"}, QWEN, (4000, 3000), 41 * 30),
        (
            {"model_type": "qwen3_vl"},
            {"patch_size": 16, "merge_size": 2, "size": {"shortest_edge": 65536, "longest_edge": 16777216}},
            (640, 480),
            20 * 15,
        ),
        ({"model_type": "gemma3", "mm_tokens_per_image": 256}, {}, (640, 480), 256),
        ({"model_type": "gemma3", "mm_tokens_per_image": 256}, {"do_pan_and_scan": True}, (640, 480), None),
        ({"model_type": "idefics3"}, {"image_seq_len": 64, "do_image_splitting": False}, (64, 64), 64),
        ({"model_type": "idefics3"}, {"image_seq_len": 64}, (64, 64), None),
        ({"model_type": "unknown"}, {}, (64, 64), None),
    ],
)
def test_tokens_of_an_image_follow_from_its_size_where_the_files_say_how(
    tmp_path: Path, config: dict[str, Any], processor: dict[str, Any], size: tuple[int, int], tokens: int | None
) -> None:
    found = files(tmp_path, {"config.json": config, "preprocessor_config.json": processor})
    assert found.image_tokens({"width": size[0], "height": size[1]}) == tokens
