"""Suites become items with good ids; a mistake in a suite is a collection error that names its place."""

from __future__ import annotations

import gzip
import json

import pytest

from .conftest import Evals

HEAD = "import pytest\nfrom pytest_evals import cases, grader, graders\n\n"
ROWS = '[{"id": "a", "q": "1"}, {"id": "b", "q": "2"}]'


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


def test_ids_are_the_named_field_or_a_hash_of_the_content(evals: Evals) -> None:
    evals.write(
        f"{HEAD}@cases({ROWS}, prompt='{{{{item.q}}}}', id='id')\ndef test_named(completion): ...\n"
        f"@cases({ROWS}, prompt='{{{{item.q}}}}')\ndef test_hashed(completion): ...\n"
    )
    found = ids(evals.run("--collect-only", "-q"))
    assert found[:2] == ["test_suite.py::test_named[a]", "test_suite.py::test_named[b]"]
    assert all(len(line.partition("[")[2]) == 11 for line in found[2:])


def test_ids_hold_only_safe_characters(evals: Evals) -> None:
    evals.write(
        f"{HEAD}@cases([{{'id': 'São Paulo: a.b [x]', 'q': 1}}], prompt='x', id='id')\ndef test_it(completion): ...\n"
    )
    assert ids(evals.run("--collect-only", "-q")) == ["test_suite.py::test_it[S-o-Paulo-a-b-x]"]


