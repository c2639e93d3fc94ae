"""Fenced blocks of a text; the program of a completion; the names that its tests take from elsewhere."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.graders.code import find_program
from pytest_evals.graders.code.extract import behind, fenced_blocks, program_in, without_fence
from pytest_evals.graders.code.names import analyse, checks_nothing, trusted_head

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parent / "data/programs.jsonl").read_text(encoding="utf-8").splitlines()
]
ADD = "def add(a, b):\n    return a + b\n"
FENCED = f"```python\n{ADD}```\n"


def adds(program: str) -> bool:
    """Tell whether a program, which was written here, defines ``add``."""
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(program, namespace)  # noqa: S102 - one of the texts below
    return bool(namespace["add"](1, 2) == 3)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ROWS if not row.get("wrong")])
def test_the_program_of_a_completion_is_found(row: dict[str, Any]) -> None:
    assert adds(find_program(row["completion"], row["tests"], "", None))


WAYS = {
    "star list": "* Code:\n\n  ```python\n  def add(a, b):\n      return a + b\n  ```\n* done",
    "list item is a fence": "- ```python\n  def add(a, b):\n      return a + b\n  ```\n",
    "numbered fence": "1) ```python\n   def add(a, b):\n       return a + b\n   ```",
    "nested list": "- a\n    - b:\n\n        ```python\n        def add(a, b):\n            return a + b\n        ```\n",
    "tabs": "1.\tCode\n\n\t```python\n\tdef add(a, b):\n\t    return a + b\n\t```\n",
    "indented fence, code at the margin": "1. It:\n   ```python\ndef add(a, b):\n    return a + b\n   ```\n2. Done.",
    "quote": "> ```python\n> def add(a, b):\n>\n>     return a + b\n> ```\nok",
    "tildes": f"~~~~ python\n{ADD}~~~~\nand\n~~~\n3\n~~~",
    "five backticks": f"`````python\n{ADD}`````",
    "in Markdown": f"````markdown\n# Answer\n```python\n{ADD}```\n````\n",
    "closed at the end of a line": "```python\ndef add(a, b):\n    return a + b```\nThat is all.",
    "the same, then an example": "```python\ndef add(a, b):\n    return a + b```\nUse:\n```python\nadd(1, 2)\n```",
    "not closed before the next": f"```python\n{ADD}\nNow use it:\n```python\nadd(1, 2)\n```",
    "title": f'```python title="add.py" linenums="1"\n{ADD}```',
    "file": f"```python:src/add.py\n{ADD}```",
    "attributes": f"```{{.python .numberLines}}\n{ADD}```",
    "language-": f"```language-python\n{ADD}```",
    "version": f"```python3.11\n{ADD}```",
    "capitals and spaces": f"```  Python  \n{ADD}```  \n",
    "carriage returns": f"```python\n{ADD}```".replace("\n", "\r"),
    "CRLF in a list": "1. It:\r\n   ```python\r\n   def add(a, b):\r\n       return a + b\r\n   ```\r\n",
    "fences in its texts": '```python\ndef add(a, b):\n    """Add.\n\n```\nadd(1, 2)\n```\n    """\n    return a + b\n```\n',
    "indented fences in its texts": (
        '```python\ndef add(a, b):\n    """\n    ```python\n    add(1, 2)\n    ```\n    """\n    return a + b\n```'
    ),
    "a block of data first": f'```json\n{{"a": 1}}\n```\n{FENCED}',
    "a command after": f"{FENCED}```bash\npython add.py\n```",
    "a command first, code without a language": f"```bash\npip install x\n```\n\n```\n{ADD}```\n",
    "a dialogue after": f"```\n{ADD}```\nRun:\n```pycon\n>>> add(1, 2)\n```",
    "tests after": (
        f"{FENCED}```python\nimport unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(add(1, 2), 3)\nunittest.main()\n```"
    ),
    "input after": f"{FENCED}```python\na = int(input())\nprint(add(a, a))\n```",
    "imports and constants first": (
        "```python\nimport math\nK = 0\n```\nThen\n```python\ndef add(a, b):\n    return math.floor(a + b) + K\n```"
    ),
    "helper later": (
        "```python\ndef add(a, b):\n    return plus(a, b)\n```\nwhere\n```python\ndef plus(a, b):\n    return a + b\n```"
    ),
    "helper again": (
        "```python\ndef plus(a, b):\n    return a - b\ndef add(a, b):\n    return plus(a, b)\n```\nFix:\n"
        "```python\ndef plus(a, b):\n    return a + b\n```"
    ),
    "draft that cannot be loaded": f"```python\nimport no_such_module\ndef add(a, b): ...\n```\nBetter:\n{FENCED}",
    "sentences around": f"Here is the function:\n\n{ADD}\nHope this helps!",
    "sentences, then a closing fence": f"Here you go:\n\n{ADD}```\nDone",
    "not closed": f"Sure!\n```python\n{ADD}",
    "line separators in texts": "```python\ndef add(a, b):\n    s = '\u2028\x0c'\n    return a + b\n```",
    "code in one line beside": f"```add(1, 2)```\n{FENCED}",
    "lambda": "```python\nadd = lambda a, b: a + b\n```\n```python\nprint(add(1, 2))\n```",
    "all of it indented": "```python\n    def add(a, b):\n        return a + b\n```",
    "a fence too many": f"{FENCED}```\n",
    "escapes that Python warns of": "```python\nimport re\ndef add(a, b):\n    re.compile('\\d')\n    return a + b\n```",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:invalid escape sequence")
def test_the_program_is_found_however_it_is_written(way: str) -> None:
    assert adds(program_in(WAYS[way], wanted=("add",)))


def test_a_last_version_that_is_broken_is_not_replaced_by_a_draft() -> None:
    program = program_in(f"{FENCED}Better:\n```python\ndef add(a, b)\n    return a + b\n```", wanted=("add",))
    with pytest.raises(SyntaxError):
        adds(program)


def test_a_dialogue_is_no_program() -> None:
    with pytest.raises(SyntaxError):
        adds(program_in("```python\n>>> def add(a, b):\n...     return a + b\n```", wanted=("add",)))


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (
            "```python\nprint(1)\n```\nor\n```python\nprint(input())\n```\nwith\n```python\nx = 2\n```",
            "print(input())\n",
        ),
        ("```python\nprint(1)\n```\n```\n1\n```", "print(1)\n"),
        (
            "```python\ndef f(x): return x\n```\nthen\n```python\nprint(f(input()))\n```",
            "def f(x): return x\n\nprint(f(input()))\n",
        ),
        ("import sys\nprint(sys.stdin.read())", "import sys\nprint(sys.stdin.read())"),
    ],
)
def test_a_script_is_the_last_block_that_reads_its_input(text: str, program: str) -> None:
    assert program_in(text, script=True).strip() == program.strip()


HEAD = 'def add(a, b):\n    """Add."""\n'


@pytest.mark.parametrize(
    ("before", "answer", "goes_on", "trusted"),
    [
        (HEAD, "    return a + b\n", True, ""),
        (HEAD, "    return a + b\n```\nDone.", True, ""),
        (HEAD, "```python\n    return a + b\n```", True, ""),
        (HEAD, "```python\nreturn a + b\n```", True, ""),
        (HEAD, "    return a + b\n\nThis adds the numbers.", True, ""),
        (
            f"import math\n{HEAD}",
            f"```python\nfrom __future__ import annotations\n{ADD}```",
            False,
            "import math",
        ),
        ("import math", f"```python\n'''Text.'''\nfrom __future__ import annotations\n{ADD}```", False, "import math"),
        ("def add(a, b):", "\n    return a + b\n", True, ""),
        ("def add(a, b): return ", "a + b\n", True, ""),
        ("def add(a, b):\n    c = 0\n", "    return a + b + c", True, ""),
        (
            "def two(): return 2\ndef add(a, b):\n    c = two()\n",
            "    return a + b + c - 2",
            True,
            "def two():\n    return 2",
        ),
    ],
)
def test_a_program_goes_on_with_what_is_in_front_of_it(before: str, answer: str, goes_on: bool, trusted: str) -> None:
    whole, continued = behind(before, program_in(answer, wanted=("add",), before=before))
    assert adds(whole)
    assert continued == goes_on
    assert trusted_head(before, None, goes_on=continued) == trusted


def test_what_is_to_be_filled_in_is_never_taken_from_what_is_in_front() -> None:
    before = (
        "import math\ndef one(): return 1\ndef add(a, b): raise NotImplementedError\n"
        "class Stack:\n    def push(self): ...\n"
    )
    assert trusted_head(before, None, goes_on=False) == "import math\n\ndef one():\n    return 1"
    assert trusted_head("def one(): return 1", "one", goes_on=False) == ""


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ("~~~\n1\n~~~", "1"),
        ("````\n1\n````", "1"),
        ('  ```json\n  {"a": 1}\n  ```', '{"a": 1}'),
        ('```json\r\n{"a": 1}\r\n```', '{"a": 1}'),
        ('{"a": 1}\n```', '{"a": 1}'),
        ('```json {"a": 1}```', '{"a": 1}'),
        ('```json\n{"a": 1}', None),
        ("- ```json\n  1\n  ```", "1"),
        ("```{json}\n1\n```", "1"),
        ("```sql\nSELECT 1\n```", "SELECT 1"),
        ("~~~SQL\nSELECT '```'\n~~~", "SELECT '```'"),
        ("Here:\n```json\n1\n```", None),
        ("```json\n1\n```\n```json\n2\n```", None),
        ("```json\n1\n```\nDone.", None),
    ],
)
def test_a_text_that_is_one_block_is_what_is_in_it(text: str, inside: str | None) -> None:
    assert without_fence(text).strip() == (text.strip() if inside is None else inside)


def test_blocks_say_their_language_and_place() -> None:
    blocks = fenced_blocks("a\n```SQL\nselect 1\n```\n\n~~~json\n1\n~~~")
    assert [(block.language, block.text, block.first, block.last) for block in blocks] == [
        ("sql", "select 1\n", 1, 4),
        ("json", "1\n", 5, 8),
    ]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("```\n" * 40_000, id="fences"),
        pytest.param("- ```python\n'''\n" * 20_000, id="open texts"),
        pytest.param("- ```python\nx = 1\n" * 20_000, id="never closed"),
        pytest.param("> " * 50_000, id="quotes"),
        pytest.param("(" * 100_000, id="brackets"),
        pytest.param("1. " * 50_000 + "```", id="lists"),
        pytest.param("def f(\n\n" * 20_000, id="paragraphs"),
        pytest.param("`" * 200_000, id="backticks"),
        pytest.param("````md\n" * 20_000, id="nested"),
        pytest.param("x = [\n\n" * 3_000 + "```python\ny = 1\n```\n" * 3_000, id="both"),
    ],
)
def test_no_text_keeps_the_reader_of_blocks_for_long(text: str) -> None:
    started = time.process_time()
    program_in(text, wanted=("add",))
    without_fence(text)
    assert time.process_time() - started < 60  # seconds at most; what is not linear takes many minutes


@pytest.mark.parametrize(
    ("test", "wanted", "modules"),
    [
        ("assert add(1, 2) == 3", ("add",), {}),
        ("import math\nassert math.isclose(half(3), 1.5)", ("half",), {}),
        ("assert math.isclose(half(3), 1.5)", ("half",), {"math": "math"}),
        ("assert sorted(items()) == [1]", ("items",), {}),
        ("assert sum(1, 2) == 3", ("sum",), {}),
        ("def helper(x):\n    return add(x, x)\nfor y in [1]:\n    assert helper(y) == 2", ("add",), {}),
        ("assert queue(1) == [1]", ("queue",), {}),
        ("assert [f(x) for x in range(3)] == [0]", ("f",), {}),
    ],
)
def test_a_test_takes_from_the_program_what_it_names_and_does_not_make(test: str, wanted: Any, modules: Any) -> None:
    code = analyse(test, "", None)
    assert (code.wanted, code.modules) == (wanted, modules)


def test_what_stands_in_front_of_the_program_is_not_taken_from_it() -> None:
    code = analyse("assert same(add(1, 2), 3)", "def same(a, b):\n    return a == b", None)
    assert code.wanted == ("add",)
    assert analyse("def check(f):\n    assert f(1)", "", "one").wanted == ("one",)


@pytest.mark.parametrize(
    ("test", "nothing"),
    [
        ("assert True", False),
        ("f(1)", False),
        ("x = f(1)", False),
        ("def check(candidate): assert candidate(1)", True),
        ("import math\nX = [1, 2]\nclass A: pass\n'text'", True),
        ("for x in range(3): assert f(x)", False),
    ],
)
def test_a_test_that_only_defines_things_checks_nothing(test: str, nothing: bool) -> None:
    assert checks_nothing(ast.parse(test), entry_point=False) is nothing


MARKED = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    "text",
    [
        f"[BEGIN]\n{MARKED}[DONE]",
        f"[BEGIN]{MARKED}[DONE]\n\nYou are an expert Python programmer, and here is your task:",
        f"Here it is:\n[PYTHON]\n{MARKED}[/PYTHON]\nIt adds.",
        f"<code>\n{MARKED}</code>",
        f'<pre><code class="language-python">\n{MARKED}</code></pre>\nIt adds.',
        f"<python>\n{MARKED}</python>",
        f"[BEGIN]\n{MARKED}",
        f"```python\n{MARKED}```<|eot_id|>",
        f"{MARKED}<|im_end|>\n</s>",
        f"[BEGIN]\n```python\n{MARKED}```\n[DONE]",
    ],
)
def test_marks_of_published_prompts_and_of_html_are_fences(text: str) -> None:
    assert adds(find_program(text, ["assert add(1, 2) == 3"], "", None))


def test_the_rest_of_a_function_is_the_program_and_not_the_test_behind_it() -> None:
    text = "```python\n    return a + b\n```\nTry it:\n```python\nassert add(1, 2) == 3\n```"
    assert find_program(text, ["assert add(1, 2) == 3"], "def add(a, b):\n", None) == "    return a + b\n"


def test_marks_in_code_are_no_fences() -> None:
    text = "def add(a, b):\n    for line in ['[DONE]', '<code>']:\n        pass\n    return a + b\n"
    assert find_program(text, ["assert add(1, 2) == 3"], "", None).strip() == text.strip()
