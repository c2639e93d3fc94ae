"""Normal, Student's t and beta distribution: probabilities and quantiles, in pure Python.

The incomplete beta function is the continued fraction of DiDonato and Morris (ACM TOMS 708, 1992) with their prefactor,
which stays exact where the textbook's difference of log-gammas loses its digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

_NORMAL = NormalDist()
_TINY = 1e-300
# Coefficients of the Stirling series of log-gamma: B(2k) / (2k (2k - 1)).
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def normal_cdf(x: float) -> float:
    """Return P(Z <= x)."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """Return the x with P(Z <= x) = p, for 0 < p < 1."""
    return _NORMAL.inv_cdf(p)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b): P(X <= x) for X ~ Beta(a, b)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    return _beta_cdf(x, 1 - x, a, b)


def beta_quantile(p: float, a: float, b: float) -> float:
    """Return the x with I_x(a, b) = p."""
    if p <= 0 or p >= 1:
        return 0.0 if p <= 0 else 1.0
    return _solve(lambda x: beta_cdf(x, a, b) - p, lambda x: _beta_density(x, 1 - x, a, b), a / (a + b), 0.0, 1.0)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X ~ Binomial(n, p)."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else beta_cdf(1 - p, n - k, k + 1)


def t_tail(x: float, df: float) -> float:
    """Return P(T > x) for x >= 0 and Student's t with ``df`` degrees of freedom (above 0, may be infinite), with all its digits
    however small it is.
    """
    if math.isinf(df):
        return 0.5 * math.erfc(x / math.sqrt(2))
    square = x * x
    if square == 0:
        return 0.5
    whole = df + square
    return 0.5 * _beta_cdf(df / whole, square / whole, df / 2, 0.5)


def t_quantile(p: float, df: float) -> float:
    """Return the x with P(T <= x) = p, for 0 < p < 1."""
    if math.isinf(df):
        return normal_quantile(p)
    if p == 0.5:
        return 0.0
    return -_t_upper(p, df) if p < 0.5 else _t_upper(1 - p, df)


def _t_upper(tail: float, df: float) -> float:
    """Return the x with P(T > x) = tail, for tails below a half."""
    high = max(normal_quantile(1 - tail), 1.0) if tail > 1e-15 else 8.0
    while t_tail(high, df) > tail:
        high *= 2
    return _solve(lambda x: tail - t_tail(x, df), lambda x: _t_density(x, df), high / 2, 0.0, high)


def _t_density(x: float, df: float) -> float:
    return math.exp(-_log_beta(0.5, df / 2) - 0.5 * math.log(df) - (df + 1) / 2 * math.log1p(x * x / df))


def _beta_cdf(x: float, y: float, a: float, b: float) -> float:
    """``y`` is 1 - x, handed over so that neither end loses digits."""
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(y, x, b, a)
    return _beta_density(x, y, a, b) * x * y / a * _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction, by Lentz's method."""
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, 100_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + numerator * d)
            c = _not_zero(1 + numerator / c)
            h *= c * d
        if abs(c * d - 1) < 3e-16:
            break
    return h


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _beta_density(x: float, y: float, a: float, b: float) -> float:
    """Density of Beta(a, b) at x = 1 - y."""
    if x <= 0 or y <= 0:
        return 0.0
    n = a + b
    # Deviations of x and y from the mean, relative to it: their logarithms are computed without a difference of large ones.
    exponent = a * _minus_log(x * n / a) + b * _minus_log(y * n / b)
    correction = _stirling(a) + _stirling(b) - _stirling(n)
    return math.sqrt(a * b / (2 * math.pi * n)) * math.exp(-exponent - correction) / (x * y)


def _minus_log(ratio: float) -> float:
    """Return e - log(1 + e), for e = ratio - 1, without cancellation at small e.

    The linear terms of both deviations cancel: they are e_x a = n x - a and e_y b = n y - b, whose sum is 0.
    """
    e = ratio - 1
    if abs(e) > 0.1:
        return e - math.log(ratio)
    total, power = 0.0, e * e
    for k in range(2, 24):
        total += power / k if k % 2 == 0 else -power / k
        power *= e
    return total


def _stirling(x: float) -> float:
    """Return log-gamma(x) minus its leading terms (x - 1/2) log x - x + log(2 pi) / 2."""
    if x < 12:
        return math.lgamma(x) - ((x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi))
    return math.fsum(coefficient / x ** (2 * k + 1) for k, coefficient in enumerate(_STIRLING))


def _log_beta(a: float, b: float) -> float:
    n = a + b
    leading = (
        (a - 0.5) * math.log(a / n) + (b - 0.5) * math.log(b / n) - 0.5 * math.log(n) + 0.5 * math.log(2 * math.pi)
    )
    return leading + _stirling(a) + _stirling(b) - _stirling(n)


def _solve(
    f: Callable[[float], float], slope: Callable[[float], float], start: float, low: float, high: float
) -> float:
    """Return the zero of the increasing function ``f`` between ``low`` and ``high``: Newton, kept in a bracket."""
    x = start
    for _ in range(200):
        error = f(x)
        if error == 0:
            return x
        low, high = (low, x) if error > 0 else (x, high)
        steep = slope(x)
        step = error / steep if steep > 0 else math.inf
        following = x - step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - x) <= 1e-16 * abs(x):
            return following
        x = following
    return x
