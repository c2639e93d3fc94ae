"""One-word sentiment: is the answer a label at all, is it the right one, and how much harder are hard texts?"""

from pytest_evals import cases, graders

allowed = graders.one_of(["positive", "negative"], normalize=["case", "punctuation"])
right = graders.exact_match("{{item.label}}", normalize=["case", "punctuation"])


@cases(
    "sentiment.jsonl",
    messages=[
        {"role": "system", "content": "You label the sentiment of texts: negative or positive."},
        {"role": "user", "content": "Text: I had doubts, but I love it.\nSentiment:"},
        {"role": "assistant", "content": "positive"},
        {"role": "user", "content": "Text: It promised a lot, and then it broke.\nSentiment:"},
        {"role": "assistant", "content": "negative"},
        {"role": "user", "content": "Text: The staff ignored us and the food was awful.\nSentiment:"},
        {"role": "assistant", "content": "negative"},
        {"role": "user", "content": "Text: {{item.text}}\nSentiment:"},
    ],
    id="id",
    generation={"max_new_tokens": 4},
    gates=["allowed.pass_rate >= 0.95", "right.mean >= 0.75", "right[difficulty=easy].mean >= 0.8"],
)
def test_sentiment(allowed, right):
    assert allowed
    assert right
