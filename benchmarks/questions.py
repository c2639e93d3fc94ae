"""Short questions with answers of one word: 500 for a workload, and thousands for the measurement of growth."""

from __future__ import annotations

import itertools
import random

_COUNTRIES = """
Argentina Australia Austria Bangladesh Belgium Bolivia Brazil Bulgaria Cambodia Cameroon Canada Chad Chile China
Colombia Croatia Cuba Cyprus Denmark Ecuador Egypt Estonia Ethiopia Fiji Finland France Gabon Georgia Germany Ghana
Greece Guatemala Haiti Honduras Hungary Iceland India Indonesia Iran Iraq Ireland Israel Italy Jamaica Japan Jordan
Kazakhstan Kenya Kuwait Laos Latvia Lebanon Libya Lithuania Luxembourg Madagascar Malaysia Mali Malta Mexico Moldova
Mongolia Morocco Mozambique Namibia Nepal Netherlands Nicaragua Niger Nigeria Norway Oman Pakistan Panama Paraguay Peru
Philippines Poland Portugal Qatar Romania Russia Rwanda Senegal Serbia Singapore Slovakia Slovenia Somalia Spain Sudan
Sweden Switzerland Syria Tanzania Thailand Togo Tunisia Turkey Uganda Ukraine
"""
_ABOUT_COUNTRIES = """
What is the capital of {}?
What is the currency of {}?
On which continent is {}?
Which language do most people in {} speak?
Name a country that borders {}.
Name a river in {}.
Name a city in {}.
Is {} an island?
Does {} have a coast?
What is the largest city of {}?
What are the people of {} called?
Which colour is in the flag of {}?
Is {} in Europe?
Is {} north of the equator?
What does {} export?
What do people in {} like to eat?
Which ocean or sea is near {}?
Is {} a kingdom?
Is it warm in {} in July?
Which sport is popular in {}?
"""
_WORDS = """
big happy cold fast light early strong rich hard open young full dark loud wide deep sharp clean wet thick brave calm
cheap clever cruel dry dull empty fair false far fat fierce free fresh gentle good great green grey guilty healthy heavy
high hollow honest hot huge kind late lazy left long loose low lucky mean mild modern narrow near neat new nice noisy
odd old pale plain polite poor proud pure quick quiet rare raw ready real right ripe rough round sad safe short shy sick
simple slow small smooth soft sour steep
"""
_ABOUT_WORDS = """
What is the opposite of "{}"?
Which word means the same as "{}"?
What is the first letter of "{}"?
What is the last letter of "{}"?
How many letters has "{}"?
How many vowels has "{}"?
What is "{}" in French?
What is "{}" in Spanish?
What is "{}" in German?
Which word rhymes with "{}"?
Is "{}" a noun?
Is "{}" an adjective?
Name an animal that is {}.
Name a thing that is {}.
Name a food that is {}.
Can a house be {}?
Can a person be {}?
What is the comparative of "{}"?
Is "{}" a nice word?
Which noun belongs to "{}"?
"""
_SUMS = """
What is {} plus {}?
What is {} times {}?
Which is larger, {} or {}?
What is the difference of {} and {}?
"""
_ENDING = " Answer with one word."
_SEED = 20_251


def short_questions(count: int) -> list[str]:
    """Return ``count`` distinct questions; fewer are the beginning of more, so that all are of the same mixture.

    Raises `ValueError` where there are not so many; there are about 8,000.
    """
    countries = itertools.product(_COUNTRIES.split(), _lines(_ABOUT_COUNTRIES))
    words = itertools.product(_WORDS.split(), _lines(_ABOUT_WORDS))
    numbers = itertools.product(range(11, 55), range(60, 85), _lines(_SUMS))
    questions = [template.format(subject) for subject, template in (*countries, *words)]
    questions += [template.format(left, right) for left, right, template in numbers]
    if count > len(questions):
        raise ValueError(f"there are {len(questions)} short questions, not {count}")
    random.Random(_SEED).shuffle(questions)
    return [question + _ENDING for question in questions[:count]]


def _lines(text: str) -> list[str]:
    return text.strip().splitlines()
