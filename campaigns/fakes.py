"""Programs that are wrong, and try to pass all the same: by lying about themselves, by reaching for their tests, by ending early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ADD = ("assert add(1, 2) == 3", "assert add(2, 2) == 4")
WRONG = "def add(a, b):\n    return 0\n"


@dataclass(frozen=True)
class Fake:
    """A wrong program, its tests, and the settings of the grader."""

    name: str
    kind: str
    code: str
    tests: Sequence[str] = ADD
    settings: Mapping[str, Any] = field(default_factory=dict)


# Takes over the line to the tests: what it answers is all that these ever get.
_RAW = """
import json, os, stat
def _is_pipe(fd):
    try:
        return stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
import fcntl
pipes = [fd for fd in range(3, 40) if _is_pipe(fd)]
reading = [fd for fd in pipes if fcntl.fcntl(fd, fcntl.F_GETFL) & 3 == os.O_RDONLY][0]
writing = [fd for fd in pipes if fcntl.fcntl(fd, fcntl.F_GETFL) & 3 == os.O_WRONLY][0]
def send(message):
    os.write(writing, json.dumps(message).encode() + b"\\n")
def receive():
    data = b""
    while not data.endswith(b"\\n"):
        part = os.read(reading, 65536)
        if not part:
            os._exit(0)
        data += part
    return json.loads(data)
def say(value, heap=(), changed=(), key="result"):
    send({key: value, "heap": list(heap), "changed": list(changed)})
def serve(answer):
    say(None)
    while True:
        asked = receive()
        if asked["do"] == "bind":
            say(["r", 0], [["d", "add", ["m", 0, "o", "add", ["__call__"]]]])
        elif asked["do"] == "call":
            answer(asked)
        else:
            say(None)
