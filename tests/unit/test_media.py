"""Images and audio: where they are found, what is none, and how they travel."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import soundfile

from pytest_evals.errors import DatasetError
from pytest_evals.media import parts, sources
from pytest_evals.media.audio import check_audio
from pytest_evals.media.images import check_image, decoded
from pytest_evals.media.kinds import MediaKind, mime_of
from pytest_evals.media.parts import (
    checked_content,
    content_of_part,
    identified,
    label_of,
    media_of,
    recorded,
    shown_text,
)
from pytest_evals.media.sources import MediaPlaces, MediaSource, data_uri, find
from tests.media import encoded, picture, png, png_that_claims, wav

RED = png()
RED64 = base64.b64encode(RED).decode()


@pytest.fixture
def places(tmp_path: Path) -> MediaPlaces:
    """Two folders with files."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "suite" / "red.png").write_bytes(RED)
    (tmp_path / "data" / "blue sky.png").write_bytes(png(color="blue"))
    (tmp_path / "data" / "tone.wav").write_bytes(wav())
    return MediaPlaces((tmp_path / "suite", tmp_path / "data"))


def refused(kind: MediaKind, value: Any, places: MediaPlaces) -> str:
    """What the error says with which a source is refused."""
    with pytest.raises(DatasetError) as caught:
        find(kind, value, places)
    return str(caught.value)


# -- Where they are.


def test_a_path_is_looked_for_in_one_folder_after_the_other(places: MediaPlaces) -> None:
    suite, data = places.folders
    assert find("image", "red.png", places) == MediaSource(RED, suite / "red.png")
    assert find("image", "blue sky.png", places).path == data / "blue sky.png"
    assert find("image", Path("red.png"), places).path == suite / "red.png"
    assert find("image", str(suite / "red.png"), MediaPlaces(())).content == RED
    assert find("image", (suite / "red.png").as_uri(), places).content == RED
    assert find("image", (data / "blue sky.png").as_uri(), places).path == data / "blue sky.png"
    assert find("audio", {"bytes": None, "path": "tone.wav"}, places).path == data / "tone.wav"


@pytest.mark.parametrize(
    "value",
    [
        RED,
        bytearray(RED),
        memoryview(RED),
        {"bytes": RED, "path": None},
        {"bytes": RED, "path": "somewhere.png"},
        {"url": f"data:image/png;base64,{RED64}"},
        f"data:image/png;base64,{RED64}",
        f"data:image/png;charset=utf-8;base64,{RED64}",
        f"DATA:image/jpeg;BASE64,{RED64}",
        f"data:;base64,{RED64.rstrip('=')}",
        f"data:image/png;base64,{RED64[:40]}\n{RED64[40:]}\n",
        f"data:image/png;base64,{RED64.replace('+', '-').replace('/', '_')}",
        f"data:image/png;base64,{RED64.replace('+', '%2B').replace('=', '%3D')}",
        "data:image/png," + "".join(f"%{byte:02x}" for byte in RED),
        RED64,
        f"  {RED64}\n",
    ],
)
def test_a_row_may_hold_the_content_itself(value: Any, places: MediaPlaces) -> None:
    assert find("image", value, places) == MediaSource(RED)


