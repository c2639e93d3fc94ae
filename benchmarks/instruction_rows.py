"""Makes instructions of all of IFEval's kinds, with answers that follow them, that just miss them, and that are odd."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

SENTENCES = (
    *("The small house stands on the hill.", "Dr. Smith met Mr. J. Bach at 5 p.m. on Jan. 3.", "It rains; we stay, though."),
    *("Who knows?", "Wow!!", "He paused... Then he went on.", "See e.g. Fig. 2, or No. 5.", "The U.S. is big. So is Canada."),
    *("I WON'T. YOU WILL.", "NASA and the EU met in the UK.", "An A-Z guide (by O'Brien, Inc.) costs $3.50.", "lol ok"),
    *("1. First step\n2. Second step", "Visit https://example.org/a,b or mail me@example.org.", '"Quoted," she said. "Fine."'),
    *("WANNA. GONNA GO? CANNOT!", "x = [1, 2, 3]", "She said: 'No.' He left.", "etc. and so on, i.e. more.", "A.B.C. is on TV."),
)  # fmt: skip
FOREIGN = {
    "de": "Das kleine Haus steht auf dem Hügel, und es regnet seit Tagen.",
    "fr": "La petite maison est sur la colline, et il pleut depuis des jours.",
    "es": "La casa pequeña está en la colina y llueve mucho.",
    "ru": "Маленький дом стоит на холме.",
    "ja": "小さな家が丘の上にあります。",
    "zh-cn": "那座小房子在山上。",
    "ar": "البيت الصغير على التل.",
    "hi": "छोटा घर पहाड़ी पर है।",
    "ko": "작은 집이 언덕 위에 있습니다.",
    "el": "Ένα μικρό σπίτι είναι στο λόφο.",
    "fi": "Pieni talo seisoo mäellä.",
    "th": "บ้านหลังเล็กอยู่บนเนินเขา",
    "sw": "Nyumba ndogo iko juu ya kilima.",
    "pa": "ਛੋਟਾ ਘਰ ਪਹਾੜੀ ਤੇ ਹੈ।",
    "kn": "ಚಿಕ್ಕ ಮನೆ ಬೆಟ್ಟದ ಮೇಲಿದೆ.",
    "vi": "Ngôi nhà nhỏ nằm trên đồi.",
    "en": "The small house stands on the hill and it has been raining for days.",
}
ODD = (
    *("", " ", "\n\n", "\t\n \u00a0", "*", "**", "***", "******", '"', '""', "{}", "[]", "null", "NaN", "<<>>", "<<<t>>>", "[ ]"),
    *("```", "```json\n```", "P.S.", "p. s. x", "🙂🙂🙂", "1234 5678", "\u200b", "a\u0301b", "İSTANBUL", "ΑΣ ας", "\r\n\r\n", "-", "- "),
    *("...", "?!", "__all__", "a\x00b", "\ufeff{}", "\uff0c\u3001", "“curly”", "\uff46\uff55ll", "Ω≈ç√", "\u2028x\u2029y", "***\n***", "a***b***c"),
)  # fmt: skip
WORDS = ("house", "hill", "Rain", "U.S.", "small", "naïve", "wall-paper", "the", "日本", "don't", "a", "Σίσυφος")
FOREIGNERS = tuple(FOREIGN.values())
LANGUAGES = tuple(name for name in FOREIGN if name not in ("zh-cn", "el"))  # which the published checker does not take
NUMBERED = ("Section", "SECTION", "Day", "PARAGRAPH")
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.", "my answer is yes.", "My answer is yes")
ENDINGS = (
    "Is there anything else I can help with?",
    "Peace!",
    "That is all you need!",
    "in India.",
    " Any other questions? ",
)
PROMPTS = ("Write a song about rain.", "What is 2 + 2?\nExplain.", "  Summarise  this: “Ωmega”  ")
RELATIONS = ("less than", "at least")
ARGUMENTS = (
    *("num_sentences", "num_paragraphs", "num_words", "nth_paragraph", "first_word", "num_placeholders", "num_bullets"),
    *("postscript_marker", "num_highlights", "num_sections", "section_spliter", "prompt_to_repeat", "end_phrase"),
    *("keywords", "keyword", "frequency", "relation", "forbidden_words", "letter", "let_frequency", "let_relation"),
    *("language", "capital_frequency", "capital_relation"),
)


class Row(NamedTuple):
    """An instruction and an answer."""

    id: str
    kwargs: Mapping[str, Any]
    answer: str


Chance = random.Random
Maker = tuple[Callable[[Chance], dict[str, Any]], Callable[[Chance, Mapping[str, Any]], str]]
"""Makes the arguments of a kind, and an answer that is about right for them."""


def prose(chance: Chance, sentences: int, among: Sequence[str] = SENTENCES) -> str:
    """Return some sentences, apart by spaces and line breaks."""
    return "".join(f"{chance.choice(among)}{chance.choice((' ', ' ', chr(10), chr(10) * 2))}" for _ in range(sentences))


def about(chance: Chance, number: int) -> int:
    """Return a number near to another."""
    return max(0, number + chance.choice((-1, 0, 0, 1)))


def _compared(name: str, relation: str, largest: int) -> Callable[[Chance], dict[str, Any]]:
    return lambda chance: {name: chance.randint(1, largest), relation: chance.choice(RELATIONS)}


def _keywords_answer(chance: Chance, words: Sequence[str]) -> str:
    kept = [chance.choice((str.upper, str.lower, str))(word) for word in words if chance.random() < 0.7]
    return prose(chance, 2) + " ".join(f"{word}{chance.choice(('', ',', 's', '-x', '.'))}" for word in kept)


def _repeated(chance: Chance, number: int, forms: Sequence[str], between: Sequence[str] = ("\n", " ", "")) -> str:
    return "".join(
        f"{chance.choice(forms).format(index + 1)}{chance.choice(between)}" for index in range(about(chance, number))
    )


def _paragraphs(chance: Chance, number: int, dividers: Sequence[str], begins: str = "") -> str:
    parts = [chance.choice(SENTENCES) for _ in range(about(chance, number))]
    parts[0:1] = [f"{begins} {parts[0]}"] if parts else []
    if chance.random() < 0.15:
        parts.insert(chance.randint(0, len(parts)), "")
    return chance.choice(dividers).join(parts)


def _first_words(chance: Chance, given: Mapping[str, Any]) -> str:
    parts = [chance.choice(SENTENCES).replace("\n", " ") for _ in range(about(chance, given["num_paragraphs"]))]
    index = given["nth_paragraph"] - 1
    if index < len(parts):
        form = chance.choice(("{} {}", '"{}", {}', "'{}' {}", "{}. {}", "{}s {}", "*{}* {}"))
        word = chance.choice((str.upper, str.lower, str.title))(given["first_word"])
        parts[index] = form.format(word, parts[index])
    if chance.random() < 0.2:
        parts.insert(chance.randint(0, len(parts)), " ")
    return chance.choice(("\n\n", "\n\n", "\n\n\n\n", "\n")).join(parts)


def _json(chance: Chance, _: Mapping[str, Any]) -> str:
    value: object = chance.choice(({"a": [1, None]}, [1, 2.5], "text", 3, True, {"ü": {"n": [[]]}}, {}))
    text = json.dumps(value, indent=chance.choice((None, 2)), ensure_ascii=chance.random() < 0.5)
    text = chance.choice((text, text, text, f"{text},", text.replace('"', "'"), f"{text} {text}", "{'a': 1}", "NaN"))
    fence = chance.choice(
        (
            "",
            "",
            "",
            "```json\n",
            "```json\n",
            "```JSON\n",
            "```Json ",
            "```",
            "```python\n",
            "```js\n",
            "``` json\n",
            "````\n",
        )
    )
    return f"{fence}{text}{chance.choice((chr(10) + '```', '```', '')) if fence else ''}"


def _nth(chance: Chance) -> dict[str, Any]:
    paragraphs = chance.randint(1, 5)
    word = chance.choice(("weekend", "The", "Σίσυφος", "jasper", "ÉTÉ", "well-known", "don't"))
    return {"num_paragraphs": paragraphs, "nth_paragraph": chance.randint(1, paragraphs), "first_word": word}


def _case(form: Callable[[str], str]) -> Callable[[Chance, Mapping[str, Any]], str]:
    def answer(chance: Chance, _: Mapping[str, Any]) -> str:
        text = form(prose(chance, chance.randint(1, 4), (*SENTENCES, chance.choice(FOREIGNERS))))
        return text if chance.random() < 0.8 else text.swapcase()[: chance.randint(1, 30)] + text

    return answer


MAKERS: Mapping[str, Maker] = {
    "keywords:existence": (
        lambda chance: {"keywords": chance.sample(WORDS, chance.randint(1, 3))},
        lambda chance, given: _keywords_answer(chance, given["keywords"]),
    ),
    "keywords:frequency": (
        lambda chance: {
            **_compared("frequency", "relation", 4)(chance),
            "keyword": chance.choice(("the", "house", "U.S.", " is ", "[aeiou]h")),
        },
        lambda chance, given: (
            prose(chance, 2) + _repeated(chance, given["frequency"], (given["keyword"], given["keyword"].upper()))
        ),
    ),
    "keywords:forbidden_words": (
        lambda chance: {"forbidden_words": chance.choices(WORDS, k=chance.randint(1, 4))},
        lambda chance, given: _keywords_answer(chance, given["forbidden_words"]),
    ),
    "keywords:letter_frequency": (
        lambda chance: {**_compared("let_frequency", "let_relation", 12)(chance), "letter": chance.choice("aAeQzst")},
        lambda chance, given: (
            chance.choice(("", "xyz "))
            + _repeated(chance, given["let_frequency"], (given["letter"], given["letter"].swapcase()))
        ),
    ),
    "language:response_language": (
        lambda chance: {"language": chance.choice(LANGUAGES)},
        lambda chance, given: prose(
            chance,
            chance.randint(1, 4),
            (
                *[FOREIGN.get(given["language"], FOREIGN["de"])] * 4,
                *chance.choices(FOREIGNERS, k=2),
                chance.choice(SENTENCES),
            ),
        ),
    ),
    "length_constraints:number_sentences": (
        _compared("num_sentences", "relation", 9),
        lambda chance, given: prose(chance, about(chance, given["num_sentences"])),
    ),
    "length_constraints:number_paragraphs": (
        lambda chance: {"num_paragraphs": chance.randint(1, 5)},
        lambda chance, given: _paragraphs(
            chance, given["num_paragraphs"], ("\n***\n", " *** ", "***", "\n\n***\n\n", "****", "\n\n")
        ),
    ),
    "length_constraints:number_words": (
        _compared("num_words", "relation", 40),
        lambda chance, given: " ".join(
            chance.choices((*WORDS, "e-mail", "3.14", "snake_case", "—"), k=about(chance, given["num_words"]))
        ),
    ),
    "length_constraints:nth_paragraph_first_word": (_nth, _first_words),
    "detectable_content:number_placeholders": (
        lambda chance: {"num_placeholders": chance.randint(1, 6)},
        lambda chance, given: _repeated(
            chance, given["num_placeholders"], ("[name {}]", "[]", "[[x]]", "[a\nb]", "[link](u)")
        ),
    ),
    "detectable_content:postscript": (
        lambda chance: {"postscript_marker": chance.choice(("P.S.", "P.P.S", "P.P.S.", "PS:", " Note"))},
        lambda chance, given: (
            prose(chance, 2)
            + chance.choice(
                (
                    *[given["postscript_marker"].strip() + " x"] * 5,
                    "P.S. x",
                    "p.s. x",
                    "P. S. x",
                    "P.P.S x",
                    "p. p. s",
                    "PS: x",
                    "PPS",
                    "note",
                    "P.\nS.",
                    "P.S",
                )
            )
        ),
    ),
    "detectable_format:number_bullet_lists": (
        lambda chance: {"num_bullets": chance.randint(1, 6)},
        lambda chance, given: (
            chance.choice(("", "List:\n"))
            + _repeated(
                chance,
                given["num_bullets"],
                ("* a {}", "- b {}", "  * nested", "\t- n", "* *i*", "** b**", "*", "-", "*\n", "--- ", "• c"),
                ("\n", "\n", "\n\n", "\r\n"),
            )
        ),
    ),
    "detectable_format:constrained_response": (
        lambda _: {},
        lambda chance, _: chance.choice(("", "Well. ", "**")) + chance.choice(ANSWERS),
    ),
    "detectable_format:number_highlighted_sections": (
        lambda chance: {"num_highlights": chance.randint(1, 6)},
        lambda chance, given: _repeated(
            chance,
            given["num_highlights"],
            ("*h {}*", "**h {}**", "***h***", "* *", "** **", "*a\nb*", "*a **b** c*", "* item", "_u_"),
        ),
    ),
    "detectable_format:multiple_sections": (
        lambda chance: {
            "section_spliter": chance.choice((*NUMBERED, " Section ")),
            "num_sections": chance.randint(1, 5),
        },
        lambda chance, given: _repeated(
            chance,
            given["num_sections"],
            (
                "section {}",
                *(
                    f"{given['section_spliter'].strip()}{form}"
                    for form in (" {}\ntext", "{}", " {}: x", "  {}", " A", "-{}", "\n{}", " 1{}")
                ),
            ),
        ),
    ),
    "detectable_format:json_format": (lambda _: {}, _json),
    "detectable_format:title": (
        lambda _: {},
        lambda chance, _: (
            prose(chance, 1)
            + chance.choice(("<<Title>>", "<<>>", "<< >>", "<<<a>>>", "<<a\nb>>", "<t>", "<<a> >", "<< <x> >>", "«t»"))
        ),
    ),
    "combination:two_responses": (
        lambda _: {},
        lambda chance, _: chance.choice(("******", "\n******\n", "*****", "*******", "***", "\n******\n******\n")).join(
            chance.choices(("One.", "Two.", "One. ", " ", ""), k=chance.choice((1, 2, 2, 2, 3)))
        ),
    ),
    "combination:repeat_prompt": (
        lambda chance: {"prompt_to_repeat": chance.choice(PROMPTS)},
        lambda chance, given: (
            chance.choice(("", "", " \n", "Sure: ", '"'))
            + chance.choice(
                (
                    given["prompt_to_repeat"],
                    given["prompt_to_repeat"].strip(),
                    given["prompt_to_repeat"].upper(),
                    given["prompt_to_repeat"][:-4],
                )
            )
            + "\n"
            + prose(chance, 1)
        ),
    ),
    "startend:end_checker": (
        lambda chance: {"end_phrase": chance.choice(ENDINGS)},
        lambda chance, given: (
            prose(chance, 1)
            + chance.choice((given["end_phrase"], given["end_phrase"].upper(), given["end_phrase"].strip()[:-1]))
            + chance.choice(("", "\n", '"', '""\n', " .", "*"))
        ),
    ),
    "startend:quotation": (
        lambda _: {},
        lambda chance, _: chance.choice(
            ('"{}"', '"{}', "\u201c{}\u201d", ' "{}"\n', '*"{}"*', "'{}'", '""{}""')
        ).format(prose(chance, 2)),
    ),
    "change_case:capital_word_frequency": (
        _compared("capital_frequency", "capital_relation", 8),
        lambda chance, given: (
            prose(chance, chance.randint(0, 2))
            + _repeated(
                chance,
                given["capital_frequency"],
                ("NASA", "OK.", "DON'T", "X", "A-B", "3D", "iPad", "ÜBER", "U.S.", "Ok", "WANNA.", "THAT'S."),
                (" ", " ", ", ", "\n"),
            )
        ),
    ),
    "change_case:english_capital": (lambda _: {}, _case(str.upper)),
    "change_case:english_lowercase": (lambda _: {}, _case(str.lower)),
    "punctuation:no_comma": (
        lambda _: {},
        lambda chance, _: prose(chance, 2).replace(",", chance.choice((",", "", "\uff0c", ";"))),
    ),
}


def dressed(chance: Chance, answer: str) -> str:
    """Return an answer as models give it: with words before and after it, in stars and fences, cut off."""
    if chance.random() < 0.4:
        return answer
    change = chance.choice(
        (
            lambda text: f"Sure, here it is:\n{text}",
            lambda text: f"{text}\nI hope that helps!",
            lambda text: f"**Answer**\n\n{text}\n\nDone.",
            lambda text: f"*{text}*",
            lambda text: f"```\n{text}\n```",
            lambda text: f"> {text}",
            lambda text: text.replace("\n", "\r\n"),
            lambda text: text.replace(" ", "\u00a0"),
            lambda text: text[: chance.randint(0, len(text))],
            lambda text: f"{text}\n\n{text}",
            lambda text: f"# Title\n\n* **{text}**\n    - {text}",
            lambda text: f'"{text}"',
            lambda text: f"{text} {chance.choice(FOREIGNERS)}",
        )
    )
    return change(answer)


def rows(count: int, seed: int = 0) -> Iterator[Row]:
    """Make ``count`` rows, kind by kind in turn. A part of the arguments has all names, as tables hold them, with nulls."""
    chance = random.Random(seed)
    names = list(MAKERS)
    for number in range(count):
        name = names[number % len(names)]
        arguments, answer = MAKERS[name]
        given = arguments(chance)
        draw = chance.random()
        text = chance.choice(ODD) if draw < 0.08 else prose(chance, 3) if draw < 0.16 else answer(chance, given)
        full = dict.fromkeys(ARGUMENTS) if chance.random() < 0.1 else {}
        yield Row(name, {**full, **given}, dressed(chance, text))
