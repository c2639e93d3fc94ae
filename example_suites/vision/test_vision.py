"""Pictures of a shape in a colour: does the model see both? A script looks at them unless --evals-model names a model that sees."""

import pytest

from pytest_evals import cases, graders

pytest.importorskip("PIL", reason="reading images needs Pillow: pip install 'pytest-evals-hf[images]'")

color = graders.contains("{{item.color}}", ignore_case=True)
shape = graders.contains("{{item.shape}}", ignore_case=True)


@cases(
    "vision.jsonl",
    id="id",
    prompt="Which shape is on this picture, and which colour does it have? Answer in one sentence.",
    images="item.picture",
    model="scripted:eyes:look",
    generation={"max_new_tokens": 24},
    gates=["color.mean >= 0.9", "shape.mean >= 0.9"],
)
def test_vision(color, shape):
    assert color
    assert shape
