"""Each statistic beside its reference: the largest relative difference over random data and the edges.

python benchmarks/statistics_table.py      (needs scipy and statsmodels)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy
import statsmodels.api
from sacrebleu.metrics import BLEU
from scipy import special, stats
from statsmodels.stats import contingency_tables, multitest
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from pytest_evals import statistics
from pytest_evals.baselines.comparison import resampled_corpora
from pytest_evals.scores.corpus import CorpusPart
from pytest_evals.statistics import distributions
from pytest_evals.statistics.bootstrap import bootstrap_interval
from pytest_evals.statistics.comparison import fisher_tail, lower_tail

Pairs = Iterable[tuple[float, float]]
SOURCE = numpy.random.default_rng(0)
SAMPLES = [SOURCE.normal(0.6, 0.3, n).tolist() for n in (2, 3, 10, 100, 2000)] + [SOURCE.exponential(1, 500).tolist()]
SHARES = [(0, 1), (1, 1), (1, 2), (0, 30), (30, 30), (27, 30), (999, 1000), (12345, 100000)]


def t_quantiles() -> Iterator[tuple[float, float]]:
    """Student's t."""
    for df in (1, 2, 3, 7, 29, 99, 1999, 1e5):
        for p in (1e-6, 0.005, 0.025, 0.3, 0.9, 0.975, 0.9999):
            yield distributions.t_quantile(p, df), float(stats.t.ppf(p, df))


def betas() -> Iterator[tuple[float, float]]:
    """The incomplete beta function, and its inverse."""
    for a in (0.5, 1, 7, 200, 1e5):
        for b in (0.5, 2, 30, 5e3):
            for p in (1e-6, 0.025, 0.5, 0.999):
                x = float(stats.beta.ppf(p, a, b))
                yield distributions.beta_cdf(x, a, b), float(special.betainc(a, b, x))
                yield distributions.beta_quantile(p, a, b), x


def clustered() -> Iterator[tuple[float, float]]:
    """CR0 and CR1."""
    for sizes in ([1, 1], [3, 1], [5, 2, 9, 1, 1, 4], [4] * 50):
        labels = [label for label, size in enumerate(sizes) for _ in range(size)]
        values = SOURCE.normal(size=len(labels)) + numpy.array(labels)
        for correction, corrected in (("CR0", False), ("CR1", True)):
            fit = statsmodels.api.OLS(values, numpy.ones(len(values))).fit(
                cov_type="cluster", cov_kwds={"groups": labels, "use_correction": corrected}
            )
            yield statistics.estimate_mean(values.tolist(), labels, correction).stderr, float(fit.bse[0])


def t_intervals() -> Iterator[tuple[float, float]]:
    """Intervals of means."""
    for values in SAMPLES:
        found = stats.t.interval(0.95, len(values) - 1, numpy.mean(values), stats.sem(values))
        yield from zip(statistics.t_interval(values), map(float, found), strict=True)


def wilson() -> Iterator[tuple[float, float]]:
    """Intervals of shares."""
    for passed, n in SHARES:
        found = proportion_confint(passed, n, method="wilson")
        yield from zip(statistics.wilson_interval(passed, n), map(float, found), strict=True)


def bounded() -> Iterator[tuple[float, float]]:
    """Intervals of bounded means, where there is a formula: zeros and ones, not all of them alike."""
    for passed, n in SHARES:
        if 0 < passed < n <= 1000:
            found = proportion_confint(passed, n, method="jeffreys")
            values = [1.0] * passed + [0.0] * (n - passed)
            yield from zip(statistics.bounded_interval(values), map(float, found), strict=True)


def corpora() -> Iterator[tuple[float, float]]:
    """BLEU of the first draws of a paired bootstrap, each computed by sacrebleu from the texts that were drawn."""
    words = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "hat", "big", "small", "red"]
    texts = [" ".join(SOURCE.choice(words, 12)) for _ in range(40)]
    references = [" ".join([*text.split()[:8], *SOURCE.choice(words, 4)]) for text in texts]
    metric = BLEU()
    parts = [
        [CorpusPart("bleu", tuple(metric._extract_corpus_statistics([text], [[reference]])[0]))]  # noqa: SLF001 - sacrebleu has no public name for its counts
        for text, reference in zip(texts, references, strict=True)
    ]
    drawn = resampled_corpora([parts], range(40), resamples=20)[:, 0]
    for value, rows in zip(drawn.tolist(), numpy.random.default_rng(0).integers(0, 40, (20, 40)), strict=True):
        theirs = metric.corpus_score([texts[row] for row in rows], [[references[row] for row in rows]])
        yield value, theirs.score / 100