"""


def _raw(answer: str) -> str:
    return f"{_RAW}\ndef answer(asked):\n    {answer}\nserve(answer)\n"


PROTOCOL = {
    "says that all tests passed": f"{_RAW}\nsay(None)\nn = receive()\nsay([None] * 9)\nos._exit(0)",
    "says so in the words of an older harness": f"{_RAW}\nsend({{'loaded': True}})\nsend({{'ran': 2}})\nsend({{'results': ['', [None, None]]}})\nos._exit(0)",
    "says done": f"{_RAW}\nfor _ in range(9): send({{'done': None}})\n{WRONG}",
    "answers before it is asked": f"{_RAW}\nfor _ in range(9): say(None)\n{WRONG}",
    "answers with a function of the tests": _raw("say(['y', 0])"),
    "answers with eval": _raw("say(['g', 'builtins', 'eval'])"),
    "answers with an object of every operator": _raw(
        "say(['m', 7, 'o', 'int', ['__eq__', '__ne__', '__bool__', '__hash__', '__lt__']])"
    ),
    "answers with an exception's class": _raw("say(['m', 8, 'x', 'int', [['g', 'builtins', 'ValueError']]])"),
    "answers with what contains itself": _raw("say(['r', 0], [['t', ['r', 0]]])"),
    "answers with what is deeper than any stack": _raw(
        "say(['r', 0], [['t', ['r', i + 1]] for i in range(100000)] + [['t']])"
    ),
    "answers with no value": _raw("say(['nothing'])"),
    "changes what it was not given": _raw("say(0, [], [[0, ['l', 1]], [-1, ['l']], [99, ['l']]])"),
    "asks to call what it was not given": _raw(
        "send({'do': 'call', 'with': [['y', 0], ['r', 0], ['r', 1]], 'heap': [['t'], ['d']]}); receive()"
    ),
    "asks for the builtins": _raw(
        "send({'do': 'get', 'with': [['g', 'builtins', 'int'], '__subclasses__'], 'heap': []}); say(receive().get('result'))"
    ),
    "raises that all is well": _raw("say(['r', 0], [['e', ['g', 'builtins', 'SystemExit'], '', [0]]], key='raised')"),
    "closes the line": f"{_RAW}\nos.close(writing)\nimport time\ntime.sleep(1)",
    "sends garbage": f"{_RAW}\nos.write(writing, b'x' * 100 + b'\\n')\n{WRONG}",
    "sends without an end": f"{_RAW}\nwhile True: os.write(writing, b'x' * 60000)",
}
INTERPRETER = {
    "frames, the old way": "import sys\nf = sys._getframe(1)\nwhile f:\n    if 'test' in f.f_globals: f.f_globals['test'] = lambda *a: None\n    f = f.f_back\n"
    + WRONG,
    "replaces the harness's functions": "import sys\nf = sys._getframe(1)\nwhile f:\n    g = f.f_globals\n    for n in list(g):\n"
    "        if n in ('run', 'mistake', 'trace'): g[n] = lambda *a: None\n    f = f.f_back\n" + WRONG,
    "replaces what the peer does": "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'ProgramPeer':\n        type(o).perform = lambda *a: None\n"
    + WRONG,
    "looks for what is expected in frames": "import sys\ndef add(a, b):\n    f = sys._getframe(1)\n    found = []\n    while f:\n        found += [v for v in"
    " f.f_locals.values() if type(v) is str and 'assert' in v]\n        f = f.f_back\n    return eval(found[0].split('==')[1]) if found else 0\n",
    "looks for what is expected in memory": "import gc, re\ndef add(a, b):\n    for o in gc.get_objects():\n        for v in (o.values() if type(o) is"
    " dict else o if type(o) in (list, tuple) else ()):\n            if type(v) is str and v.startswith('assert add('):\n                m = re.search(rf'add\\({a}, {b}\\) == (\\d+)', v)\n"
    "                if m: return int(m[1])\n    return 0\n",
    "looks for its tests in files": "import glob, re\ndef add(a, b):\n    for name in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ') + glob.glob('/tmp/**/*.py', recursive=True):\n"
    "        try: m = re.search(rf'assert add\\({a}, {b}\\) == (\\d+)', open(name, errors='replace').read())\n        except OSError: continue\n        if m: return int(m[1])\n    return 0\n",
    "traces": "import sys\ndef t(frame, event, arg):\n    frame.f_trace_lines = False\n    return t\nsys.settrace(t)\nsys.setprofile(lambda *a: None)\n"
    + WRONG,
    "a hook for exceptions": "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: None\n" + WRONG,
    "__main__": "import __main__\n__main__.test = __main__.run = lambda *a: None\n" + WRONG,
    "a thread that answers": "import threading\n"
    + WRONG
    + "threading.Thread(target=lambda: print('{\"done\": null}'), daemon=True).start()\n",
}
OBJECTS: dict[str, tuple[str, Sequence[str]]] = {
    "equals everything": ("class Any:\n    def __eq__(self, o): return True\ndef add(a, b): return Any()", ADD),
    "a number that equals everything": (
        "class N(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef add(a, b): return N(0)",
        ADD,
    ),
    "a float that equals everything": (
        "class N(float):\n    def __eq__(self, o): return True\n    __hash__ = float.__hash__\ndef add(a, b): return N(0)",
        ADD,
    ),
    "a text that equals everything": (
        "class S(str):\n    def __eq__(self, o): return True\n    def __hash__(self): return 0\ndef name(x): return S('')",
        ("assert name(1) == 'one'",),
    ),
    "a list that equals everything": (
        "class L(list):\n    def __eq__(self, o): return True\ndef items(): return L()",
        ("assert items() == [1, 2]",),
    ),
    "a tuple that equals everything": (
        "class T(tuple):\n    def __eq__(self, o): return True\ndef items(): return T()",
        ("assert items() == (1, 2)",),
    ),
    "a dict that equals everything": (
        "class D(dict):\n    def __eq__(self, o): return True\ndef items(): return D()",
        ("assert items() == {1: 2}",),
    ),
    "a list of what equals everything": (
        "class Any:\n    def __eq__(self, o): return True\ndef items(): return [Any(), Any()]",
        ("assert items() == [1, 2]",),
    ),
    "a class in place of a function": (
        "class add:\n    def __init__(self, a, b): pass\n    def __eq__(self, o): return True",
        ADD,
    ),
    "mock.ANY": ("from unittest.mock import ANY\ndef add(a, b): return ANY", ADD),
    "mock.ANY in place of a function": (
        "from unittest.mock import MagicMock\nadd = MagicMock()\nadd.return_value.__eq__ = lambda *a: True",
        ADD,
    ),
    "takes what is expected away": (
        "class Z:\n    def __sub__(self, o): return 0.0\n    __rsub__ = __sub__\n    def __abs__(self): return self\ndef half(x): return Z()",
        ("assert abs(half(3) - 1.5) < 1e-6", "assert abs(1.5 - half(3)) < 1e-6"),
    ),
    "is less than everything": (
        "class Z:\n    def __lt__(self, o): return True\n    __gt__ = __le__ = __ge__ = __lt__\ndef f(x): return Z()",
        ("assert f(1) < 0.5", "assert 7 < f(1) "),
    ),
    "contains everything": (
        "class C:\n    def __contains__(self, o): return True\ndef items(): return C()",
        ("assert 3 in items()",),
    ),
    "starts with everything": (
        "class S:\n    def startswith(self, o): return True\n    endswith = startswith\ndef name(x): return S()",
        ("assert name(1).startswith('on')",),
    ),
    "is part of everything": (
        "class S:\n    def issubset(self, o): return True\ndef items(): return S()",
        ("assert items().issubset({1})",),
    ),
    "asks who compares": (
        "import sys\nclass P:\n    def __eq__(self, o): return o == o\n    def __hash__(self): return 3\ndef add(a, b): return P()",
        (*ADD, "assert add(1, 2) in {3}", "assert {add(1, 2)} == {3}"),
    ),
    "says that it is a number": (
        "class P:\n    __class__ = int\n    def __index__(self): return 0\n    def __eq__(self, o): return True\ndef add(a, b): return P()",
        ADD,
    ),
    "equals by another's hand": (
        "class P:\n    def __getattr__(self, n): return lambda *a: True\ndef add(a, b): return P()",
        ("assert add(1, 2).equals(3) is True and add(1, 2) == 3", "assert add(1, 2).__class__ is int"),
    ),
    "a method that knows": (
        "class Solution:\n    def add(self, a, b): return self\n    def __eq__(self, o): return True",
        ("assert Solution().add(1, 2) == 3",),
    ),
    "a dict of missing values": (
        "import collections\nclass E:\n    def __eq__(self, o): return True\ndef count(t): return collections.defaultdict(E)",
        ("assert count('ab')['a'] == 1",),
    ),
}
NAMES: dict[str, tuple[str, Sequence[str]]] = {
    "sorted": ("sorted = lambda *a, **k: [1, 2]\ndef items(): return []", ("assert sorted(items()) == [1, 2]",)),
    "len, all, isinstance": (
        "len = lambda *a: 2\nall = any = isinstance = lambda *a: True\ndef items(): return []",
        ("assert len(items()) == 2", "assert all(x in items() for x in [1])", "assert isinstance(items(), tuple)"),
    ),
    "abs and round": (
        "abs = round = lambda *a: 0\ndef half(x): return 9",
        ("assert abs(half(3) - 1.5) < 1e-6", "assert round(half(1)) == 0"),
    ),
    "builtins": (
        "import builtins\nbuiltins.all = builtins.isinstance = lambda *a: True\nbuiltins.AssertionError = ValueError\n"
        + WRONG,
        ADD,
    ),
    "AssertionError": (
        "class AssertionError(Exception):\n    def __new__(cls, *a): raise SystemExit(0)\n" + WRONG,
        ADD,
    ),
    "math": (
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef half(x): return 9",
        ("assert math.isclose(half(3), 1.5)",),
    ),
    "a module's function": (
        "import math\nmath.isclose = lambda *a, **k: True\ndef half(x): return 9",
        ("import math\nassert math.isclose(half(3), 1.5)",),
    ),
    "check": ("def check(candidate): pass\n" + WRONG, ("def check(candidate):\n    assert candidate(1, 2) == 3",)),
    "two builtins": ("sum = lambda *a: 3\nlen = lambda *a: 3\n", ("assert sum([1, 2]) == len([1, 2, 3]) == 4",)),
    "the module of tests": (
        "import sys, types\nsys.modules['helpers'] = m = types.ModuleType('helpers')\nm.same = lambda *a: True\n"
        + WRONG,
        ("import helpers\nassert helpers.same(add(1, 2), 3)",),
    ),
}
ENDINGS: dict[str, tuple[str, Sequence[str]]] = {
    "exits with 0": ("import sys\nsys.exit(0)", ADD),
    "exits in a call": ("import sys\ndef add(a, b): sys.exit(0)", ADD),
    "ends its process": ("import os\nos._exit(0)", ADD),
    "ends its process in a call": ("import os\ndef add(a, b): os._exit(0)", ADD),
    "ends in a call that may raise": (
        "import os\ndef add(a, b): os._exit(0)",
        ("try:\n    add(1, 2)\nexcept BaseException:\n    pass",),
    ),
    "exits at the end": ("import atexit, os\natexit.register(os._exit, 0)\n" + WRONG, ADD),
    "raises StopIteration": ("def add(a, b): raise StopIteration", ("assert list(add(x, 2) for x in [1]) == [3]",)),
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt", ADD),
    "raises what is expected of another": ("def add(a, b): raise AssertionError", ADD),
    "never ends": ("def add(a, b):\n    while True: pass", ADD),
    "prints what passing looks like": (
        'print(\'{"done": null}\\n{"result": null, "heap": [], "changed": []}\\nOK\\n2 passed\', flush=True)\n' + WRONG,
        ADD,
    ),
    "closes everything": ("import os\nos.closerange(0, 256)", ADD),
    "a stack without end": ("def add(a, b): return add(a, b)", ADD),
    "a lie about asserts": ("import sys\nsys.flags = type('F', (), {'optimize': 2})()\n__debug__\n" + WRONG, ADD),
}
_CALLBACKS: dict[str, tuple[str, Sequence[str]]] = {
    "a callback's globals": (
        "def apply(f):\n    try:\n        return f.__globals__['EXPECTED']\n    except Exception as e:\n        return 0",
        ("EXPECTED = 7\nassert apply(lambda x: x) == EXPECTED",),
    ),
    "a generator's frame": (
        "def total(items):\n    try:\n        return items.gi_frame.f_globals['EXPECTED']\n    except Exception as e:\n        return 0",
        ("EXPECTED = 7\nassert total(x for x in [3, 4]) == EXPECTED",),
    ),
    "the class of an object of the tests": (
        "def value(node):\n    try:\n        return node.get.__globals__['EXPECTED']\n    except Exception:\n        try: return node._hidden\n        except Exception: return 0",
        ("EXPECTED = 7\nclass Node:\n    _hidden = 7\n    def get(self): return 3\nassert value(Node()) == EXPECTED",),
    ),
}
FAKES = (
    *(Fake(name, "protocol", code) for name, code in PROTOCOL.items()),
    *(Fake(name, "interpreter", code) for name, code in INTERPRETER.items()),
    *(
        Fake(name, kind, code, tests, {"entry_point": "add"} if name == "check" else {})
        for kind, fakes in (("objects", OBJECTS), ("names", NAMES), ("endings", ENDINGS), ("callbacks", _CALLBACKS))
        for name, (code, tests) in fakes.items()
    ),
)
