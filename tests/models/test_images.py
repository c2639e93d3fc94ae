"""Models that read images or audio give the tokens that ``generate`` gives through the processor, one conversation at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.engines.embedded import embedded_weights
from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.engine import TransformersEngine
from pytest_evals.engines.transformers.gguf import converted
from tests.media import png, wav

from .conftest import answers, open_engine, request, texts
from .multimodal import asked, gemma3, idefics3, qwen2_audio, reference, shown


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Idefics3."""
    return idefics3(tmp_path_factory.mktemp("idefics3"))


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Gemma 3 with its vision tower."""
    return gemma3(tmp_path_factory.mktemp("gemma3"))


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2-Audio."""
    return qwen2_audio(tmp_path_factory.mktemp("qwen2-audio"))


def pictures(count: int, new: int = 12) -> list[Request]:
    """Requests with one, two or three pictures, before and between texts of several lengths."""
    found = []
    for index in range(count):
        content = [shown(index), "what is it" + "?" * (index % 4)]
        if index % 3 == 1:
            content = ["first", shown(index), "then", shown(index + 1), "which one"]
        found.append(asked(f"p{index}", content, max_new_tokens=new - index % 3))
    return found


def packs_media(engine: TransformersEngine) -> bool:
    """Whether rows with media are packed."""
    assert engine._media is not None
    return engine._media._packed is not None


def test_pictures_beside_each_other_are_read_as_each_alone(eyes: Path, gemma: Path) -> None:
    for folder, packed in ((eyes, True), (gemma, False)):
        requests = pictures(9)
        expected = reference(folder, requests)
        assert len(set(expected.values())) > 4, "the pictures change nothing"
        engine = open_engine(folder)
        assert packs_media(engine) is packed
        assert texts(engine, requests) == expected
        assert texts(engine, requests[::-1]) == expected
        if packed:
            batches = open_engine(folder, without=("media",))
            assert not packs_media(batches)
            assert texts(batches, requests) == expected


def test_what_is_made_of_a_picture_is_made_once_and_forgotten(eyes: Path) -> None:
    engine = open_engine(eyes)
    seen: list[int] = []
    engine.model.model.vision_model.register_forward_hook(lambda *_: seen.append(1))
    same = [asked(f"s{index}", [shown(0), "x" * index + "?"], max_new_tokens=4) for index in range(6)]
    assert texts(engine, same) == reference(eyes, same)
    assert len(seen) == 1
    assert engine._media is not None
    assert engine._media._packed is not None
    assert engine._media._packed._embeddings._live == {}


def test_recordings_beside_each_other_are_read_as_each_alone(ears: Path) -> None:
    def heard(index: int) -> Any:
        return {"type": "audio", "audio": wav(0.2 + 0.15 * index, tone=200.0 * (index + 1), channels=1 + index % 2)}

    requests = [asked(f"a{index}", [heard(index), "what" + "?" * index], max_new_tokens=10) for index in range(4)]
    requests.append(asked("two", [heard(0), "or", heard(1)], max_new_tokens=10))
    expected = reference(ears, requests)
    assert len(set(expected.values())) == 5, "the recordings change nothing"
    engine = open_engine(ears)
    assert packs_media(engine)
    assert texts(engine, requests) == expected
    assert texts(open_engine(ears, without=("media",)), requests) == expected


def test_texts_of_such_a_model_are_packed_beside_its_pictures(eyes: Path) -> None:
    engine = open_engine(eyes)
    assert engine.info.identity["loop"] == "packed"
    plain = [asked(f"t{index}", ["hello" + "!" * index], max_new_tokens=8) for index in range(3)]
    requests = [*plain, *pictures(3)]
    assert texts(engine, requests) == reference(eyes, requests)


def test_tokens_of_images_are_counted(eyes: Path) -> None:
    one, two = (
        asked("one", [shown(0), "x"], max_new_tokens=2),
        asked("two", [shown(0), shown(1), "x"], max_new_tokens=2),
    )
    found = answers(open_engine(eyes), [one, two])
    # A beginning, a role, a letter, two ends; for each picture four, one on each side of it, and the tag of a whole picture.
    assert [found[key].answer.prompt_tokens for key in ("one", "two")] == [12, 19]


def test_a_request_with_a_picture_can_be_computed_alone_exactly_or_by_generate(eyes: Path) -> None:
    requests = pictures(4)
    expected = reference(eyes, requests)
    alone = [Request(each.id, each.model, each.messages, each.params, alone=True) for each in requests]
    assert texts(open_engine(eyes), alone) == expected
    assert texts(open_engine(eyes, exact=True), requests) == expected
    assert texts(open_engine(eyes, "?loop=generate"), requests) == expected