def test_the_mark_works_on_classes_and_modules_and_the_nearest_wins(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
pytestmark = cases([{"id": "module"}], prompt="x", id="id")

def test_function(completion): ...

@cases([{"id": "class"}], prompt="x", id="id")
class TestIt:
    def test_method(self, completion): ...

    @cases([{"id": "own"}], prompt="x", id="id")
    def test_own(self, completion): ...
"""
    )
    assert ids(evals.run("--collect-only", "-q")) == [
        "test_suite.py::test_function[module]",
        "test_suite.py::TestIt::test_method[class]",
        "test_suite.py::TestIt::test_own[own]",
    ]


def test_ordinary_parametrization_multiplies_the_cases(evals: Evals) -> None:
    evals.write(
        HEAD
        + f"""
@pytest.mark.parametrize("limit", [1, 2])
@cases({ROWS}, prompt="x", id="id")
def test_it(completion, limit): ...
"""
    )
    result = evals.run()
    result.assert_outcomes(passed=4)
    assert evals.ledger() == {"collected": 4, "passed": 4}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"id": "a", "q": "x"}\n\n{"id": "b", "q": "y"}\n'),
        ("rows.json", '[{"id": "a", "q": "x"}, {"id": "b", "q": "y"}]'),
        ("rows.csv", "id,q\na,x\nb,y\n"),
        ("rows.tsv", "id\tq\na\tx\nb\ty\n"),
        ("rows.yaml", "- {id: a, q: x}\n- {id: b, q: y}\n"),
    ],
)
def test_files_are_read_relative_to_the_test_file_plain_and_zipped(evals: Evals, name: str, content: str) -> None:
    folder = evals.pytester.mkdir("deep")
    (folder / name).write_text(content, encoding="utf-8")
    (folder / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    (folder / "test_deep.py").write_text(
        f"{HEAD}@cases({name!r}, prompt='{{{{item.q}}}}', id='id')\ndef test_plain(completion): ...\n"
        f"@cases('{name}.gz', prompt='{{{{item.q}}}}', id='id')\ndef test_zipped(completion): ...\n"
    )
    assert [line.rpartition("::")[2] for line in ids(evals.run("--collect-only", "-q"))] == [
        "test_plain[a]",
        "test_plain[b]",
        "test_zipped[a]",
        "test_zipped[b]",
    ]


def test_a_function_may_return_the_rows(evals: Evals) -> None:
    evals.write(
        HEAD + f"def rows():\n    return {ROWS}\n\n@cases(rows, prompt='x', id='id')\ndef test_it(completion): ...\n"
    )
    assert len(ids(evals.run("--collect-only", "-q"))) == 2


BAD = [
    ("cases('missing.jsonl', prompt='x')", {}, ["*test_suite.py:4*missing.jsonl*not found*relative to the test file*"]),
    ("cases('rows.jsonl', prompt='x')", {"rows__jsonl": '{"q": 1}\n{"q": 2,}\n'}, ["*rows.jsonl:2: not valid JSON*"]),
    ("cases('rows.jsonl', prompt='x')", {"rows__jsonl": '{"q": 1}\n[1]\n'}, ["*rows.jsonl:2: a row must be an object*"]),
    ("cases('rows.jsonl', prompt='x')", {"rows__jsonl": "\n"}, ["*rows.jsonl*is empty*"]),
    ("cases('rows.txt', prompt='x')", {"rows__txt": "x"}, ["*unknown format*.jsonl*"]),
    ("cases([{'id': 'a'}, {'id': 'a'}], prompt='x', id='id')", {}, ["*row 1*row 2*the id 'a'*must be unique*"]),
    ("cases([{'q': 1}, {'q': 1}], prompt='x')", {}, ["*row 1*row 2*the same content*id=*"]),
    ("cases([{'country': 'x'}], prompt='{{item.contry}}')", {}, ["*unknown*'contry'*country*did you mean 'country'*"]),
    ("cases([{'country': 'x'}], prompt='{{country}}')", {}, ["*unknown name 'country'*item.country*"]),
    ("cases([{'q': 'x'}], prompt='{{item.q')", {}, ["*not well formed*"]),
    ("cases([{'q': 'x'}], prompt='Say {item.q}')", {}, ["*'{item.q}' is in single braces*two, {{item.q}} (*"]),
    ("cases", {}, ["*test_suite.py:4: @cases is above test_it without data; write @cases(data, ...)*"]),
    ("cases([], judge=graders.judge.binary('x', refrence='y'))", {}, ["test_suite.py:4: *'refrence'*did you mean 'reference'*"]),
    ("cases([], judge=graders.contians('y'))", {}, ["*no grader 'contians'*did you mean 'contains'*"]),
    ("cases([{'q': None}], prompt='{{item.q}}')", {}, ["*null*"]),
    ("cases([{'q': 'x'}])", {}, ["*has no prompt*prompt=*messages=*"]),
    ("cases([{'q': 'x'}], prompt='x', messages=[])", {}, ["*either prompt= or messages=*"]),
    ("cases([{'messages': [{'role': 'robot', 'content': 'x'}]}])", {}, ["*row 1*role 'robot'*user*"]),
    ("cases([{'q': 'x'}], prompt='x', generation={'max_tokens': 3})", {}, ["*unknown parameter 'max_tokens'*max_new_tokens*"]),
    ("cases([{'q': 'x'}], prompt='x', generation={'temperature': -1})", {}, ["*temperature must be a number from 0*"]),
    ("cases([{'q': 'x'}], prompt='x', model='scriptd:a:b')", {}, ["*unknown engine 'scriptd'*did you mean 'scripted'*"]),
    ("cases([{'q': 'x'}], prompt='x', limit=0)", {}, ["*limit must be a whole number of at least 1*"]),
    ("cases([{'q': 'x'}], prompt='x', files=[])", {}, ["*files has 0 mappings for 1 row;*"]),
    ("cases([{'q': 'x'}], prompt='x', files=[{'f': 'no.txt'}])", {}, ["*file 'f' not found*no.txt*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['named.mean'])", {}, ["*gate 'named.mean'*not well formed*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['namd.mean > 0'])", {}, ["*no grader 'namd'*named*did you mean 'named'*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['named.avg > 0'])", {}, ["*unknown statistic 'avg'*mean*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['named.mean > much'])", {}, ["*'much' is not a number*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['named[r=1].mean > 0'])", {}, ["*no row has a field 'r'*(fields: q)*"]),
    ("cases([{'q': 'x'}], prompt='x', gates=['named[q=z].mean > 0'])", {}, ["*no row has q=z*(values: x)*"]),
]  # fmt: skip


@pytest.mark.parametrize(("declaration", "files", "expected"), BAD, ids=[entry[2][0][:40] for entry in BAD])
def test_a_mistake_in_a_suite_is_a_collection_error(
    evals: Evals, declaration: str, files: dict[str, str], expected: list[str]
) -> None:
    grader = "named = graders.contains('x')"
    evals.write(
        f"from pytest_evals import cases, graders\n{grader}\n\n@{declaration}\ndef test_it(named): ...\n", **files
    )
    result = evals.run(model=None)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(expected)
    assert "Traceback" not in result.stdout.str()
    assert not evals.path.exists()


def test_a_function_with_cases_that_is_no_test_is_warned_of(evals: Evals) -> None:
    evals.write(HEAD + "@cases([{'q': 'x'}], prompt='x')\ndef check_it(completion): ...\n")
    evals.run("-W", "default").stdout.fnmatch_lines(
        ["*PytestCollectionWarning: check_it has @cases but is not a test,*"]
    )


def test_a_template_of_a_grader_is_checked_against_every_row(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
named = graders.contains("{{item.capital}}")

@cases([{"id": "a", "capital": "x"}, {"id": "b", "city": "y"}], prompt="x", id="id")
def test_it(named): ...
"""
    )
    evals.run().stdout.fnmatch_lines(["*row 2*grader named*unknown field 'capital'*"])