def test_a_row_may_hold_an_image_of_pillow_or_samples(places: MediaPlaces) -> None:
    held = find("image", picture(7, 5), places)
    assert check_image(held.content, "it") == {"mime": "image/png", "width": 7, "height": 5}
    with soundfile.SoundFile(io.BytesIO(wav())) as file:
        samples = file.read(dtype="float32")
    sound = find("audio", {"array": samples, "sampling_rate": 16_000, "path": None}, places)
    assert check_audio(sound.content, "it") == {"mime": "audio/wav", "seconds": 0.25, "sampling_rate": 16_000}
    again, _ = soundfile.read(io.BytesIO(sound.content), dtype="float32")
    assert (again == samples).all()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "this one is null"),
        ("", "this one is an empty text"),
        ("   ", "this one is an empty text"),
        (7, "this one is int"),
        ({}, "this one has nothing"),
        ({"file": "red.png"}, "this one has file"),
        ("green.png", "'green.png' not found: "),
        ("deep", "'deep' is a folder: "),
        ("a\0b.png", "not found"),
        ("x" * 5000, "not found"),
        ("http://example.com/cat.png", "nothing is fetched unless --evals-fetch allows it"),
        ("https://example.com/cat.png?size=1", "is not on this machine"),
        ("HTTPS://EXAMPLE.COM/cat.png", "is not on this machine"),
        ({"url": "https://example.com/cat.png"}, "is not on this machine"),
        ("s3://bucket/cat.png", "has the scheme 's3', which is not read here"),
        ("ftp://example.com/cat.png", "has the scheme 'ftp'"),
        ("hf://datasets/a/b/cat.png", "has the scheme 'hf'"),
        ("file://elsewhere/share/cat.png", "is on another machine"),
        ("data:image/png;base64", "has no comma before its content"),
        ("data:image/png;base64,@@@@", "its content is not base64"),
        ("data:image/png;base64,A", "its content is not base64"),
    ],
)
def test_what_is_not_there_is_said_so(value: Any, words: str, places: MediaPlaces) -> None:
    assert words in refused("image", value, places)


def test_a_missing_file_names_every_place_that_was_looked_at(places: MediaPlaces) -> None:
    suite, data = places.folders
    said = refused("image", "green.png", places)
    # A long path is shortened at its end.
    assert said.startswith(f"image 'green.png' not found: {suite}/")
    assert said.endswith(f" (nor {data / 'green.png'})")


def test_a_pipe_is_no_file(places: MediaPlaces) -> None:
    pipe = places.folders[0] / "pipe.png"
    os.mkfifo(pipe)
    assert "is not a regular file" in refused("image", "pipe.png", places)