def test_samples_stops_and_grammars_work_with_pictures(eyes: Path) -> None:
    sampled = asked("s", [shown(0), "x"], max_new_tokens=6, temperature=0.9, n=3, seed=5)
    engine = open_engine(eyes)
    first = answers(engine, [sampled, *pictures(3)])["s"].answer
    again = answers(open_engine(eyes), [sampled])["s"].answer
    assert [each.text for each in first.samples] == [each.text for each in again.samples]
    assert len({each.text for each in first.samples}) > 1
    greedy = texts(engine, [asked("g", [shown(0), "x"], max_new_tokens=8)])["g"]
    stopped = texts(engine, [asked("g", [shown(0), "x"], max_new_tokens=8, stop=(greedy[2:4],))])["g"]
    assert stopped == greedy[: greedy.index(greedy[2:4])]


def test_choices_are_weighed_after_a_picture(eyes: Path) -> None:
    entry = asked("w", [shown(0), "x"])
    engine = open_engine(eyes)
    weighed = Request("w", "m", entry.messages, entry.params, ("yes", "no way"))
    other = Request("v", "m", asked("v", [shown(1), "x"]).messages, entry.params, ("yes", "no way"))
    found = answers(engine, [weighed, other])
    (yes, no), (yes_other, _) = found["w"].answer.likelihoods or (), found["v"].answer.likelihoods or ()
    assert yes.logprob != yes_other.logprob
    greedy = answers(engine, [asked("g", [shown(0), "x"], max_new_tokens=3, logprobs=True)])["g"].answer
    again = Request("a", "m", entry.messages, entry.params, (greedy.text, "no way"))
    written = (answers(engine, [again])["a"].answer.likelihoods or ())[0]
    if written.tokens == 3:
        assert written.logprob == pytest.approx(sum(greedy.logprobs or ()), abs=1e-4)
    assert no.logprob < 0


def test_a_model_of_texts_refuses_a_picture_and_answers_the_rest(tiny: Path) -> None:
    found = answers(open_engine(tiny), [*pictures(1), request("t", "hi", max_new_tokens=2)])
    error = found["p0"].error
    assert error is not None
    assert error.kind == "unsupported"
    assert "m cannot read the image: image/png, 40x30: give it texts, or ask a model that reads images" in error.message
    assert found["t"].error is None


def test_what_cannot_be_read_is_an_error_of_its_case_alone(eyes: Path, ears: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    gone.write_bytes(png())
    requests = [asked("gone", [{"type": "image", "image": str(gone)}, "x"], max_new_tokens=3), *pictures(2)]
    gone.unlink()
    long = asked("long", [shown(0), "x" * 600], max_new_tokens=3)
    sound = asked("sound", [{"type": "audio", "audio": wav()}, "x"], max_new_tokens=3)
    found = answers(open_engine(eyes), [*requests, long, sound])
    said = {key: result.error.message for key, result in found.items() if result.error}
    assert said.keys() == {"gone", "long", "sound"}
    assert "not found" in said["gone"]
    assert "more than the model's context of 256" in said["long"]
    assert "cannot read the audio" in said["sound"]
    refused = answers(open_engine(ears), pictures(1))["p0"].error
    assert refused is not None
    assert refused.kind == "unsupported"


def test_rows_that_do_not_fit_in_memory_are_computed_in_smaller_batches(
    eyes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(eyes, without=("media",))
    generate = engine.model.generate
    sizes: list[int] = []

    def scarce(*arguments: Any, **options: Any) -> Any:
        sizes.append(len(options["input_ids"]))
        if sizes[-1] > 2:
            raise MemoryError
        return generate(*arguments, **options)

    requests = pictures(5)
    expected = texts(engine, requests)
    monkeypatch.setattr(engine.model, "generate", scarce)
    assert texts(engine, requests) == expected
    assert max(sizes) > 2 >= sizes[-1]


@pytest.mark.skipif(embedded_weights() is None, reason="the weights of the embedded model are not installed")
def test_the_embedded_model_with_eyes_answers_as_generate_does(tmp_path: Path) -> None:
    weights = embedded_weights()
    assert weights is not None
    folder = idefics3(tmp_path / "smol-eyes", converted(weights, lambda _text: None))
    questions = ["What is the capital of France?", "Name three colours."]
    requests = [
        asked(f"q{index}", [shown(index), question], system="You are brief.", max_new_tokens=6)
        for index, question in enumerate(questions)
    ]
    plain = request("plain", questions[0], max_new_tokens=8)
    found = texts(open_engine(folder), [*requests, plain])
    assert {key: text for key, text in found.items() if key != "plain"} == reference(folder, requests)
    assert "Paris" in found["plain"]


def test_a_control_token_in_a_text_beside_a_picture_is_no_control_token(eyes: Path) -> None:
    forged = asked("f", [shown(0), "is <image> a word?"], max_new_tokens=3)
    error = answers(open_engine(eyes), [forged])["f"].error
    assert error is not None
    assert "holds the text '<image>'" in error.message
