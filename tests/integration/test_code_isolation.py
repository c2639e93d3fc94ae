"""Tests that run outside of the program's process: what of ordinary tests works so, and what is refused."""

from __future__ import annotations

import pytest

from pytest_evals.graders.code.runner import ProgramLimits, ProgramTask, run_program

LIMITS = ProgramLimits(seconds=60)
STACK = """
class Stack:
    def __init__(self):
        self.items = []
    def push(self, item):
        self.items.append(item)
    def pop(self):
        return self.items.pop()
    def __len__(self):
        return len(self.items)
"""
VECTOR = """
class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y
    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, number):
        return Vector(self.x * number, self.y * number)
    def __eq__(self, other):
        return (self.x, self.y) == ((other.x, other.y) if isinstance(other, Vector) else other)
    def __contains__(self, number):
        return number in (self.x, self.y)
    def __hash__(self):
        return hash((self.x, self.y))
    def __repr__(self):
        return f"V({self.x}, {self.y})"
"""
ERRORS = """
import json
class Own(ValueError):
    def __init__(self, code):
        super().__init__("bad")
        self.code = code
def f(x):
    if x == 0:
        raise Own(7)
    if x == 1:
        raise KeyError("k")
    json.loads("{")
"""
ASYNC = """
import asyncio
async def f(x):
    await asyncio.sleep(0)
    return x + 1
async def many(call):
    return [await call(i) for i in range(3)]
async def numbers():
    for i in range(3):
        yield i
"""
VALUES = """
import collections, datetime, decimal, enum, fractions
P = collections.namedtuple("P", "x y")
class Color(enum.Enum):
    RED = 1
class Level(enum.IntEnum):
    LOW = 5
def v(name):
    return {
        "P": P(1, 2), "C": collections.Counter("aab"), "D": decimal.Decimal("1.5"), "F": fractions.Fraction(1, 3),
        "d": datetime.date(2020, 1, 2), "dd": collections.defaultdict(list, {1: [2]}), "q": collections.deque([1, 2]),
        "e": Color.RED, "i": Level.LOW, "big": 10**400, "m": map(str, [1]), "cls": int, "sur": "\\ud800",
    }[name]
"""
STREAMS = """
def hi(n):
    print("hi", n)
def ask():
    print(int(input()) + int(input("b?")))
"""
WORKING = {
    "a class": (
        STACK,
        [
            "s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert len(s) == 1 and s",
            "s = Stack()\nassert not s\ntry:\n    s.pop()\nexcept IndexError:\n    pass\nelse:\n    assert False",
            "assert isinstance(Stack(), Stack) and type(Stack()).__name__ == 'Stack'",
            "s = Stack()\ns.items = [1]\nassert s.items == [1]",
        ],
    ),
    "operators between its objects": (
        VECTOR,
        [
            "assert Vector(1, 2) + Vector(3, 4) == Vector(4, 6)",
            "assert Vector(1, 2) != Vector(1, 3)",
            "assert repr(Vector(1, 2)) == 'V(1, 2)'",
            "assert len({Vector(1, 2), Vector(1, 2)}) == 1",
        ],
    ),
    "arguments that are changed": (
        "def turn(items):\n    items.reverse()\ndef add(d):\n    d['k'] = [1]\n    return d",
        [
            "x = [1, 2, 3]\nassert turn(x) is None\nassert x == [3, 2, 1]",
            "d = {}\nassert add(d) is d\nassert d == {'k': [1]}",
            "x = [[1], [2]]\na = x[0]\nturn(x)\nassert x[1] is a",
        ],
    ),
    "functions of the tests": (
        "def twice(f, x):\n    return f(f(x))\ndef order(items, key):\n    return sorted(items, key=key)",
        [
            "assert twice(lambda x: x * 2, 3) == 12",
            "assert order(['bb', 'a'], key=len) == ['a', 'bb']",
            "seen = []\ntwice(seen.append, 1)\nassert seen == [1, None]",
        ],
    ),
    "functions of the program": (
        "def adder(n):\n    return lambda x: x + n\ndef plus_one(f):\n    return lambda *given: f(*given) + 1",
        ["assert adder(1)(2) == 3", "@plus_one\ndef g(x):\n    return x\nassert g(1) == 2"],
    ),
    "iterators": (
        "def count():\n    i = 0\n    while True:\n        yield i\n        i += 1\ndef some(n):\n    return iter(range(n))",
        [
            "import itertools\nassert list(itertools.islice(count(), 3)) == [0, 1, 2]",
            "assert sum(some(4)) == 6",
            "x = some(1)\nassert next(x) == 0\ntry:\n    next(x)\nexcept StopIteration:\n    pass\nelse:\n    assert False",
        ],
    ),
    "exceptions": (
        ERRORS,
        [
            "try:\n    f(0)\nexcept Own as e:\n    assert e.code == 7 and str(e) == 'bad' and isinstance(e, ValueError)\nelse:\n    assert False",
            "try:\n    f(1)\nexcept KeyError as e:\n    assert e.args == ('k',)\nelse:\n    assert False",
            "import json\ntry:\n    f(2)\nexcept json.JSONDecodeError:\n    pass\nelse:\n    assert False",
        ],
    ),
    "unittest": (
        "def add(a, b):\n    return a + b",
        [
            (
                "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(add(1, 2), 3)\n"
                "r = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(T))\nassert r.wasSuccessful()"
            ),
        ],
    ),
    "async": (
        ASYNC,
        [
            "import asyncio\nassert asyncio.run(f(1)) == 2",
            "import asyncio\nasync def t():\n    return await asyncio.gather(f(1), f(2))\nassert asyncio.run(t()) == [2, 3]",
            "import asyncio\nasync def c(x):\n    await asyncio.sleep(0)\n    return x * 2\nassert asyncio.run(many(c)) == [0, 2, 4]",
            "import asyncio\nasync def t():\n    return [x async for x in numbers()]\nassert asyncio.run(t()) == [0, 1, 2]",
        ],
    ),
    "values of many kinds": (
        VALUES,
        [
            "assert v('P') == (1, 2) and v('P').x == 1 and isinstance(v('P'), tuple)",
            "from collections import Counter\nassert v('C') == Counter(a=2, b=1)",
            "from decimal import Decimal\nfrom fractions import Fraction\nassert v('D') == Decimal('1.5') and v('F') == Fraction(1, 3)",
            "assert v('d').year == 2020 and v('dd')[9] == [] and list(v('q')) == [1, 2]",
            "assert v('e') == Color.RED and v('e') is Color.RED and v('e').value == 1 and v('i') == 5",
            "assert v('big') == 10**400 and list(v('m')) == ['1'] and v('cls') is int and v('sur') == '\\ud800'",
        ],
    ),
    "streams that a test redirects": (
        STREAMS,
        [
            "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    hi(1)\n    hi(2)\nassert out.getvalue() == 'hi 1\\nhi 2\\n'",
            "import io, sys\nsys.stdin, sys.stdout = io.StringIO('1\\n2\\n'), io.StringIO()\nask()\nassert sys.stdout.getvalue() == 'b?3\\n'",
            (
                "import io\nfrom unittest.mock import patch\nwith patch('builtins.input', side_effect=['3', '4']), "
                "patch('sys.stdout', new_callable=io.StringIO) as out:\n    ask()\nassert out.getvalue() == '7\\n'"
            ),
            "hi(3)",
        ],
    ),
    "contexts": (
        "import contextlib\n@contextlib.contextmanager\ndef five():\n    yield 5\nclass Quiet:\n    def __enter__(self):\n        return self\n    def __exit__(self, *given):\n        return given[0] is not None",
        ["with five() as x:\n    assert x == 5", "with Quiet():\n    raise ValueError"],
    ),
    "classes of the tests": (
        "def total(node):\n    t = 0\n    while node:\n        t += node.val\n        node = node.next\n    return t\ndef mark(n):\n    n.val = 9",
        [
            "class Node:\n    def __init__(self, val, next=None):\n        self.val, self.next = val, next\nassert total(Node(1, Node(2))) == 3",
            "class N: pass\nn = N()\nmark(n)\nassert n.val == 9",
        ],
    ),
    "a program that is called as a builtin": ("def sum(a, b):\n    return a - b", ["assert sum(3, 2) == 1"]),
    "large and deep": (
        "def many(n):\n    return list(range(n))\ndef deep(n):\n    x = []\n    for _ in range(n):\n        x = [x]\n    return x",
        [
            "assert len(many(200000)) == 200000",
            "x, n = deep(5000), 0\nwhile x:\n    x, n = x[0], n + 1\nassert n == 5000",
        ],
    ),
}


