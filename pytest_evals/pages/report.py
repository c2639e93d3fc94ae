"""The report page: written from an artifact, whole or cut off."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_evals.artifacts.reading import ArtifactReader
from pytest_evals.artifacts.recorded import card_of_artifact
from pytest_evals.baseline.loading import Baseline
from pytest_evals.pages.assemble import page
from pytest_evals.pages.overview import overview
from pytest_evals.pages.samples import chunks, samples_before


def report_page(artifact: ArtifactReader, baseline: Baseline | None = None) -> Iterable[str]:
    """Return the report as pieces of one HTML document. ``baseline``: the run that it is compared with."""
    card = card_of_artifact(artifact)
    before = samples_before(baseline, card.records) if baseline else None
    title = f"Evaluation {artifact.run['run_id']}"
    return page("report", title, overview(artifact, card, baseline), chunks(artifact.samples(), before))
