"""Images and audio in a run: what the model is given, and where they are shown afterwards."""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.media import png, wav

from .conftest import Evals

SUITE = """
from pytest_evals import cases, grader, graders, task

named = graders.exact_match("{{item.color}}")

@grader
async def judged(case, judge):
    part = {"type": "image", "image": case.files["photo"]}
    said = await judge.generate([{"role": "user", "content": [part, {"type": "text", "text": "red?"}]}])
    return said.text == "red"

@cases("rows.jsonl", prompt="Which colour is it?", images="item.files.photo", id="id",
       files=[{"photo": "pictures/a.png"}, {"photo": "pictures/b.png"}])
def test_colors(named, judged):
    assert named

@cases([{"id": "tone"}], id="id", messages=[{"role": "user", "content": [
    {"type": "audio", "audio": "tone.wav"}, {"type": "text", "text": "How long?"}]}])
def test_sounds(completion):
    assert completion.text == "0.25"
"""
SCRIPT = """
import PIL.Image

def answer(messages):
    *_, medium, text = messages[-1]["content"]
    if medium["type"] == "audio":
        return str(medium["seconds"])
    with PIL.Image.open(medium["image"]) as image:
        red, green, blue = image.convert("RGB").getpixel((20, 20))
    return "red" if red > blue else "blue"
"""
ROWS = [{"id": "a", "color": "red"}, {"id": "b", "color": "green"}]


def write(evals: Evals) -> Path:
    """Write the suites with their files; return the folder."""
    folder = evals.pytester.path
    evals.write(SUITE, SCRIPT, rows__jsonl=ROWS)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(png())
    (folder / "pictures" / "b.png").write_bytes(png(color="blue"))
    (folder / "tone.wav").write_bytes(wav())
    return folder


def test_a_run_with_images_and_audio_shows_them_everywhere(evals: Evals) -> None:
    folder = write(evals)
    done = evals.run(
        "--evals-judge", "scripted:script:answer", "--evals-html", "out/report.html", "--evals-summary", "sum.md"
    )
    done.assert_outcomes(passed=2, failed=1)
    assert "[image: " in done.stdout.str()

    samples = {sample.case_id: sample for sample in evals.artifact.samples}
    image, text = samples["a"].interaction.thread[0].content
    assert (image["image"], image["width"], text["text"]) == ("pictures/a.png", 32, "Which colour is it?")
    assert len(image["sha256"]) == 64
    assert samples["tone"].interaction.thread[0].content[0]["audio"] == "tone.wav"
    assert samples["a"].calls[0].messages[0].content[0]["image"] == "pictures/a.png"

    page = (folder / "out" / "report.html").read_text()
    assert "media-src data:" in page
    chunk = re.search(r'class="chunk">(.*?)</script>', page, re.DOTALL)
    assert chunk is not None
    shown: dict[str, Any] = {entry["case"]: entry["thread"][0]["content"][0] for entry in json.loads(chunk[1])}
    assert shown["a"]["src"].startswith("data:image/png;base64,")
    assert shown["a"]["href"] == "./../pictures/a.png"
    assert shown["tone"]["src"].startswith("data:audio/wav;base64,")
    assert "[image: pictures/b.png, 32x24]" in (folder / "sum.md").read_text()

    listed = evals.pytester.run(sys.executable, "-m", "pytest_evals", "cases", "run.jsonl", "-v").stdout.str()
    assert "[image: pictures/b.png, 32x24]" in listed
    evals.pytester.run(sys.executable, "-m", "pytest_evals", "export", "run.jsonl", "--to", "inspect", "-o", "logs")
    (log,) = [json.loads(path.read_text()) for path in (folder / "logs").glob("*colors*.json")]
    assert log["samples"][0]["input"][0]["content"] == [
        {"type": "image", "image": "pictures/a.png", "detail": "auto"},
        {"type": "text", "text": "Which colour is it?"},
    ]


def test_a_file_that_is_gone_or_another_one_is_not_shown(evals: Evals) -> None:
    folder = write(evals)
    evals.run("--evals-judge", "scripted:script:answer")
    (folder / "pictures" / "a.png").unlink()
    (folder / "pictures" / "b.png").write_bytes(png(color="green"))
    evals.pytester.run(sys.executable, "-m", "pytest_evals", "report", "run.jsonl", "-o", "page.html")
    chunk = re.search(r'class="chunk">(.*?)</script>', (folder / "page.html").read_text(), re.DOTALL)
    assert chunk is not None
    shown = [entry["thread"][0]["content"][0] for entry in json.loads(chunk[1]) if entry["case"] in "ab"]
    assert [(part.get("missing"), part.get("src")) for part in shown] == [(True, None), (True, None)]


def test_images_that_cannot_be_used_are_errors_of_collection(evals: Evals) -> None:
    rows = [{"photo": "red.png"}, {"photo": "notes.txt"}]
    evals.write(
        """
        from pytest_evals import cases

        @cases("rows.jsonl", prompt="What?", images="item.photo")
        def test_photos(completion):
            pass

        """,
        rows__jsonl=rows,
        test_web__py="""
from pytest_evals import cases

@cases([{"photo": "http://127.0.0.1:9/a.png"}], prompt="What?", images="item.photo")
def test_addresses(completion):
    pass
""",
    )
    (evals.pytester.path / "red.png").write_bytes(png())
    (evals.pytester.path / "notes.txt").write_text("words")
    done = evals.run()
    assert done.ret == 2
    printed = " ".join(done.stdout.str().split())
    assert "rows.jsonl:2: message 1, part 1: image" in printed
    assert "notes.txt is not an image: it is a text" in printed
    assert "nothing is fetched unless --evals-fetch allows it" in printed
    assert "cannot be fetched" in " ".join(evals.run("--evals-fetch").stdout.str().split())


