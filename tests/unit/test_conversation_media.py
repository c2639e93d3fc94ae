"""Images and audio in the conversation of a case: found in its row, checked, refused with their row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Failure
from pytest_evals.engines.answer_cache import request_key as cache_key
from pytest_evals.engines.protocol import Capabilities, Request, refusal
from pytest_evals.engines.request_tracker import request_key
from pytest_evals.errors import DatasetError, EvalsError, SuiteError, TemplateError
from pytest_evals.generation import GenerationParams
from pytest_evals.scores.content import content_of
from pytest_evals.suites.suite import Prepared, build_suite
from tests.media import png, wav

from .building import declare

ROW = {"photo": "red.png", "more": ["red.png", "sub/blue.png"], "none": None, "empty": [], "word": "red"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures, and a dataset in a folder of its own."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "red.png").write_bytes(png())
    (tmp_path / "sub" / "blue.png").write_bytes(png(color="blue"))
    (tmp_path / "sub" / "tone.wav").write_bytes(wav())
    (tmp_path / "sub" / "notes.txt").write_text("words")
    (tmp_path / "sub" / "rows.jsonl").write_text('{"photo": "blue.png"}\n')
    return tmp_path


def first(folder: Path, data: Any = (ROW,), **arguments: Any) -> Prepared:
    """The first case of a suite in the folder."""
    data = list(data) if isinstance(data, tuple) else data
    return next(iter(build_suite(declare(data, **arguments), folder, None).cases.values()))


def content(prepared: Prepared, index: int = 0) -> list[str]:
    """The parts of a message: texts, and names of files."""
    parts = prepared.prompt[index]["content"]
    assert isinstance(parts, list)
    shown: list[Any] = [dict(part) for part in parts]
    return [Path(part["image"]).name if "image" in part else part["text"] for part in shown]


def refused(folder: Path, data: Any = (ROW,), kind: type[EvalsError] = DatasetError, **arguments: Any) -> str:
    """What the error says with which the suite is refused."""
    with pytest.raises(kind) as caught:
        first(folder, data, **arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("images", "names"),
    [
        ("item.photo", ["red.png"]),
        ("{{item.photo}}", ["red.png"]),
        (["item.photo"], ["red.png"]),
        ("item.more", ["red.png", "blue.png"]),
        (["item.photo", "item.more.1"], ["red.png", "blue.png"]),
        (["item.photo", "item.more"], ["red.png", "red.png", "blue.png"]),
        ("sub/{{item.word}}.png", ["red.png"]),
    ],
)
def test_images_stand_before_the_text_of_the_prompt(folder: Path, images: Any, names: list[str]) -> None:
    (folder / "sub" / "red.png").write_bytes(png())
    assert content(first(folder, prompt="What?", images=images)) == [*names, "What?"]


@pytest.mark.parametrize("images", ["item.none", "item.empty", ["item.none", "item.empty"]])
def test_a_row_may_have_no_image(folder: Path, images: Any) -> None:
    assert first(folder, prompt="What?", images=images).prompt[0]["content"] == "What?"


def test_images_of_files(folder: Path) -> None:
    files = [{"photo": "sub/blue.png"}]
    assert content(first(folder, prompt="What?", images="item.files.photo", files=files)) == ["blue.png", "What?"]


def test_paths_in_a_dataset_may_be_relative_to_it(folder: Path) -> None:
    assert content(first(folder, "sub/rows.jsonl", prompt="What?", images="item.photo")) == ["blue.png", "What?"]


def test_a_system_message_stays_a_text(folder: Path) -> None:
    prepared = first(folder, prompt="What?", images="item.photo", system="Be short.")
    assert prepared.prompt[0] == {"role": "system", "content": "Be short."}
    assert content(prepared, 1) == ["red.png", "What?"]


def test_parts_of_messages_are_templates(folder: Path) -> None:
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Is this {{item.word}}?"},
                {"type": "image", "image": "item.files.photo"},
                {"type": "image_url", "image_url": {"url": "{{item.photo}}"}},
                {"type": "audio", "audio": "item.files.tone"},
            ],
        }
    ]
    files = [{"photo": "sub/blue.png", "tone": "sub/tone.wav"}]
    parts: Any = first(folder, messages=messages, files=files).prompt[0]["content"]
    assert [part["type"] for part in parts] == ["text", "image", "image", "audio"]
    assert parts[0]["text"] == "Is this red?"
    assert [Path(part.get("image") or part["audio"]).name for part in parts[1:]] == ["blue.png", "red.png", "tone.wav"]


def test_a_rows_own_messages_are_no_templates(folder: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "image", "image": "red.png"}, {"type": "text", "text": "{{x}}"}]}
        ]
    }
    assert content(first(folder, (row,))) == ["red.png", "{{x}}"]


def test_places_in_messages_are_filled_in_their_order(folder: Path) -> None:
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "or"}]},
            {"role": "assistant", "content": "which?"},
            {"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "?"}]},
        ],
        "images": ["red.png", "sub/blue.png"],
    }
    prepared = first(folder, (row,), images="item.images")
    assert (content(prepared, 0), content(prepared, 2)) == (["red.png", "or"], ["blue.png", "?"])
    assert "have places for 2 images, and images= gives 1" in refused(folder, (row,), images="item.images.0")
    assert "names no image" in refused(folder, (row,))


@pytest.mark.parametrize(
    ("data", "arguments", "words"),
    [
        (({"photo": "gone.png"},), {}, "row 1 of inline: message 1, part 1: image 'gone.png' not found"),
        (({"photo": "sub/notes.txt"},), {}, "notes.txt is not an image: it is a text"),
        (({"photo": "sub/tone.wav"},), {}, "tone.wav is not an image: it is audio/wav"),
        (({"photo": "sub"},), {}, "'sub' is a folder"),
        (({"photo": "https://example.com/a.png"},), {}, "nothing is fetched unless --evals-fetch allows it"),
        (({"photo": 3},), {}, "must be a path, a data URI or bytes, and this one is int"),
        ((ROW,), {"prompt": None, "messages": [{"role": "system", "content": "x"}]}, "needs a message of the user"),
    ],
)
def test_media_that_cannot_be_used_are_errors_of_their_row(
    folder: Path, data: Any, arguments: dict[str, Any], words: str
) -> None:
    assert words in refused(folder, data, **{"prompt": "What?", "images": "item.photo", **arguments})


def test_images_that_are_not_declared_as_such_are_refused(folder: Path) -> None:
    assert "images must be a locator as 'item.photo'" in refused(folder, kind=SuiteError, prompt="x", images=7)
    assert "unknown field 'foto'" in refused(folder, kind=TemplateError, prompt="x", images="item.foto")


def test_a_file_that_is_no_text_does_not_stand_in_a_text(folder: Path) -> None:
    files = [{"photo": "sub/blue.png"}]
    said = refused(folder, kind=TemplateError, prompt="What is {{item.files.photo}}?", files=files)
    assert "images=" in said


def asked(folder: Path) -> Request:
    """A request with an image."""
    return Request("a", "m", first(folder, prompt="What?", images="item.photo").prompt, GenerationParams())


def test_requests_are_told_apart_by_the_content_of_their_images(folder: Path) -> None:
    before = asked(folder)
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "red.png").write_bytes((folder / "red.png").read_bytes())
    moved = asked(folder / "elsewhere")
    (folder / "red.png").write_bytes(png(color="green"))
    changed = asked(folder)
    assert request_key(before) == request_key(moved) != request_key(changed)
    keys = [cache_key(each, "m", deterministic=True) for each in (before, moved, changed)]
    assert keys[0] == keys[1] != keys[2]
    contents = [content_of(each.messages, {}) for each in (before, moved, changed)]
    assert contents[0] == contents[1] != contents[2]
    assert Request.from_dict(before.to_dict()).messages == before.messages


def test_a_model_refuses_what_it_does_not_read(folder: Path) -> None:
    request = asked(folder)
    texts, pictures = Capabilities(), Capabilities(media=frozenset({"image"}))
    refused_by = refusal(request, texts)
    assert isinstance(refused_by, Failure)
    assert refused_by.kind == "unsupported"
    assert refused_by.message.startswith("m cannot read the image: ")
    assert refused_by.message.endswith("give it texts, or ask a model that reads images")
    assert refusal(request, pictures) is None
    why = refusal(request, Capabilities(no_media="its processor needs PIL"))
    assert why is not None
    assert why.message.endswith("32x24: its processor needs PIL")