def test_more_bytes_than_the_limit_are_not_read(places: MediaPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MOST_BYTES", 20)
    for value in ("red.png", RED, f"data:image/png;base64,{RED64}", {"bytes": RED}):
        assert "more than the 0 that are read; make it smaller" in refused("image", value, places)
    fetching = MediaPlaces((), lambda _url: RED)
    assert "more than the 0 that are read" in refused("image", "https://example.com/cat.png", fetching)


def test_an_address_is_fetched_where_that_is_allowed() -> None:
    asked: list[str] = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return RED

    assert find("image", "https://example.com/cat.png", MediaPlaces((), fetch)) == MediaSource(RED)
    assert asked == ["https://example.com/cat.png"]


# -- What is an image.


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_each_format_is_read(form: str) -> None:
    facts = check_image(encoded(picture(40, 30), form), "it")
    assert facts == {"mime": f"image/{form.lower()}", "width": 40, "height": 30}


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16", "LA", "CMYK"])
def test_each_mode_becomes_rgb(mode: str) -> None:
    image = picture(9, 6).convert("I").convert("I;16") if mode == "I;16" else picture(9, 6, mode=mode)
    content = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    found = decoded(content, "it")
    assert (found.mode, found.size) == ("RGB", (9, 6))


def test_grey_of_16_bits_is_brought_to_8() -> None:
    for value, expected in ((0, 0), (257 * 100, 100), (40_000, 155), (65_535, 255)):
        content = encoded(PIL.Image.new("I;16", (3, 2), value), "PNG")
        assert decoded(content, "it").getpixel((1, 1)) == (expected,) * 3


def test_a_photograph_is_upright() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    content = encoded(picture(40, 30), "JPEG", exif=exif)
    assert check_image(content, "it") == {"mime": "image/jpeg", "width": 30, "height": 40}
    assert decoded(content, "it").size == (30, 40)


def _animated() -> bytes:
    return encoded(picture(), "GIF", save_all=True, append_images=[picture(color="blue")])


def _cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


def _noise() -> PIL.Image.Image:
    return PIL.Image.frombytes("RGB", (64, 64), bytes(index * 7919 % 251 for index in range(64 * 64 * 3)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not an image: it is empty"),
        (b"just words\n", "it is not an image: it is a text; images are PNG, JPEG"),
        ("Zürich, naïve".encode(), "it is not an image: it is a text"),
        (b"\0\1\2\3" * 9, "it is not an image: it is in an unknown format"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "it is a page of HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        (b"%PDF-1.7\n", "it is application/pdf"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is application/postscript"),
        (b"PK\x03\x04....", "it is application/zip"),
        (wav(), "it is not an image: it is audio/wav"),
        (b"\0\0\0\x18ftypisom....", "it is not an image: it is video/mp4"),
        (b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "is image/svg+xml, which is not read here; convert it"),
        (b"<!-- drawn -->\n<svg/>", "is image/svg+xml"),
        (b"\0\0\0\x18ftypheic....", "is image/heic, which is not read here; convert it to PNG or JPEG"),
        (b"\xff\xd8\xff\xe0 no picture", "begins like an image, and is damaged: "),
        (_cut(encoded(_noise(), "JPEG")), "cannot be decoded as image/jpeg: image file is truncated"),
        (_cut(encoded(_noise(), "PNG")), "cannot be decoded as image/png: image file is truncated"),
        (_cut(encoded(_noise(), "WEBP", lossless=True)), "it"),
        (_animated(), "holds several pictures"),
        (png_that_claims(20_000, 10_000), "it has 200 megapixels, more than the 64 that are read; make it smaller"),
        (png_that_claims(100_000, 100_000), "it has 10,000 megapixels"),
        (png_that_claims(12_000, 9_000), "it has 108 megapixels"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_image(content, "it")
    assert words in str(caught.value)


def test_an_unknown_beginning_has_no_mime_type() -> None:
    assert mime_of(b"\x00\x00\x00\x00") is None
    assert mime_of(b"RIFF\x00\x00\x00\x00XXXX") is None
    assert mime_of(b"\xff\xfb\x90\x00") == "audio/mpeg"


# -- What is audio.


def _sound(form: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    samples, rate = soundfile.read(io.BytesIO(wav(channels=2)))
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "mime"),
    [
        (wav(), "audio/wav"),
        (_sound("WAV", "FLOAT"), "audio/wav"),
        (_sound("FLAC"), "audio/flac"),
        (_sound("OGG"), "audio/ogg"),
        (_sound("MP3"), "audio/mpeg"),
    ],
)
def test_each_format_of_audio_is_read(content: bytes, mime: str) -> None:
    facts = check_audio(content, "it")
    assert (facts["mime"], facts["sampling_rate"]) == (mime, 16_000)
    assert facts["seconds"] == pytest.approx(0.25, abs=0.1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not audio: it is empty"),
        (b"words", "it is not audio: it is a text; audio is WAV, FLAC, OGG or MP3"),
        (RED, "it is not audio: it is image/png"),
        (b"\0\0\0\x18ftypM4A ....", "is audio/mp4, which is not read here; convert it to WAV"),
        (b"\x1aE\xdf\xa3....", "is video/webm, which is not read here"),
        (b"RIFF\x00\x00\x00\x00WAVE", "begins like audio/wav, and is damaged"),
        (wav(0), "is audio/wav, and holds no sound"),
    ],
)
def test_what_is_no_audio_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(DatasetError) as caught:
        check_audio(content, "it")
    assert words in str(caught.value)


def test_audio_of_hours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_evals.media.audio.MOST_SECONDS", 0.1)
    with pytest.raises(DatasetError, match="minutes long, more than"):
        check_audio(wav(), "it")


def test_samples_without_their_rate_are_refused(places: MediaPlaces) -> None:
    assert "needs its 'sampling_rate'" in refused("audio", {"array": [0.0, 0.1]}, places)


# -- Parts of messages.


def one(part: Any, places: MediaPlaces) -> dict[str, Any]:
    """The part in the form that travels."""
    (found,) = checked_content([part], places, 1)
    return found


URI = f"data:image/png;base64,{RED64}"
SOUND64 = base64.b64encode(wav()).decode()


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "red.png"},
        {"type": "image", "path": "red.png"},
        {"type": "image", "url": "red.png"},
        {"type": "image", "image": {"bytes": RED, "path": None}},
        {"type": "image", "image": URI, "text": None},
        {"type": "image", "base64": RED64},
        {"type": "image_url", "image_url": {"url": URI}},
        {"type": "image_url", "image_url": {"url": URI, "detail": "auto"}},
        {"type": "image_url", "image_url": URI},
        {"type": "input_image", "image_url": URI},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": RED64}},
    ],
)
def test_images_are_written_in_many_ways(part: dict[str, Any], places: MediaPlaces) -> None:
    found = one(part, places)
    known = {"type": "image", "mime": "image/png", "bytes": len(RED), "width": 32, "height": 24}
    assert {**found, **known} == found
    assert content_of_part(found) == RED