def power() -> Iterator[tuple[float, float]]:
    """Smallest effects that are found, of which the reference needs the noncentral t and this the central one."""
    for n in (10, 30, 100, 1000):
        for sides, alternative in ((1, "larger"), (2, "two-sided")):
            yield (
                statistics.detectable_effect(1, n, sides=sides),
                float(TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8, alternative=alternative)),
            )


def bootstraps() -> Iterator[tuple[float, float]]:
    """Percentile and BCa."""
    for values in SAMPLES[2:4]:
        for method in ("percentile", "bca"):
            rng = numpy.random.default_rng(0)
            found = stats.bootstrap((values,), numpy.mean, n_resamples=1000, method=method, rng=rng).confidence_interval
            yield from zip(bootstrap_interval(values, method=method, resamples=1000), found, strict=True)


def mcnemar() -> Iterator[tuple[float, float]]:
    """The exact test."""
    for better, worse in ((0, 0), (1, 0), (3, 3), (2, 9), (40, 61), (400, 500)):
        expected = contingency_tables.mcnemar([[10, better], [worse, 5]], exact=True).pvalue
        yield statistics.mcnemar(better, worse), float(expected)


def paired() -> Iterator[tuple[float, float]]:
    """The paired t test."""
    for before in SAMPLES[1:]:
        after = [value + float(SOURCE.normal(0.02, 0.1)) for value in before]
        yield statistics.paired_difference(before, after).p, float(stats.ttest_rel(after, before).pvalue)


def holm() -> Iterator[tuple[float, float]]:
    """Adjusted p values."""
    for n in (1, 2, 10, 100):
        p = SOURCE.random(n).tolist()
        yield from zip(statistics.holm(p), map(float, multitest.multipletests(p, method="holm")[1]), strict=True)


def groups() -> Iterator[tuple[float, float]]:
    """Fisher's and Welch's tests."""
    yield fisher_tail(3, 10, 40, 50), float(stats.fisher_exact([[3, 7], [40, 10]], alternative="less").pvalue)
    for low, high in ((SAMPLES[2], SAMPLES[3]), (SAMPLES[3], SAMPLES[4])):
        expected = stats.ttest_ind(low, high, equal_var=False, alternative="less").pvalue
        yield lower_tail(low, high), float(expected)


def quantiles() -> Iterator[tuple[float, float]]:
    """Percentiles."""
    for values in SAMPLES:
        for p in (0.05, 0.5, 0.95):
            yield statistics.quantile(values, p), float(numpy.quantile(values, p))


TABLE: dict[str, tuple[Pairs, str]] = {
    "quantiles of Student's t": (t_quantiles(), "scipy.stats.t"),
    "beta distribution": (betas(), "scipy.special.betainc, scipy.stats.beta"),
    "t interval": (t_intervals(), "scipy.stats.t.interval"),
    "Wilson interval": (wilson(), "statsmodels proportion_confint"),
    "clustered errors": (clustered(), "statsmodels OLS, cov_type=cluster"),
    "bounded interval, 0 and 1": (bounded(), "statsmodels proportion_confint, Jeffreys"),
    "bootstrap, percentile and BCa": (bootstraps(), "scipy.stats.bootstrap"),
    "quantiles": (quantiles(), "numpy.quantile"),
    "McNemar, exact": (mcnemar(), "statsmodels mcnemar"),
    "paired t test": (paired(), "scipy.stats.ttest_rel"),
    "Holm": (holm(), "statsmodels multipletests"),
    "Fisher, Welch": (groups(), "scipy.stats"),
    "corpus BLEU of paired draws": (corpora(), "sacrebleu"),
    "detectable effect": (power(), "statsmodels TTestPower"),
}


def main() -> None:
    """Print the table."""
    for name, (pairs, reference) in TABLE.items():
        found = list(pairs)
        worst = max(abs(own - other) / max(abs(other), 1e-12) for own, other in found)
        print(f"{name:32}{len(found):>5} values  largest relative difference {worst:8.1e}  {reference}")


if __name__ == "__main__":
    main()
