"""Numbers about grades. Pure: no pytest, no torch; numpy only inside the functions that resample.

A value that is not a finite number never gets this far; every function says what it returns for too few values.
Each module answers one question; what most callers want is named here.
"""

from pytest_evals.statistics.bounded import Bounds, bounded_interval
from pytest_evals.statistics.clusters import Estimate, estimate_mean, wilson_clustered
from pytest_evals.statistics.intervals import LEVEL, Interval, t_interval, wilson_interval
from pytest_evals.statistics.multiple import holm
from pytest_evals.statistics.paired import Difference, bootstrap_difference, mcnemar, paired_difference
from pytest_evals.statistics.power import detectable_effect, required_size
from pytest_evals.statistics.quantiles import quantile, quantile_interval
from pytest_evals.statistics.repeats import estimate_repeated, pass_at_k, pass_hat_k, spread
from pytest_evals.statistics.summaries import LARGEST, mean, median, standard_error

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
