"""How many cases it takes to see a difference, and which difference a number of cases can show."""

from __future__ import annotations

import math

from pytest_evals.statistics.distributions import normal_quantile, t_quantile

POWER = 0.8


def detectable_effect(deviation: float, n: int, *, alpha: float = 0.05, power: float = POWER, sides: int = 2) -> float:
    """Return the smallest true difference that a test of ``n`` values with this standard deviation finds.

    It finds it with a probability of ``power``, at a level of ``alpha``. Infinite below two values.
    """
    if n < 2:
        return math.inf
    return (t_quantile(1 - alpha / sides, n - 1) + t_quantile(power, n - 1)) * deviation / math.sqrt(n)


def required_size(
    deviation: float, effect: float, *, alpha: float = 0.05, power: float = POWER, sides: int = 2
) -> int | None:
    """Return how many values it takes to find a true difference of ``effect``; `None` for none, which no number shows."""
    effect = abs(effect)
    if effect == 0 or not math.isfinite(deviation / effect):
        return None
    # At least what the normal distribution asks for, and few more for t.
    n = max(math.ceil(((normal_quantile(1 - alpha / sides) + normal_quantile(power)) * deviation / effect) ** 2), 2)
    if n > 10_000:
        return n
    while detectable_effect(deviation, n, alpha=alpha, power=power, sides=sides) > effect:
        n += 1
    return n
