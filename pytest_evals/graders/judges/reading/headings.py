"""Words that announce a verdict, in the languages in which judges write: ``Final verdict``, ``overall_score``, ``Urteil``, ``评分``."""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass

from pytest_evals.graders.judges.reading.spelling import folded


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a verdict.

    ``verbal``, ``numeric``: it announces a word, a number. ``plain``: a word for other things too, so that a verdict must be all that
    follows. ``answer``: a word for what is judged as well. ``final``: it says that it is the last word.
    """

    verbal: bool = False
    numeric: bool = False
    plain: bool = False
    answer: bool = False
    final: bool = False


_VERBAL = """
    verdict verdicts decision judgment judgement ruling label labels winner preference vote classification
    urteil entscheidung gewinner etikett décision jugement gagnant étiquette préférence veredicto decisión juicio ganador etiqueta
    preferencia verdetto decisione giudizio vincitore etichetta veredito decisão julgamento vencedor oordeel beslissing winnaar
    werdykt decyzja zwycięzca вердикт решение победитель karar kazanan dom utslag beslut vinnare verdikt avgjørelse
    phán·quyết quyết·định putusan keputusan الحكم القرار निर्णय फैसला
    判定 结论 結論 裁决 裁決 判断 判決 决定 決定 胜者 胜出者 勝者 판정 결론 결정 승자
    """
_NUMERIC = """
    score scores rating ratings grade grades mark
    bewertung gesamtbewertung wertung gesamtwertung punktzahl punktwert gesamtnote évaluation puntuación calificación puntaje
    valoración puntos punteggio valutazione voto pontuação avaliação classificação beoordeling cijfer ocena punktacja оценка балл puan
    betyg poäng karakter điểm skor nilai الدرجة التقييم النتيجة अंक स्कोर
    评分 評分 分数 分數 得分 总分 總分 打分 评级 評価 スコア 点数 得点 評点 점수 평점 평가 등급 총점
    """
_PLAIN = """
    better best preferred
    result results outcome conclusion assessment evaluation overall total final choice status category points pts note notes class
    rank marks pass·fail ergebnis gesamt note punkte fazit auswahl kategorie résultat conclusion points choix catégorie resultado
    conclusión nota elección categoría total risultato conclusione scelta categoria punti conclusão escolha pontos resultaat
    conclusie keuze wynik wniosek wybór результат итог вывод выбор sonuç değerlendirme seçim resultat kết·quả hasil 结果 結果 选择
    選択 결과 선택 最终 최종
    """
_ANSWER = """
    answer answers response output reply completion text antwort antworten réponse respuesta risposta resposta antwoord odpowiedź ответ
    cevap svar 答案 回答 回复 답변 答え
    """
_FINAL = """
    final overall total ultimate definitive endgültig endgültige endgültiges gesamt finale globale définitif définitive définitive
    definitivo definitiva complessivo geral globaal uiteindelijke końcowy końcowa ostateczny итоговый итоговая окончательный nihai
    genel slutlig slutgiltig 最终 最終 总 總 综合 总体 최종 종합
    """
_FILLING = """
    so thus therefore hence finally and then now ok okay my the your our this that its a an in summary short of
    judge judges judge's evaluator reviewer grader binary numeric numerical single better best preferred winning here is as by
    mein meine mon ma notre mi nuestra il la le lo el o os de del der die das den het mijn mój moja мой моя
    average mean step line no nr
    """
_ABOUT = frozenset(
    [
        "for",
        "on",
        "about",
        "regarding",
        "of",
        "concerning",
        "für",
        "zu",
        "zur",
        "zum",
        "pour",
        "sur",
        "para",
        "sobre",
        "per",
        "su",
        "voor",
        "over",
        "dla",
        "для",
        "için",
    ]
)
# Whose verdict it is not, and what it only bounds.
_OTHERS = frozenset(
    [
        "correct",
        "expected",
        "reference",
        "gold",
        "golden",
        "true",
        "student",
        "students",
        "user",
        "users",
        "possible",
        "available",
        "max",
        "maximum",
        "min",
        "minimum",
        "highest",
        "lowest",
        "previous",
        "earlier",
        "example",
        "sample",
        "wrong",
        "incorrect",
    ]
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(folded(word).replace("\u00b7", " ") for word in listed.split())


_KINDS = (
    (_words(_VERBAL), Heading(verbal=True)),
    (_words(_NUMERIC), Heading(verbal=False, numeric=True)),
    (_words(_PLAIN), Heading(verbal=True, numeric=True, plain=True)),
    (_words(_ANSWER), Heading(verbal=True, numeric=True, plain=True, answer=True)),
)
_SAID = frozenset(_words(_FILLING) | _words(_FINAL))
_LAST = _words(_FINAL)
_WORD = re.compile(r"[^\W_]+(?:['\u2019]s)?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PARENTHESIS = re.compile(r"[(\[][^()\[\]]*[)\]]")
# Scripts that do not put spaces between words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_LONGEST = 60


@functools.lru_cache(maxsize=4096)
def heading_of(text: str) -> Heading | None:
    """Return the heading that ``text`` is; `None` where it announces no verdict, or not the judge's."""
    if len(text) > _LONGEST or not text.strip():
        return None
    bare = _PARENTHESIS.sub(" ", _CAMEL.sub(" ", text))
    words = [word.casefold().replace("\u2019", "'") for word in _WORD.findall(bare)]
    for index, word in enumerate(words):
        if index and word in _ABOUT:
            if _OTHERS.intersection(words[index:]):
                return None
            words = words[:index]
            break
    if not words or len(words) > 6:
        return None
    found = _unspaced("".join(words)) if _UNSPACED.search(bare) else _spaced(words)
    if found is None:
        return None
    heading, rest = found
    final = any(word in _LAST for word in rest)
    if heading.answer and (final or "my" in rest):
        return Heading(verbal=True, numeric=True, final=final)
    return Heading(heading.verbal, heading.numeric, heading.plain, heading.answer, final)


def _spaced(words: list[str]) -> tuple[Heading, list[str]] | None:
    """Return the heading among ``words``, the last of them that is one, where the others only fill."""
    joined = [*words, *(" ".join(pair) for pair in itertools.pairwise(words))]
    for known, heading in _KINDS:
        named = next((word for word in reversed(joined) if word in known), None)
        if named is None:
            continue
        rest = [word for word in words if word not in named.split()]
        if all(word in _SAID or any(character.isdigit() for character in word) or _is_heading(word) for word in rest):
            return heading, rest
        return None
    return None


def _is_heading(word: str) -> bool:
    return any(word in known for known, _ in _KINDS)


def _unspaced(text: str) -> tuple[Heading, list[str]] | None:
    if len(text) > 10:
        return None
    for known, heading in _KINDS:
        named = next((word for word in known if word in text and _UNSPACED.search(word)), None)
        if named is not None:
            return heading, [word for word in _LAST if word in text]
    return None
