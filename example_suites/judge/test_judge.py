"""A judge of style: first measured against people's labels, then let loose on what the model writes."""

from pytest_evals import cases, graders

POLITE = graders.question("Is the reply polite and friendly?", choices={"yes": True, "no": False})

polite = graders.judge.binary(
    POLITE,
    examples=[
        {"question": "Do you have tea?", "answer": "Of course! Would you like some milk with it?", "verdict": "PASS"},
        {"question": "Do you have tea?", "answer": "Go away, we are busy.", "verdict": "FAIL"},
        {"question": "My coat is torn.", "answer": "I am sorry! We will gladly mend it.", "verdict": "PASS"},
        {"question": "My coat is torn.", "answer": "So what?", "verdict": "FAIL"},
    ],
)
labelled = graders.judge.labels(POLITE)  # the same question in other words: do both judges agree?
asked = graders.human(POLITE)  # and people: pending until pytest-evals annotate


@cases(
    "replies.jsonl",
    prompt="{{item.prompt}}",
    id="id",
    label="human_polite",
    gates=["polite.coverage >= 1"],
)
def test_replies(polite):
    """Replies that people have labelled: how often does the judge agree?"""
    assert polite


@cases(
    "requests.jsonl",
    prompt="{{item.request}}",
    id="id",
    generation={"max_new_tokens": 40},
    gates=["polite.coverage >= 1"],
)
def test_requests(polite, labelled, asked):  # noqa: ARG001 - to name a grader is to ask it
    """Replies of the model: the score card corrects their pass rate for what the judge gets wrong."""
    assert polite
    assert labelled