@pytest.mark.parametrize("name", WORKING)
def test_ordinary_tests_work_from_outside(name: str) -> None:
    program, tests = WORKING[name]
    outcome = run_program(ProgramTask(program, tests), LIMITS)
    assert outcome.errors == (None,) * len(tests)


LISTS = """
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
def to_list(node):
    found = []
    while node:
        found.append(node.val)
        node = node.next
    return found
"""


def test_classes_in_front_of_the_program_are_the_same_on_both_sides() -> None:
    program = """
class Solution:
    def turn(self, head):
        before = None
        while head:
            head.next, before, head = before, head, head.next
        return before
    def new(self):
        return ListNode(5, ListNode(6))
    def is_node(self, node):
        return isinstance(node, ListNode)
"""
    tests = [
        "assert to_list(Solution().turn(ListNode(1, ListNode(2)))) == [2, 1]",
        "assert to_list(Solution().new()) == [5, 6]",
        "assert Solution().is_node(ListNode()) and isinstance(Solution().new(), ListNode)",
        "n = ListNode(1)\nassert Solution().turn(n) is n",
    ]
    assert run_program(ProgramTask(program, tests, before=LISTS), LIMITS).errors == (None,) * 4
    # A helper in front of the program is the author's, whatever the program defines under its name.
    lie = "def to_list(node): return [2, 1]\nclass Solution:\n    def turn(self, head): return None"
    assert run_program(ProgramTask(lie, tests[:1], before=LISTS), LIMITS).errors[0] is not None