@pytest.mark.parametrize(
    "part",
    [
        {"type": "audio", "audio": "tone.wav"},
        {"type": "audio", "url": "tone.wav"},
        {"type": "audio_url", "audio_url": {"url": "tone.wav"}},
        {"type": "input_audio", "input_audio": {"data": SOUND64, "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": f"data:audio/wav;base64,{SOUND64}", "format": "wav"}},
    ],
)
def test_recordings_are_written_in_many_ways(part: dict[str, Any], places: MediaPlaces) -> None:
    found = one(part, places)
    assert (found["type"], found["mime"], found["seconds"]) == ("audio", "audio/wav", 0.25)
    assert content_of_part(found) == wav()


@pytest.mark.parametrize("part", ["hi", {"type": "text", "text": "hi"}, {"type": "input_text", "text": "hi"}])
def test_texts_stay_texts(part: Any, places: MediaPlaces) -> None:
    assert one(part, places) == {"type": "text", "text": "hi"}


def test_what_the_api_is_told_of_the_detail_goes_along(places: MediaPlaces) -> None:
    assert one({"type": "image", "image": "red.png", "detail": "low"}, places)["detail"] == "low"


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (7, "message 1, part 1 must be an object with a 'type', not int"),
        ({}, "has the type None (known: text, image,"),
        ({"type": "video", "video": "a.mp4"}, "video is not supported: give single pictures of it"),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, "video is not supported"),
        ({"type": "file", "file": {}}, "has the type 'file'"),
        ({"type": "text"}, "has the type 'text' and no text"),
        ({"type": "text", "text": 7}, "has the type 'text' and no text"),
        ({"type": "image"}, "has the type 'image' and names no image"),
        ({"type": "image", "image": None}, "names no image"),
        ({"type": "image_url"}, "names no image: 'image_url' may do so"),
        ({"type": "image", "image": "red.png", "url": "red.png"}, "several times, with 'image' and 'url'; give one"),
        ({"type": "image", "image": "gone.png"}, "message 1, part 1: image 'gone.png' not found"),
        ({"type": "image", "image": "tone.wav"}, "tone.wav is not an image: it is audio/wav"),
        ({"type": "audio", "audio": "red.png"}, "red.png is not audio: it is image/png"),
        ({"type": "image", "image": "red.png", "sha256": "00"}, "has another content than its 'sha256' says"),
        ({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}, "unless --evals-fetch allows it"),
    ],
)
def test_what_is_no_part_is_refused(part: Any, words: str, places: MediaPlaces) -> None:
    with pytest.raises(DatasetError) as caught:
        checked_content([part], places, 1)
    assert words in str(caught.value)


def test_a_part_that_was_checked_can_be_checked_again(places: MediaPlaces) -> None:
    found = one({"type": "image", "image": "red.png"}, places)
    assert one(found, MediaPlaces(())) == found