def test_rows_may_hold_images(evals: Evals) -> None:
    inline = base64.b64encode(png(color="blue")).decode()
    evals.write(
        """
        import PIL.Image
        from pytest_evals import cases

        ROWS = [{"image": PIL.Image.new("RGB", (32, 24), "red"), "color": "red"}]

        @cases(ROWS, prompt="Which colour?", images="item.image")
        def test_made(completion, case):
            assert completion.text == case.color

        @cases("rows.jsonl", prompt="Which colour?", images="item.image")
        def test_inline(completion):
            assert completion.text == "blue"
        """,
        SCRIPT.replace('PIL.Image.open(medium["image"])', "open_inline(medium)")
        + """
import base64, io

def open_inline(medium):
    return PIL.Image.open(io.BytesIO(base64.b64decode(medium["image"].partition(",")[2])))
""",
        rows__jsonl=[{"image": inline}],
    )
    evals.run().assert_outcomes(passed=2)
    first = evals.artifact.samples[0]
    evals.run().assert_outcomes(passed=2)
    assert evals.artifact.samples[0].case_id == first.case_id
    assert first.interaction.metadata["image"].startswith("<image of 32x24")


def test_a_judge_is_shown_the_images_that_it_asks_for(evals: Evals) -> None:
    folder = evals.pytester.path
    evals.write(
        """
        from pytest_evals import cases, graders

        red = graders.judge.binary("The picture is red.", images="item.photo")
        told = graders.judge.binary("It is red.", answer="{{conversation}}")

        @cases([{"photo": "a.png", "id": "a"}, {"photo": "b.png", "id": "b"}], id="id", prompt="What?", images="item.photo")
        def test_photos(red, told):
            pass
        """,
        SCRIPT
        + """
def judge(messages):
    parts = messages[-1]["content"]
    if isinstance(parts, str):
        return "PASS" if "[image]" in parts and "a.png" not in parts else "FAIL"
    return "PASS" if answer(messages) == "red" else "FAIL"
""",
    )
    (folder / "a.png").write_bytes(png())
    (folder / "b.png").write_bytes(png(color="blue"))
    evals.run("--evals-judge", "scripted:script:judge").assert_outcomes(passed=2)
    assert {case: grade.value for case, grade in evals.grades("red").items()} == {"a": 1.0, "b": 0.0}
    assert {grade.value for grade in evals.grades("told").values()} == {1.0}


ABILITIES = '''
from pytest_evals import cases, tool_loop

def look(place: str) -> str:
    """Look at a place.

    Args:
        place: Where. LONG
    """
    return place

completion = tool_loop([look])
ROW = [{"id": "a", "photo": "red.png"}]

@cases(ROW, id="id", prompt="What?")
def test_loop(completion): ...
'''
OFFERED = """
from test_suite import ROW, look
from pytest_evals import cases

@cases(ROW, id="id", prompt="What?", tools=[look])
def test_offered(completion): ...

"""
SHOWN = """
from test_suite import ROW, look
from pytest_evals import cases

@cases(ROW, id="id", prompt="What?", tools=[look], generation={"tool_choice": "none"})
def test_not_offered(case): ...

@cases(ROW, id="id", prompt="What?", images="item.photo")
def test_not_asked(case): ...

@cases(ROW, id="id", prompt="What?", images="item.photo")
def test_shown(completion): ...
"""


def test_what_a_model_cannot_have_is_found_before_it_is_loaded_and_counted_where_it_can(evals: Evals) -> None:
    folder = evals.pytester.path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "is_encoder_decoder": False}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    (evals.pytester.path / "red.png").write_bytes(png(300, 200))
    evals.write(ABILITIES.replace("LONG", "far away " * 400), test_offered__py=OFFERED, test_shown__py=SHOWN)
    done = evals.run(model="./model")
    assert done.ret == 2
    printed = " ".join(done.stdout.str().split())
    for name in ("test_loop", "test_offered"):
        assert re.search(rf"{name}: row 1 of inline: tools: ./model has a chat template that shows no tools", printed)
    assert "test_shown: row 1 of inline: image: ./model reads texts only; give it texts" in printed
    assert "test_not_" not in printed
    # The same suite, of a model that can have all of it.
    (folder / "chat_template.jinja").write_text("{{ messages }}{{ tools }}")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "config.json").write_text(
        json.dumps({"model_type": "gemma3", "mm_tokens_per_image": 5000, "vision_config": {}})
    )
    printed = " ".join(evals.run("--evals-plan", model="./model").stdout.str().split())
    tokens = re.search(r"about ([\d,]+) prompt tokens \(longest ([\d,]+)\)", printed)
    assert tokens is not None
    longest = int(tokens[2].replace(",", ""))
    assert longest == 5002
    assert 5002 + 900 < int(tokens[1].replace(",", "")) < 5002 + 1100
    printed = " ".join(evals.run("--evals-plan").stdout.str().split())
    assert "new tokens, without 1 image" in printed
