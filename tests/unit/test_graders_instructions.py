"""The instruction checks of IFEval: verdicts of the published checker, and what is refused.

``data/instructions.jsonl`` holds rows that ``benchmarks/instructions.py`` made, with the verdicts of the checker in lm-eval
0.4.13 (with langdetect 1.0.9, seeded, and NLTK 3.10.4).
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_evals import graders
from pytest_evals.errors import SuiteError
from pytest_evals.graders.ifeval import check, variants
from pytest_evals.graders.ifeval.kinds import KINDS, Instruction, read_instructions
from pytest_evals.graders.ifeval.language import language_of, sentences, words

RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "instructions.jsonl").read_text(encoding="utf-8").splitlines()
]


def follows(name: str, answer: str, scoring: Any = "strict", **kwargs: Any) -> bool:
    (instruction,) = read_instructions([name], [kwargs])
    return check(instruction, answer, scoring).followed


# -- verdicts


@pytest.mark.parametrize("kind", KINDS)
def test_verdicts_are_those_of_the_published_checker(kind: str) -> None:
    rows = [row for row in RECORDED if row["id"] == kind]
    assert len(rows) >= 20
    for row in rows:
        (instruction,) = read_instructions([kind], [row["kwargs"]])
        found = {scoring: check(instruction, row["answer"], scoring).followed for scoring in ("strict", "loose")}
        assert found == {"strict": row["strict"], "loose": row["loose"]}, row


def test_the_recorded_rows_show_both_verdicts_of_each_kind() -> None:
    assert len(KINDS) == 25
    seen = Counter((row["id"], row["strict"]) for row in RECORDED)
    assert all(seen[kind, verdict] >= 10 for kind in KINDS for verdict in (True, False)), seen
    assert sum(row["loose"] and not row["strict"] for row in RECORDED) > 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blank", ["", " ", "\n\n\t", "\u00a0"])
def test_a_blank_answer_follows_nothing(kind: str, blank: str) -> None:
    row = next(row for row in RECORDED if row["id"] == kind)
    assert not follows(kind, blank, **row["kwargs"])
    assert not follows(kind, blank, "loose", **row["kwargs"])


@pytest.mark.parametrize(
    ("name", "kwargs", "right", "wrong"),
    [
        # Zero is taken at its word; the harness draws a number in its place.
        ("keywords:frequency", {"keyword": "rain", "frequency": 0, "relation": "at least"}, ("dry",), ()),
        ("keywords:frequency", {"keyword": "rain", "frequency": 1, "relation": "less than"}, ("dry",), ("Rainy",)),
        ("detectable_format:number_bullet_lists", {"num_bullets": 0}, ("text",), ("- text",)),
        # A sign is counted as a letter is, as in the newest checker of Google; the harness draws a letter.
        (
            "keywords:letter_frequency",
            {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
            ("#a #b",),
            ("#a",),
        ),
        (
            "keywords:letter_frequency",
            {"letter": "é", "let_frequency": 2, "let_relation": "at least"},
            ("Éé",),
            ("Ee",),
        ),
        ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ("rocks",), ("Rock.", "a-rock")),
        ("keywords:existence", {"keywords": ["C\\+\\+"]}, ("c++",), ("CC",)),
        ("length_constraints:number_words", {"num_words": 300.0, "relation": "less than"}, ("x",), ("x " * 300,)),
        ("language:response_language", {"language": "de"}, ("Das Haus steht dort.", "1 + 1"), ("The house is there.",)),
        ("detectable_format:json_format", {}, ("```json\n{}\n```", "NaN"), ("[" * 100_000, "{'a': 1}")),
        ("combination:two_responses", {}, ("a******b", "******a******b"), ("a******a", "a***b", "a************b")),
        ("startend:end_checker", {"end_phrase": "Peace!"}, ('"so peace!"\n', "PEACE!"), ("peace! .",)),
        ("startend:quotation", {}, ('""', ' "a" '), ('"', "“a”")),
        (
            "change_case:english_capital",
            {},
            ("THIS IS ENGLISH AND LOUD.",),
            ("This is English.", "DAS IST DEUTSCH HIER."),
        ),
        ("punctuation:no_comma", {}, ("a、b", "a; b"), ("a, b",)),
    ],
)
def test_verdicts_at_the_edges(
    name: str, kwargs: dict[str, Any], right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    assert [text for text in right if not follows(name, text, **kwargs)] == []
    assert [text for text in wrong if follows(name, text, **kwargs)] == []


def test_a_paragraph_is_counted_with_blank_ones_before_it() -> None:
    kwargs = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Two"}
    name = "length_constraints:nth_paragraph_first_word"
    assert follows(name, "One.\n\n'two' it is", **kwargs)
    assert not follows(name, "One.\n\n\n\nTwo.", **kwargs)
    assert not follows(name, "One.\n\nTwos.", **kwargs)


def test_loose_scoring_looks_without_first_and_last_lines_and_stars() -> None:
    assert variants("Sure:\n*a*\nbye") == ["Sure:\n*a*\nbye", "*a*\nbye", "Sure:\n*a*", "*a*", "Sure:\na\nbye", "a\nbye", "Sure:\na", "a"]  # fmt: skip
    assert variants("one line") == ["one line", ""]
    for answer in ('Sure:\n"a"', '"a"\nbye', 'Sure:\n"a"\nbye', '**"a"**'):
        assert follows("startend:quotation", answer, "loose")
        assert not follows("startend:quotation", answer)


def test_the_reason_is_that_of_the_whole_answer_where_no_part_follows() -> None:
    instruction = Instruction("length_constraints:number_words", {"num_words": 9, "relation": "at least"})
    assert check(instruction, "Sure:\na b c", "loose").found == "4 words, at least 9"


def test_the_language_of_a_text_is_the_same_each_time() -> None:
    odd = [row["answer"] for row in RECORDED if row["id"].startswith(("language", "change_case:english"))]
    assert [language_of(text) for text in odd] == [language_of(text) for text in odd]
    assert language_of("1234 ?!") is None


def test_the_seed_of_others_is_left_alone() -> None:
    import langdetect

    language_of("The small house stands on the hill.")
    assert langdetect.DetectorFactory.seed is None


def test_sentences_and_words_are_those_of_nltk() -> None:
    assert sentences("Dr. Smith met J. Bach at 5 p.m. on Jan. 3. It rained... The U.S. is big.") == [
        "Dr. Smith met J. Bach at 5 p.m. on Jan. 3.",
        "It rained...",
        "The U.S. is big.",
    ]
    # A contraction is two words where its sentence ends, too.
    assert words("I WON'T. You will.") == ["I", "WO", "N'T", ".", "You", "will", "."]


# -- rows


def test_arguments_of_other_kinds_are_null_or_absent() -> None:
    full = dict.fromkeys(("num_words", "relation", "keywords", "letter"))
    given = {**full, "num_words": 3, "relation": "at least"}
    assert read_instructions(["length_constraints:number_words"], [given])[0].arguments == {
        "num_words": 3,
        "relation": "at least",
    }
    assert read_instructions(["punctuation:no_comma", "startend:quotation"], [full, None])[1].arguments == {}


WORDS = "length_constraints:number_words"
NTH = "length_constraints:nth_paragraph_first_word"


@pytest.mark.parametrize(
    ("ids", "kwargs", "words"),
    [
        (["punctuation:no_commas"], [{}], "unknown id 'punctuation:no_commas'; did you mean 'punctuation:no_comma'?"),
        (["number_words"], [{}], "unknown id 'number_words'*"),
        ([None], [{}], "unknown id None (known: keywords:existence, keywords:frequency, *"),
        ([], [], "the ids are a list of at least one, not []"),
        ("punctuation:no_comma", [{}], "the ids are a list of at least one, not 'punctuation:no_comma'"),
        ([WORDS], [], "kwargs is a list with an entry for each of 1 ids, not 0 entries"),
        ([WORDS], {"num_words": 3}, "kwargs is a list with an entry for each of 1 ids, not {'num_words': 3}"),
        ([WORDS], ["{}"], f"the kwargs of {WORDS} are an object, not '{{}}'"),
        ([WORDS], [{"num_words": 3}], f"{WORDS} needs the argument 'relation', which is missing or null"),
        (
            [WORDS],
            [{"num_word": 3, "relation": "at least"}],
            f"{WORDS} has no argument 'num_word'; it takes relation, num_words; did you mean 'num_words'?",
        ),
        (["punctuation:no_comma"], [{"x": 1}], "punctuation:no_comma has no argument 'x'; it takes no argument"),
        ([WORDS], [{"num_words": 3, "relation": "at most"}], f"{WORDS}: relation must be 'less than' or 'at least'; not 'at most'"),
        ([WORDS], [{"num_words": -1, "relation": "at least"}], f"{WORDS}: num_words must be a whole number of at least 0; not -1"),
        ([WORDS], [{"num_words": True, "relation": "at least"}], f"{WORDS}: num_words must be a whole number of at least 0; not True"),
        ([WORDS], [{"num_words": 2.5, "relation": "at least"}], f"{WORDS}: num_words must be a whole number of at least 0; not 2.5"),
        ([WORDS], [{"num_words": float("nan"), "relation": "at least"}], f"{WORDS}: num_words must be a whole number of at least 0; not nan"),
        ([WORDS], [{"num_words": "3", "relation": "at least"}], f"{WORDS}: num_words must be a whole number of at least 0; not '3'"),
        ([NTH], [{"num_paragraphs": 2, "nth_paragraph": 0, "first_word": "a"}], f"{NTH}: nth_paragraph must be a whole number of at least 1; not 0"),
        ([NTH], [{"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}], f"{NTH}: of 2 paragraphs there is none with the number 3"),
        (["keywords:existence"], [{"keywords": "cat"}], "keywords:existence: keywords must be a list of at least one text; not 'cat'"),
        (["keywords:existence"], [{"keywords": []}], "keywords:existence: keywords must be a list of at least one text; not []"),
        (["keywords:existence"], [{"keywords": ["a", " "]}], "keywords:existence: keywords must be a text that is not blank; not *"),
        (["keywords:existence"], [{"keywords": ["(a"]}], "keywords:existence: keywords must be a regular expression, *unterminated*; not *"),
        (
            ["keywords:letter_frequency"],
            [{"letter": "ab", "let_frequency": 1, "let_relation": "at least"}],
            "keywords:letter_frequency: letter must be one character, no white space; not 'ab'",
        ),
        (["startend:end_checker"], [{"end_phrase": ""}], "startend:end_checker: end_phrase must be a text that is not blank; not ''"),
        (
            ["language:response_language"],
            [{"language": "zh"}],
            "language:response_language: language must be the code of a language that langdetect knows (*zh-cn, zh-tw)*; not 'zh'",
        ),
    ],
)  # fmt: skip
def test_an_id_or_argument_that_cannot_be_is_refused(ids: object, kwargs: object, words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        read_instructions(ids, kwargs)
    pattern = re.escape(f"instructions: {words}").replace(r"\*", ".*")
    assert re.fullmatch(pattern, str(caught.value)), str(caught.value)


def test_a_scoring_that_there_is_not_is_refused() -> None:
    with pytest.raises(SuiteError, match="scoring must be 'strict' or 'loose', not 'both'"):
        graders.instructions(scoring="both")  # type: ignore[arg-type]  # what the test is about


def test_a_level_that_there_is_not_is_refused() -> None:
    with pytest.raises(SuiteError, match="by must be 'group' or 'kind', not 'kinds'"):
        graders.instructions(by="kinds")  # type: ignore[arg-type]  # what the test is about


def test_only_kinds_that_need_a_package_are_refused_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert read_instructions([WORDS], [{"num_words": 3, "relation": "at least"}])
    for name, kwargs, package in (
        ("change_case:english_capital", {}, "langdetect"),
        ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "at least"}, "nltk"),
    ):
        with pytest.raises(SuiteError) as caught:
            read_instructions([name], [kwargs])
        assert str(caught.value) == (
            f"instructions ({name}) needs the package {package!r}, which is not installed: "
            "pip install 'pytest-evals-hf[instructions]'"
        )