def test_equal_contents_are_decoded_once(places: MediaPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding: list[str] = []

    def check(content: bytes, where: str) -> dict[str, Any]:
        decoding.append(where)
        return check_image(content, where)

    monkeypatch.setattr(parts, "_CHECKS", {"image": check})
    monkeypatch.setattr(parts, "_known", {})
    first = one({"type": "image", "image": "red.png"}, places)
    assert one({"type": "image", "image": RED}, places)["sha256"] == first["sha256"]
    assert len(decoding) == 1


# -- On their way.


def conversation(places: MediaPlaces) -> list[dict[str, Any]]:
    """A message with a file, one with content in the row, and a plain one."""
    content = [{"type": "image", "image": "red.png"}, "What is it?", {"type": "audio", "audio": wav()}]
    return [{"role": "user", "content": checked_content(content, places, 1)}, {"role": "assistant", "content": "Red."}]


def test_what_identifies_a_conversation_is_the_content_of_its_media(places: MediaPlaces, tmp_path: Path) -> None:
    before = identified(conversation(places))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "red.png").write_bytes(RED)
    assert identified(conversation(MediaPlaces((tmp_path / "elsewhere",)))) == before
    (tmp_path / "elsewhere" / "red.png").write_bytes(png(color="green"))
    assert identified(conversation(MediaPlaces((tmp_path / "elsewhere",)))) != before


def test_an_artifact_names_files_from_the_root_and_holds_small_contents(places: MediaPlaces, tmp_path: Path) -> None:
    (user, answer) = recorded(conversation(places), tmp_path)
    image, text, audio = user["content"]
    assert image["image"] == "suite/red.png"
    assert len(image["sha256"]) == 64
    assert text == {"type": "text", "text": "What is it?"}
    assert audio["audio"] == data_uri(wav(), "audio/wav")
    assert answer == {"role": "assistant", "content": "Red."}
    (outside, _) = recorded(conversation(places), tmp_path / "other")
    assert outside["content"][0]["image"] == (tmp_path / "suite" / "red.png").as_posix()


def test_an_artifact_holds_no_large_contents(places: MediaPlaces, tmp_path: Path) -> None:
    large = wav(seconds=2)
    messages = [{"role": "user", "content": checked_content([{"type": "audio", "audio": large}], places, 1)}]
    (part,) = recorded(messages, tmp_path)[0]["content"]
    assert (part["audio"], part["bytes"]) == (None, len(large))
    assert label_of(part) == "audio: audio/wav, 2 s"


def test_media_are_named_in_texts(places: MediaPlaces, tmp_path: Path) -> None:
    (user, answer) = recorded(conversation(places), tmp_path)
    assert shown_text(user) == "[image: suite/red.png, 32x24]\nWhat is it?\n[audio: audio/wav, 0.25 s]"
    assert shown_text(user, named=False) == "[image]\nWhat is it?\n[audio]"
    assert shown_text(answer) == "Red."
    assert shown_text({"role": "assistant", "content": None}) == ""
    assert shown_text({"role": "user", "content": [{"type": "thing"}, 7]}) == "{'type': 'thing'}\n7"
    assert [part["type"] for part in media_of([user, answer])] == ["image", "audio"]


def test_a_file_that_changed_is_not_taken_for_the_one_that_was_checked(places: MediaPlaces) -> None:
    found = one({"type": "image", "image": "red.png"}, places)
    Path(found["image"]).write_bytes(png(color="green"))
    with pytest.raises(DatasetError, match="has changed since the cases were collected; run again"):
        content_of_part(found)
    Path(found["image"]).unlink()
    with pytest.raises(DatasetError, match="not found"):
        content_of_part(found)


@pytest.mark.parametrize(
    ("missing", "check", "content"), [("PIL", check_image, RED), ("soundfile", check_audio, wav())]
)
def test_a_package_that_is_missing_is_named_with_its_command(
    missing: str, check: Callable[[bytes, str], object], content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    extra = "images" if missing == "PIL" else "audio"
    with pytest.raises(DatasetError, match=rf"pip install 'pytest-evals-hf\[{extra}\]'"):
        check(content, "it")
