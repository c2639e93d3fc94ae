"""The report page: written from an artifact, whole or cut off."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.artifacts.writer import replacing
from pytest_evals.baselines.loading import Baseline
from pytest_evals.reports.html.media import PageMedia, folders_of
from pytest_evals.reports.html.overview import overview
from pytest_evals.reports.html.page import page
from pytest_evals.reports.html.samples import chunks, samples_before
from pytest_evals.reports.recorded import card_of_artifact


def report_page(artifact: ArtifactReader, baseline: Baseline | None = None, path: Path | None = None) -> Iterable[str]:
    """Return the report as pieces of one HTML document. ``baseline``: the run that it is compared with; ``path``: where the page
    goes, for links to the files of images and audio.
    """
    card = card_of_artifact(artifact)
    before = samples_before(baseline, card.records) if baseline else None
    media = PageMedia(folders_of(artifact.path), path)
    title = f"Evaluation {artifact.run['run_id']}"
    return page("report", title, overview(artifact, card, baseline), chunks(artifact.samples(), before, media))


# -- Writes what was rendered, as a whole or not at all.


def write_text(path: Path, pieces: Iterable[str], *, owner_only: bool = False) -> None:
    """Write a file; make its folders. ``owner_only``: no one else may read it. Raises `ArtifactError` if it cannot be written."""
    with replacing(path, owner_only=owner_only) as file:
        file.writelines(pieces)
