"""Locators and templates: how strings refer to the fields of a case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_evals.errors import TemplateError
from pytest_evals.templates.locators import is_dynamic
from pytest_evals.templates.rendering import render, render_text

SCOPE: dict[str, Any] = {
    "item": {
        "country": "France",
        "n": 3,
        "price": 1.5,
        "yes": True,
        "tags": ["a", "b"],
        "person": {"name": "Ada", "born": {"year": 1815}},
        "empty": None,
        "items": "things",
        "values": "worth",
        "keys": "music",
        "get": "got",
        "markup": "{{item.n}} <b>&",
    }
}


def refusal(text: str, scope: dict[str, Any] = SCOPE) -> str:
    with pytest.raises(TemplateError) as caught:
        render_text(text, scope)
    return str(caught.value)


# -- locators


@pytest.mark.parametrize("form", ["item.{}", "{{{{item.{}}}}}", "{{{{ item.{} }}}}"])
@pytest.mark.parametrize("name", ["n", "price", "yes", "tags", "person", "empty", "items", "get"])
def test_a_locator_as_a_whole_string_keeps_the_type(form: str, name: str) -> None:
    assert render(form.format(name), SCOPE) is SCOPE["item"][name]


@pytest.mark.parametrize(
    ("locator", "value"),
    [("item.person.born.year", 1815), ("item.tags.1", "b"), ("{{ item.tags.0 }}", "a")],
)
def test_a_locator_reaches_into_objects_and_lists(locator: str, value: object) -> None:
    assert render(locator, SCOPE) == value


@pytest.mark.parametrize(
    "text", ["item", "items.lost", "the item.n", "items", "Item 3: a", "an item[0]", "", "a {n}", "1.5", "case.x"]
)
def test_other_text_is_left_alone(text: str) -> None:
    assert not is_dynamic(text)
    assert render(text, SCOPE) == text


@pytest.mark.parametrize("text", ["{n}", "${n}", "item->n", "item .n", "items.n", "<item.n>"])
def test_a_field_named_in_the_way_of_another_language_is_refused_where_the_row_has_it(text: str) -> None:
    assert "is text, and the row has the field 'n'" in refusal(text)
    other = text.replace("n", "lost") if "item" not in text else text.removesuffix("n").removesuffix("n>") + "lost"
    assert render(other, SCOPE) == other


@pytest.mark.parametrize("text", ["item.n", "{{item.n}}", "a {{ item.n }}", "{% if 1 %}{% endif %}", "{# note #}"])
def test_text_with_a_reference_or_markup_is_dynamic(text: str) -> None:
    assert is_dynamic(text)


def test_lists_and_mappings_are_rendered_inside() -> None:
    value = {"a": ["item.n", ("{{item.country}}!", 5)], "item.n": None}
    assert render(value, SCOPE) == {"a": [3, ["France!", 5]], "item.n": None}


# -- names that are more than a word

NAMES: dict[str, Any] = {
    "item": {
        "Correct Answer": "Paris",
        "a.b": "dot",
        "a-b": "dash",
        "q's": "quote",
        'say "x"': "quotes",
        "ключ 1": "other",
        "person": {"full name": "Ada", "scores": [1, 2]},
    }
}


@pytest.mark.parametrize("form", ["{}", "{{{{{}}}}}", "{{{{ {} }}}}", "<{{{{ {} }}}}>", "{{{{ {} | string }}}}"])
@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("item['Correct Answer']", "Paris"),
        ('item["Correct Answer"]', "Paris"),
        ("item['a.b']", "dot"),
        ('item["a-b"]', "dash"),
        ('item["q\'s"]', "quote"),
        ("item['say \"x\"']", "quotes"),
        ("item['ключ 1']", "other"),
        ("item.person['full name']", "Ada"),
        ("item['person']['full name']", "Ada"),
        ("item['person'].scores[1]", 2),
        ("item.person.scores[-1]", 2),
    ],
)
def test_a_name_in_brackets_may_be_any_text(form: str, path: str, value: object) -> None:
    found = render(form.format(path), NAMES)
    whole = form in ("{}", "{{{{{}}}}}", "{{{{ {} }}}}")
    assert found == (value if whole else f"<{value}>" if form.startswith("<") else str(value))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("item.Correct Answer", 'item["Correct Answer"]'),
        ("{{item.Correct Answer}}", 'item["Correct Answer"]'),
        ("It is {{ item.Correct Answer | upper }}", 'item["Correct Answer"]'),
        ("{% if item.Correct Answer %}a{% endif %}", 'item["Correct Answer"]'),
        ("item[Correct Answer]", 'item["Correct Answer"]'),
        ("item['Correct Answer]", 'item["Correct Answer"]'),
        ("item.Correct", 'did you mean item["Correct Answer"]?'),
        ("item.a.b", 'item["a.b"]'),
        ("{{item.a.b}}!", 'item["a.b"]'),
        ("item.a-b", 'item["a-b"]'),
        ("{{item.a-b}}", 'item["a-b"]'),
        ("item.person.full name", 'item.person["full name"]'),
        ("{item.Correct Answer}", '{{item["Correct Answer"]}}'),
        ("Is it {item['a.b']}?", "{{item['a.b']}}"),
        ("item.", 'item["a name"]'),
        ("item..n", "item.n"),
        (" item.person", "without white space around it: item.person"),
        ("item.person\n", "without white space around it: item.person"),
        ("item.wrong", '["Correct Answer"], ["a.b"], ["a-b"], ["q\'s"]'),
        ("item['wrong']", "unknown field 'wrong'"),
        ("item.person['name']", 'item.person has ["full name"], scores'),
    ],
)
def test_what_begins_like_a_locator_and_is_none_shows_how_to_write_it(text: str, shown: str) -> None:
    assert is_dynamic(text) or "{" in text
    assert shown in refusal(text, NAMES)


def test_text_that_begins_like_a_locator_can_be_written() -> None:
    message = refusal("item.price = 5", SCOPE)
    assert message.endswith("(if it is meant as text, write {% raw %}item.price = 5{% endraw %})")
    assert render("{% raw %}item.price = 5{% endraw %}", SCOPE) == "item.price = 5"


@pytest.mark.parametrize(
    "text", ["case.country", "row.country", "Item.country", "sample['country']", "doc.person.name"]
)
def test_the_row_by_another_name_is_refused_where_it_has_the_field(text: str) -> None:
    assert "in a template the row is called item, as in item" in refusal(text)
    assert render(text, {"item": {"other": 1}}) == text


# -- interpolation


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Capital of {{item.country}}?", "Capital of France?"),
        ("{{ item.n }} x {{ item.price }}", "3 x 1.5"),
        ("{{item.person.name}} {{item.tags.1}} {{item['country']}}", "Ada b France"),
        ("{{item.items}} {{item.values}} {{item.keys}} {{item.get}}", "things worth music got"),
        ("{% for tag in item.tags %}<{{tag}}>{% endfor %}", "<a><b>"),
        ("{{ item.empty or '-' }}", "-"),
        ("{{ item.country | upper }}{# remark #}", "FRANCE"),
        ("{{item.n}} \n", "3 \n"),
        ("{% if item.missing is defined %}a{% else %}b{% endif %}", "b"),
        ("{{ item.person | tojson }}", '{"name": "Ada", "born": {"year": 1815}}'),
    ],
)
def test_a_longer_string_is_interpolated(template: str, text: str) -> None:
    assert render(template, SCOPE) == text


def test_what_is_interpolated_is_neither_escaped_nor_rendered_again() -> None:
    assert render("<{{item.markup}}>", SCOPE) == "<{{item.n}} <b>&>"


@pytest.mark.parametrize(("template", "text"), [("item.n", "3"), ("{{item.yes}}", "True"), ("item.price", "1.5")])
def test_a_message_is_always_text(template: str, text: str) -> None:
    assert render_text(template, SCOPE) == text


# -- files


def test_a_file_stands_for_its_text(tmp_path: Path) -> None:
    (tmp_path / "doc.txt").write_text("Grüße {{item.n}}", encoding="utf-8")
    scope = {"item": {"files": {"doc": tmp_path / "doc.txt"}}}
    assert render_text("item.files.doc", scope) == "Grüße {{item.n}}"
    assert render_text("Read: {{item.files.doc}}!", scope) == "Read: Grüße {{item.n}}!"


def test_a_locator_of_a_file_outside_of_a_message_is_its_path(tmp_path: Path) -> None:
    assert render("item.files.doc", {"item": {"files": {"doc": tmp_path}}}) is tmp_path


@pytest.mark.parametrize("template", ["item.files.doc", "Read {{item.files.doc}}"])
def test_a_file_that_is_no_text_is_refused_with_its_path(template: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    message = refusal(template, {"item": {"files": {"doc": path}}})
    assert f"{path} cannot be read as UTF-8 text" in message


# -- users' mistakes


@pytest.mark.parametrize("template", ["item.contry", "{{item.contry}}", "Capital of {{ item.contry }}?"])
def test_an_unknown_field_lists_the_fields_and_suggests(template: str) -> None:
    message = refusal(template)
    assert "unknown field 'contry'" in message
    assert "has country, n, price" in message
    assert "did you mean 'country'?" in message
    assert "'item.contry'" in message


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("item.person.nme", "item.person has name, born; did you mean 'name'?"),
        ("item.tags.2", "no element '2' in 'item.tags.2': item.tags is a list of 2"),
        ("item.tags.first", "no element 'first' in 'item.tags.first': item.tags is a list of 2"),
        ("item.country.name", "no field 'name' in 'item.country.name': item.country is str, not an object"),
        ("item.empty.x", "item.empty is NoneType, not an object"),
        ("a {{item.tags.nope}}", "item.tags is a list of 2"),
        ("a {{item.country.nope}}", "item.country is str, not an object"),
        ("a {{item.person.nme | upper}}", "the object has name, born; did you mean 'name'?"),
    ],
)
def test_a_wrong_step_of_a_path_says_what_is_there(template: str, words: str) -> None:
    assert words in refusal(template)


def test_a_row_without_fields_says_so() -> None:
    assert refusal("item.x", {"item": {}}) == "unknown field 'x' in 'item.x': item has no fields"


def test_a_bare_name_says_how_fields_are_written() -> None:
    assert "unknown name 'country'; fields of the case are written item.country" in refusal("Is it {{country}}?")


@pytest.mark.parametrize("template", ["item.empty", "{{item.empty}}", "It is {{item.empty}}."])
def test_null_is_refused_and_says_how_to_allow_it(template: str) -> None:
    message = refusal(template)
    assert "is null for this case" in message
    assert "write {{ ... or '' }} if it may be empty" in message


@pytest.mark.parametrize(("template", "kind"), [("item.tags", "list"), ("{{item.person}}", "dict")])
def test_a_list_or_object_is_no_text(template: str, kind: str) -> None:
    assert f"{template!r} is {kind}, not text; name a field of it" in refusal(template)


@pytest.mark.parametrize(
    "template", ["{{ item.", "{{ }}", "{% if %}", "{% for x in item.tags %}", "{{ item.n | nofilter }}", "a {% end %}"]
)
def test_bad_syntax_is_refused(template: str) -> None:
    assert f"template {template!r} is not well formed: " in refusal(template)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ item.n + 'a' }}", "TypeError"),
        ("{% include 'secrets' %}", "no loader"),
    ],
)
def test_a_template_that_fails_says_how(template: str, words: str) -> None:
    message = refusal(template)
    assert f"template {template!r} failed: " in message
    assert words in message


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ item.country.__class__ }}",
        "{{ (item.country).__class__ }}",
        "{{ item.country.__class__.__mro__ }}",
        "{{ item.tags.__class__ }}",
        "{{ item.country | attr('__class__') }}",
        "{{ item.country.format.__globals__ }}",
        "{{ range(10000000) | list }}",
        "{{ '{0.__class__}'.format(item.country) }}",
    ],
)
def test_the_sandbox_lets_no_template_out(template: str) -> None:
    message = refusal(f"{template} ")
    # A path of fields never reaches an attribute; what does is stopped by the sandbox.
    expected = ("no field", "no element", "SecurityError: access to attribute '__", "sandbox blocks")
    assert any(words in message for words in expected)


def test_a_template_cannot_change_the_data() -> None:
    tags = ["a"]
    assert "SecurityError" in refusal("{{ item.tags.append('b') }} ", {"item": {"tags": tags}})
    assert tags == ["a"]
