"""Capital cities: a ready-made text grader, one of our own, and two gates."""

from pytest_evals import cases, grader, graders

named = graders.contains("{{item.capital}}", ignore_case=True)


@grader
def short(completion):
    """One short sentence is enough for one city."""
    return len(completion.text.split()) <= 12


@cases(
    "capitals.jsonl",
    prompt="What is the capital of {{item.country}}? Answer in one short sentence.",
    id="country_code",
    generation={"max_new_tokens": 32},
    gates=["named.mean >= 0.8", "short.pass_rate >= 0.9"],
)
def test_capitals(named, short):
    assert named
    assert short
