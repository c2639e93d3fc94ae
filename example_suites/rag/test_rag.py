"""Answers from retrieved passages: is the right value in them, are they faithful, and did the retrieval help?"""

from pytest_evals import cases, graders

right = graders.contains("{{item.answer}}", ignore_case=True)
faithful = graders.faithfulness()
retrieved = graders.context_relevancy(question="{{item.question}}")


@cases(
    "rag.jsonl",
    prompt=(
        "{% for text in item.documents %}[{{ loop.index }}] {{ text }}\n{% endfor %}\n"
        "Answer from the passages above, in one short sentence: {{ item.question }}"
    ),
    id="id",
    generation={"max_new_tokens": 40},
    gates=["right.mean >= 0.6", "faithful.coverage >= 1", "retrieved.coverage >= 1"],
)
def test_rag(right, faithful, retrieved):
    assert right
    assert faithful > 0
    assert retrieved > 0