def test_two_suites_of_one_name_are_refused_with_both_places(evals: Evals) -> None:
    other = "from pytest_evals import cases\n\n@cases([{'q': 1}], prompt='x')\ndef test_it(completion): ...\n"
    evals.write(other, test_other__py=other)
    evals.run().stdout.fnmatch_lines(["*two suites are named 'test_it'*test_*.py:3*test_*.py:3*name=*"])


def test_a_broken_suite_leaves_the_other_files_collectable(evals: Evals) -> None:
    evals.write(
        "from pytest_evals import cases\n\n@cases('no.jsonl', prompt='x')\ndef test_it(completion): ...\n",
        test_fine__py="def test_fine(): ...\n",
    )
    result = evals.run("--continue-on-collection-errors")
    result.assert_outcomes(errors=1, passed=1)


def test_templates_reach_nested_fields_lists_files_and_parameters(evals: Evals) -> None:
    evals.write(
        HEAD
        + """
@cases(
    [{"id": "a", "who": {"name": "Ada"}, "tags": ["x", "y"], "cap": 7}],
    prompt="{{item.who.name}} {{item.tags.1}} {{item.files.note}}",
    system="Answer {{item.id}}.",
    generation={"max_new_tokens": "item.cap"},
    files=[{"note": "note.txt"}],
    id="id",
)
def test_it(completion, case):
    assert completion.messages[0]["content"] == "Answer a."
    assert completion.text == "Ada y from a file"
    assert case.files["note"].name == "note.txt" and case["who"] == case.who
""",
        script="def answer(messages):\n    return messages[-1]['content']\n",
        note__txt="from a file",
    )
    evals.run().assert_outcomes(passed=1)


def test_a_conversation_comes_from_messages_or_from_the_row(evals: Evals) -> None:
    turns = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    row = json.dumps({"id": "r", "messages": turns})
    evals.write(
        HEAD
        + """
@cases("rows.jsonl", id="id")
def test_row(completion):
    assert completion.text == "one|two|three"

@cases([{"q": "{{not a template}}"}], messages=[{"role": "user", "content": "A {{item.q}}"}])
def test_messages(completion):
    assert completion.text == "A {{not a template}}"

@cases([{"talk": [{"role": "user", "content": "located"}]}], messages="item.talk")
def test_located(completion):
    assert completion.text == "located"
""",
        script="def answer(messages):\n    return '|'.join(m['content'] for m in messages)\n",
        rows__jsonl=row,
    )
    evals.run().assert_outcomes(passed=3)
