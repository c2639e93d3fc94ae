"""Templates of other tools become ours, or Python; values become source."""

from __future__ import annotations

import pytest

from pytest_evals.importing.jinja import as_python, with_item
from pytest_evals.importing.python_source import Call, block_literal, comment, identifier, source, text_literal
from pytest_evals.importing.suite import ImportFileError


@pytest.mark.parametrize(
    ("written", "ours"),
    [
        ("Q: {{question}}\nA:", "Q: {{item.question}}\nA:"),
        ("{{ choices.text }}", "{{ item.choices.text }}"),
        ("{{question.strip()}} {{ choices[label] }}", "{{item.question.strip()}} {{ item.choices[item.label] }}"),
        ("{{ name | default(other) | upper }}", "{{ item.name | default(item.other) | upper }}"),
        ("{% for c in choices %}{{loop.index}}. {{c}}{% endfor %}", "{% for c in item.choices %}{{loop.index}}. {{c}}{% endfor %}"),
        ("{% set x = a %}{{ x }}", "{% set x = item.a %}{{ x }}"),
        ("{% if hint is defined %}{{ hint }}{% endif %}", "{% if item.hint is defined %}{{ item.hint }}{% endif %}"),
        ("{{ d | replace(old, new) }}{{ f | join(d=sep) }}", "{{ item.d | replace(item.old, item.new) }}{{ item.f | join(d=item.sep) }}"),
        ("{% raw %}{{ question }}{% endraw %}", "{% raw %}{{ question }}{% endraw %}"),
        ("no field", "no field"),
    ],
)  # fmt: skip
def test_fields_are_those_of_the_item_and_other_names_stay(written: str, ours: str) -> None:
    assert with_item(written) == ours


def test_a_template_that_is_not_well_formed_is_refused() -> None:
    with pytest.raises(ImportFileError, match="not one of Jinja"):
        with_item("{{ open")


ROW = {
    "choices": {"text": ["red", "blue"], "label": ["A", "B"]},
    "answerKey": "B",
    "a": "x y",
    "n": 2,
    "gap": None,
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{choices.label.index(answerKey)}}", 1),
        ("{{choices.text}}", ["red", "blue"]),
        ("{{[a, choices.text[0]]}}", ["x y", "red"]),
        ("{{a.split(' ')[-1]|trim}}", "y"),
        ("{{' ' + a.split(' ')[-1]}}", " y"),
        ("{{a.split(' ')[:-1]}}", ["x"]),
        ("{{ n - 1 }}", 1),
        ("{{ 'yes' if n == 2 else 'no' }}", "yes"),
        ("{{ a }} and {{ n }}", "x y and 2"),
        ("{% if gap is not none %}{{gap[21:]}}{% else %}{{n|string}}{% endif %}", "2"),
        ("{{ ['A', 'B'].index(answerKey) }}", 1),
        ("text", "text"),
    ],
)
def test_what_a_template_computes_is_the_same_in_python(template: str, value: object) -> None:
    code = as_python(template, "row")
    assert code is not None
    assert eval(code, {"row": ROW}) == value  # noqa: S307 - the code of this test


@pytest.mark.parametrize(
    "template", ["{{ a | regex_replace('x', 'y') }}", "{% for c in choices %}{{c}}{% endfor %}", "{{ f(a) }}"]
)
def test_what_has_no_expression_in_python_is_told_apart(template: str) -> None:
    assert as_python(template, "row") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "it's",
        'say "hi"',
        "both ' and \"",
        "back\\slash",
        r"\d+\.",
        "end\\",
        "a\tb\n",
        "\x1b[31m",
        "日本",
        "\ud800",
        '\\"',
    ],
)
def test_a_text_is_the_same_when_its_source_is_read(text: str) -> None:
    assert eval(text_literal(text)) == text  # noqa: S307 - the same
    assert eval(block_literal(text)) == text  # noqa: S307 - the same
    assert eval(block_literal(f'"""\n{text}"')) == f'"""\n{text}"'  # noqa: S307 - the same


def test_what_does_not_fit_a_line_has_an_element_a_line() -> None:
    assert source(Call("f", ("a", ["b"]), {"c": 1})) == 'f("a", ["b"], c=1)'
    assert source({"key": ["x" * 50, "y" * 50]}).splitlines()[:2] == ["{", '    "key": [']
    assert eval(source(("one",))) == ("one",)  # noqa: S307 - the same


def test_names_are_identifiers_and_none_twice() -> None:
    assert identifier("Ticket labels!") == "ticket_labels"
    assert identifier("2 + 2") == "n2_2"
    assert identifier("class") == "class_"
    assert identifier("日本") == "imported"
    assert identifier("a", ["a", "a_2"]) == "a_3"


def test_nothing_ends_a_comment() -> None:
    assert comment("one\nimport os\u2028\x0c two") == ["# one import os two"]
