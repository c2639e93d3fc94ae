"""Numbers about grades. Pure: no pytest, no torch; numpy only inside the functions that resample.

A value that is not a finite number never gets this far; every function says what it returns for too few values.
Each submodule is one question; what most callers want is named here.
"""

from pytest_evals.statistics.summaries import mean, median, standard_error

__all__ = ["mean", "median", "standard_error"]
