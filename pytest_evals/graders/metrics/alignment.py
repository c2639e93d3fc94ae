"""METEOR of NLTK: words matched as they stand, by their stems and as synonyms, with a penalty for broken order."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytest_evals.errors import SuiteError
from pytest_evals.graders.metrics.base import Measured
from pytest_evals.plain import quoted

ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5
"""Weight of recall; shape and weight of the penalty: those of Lavie and Agarwal (2007), and NLTK's defaults."""


class NoSynonyms:
    """Stands in WordNet's place: no word has a synonym."""

    @staticmethod
    def synsets(_word: str) -> list[Any]:
        """Return none."""
        return []


def check_wordnet() -> None:
    """Raise `SuiteError` with the command that brings WordNet, unless it is where NLTK looks. NLTK is not imported."""
    if not any((folder / "corpora" / name).exists() for folder in _folders() for name in ("wordnet.zip", "wordnet")):
        raise SuiteError(
            "meteor needs WordNet for synonyms, and it is in none of NLTK's folders: python -m nltk.downloader wordnet; "
            "meteor(..., synonyms=False) matches words and their stems alone, and needs no data"
        )


def _folders() -> list[Path]:
    """Return where NLTK looks for data."""
    named = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    prefixes = [Path(sys.prefix), Path(sys.prefix, "share"), Path(sys.prefix, "lib")]
    if sys.platform == "win32":
        shared = [Path(os.environ.get("APPDATA", "C:\\")), *(Path(f"{drive}:\\") for drive in "CDE")]
    else:
        shared = [Path("/usr/share"), Path("/usr/local/share"), Path("/usr/lib"), Path("/usr/local/lib")]
    return [*named, *(folder / "nltk_data" for folder in (Path.home(), *prefixes, *shared))]


def meteor(text: str, references: Sequence[str], *, synonyms: bool, wordnet: Any = None) -> Measured:
    """Return METEOR, 0..1; of several references the best one counts.

    ``wordnet``: a reader of WordNet other than NLTK's own.
    """
    from nltk.corpus import wordnet as nltk_wordnet
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import meteor_score

    value = float(
        meteor_score(
            [wordpunct_tokenize(reference) for reference in references],
            wordpunct_tokenize(text),
            wordnet=(wordnet or nltk_wordnet) if synonyms else NoSynonyms(),
            alpha=ALPHA,
            beta=BETA,
            gamma=GAMMA,
        )
    )
    matching = "words, Porter stems and WordNet synonyms" if synonyms else "words and Porter stems, no synonyms"
    definition = f"nltk {version('nltk')} METEOR, wordpunct, {matching}, alpha {ALPHA} beta {BETA} gamma {GAMMA}"
    return Measured(
        value, f"METEOR {value:.3f} of {quoted(text)} to {quoted(references[0])}", {"definition": definition}
    )
