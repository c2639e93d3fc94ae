"""Grade-school maths: the model reasons first, and the number after its last #### is graded."""

from pytest_evals import cases, graders

right = graders.number("item.answer")
concluded = graders.matches(r"####\s*\S*\d")

EXAMPLE = "Ann has 3 boxes of 4 pens. She gives away 5 pens. How many pens are left?"
WORKED = "Ann has 3 * 4 = 12 pens.\nAfter giving away 5 she has 12 - 5 = 7 pens.\n#### 7"


@cases(
    "gsm8k.jsonl",
    messages=[
        {"role": "user", "content": EXAMPLE},
        {"role": "assistant", "content": WORKED},
        {"role": "user", "content": "{{item.question}}"},
    ],
    id="id",
    generation={"max_new_tokens": 160},
    gates=["concluded.pass_rate >= 0.6", "right.coverage >= 1"],
)
def test_gsm8k(concluded, right):
    assert concluded
    assert right
