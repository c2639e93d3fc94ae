"""A judge of style: first measured against people's labels, then let loose on what the model writes."""

from pytest_evals import cases, graders

polite = graders.judge.binary(
    "The reply is polite and friendly.",
    not_applicable=False,
    examples=[
        {"question": "Do you have tea?", "answer": "Of course! Would you like some milk with it?", "verdict": "PASS"},
        {"question": "Do you have tea?", "answer": "Go away, we are busy.", "verdict": "FAIL"},
        {"question": "My coat is torn.", "answer": "I am sorry! We will gladly mend it.", "verdict": "PASS"},
        {"question": "My coat is torn.", "answer": "So what?", "verdict": "FAIL"},
    ],
)


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
def test_requests(polite):
    """Replies of the model: the score card corrects their pass rate for what the judge gets wrong."""
    assert polite