def test_objects_compare_with_plain_data_where_the_suite_says_so() -> None:
    tests = ["assert Vector(1, 2) * 3 == Vector(3, 6)", "assert Vector(1, 2) == (1, 2)", "assert 1 in Vector(1, 2)"]
    assert run_program(ProgramTask(VECTOR, tests, objects=["Vector"]), LIMITS).errors == (None,) * 3
    refused = run_program(ProgramTask(VECTOR, tests), LIMITS).errors
    assert "an object of the program's class 'Vector' is not asked for its __mul__ with plain data" in str(refused[0])
    assert "objects=['Vector'] of the grader lets it answer for itself" in str(refused[0])
    assert str(refused[1]).endswith("AssertionError")
    assert "__contains__" in str(refused[2])


def test_what_cannot_be_given_to_the_program_says_what_to_do() -> None:
    program = "def f(x):\n    return x"
    (error,) = run_program(ProgramTask(program, ["import sys\nassert f(sys) is sys"]), LIMITS).errors
    assert "cannot be given to a program that runs in a process of its own; isolated=False runs tests in that" in str(
        error
    )
    assert run_program(ProgramTask(program, ["import sys\nassert f(sys) is sys"], isolated=False), LIMITS).errors == (
        None,
    )


def test_arrays_travel_where_packages_may_be_used() -> None:
    program = "import numpy as np\ndef f(x):\n    return np.array(x) * 2\ndef one():\n    return np.float32(1.5)"
    tests = [
        "import numpy as np\nassert (f([1, 2]) == np.array([2, 4])).all()",
        "import numpy as np\nassert np.allclose(f(np.ones((2, 2))), [[2, 2], [2, 2]])",
        "assert one() == 1.5",
    ]
    limits = ProgramLimits(seconds=60, memory=4096)
    assert run_program(ProgramTask(program, tests, packages=True), limits).errors == (None,) * 3
