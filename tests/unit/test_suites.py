"""A suite made of its declaration: everything that can be wrong is found before any model loads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pytest_evals.errors import DatasetError, GateError, SuiteError
from pytest_evals.gates import parse_gate
from tests.unit.building import PROMPT, ROWS, first, refusal, suite_of, talk

# -- ids


def test_cases_keep_the_order_of_rows() -> None:
    assert list(suite_of(ROWS, prompt=PROMPT, id="country").cases) == ["France", "Chad"]


def test_without_an_id_field_content_identifies_a_row() -> None:
    assert list(suite_of(ROWS[::-1], prompt=PROMPT).cases) == list(suite_of(ROWS, prompt=PROMPT).cases)[::-1]


def test_a_case_knows_where_its_row_stands(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text("\n" + json.dumps(ROWS[0]))
    assert next(iter(suite_of("data.jsonl", tmp_path, prompt=PROMPT).cases.values())).case.place == "data.jsonl:2"


def test_an_unknown_id_field_lists_the_fields_and_suggests() -> None:
    message = refusal(DatasetError, prompt=PROMPT, id="contry")
    assert "row 1 of inline: no field 'contry' for the id (fields: country, capital, level)" in message
    assert "did you mean 'country'?" in message


@pytest.mark.parametrize("value", [None, ""])
def test_a_row_without_a_value_for_its_id_is_refused(value: object) -> None:
    message = refusal(DatasetError, [{"id": "a"}, {"id": value}], prompt="x", id="id")
    assert "row 2 of inline: no field 'id' for the id" in message


@pytest.mark.parametrize("value", [0, False, 0.0])
def test_a_false_value_is_an_id(value: object) -> None:
    assert list(suite_of([{"id": value}], prompt="x", id="id").cases) == [str(value).replace(".", "-")]


def test_duplicate_ids_name_both_places() -> None:
    message = refusal(DatasetError, [{"id": "a b"}, {"id": "c"}, {"id": "a b"}], prompt="x", id="id")
    assert "row 1 of inline and row 3 of inline both have the id 'a b' (as 'a-b'); ids must be unique" in message


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (("C++", "C#", "C"), "C"),
        (("a b", "a-b", "a.b"), "a-b"),
        (("-1", "1", "+1"), "1"),
        (("1.5", "1-5"), "1-5"),
        ((" x", "x", "x "), "x"),
        (("<=", ">="), None),
        (("x" * 70, "x" * 69 + "y"), None),
        (("y" * 64, "." + "y" * 64), "y" * 64),
        (("café", "cafe"), "cafe"),
        (("q/1", "q_1", "q-1", "q 1"), "q-1"),
        ((1, "1?"), "1"),
    ],
)
def test_ids_that_differ_in_the_data_are_told_apart_whatever_their_order(
    texts: tuple[object, ...], kept: str | None
) -> None:
    found = {}
    for order in (1, -1):
        ids = list(suite_of([{"id": text} for text in texts[::order]], prompt="x", id="id").cases)[::order]
        found[order] = ids
        assert len(set(ids)) == len(texts)
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", each) for each in ids)
    assert found[1] == found[-1]
    assert kept is None or kept in found[1]


def test_duplicate_rows_say_what_to_do() -> None:
    message = refusal(DatasetError, [{"a": 1}, {"a": 1}], prompt="x")
    assert "both have the same content; remove one, or name an id field with id=" in message


def test_a_duplicate_beyond_the_limit_is_found_too() -> None:
    assert "same content" in refusal(DatasetError, [{"a": 1}, {"a": 2}, {"a": 2}], prompt="x", limit=1)


# -- clusters


def test_a_case_knows_what_it_shares_with_others() -> None:
    suite = suite_of([{"q": 1, "doc": "a"}, {"q": 2, "doc": 7}, {"q": 3, "doc": True}], prompt="x", cluster="doc")
    assert [prepared.cluster for prepared in suite.cases.values()] == ["a", "7", "True"]
    assert [prepared.cluster for prepared in suite_of(ROWS, prompt="x").cases.values()] == [None, None]


@pytest.mark.parametrize(
    ("rows", "cluster", "words"),
    [
        ([{"doc": "a"}, {"other": 1}], "doc", "no field 'doc' for the cluster (fields: other); every row needs one"),
        ([{"doc": "a"}, {"doc": None}], "doc", "no field 'doc' for the cluster"),
        ([{"document": "a"}], "docment", "did you mean 'document'?"),
        ([{"doc": ["a"]}], "doc", "the field 'doc' for the cluster must be a text or a number, not list"),
    ],
)
def test_every_row_needs_its_cluster(rows: list[dict[str, object]], cluster: str, words: str) -> None:
    assert words in refusal(DatasetError, rows, prompt="x", cluster=cluster)


def test_a_cluster_is_named_by_its_field() -> None:
    assert "cluster must be the name of a field, not int" in refusal(SuiteError, prompt="x", cluster=3)


# -- limits


@pytest.mark.parametrize(
    ("own", "option", "n"), [(None, None, 2), (1, None, 1), (None, 1, 1), (2, 1, 1), (1, 2, 1), (9, 9, 2)]
)
def test_the_smaller_limit_holds(own: int | None, option: int | None, n: int) -> None:
    suite = suite_of(ROWS, option_limit=option, prompt=PROMPT, limit=own)
    assert len(suite.cases) == n
    assert len(suite.dataset.rows) == 2


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_limit_is_a_whole_number_above_zero(limit: object) -> None:
    assert f"limit must be a whole number of at least 1, not {limit!r}" in refusal(SuiteError, prompt="x", limit=limit)


# -- generation


def test_generation_may_come_from_the_row() -> None:
    suite = suite_of([{"n": 4}, {"n": 8}], prompt="x", generation={"max_new_tokens": "item.n", "stop": ["{{item.n}}!"]})
    assert [(p.params.max_new_tokens, p.params.stop) for p in suite.cases.values()] == [(4, ("4!",)), (8, ("8!",))]


def test_a_bad_parameter_of_a_row_names_the_row() -> None:
    message = refusal(SuiteError, [{"n": 4}, {"n": "8"}], prompt="x", generation={"max_new_tokens": "item.n"})
    assert "row 2 of inline: generation: max_new_tokens must be a whole number of at least 1, not '8'" in message


# -- files and metadata


def test_files_are_paths_beside_the_test_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text of a")
    suite = suite_of([{"q": "x"}], tmp_path, prompt="Read {{item.files.doc}}", files=[{"doc": "a.txt"}])
    prepared = next(iter(suite.cases.values()))
    assert prepared.case.files == {"doc": tmp_path / "a.txt"}
    assert talk(prepared) == [("user", "Read text of a")]


def test_a_missing_file_names_row_and_path(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"row 1 of inline: file 'doc' not found: .*nope\.txt"):
        suite_of([{"q": "x"}], tmp_path, prompt="x", files=[{"doc": "nope.txt"}])


def test_there_must_be_files_for_every_row() -> None:
    message = refusal(SuiteError, prompt="x", files=[{}])
    assert "files has 1 mapping for 2 rows; there must be one a row" in message


def test_a_rows_metadata_goes_before_that_of_the_suite() -> None:
    prepared = first([{"metadata": {"a": 1}}], prompt="x", metadata={"a": 0, "b": 2})
    assert prepared.case.metadata == {"a": 1, "b": 2}


def test_metadata_of_null_is_none() -> None:
    assert first([{"metadata": None}], prompt="x").case.metadata == {}


def test_a_rows_metadata_must_be_an_object() -> None:
    message = refusal(DatasetError, [{"metadata": "x"}], prompt="x")
    assert "row 1 of inline: the field 'metadata' must be an object, not str" in message


@pytest.mark.parametrize(
    ("argument", "value", "words"),
    [
        ("system", ["x"], "system must be a string, not list"),
        ("id", ["country"], "id must be the name of a field, not list"),
        ("name", 5, "name must be a string, not int"),
        ("generation", ["x"], "generation must be a mapping of parameters, not list"),
        ("metadata", "x", "metadata must be a mapping, not str"),
        ("files", {"doc": "a.txt"}, "files must be a list with one mapping of name to path a row, not dict"),
        ("files", ["a.txt", "b.txt"], "entry 1 of files must be a mapping of name to path, not str"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_named(argument: str, value: object, words: str) -> None:
    assert words in refusal(SuiteError, prompt="x", **{argument: value})


# -- gates


def test_a_malformed_gate_names_the_place() -> None:
    message = refusal(GateError, prompt="x", gates=["exact.mean"])
    assert ".py:" in message
    assert "gate 'exact.mean' is not well formed" in message


def test_a_gate_that_is_no_text_is_refused() -> None:
    assert "a gate is text, not float (0.8)" in refusal(GateError, prompt="x", gates=[0.8])


@pytest.mark.parametrize(
    "gate", ["exact.mean >= 1", "capitals.exact.mean >= 1", "style.tone.mean >= 1", "exact[level=hard].mean >= 1"]
)
def test_a_gate_of_a_grader_of_the_suite_is_good(gate: str) -> None:
    suite = suite_of(ROWS, prompt="x", gates=[gate])
    suite.check_gates("capitals", ["exact", "style"], suite.gates)


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("exat.mean >= 1", "capitals has no grader 'exat' (graders: exact, style); did you mean 'exact'?"),
        ("other.exact.mean >= 1", "capitals has no grader 'other.exact' (graders: exact, style)"),
        ("exact[levl=easy].mean >= 1", "no row has a field 'levl' (fields: country, capital, level); did you mean"),
        ("exact[level=eazy].mean >= 1", "no row has level=eazy (values: easy, hard)"),
    ],
)
def test_a_gate_that_nothing_answers_to_is_refused(gate: str, words: str) -> None:
    suite = suite_of(ROWS, prompt="x")
    with pytest.raises(GateError) as caught:
        suite.check_gates("capitals", ["exact", "style"], [parse_gate(gate)])
    assert f"gate {gate!r}" in str(caught.value)
    assert words in str(caught.value)


def test_a_slice_may_lie_beyond_the_limit() -> None:
    suite = suite_of(ROWS, prompt="x", limit=1)
    suite.check_gates("capitals", ["exact"], [parse_gate("exact[level=hard].mean >= 1")])
    assert len(suite.cases) == 1
