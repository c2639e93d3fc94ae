"""How often each kind of unit occurs in resamples: what a statistic of counts needs of a bootstrap, and all that it costs.

Units of one kind are interchangeable, so that counts are drawn, not units: a suite of many cases takes no longer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

_CELLS = 2_000_000
"""Of a part that is drawn at a time: some tens of megabytes."""


def resampled_counts(
    kinds: Sequence[int], clusters: Sequence[Hashable] | None = None, *, resamples: int, seed: int
) -> Iterator[numpy.ndarray]:
    """Yield how often each kind occurs, one row a resample, in parts of several rows. ``kinds``: that of each unit, a number
    from 0; as many units (whole ``clusters`` of them) are drawn with replacement as there are.
    """
    import numpy

    members: dict[Hashable, Counter[int]] = {}
    for label, kind in zip(range(len(kinds)) if clusters is None else clusters, kinds, strict=True):
        members.setdefault(label, Counter())[kind] += 1
    # Clusters of the same content are interchangeable too.
    bundles = Counter(tuple(sorted(content.items())) for content in members.values())
    entries = [(row, kind, count) for row, bundle in enumerate(bundles) for kind, count in bundle]
    rows, found, counts = (numpy.array(column) for column in zip(*entries, strict=True))
    draw, most = numpy.random.default_rng(seed), max(kinds) + 1
    step = max(1, _CELLS // max(most, len(bundles)))
    for start in range(0, resamples, step):
        times = _draws(draw, list(bundles.values()), min(step, resamples - start))
        yield numpy.stack([numpy.bincount(found, each[rows] * counts, minlength=most) for each in times])


def _draws(draw: numpy.random.Generator, bundles: Sequence[int], resamples: int) -> numpy.ndarray:
    """Return how often each bundle is drawn, one row a resample, where ``bundles`` occur as often as this."""
    import numpy

    total = sum(bundles)
    if 2 * len(bundles) < total:
        return draw.multinomial(total, numpy.array(bundles) / total, resamples)
    # Most occur once, and drawing them one by one is faster.
    places = numpy.repeat(numpy.arange(len(bundles)), bundles)
    drawn = (draw.integers(0, total, total) for _ in range(resamples))
    return numpy.stack([numpy.bincount(places[each], minlength=len(bundles)) for each in drawn])
