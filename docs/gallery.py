"""Makes the pictures of the documentation anew, from a run of the example suites.

    pytest --evals example_suites --ignore example_suites/tools --ignore example_suites/vision --evals-limit 12 --evals-model smollm2 --evals-model "smollm2?template=none" --evals-artifact run.jsonl
    python docs/gallery.py run.jsonl

Needs Chromium and playwright (``make tests`` installs both).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_evals.artifacts.reader import ArtifactReader
from pytest_evals.cli.annotate import make_desk
from pytest_evals.reports.html.report import report_page, write_text
from pytest_evals.review.server import AnnotationServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).parent / "images"
SIZE = {"width": 1200, "height": 780}
OVERVIEW = {"width": 1200, "height": 1080}
CASE = {"width": 1200, "height": 740}
REVIEW = """
from pytest_evals import cases, graders

right = graders.human("Is the sentiment right?", choices=["right", "wrong", "cannot tell"], passing="right",
    layout={"direction": "row", "children": [{"data": "item.text", "label": "Review"}, {"data": "completion", "label": "Answer"}]})
clear = graders.human("How clearly is it said?", kind="rating", ends=("not at all", "very"), layout={
    "direction": "row", "children": [{"data": "item.text", "label": "Review"}, {"data": "completion", "label": "Answer"}]})

@cases("rows.json", id="id")
def test_review(right, clear):
    pass
"""


def main(run: Path) -> None:
    """Write the pictures into ``docs/images``."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    artifact = ArtifactReader(run)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        report = Path(folder) / "report.html"
        write_text(report, report_page(artifact))
        chromium = next(path for name in ("chromium", "google-chrome") if (path := shutil.which(name)))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        missed = max(
            filter(presentable, artifact.samples()), key=lambda sample: len(sample["interaction"]["completion"]["text"])
        )
        for scheme in ("light", "dark"):
            picture(browser, report.as_uri(), f"report-{scheme}", scheme, viewport=OVERVIEW)
            picture(browser, f"{report.as_uri()}#case={missed['id']}", f"case-{scheme}", scheme, viewport=CASE)
        picture(browser, report.as_uri(), "report-phone", "light", viewport={"width": 390, "height": 780})
        with annotation(artifact, Path(folder)) as link:
            for scheme in ("light", "dark"):
                picture(browser, link, f"annotate-{scheme}", scheme, press="1")
        browser.close()


def presentable(sample: dict[str, Any]) -> bool:
    """Tell whether a case shows something and fits on a picture."""
    completion = sample["interaction"]["completion"]
    return sample["outcome"] == "missed" and completion is not None and len(completion["text"]) < 500


def picture(browser: Browser, url: str, name: str, scheme: Any, viewport: Any = None, press: str = "") -> None:
    """Take one picture."""
    page = browser.new_page(viewport=viewport or SIZE, color_scheme=scheme)
    page.goto(url)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    for key in press:
        page.keyboard.press(key)
    page.wait_for_timeout(300)
    page.screenshot(path=str(IMAGES / f"{name}.png"))
    page.close()


@contextmanager
def annotation(artifact: ArtifactReader, folder: Path) -> Iterator[str]:
    """Have people asked about answers of the run, and yield the link to the page."""
    samples = [sample for sample in artifact.samples() if sample["suite"] == "test_sentiment"]
    rows = [
        {
            "id": f"{number}",
            "text": sample["interaction"]["metadata"]["text"],
            "completion": sample["interaction"]["completion"]["text"],
        }
        for number, sample in enumerate(samples[:12])
    ]
    (folder / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (folder / "test_review.py").write_text(REVIEW, encoding="utf-8")
    path = folder / "review.jsonl"
    command = [sys.executable, "-m", "pytest", "--evals", "-q", "--evals-artifact", str(path), "-p", "no:cacheprovider"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - this interpreter
    reader = ArtifactReader(path)
    server = AnnotationServer(make_desk(reader, path, None, "ana", partial=False)[0], reader.run)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.link
    server.shutdown()
    server.server_close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
