r"""The value of a short calculation, as a box may hold one: ``2\sqrt{3}``, ``\frac{3\pi}{4}``, ``2^{10} - 1``. Nothing is evaluated by
Python or a library: what is not in the grammar below has no value.

    sum     = product { ("+" | "-") product }
    product = signed { ["*" | "/"] signed }
    signed  = { "+" | "-" } power
    power   = atom { "!" } [ "^" (signed | group) ]
    atom    = number [ fraction ] | "pi" | group | fraction | root | binomial
"""

from __future__ import annotations

import math
import re

Number = int | float
LONGEST = 200
"""The characters of a calculation that is read."""
_DEEPEST = 20
_LARGEST_FACTORIAL = 170
"""That of 171 is too large for a float."""

_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)|\\[dtc]?(?P<frac>frac|binom)|(?P<root>\\sqrt|√)"
    r"|(?P<pi>\\pi|π)|(?P<times>\\cdot|\\times|[*×·])|(?P<over>\\div|[/÷])|(?P<sign>[-+^!()\[\]{}])"  # noqa: RUF001 - signs as models write them - signs of multiplication
)
_LEFT_OUT = re.compile(r"\\left|\\right|\\[,;:! ]|\\displaystyle|[\s$~]|\^\s?\{?\s?\\circ\s?\}?|\\degree|°")
# The unit after it: a word, or several, with their exponents.
_UNIT = re.compile(r"(?:\\?%|\\(?:text|mathrm|mbox)\s?\{[^{}]*\}(?:\s?\^\s?\{?-?[0-9]\}?)?|[\s.~])+\Z")
_CALCULATION = re.compile(r"[-+*/^!×·÷√π]|\\(?:cdot|times|div|sqrt|pi|[dt]?binom|[dtc]?frac)|\)\s?\(|[0-9]\s?\(")  # noqa: RUF001 - signs as models write them
_MINUS = str.maketrans("\u2212\u2013", "--")


def calculated(text: str) -> Number | None:
    """Return the value of a text that is a calculation, with or without a unit after it; of an equation, that of its right
    side. `None` for what is none, or has no finite value.
    """
    side = text.rpartition("=")[2].translate(_MINUS).replace("{,}", ",")
    if len(side) > LONGEST or sum(map(side.count, "({[")) > _DEEPEST or not _CALCULATION.search(side.lstrip(" $+-")):
        return None
    try:
        value = _Reader(_LEFT_OUT.sub("", _UNIT.sub("", side))).value()
    except (ArithmeticError, ValueError):
        return None
    return value if math.isfinite(value) else None


class _Reader:
    """Reads a calculation by the grammar of the module. Raises `ValueError` for what is none, `ArithmeticError` for what has no
    value.
    """

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None or found.lastgroup is None:
                raise ValueError(text)
            # Digits are arguments one by one where no braces hold them: \frac12.
            kind, written = found.lastgroup, found[found.lastgroup]
            self._tokens.append((written, written) if kind == "sign" else (kind, written))
            position = found.end()
        self._tokens.append(("end", ""))
        self._next = 0

    def value(self) -> Number:
        value = self._sum()
        self._expect("end")
        return value

    @property
    def _kind(self) -> str:
        return self._tokens[self._next][0]

    def _take(self) -> str:
        self._next += 1
        return self._tokens[self._next - 1][1]

    def _expect(self, kind: str) -> None:
        if self._kind != kind:
            raise ValueError(self._tokens[self._next][1])
        self._next += 1

    def _sum(self) -> Number:
        value = self._product()
        while self._kind in ("+", "-"):
            value = value + self._product() if self._take() == "+" else value - self._product()
        return value

    def _product(self) -> Number:
        value = self._signed()
        while self._kind in ("times", "over", "(", "{", "frac", "root", "pi"):
            if self._kind == "over":
                self._take()
                value = _exact(value / self._signed())
            else:
                if self._kind == "times":
                    self._take()
                value = value * self._signed()
        return value

    def _signed(self) -> Number:
        sign = 1
        while self._kind in ("+", "-"):
            sign = -sign if self._take() == "-" else sign
        return sign * self._power()

    def _power(self) -> Number:
        value = self._atom()
        while self._kind == "!":
            self._take()
            value = _factorial(value)
        if self._kind != "^":
            return value
        self._take()
        return _raised(value, self._group() if self._kind == "{" else self._signed())

    def _atom(self) -> Number:
        if self._kind == "number":
            value = _number(self._take())
            return value + self._fraction() if self._kind == "frac" and isinstance(value, int) else value
        if self._kind == "pi":
            self._take()
            return math.pi
        if self._kind == "frac":
            return self._fraction()
        if self._kind == "root":
            return self._root()
        return self._group()

    def _group(self) -> Number:
        """Read what is in brackets or, after a command without brackets, one digit."""
        closing = {"(": ")", "{": "}", "[": "]"}.get(self._kind)
        if closing is None:
            raise ValueError(self._tokens[self._next][1])
        self._take()
        value = self._sum()
        self._expect(closing)
        return value

    def _argument(self) -> Number:
        if self._kind != "number":
            return self._group()
        written = self._take()
        if len(written) > 1:
            self._next -= 1
            self._tokens[self._next] = ("number", written[1:])
        return _number(written[0])

    def _fraction(self) -> Number:
        name = self._take()
        above, below = self._argument(), self._argument()
        if name == "frac":
            return _exact(above / below)
        if not isinstance(above, int) or not isinstance(below, int) or not 0 <= below <= above <= LONGEST:
            raise ValueError(name)
        return math.comb(above, below)

    def _root(self) -> Number:
        self._take()
        degree = self._group() if self._kind == "[" else 2
        base = self._argument() if self._kind in ("{", "(") else _number(self._take())
        root = _raised(base, 1 / degree)
        nearest = round(root)
        return nearest if isinstance(base, int) and isinstance(degree, int) and nearest**degree == base else root


def _number(written: str) -> Number:
    digits = written.replace(",", "")
    return int(digits) if digits.isdecimal() else float(digits)


def _exact(value: float) -> Number:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _factorial(value: Number) -> Number:
    if isinstance(value, int) and 0 <= value <= _LARGEST_FACTORIAL:
        return math.factorial(value)
    raise ValueError(value)


def _raised(base: Number, exponent: Number) -> Number:
    value = math.pow(base, exponent)
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0 and math.isfinite(value):
        exact: int = base**exponent
        return exact
    return value
