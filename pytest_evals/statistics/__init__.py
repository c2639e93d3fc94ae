"""Numbers about grades. Pure: no pytest, no torch; numpy only inside the functions that resample.

A value that is not a finite number never gets this far; every function says what it returns for too few values.
Each module answers one question; what most callers want is named here.
"""

from pytest_evals.statistics.comparison import (
    Difference,
    bootstrap_difference,
    detectable_effect,
    holm,
    mcnemar,
    paired_difference,
    paired_p,
    required_size,
)
from pytest_evals.statistics.intervals import (
    LARGEST,
    LEVEL,
    Bounds,
    Interval,
    bounded_interval,
    mean,
    median,
    quantile,
    quantile_interval,
    standard_error,
    t_interval,
    wilson_interval,
)
from pytest_evals.statistics.means import (
    Estimate,
    estimate_mean,
    estimate_repeated,
    pass_at_k,
    pass_hat_k,
    spread,
    wilson_clustered,
)

__all__ = [
    "LARGEST",
    "LEVEL",
    "Bounds",
    "Difference",
    "Estimate",
    "Interval",
    "bootstrap_difference",
    "bounded_interval",
    "detectable_effect",
    "estimate_mean",
    "estimate_repeated",
    "holm",
    "mcnemar",
    "mean",
    "median",
    "paired_difference",
    "paired_p",
    "pass_at_k",
    "pass_hat_k",
    "quantile",
    "quantile_interval",
    "required_size",
    "spread",
    "standard_error",
    "t_interval",
    "wilson_clustered",
    "wilson_interval",
]
