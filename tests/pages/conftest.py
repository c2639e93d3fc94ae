"""A headless Chromium for the tests of pages: one for each file of tests, a fresh page a test, no network.

A page shows what an action led to when it comes to it, and what a driver knows of a page (its address, its focus) comes later still. So
what follows an action is waited for with `expect`; read at once is only what stands there since `Watched.open` or after such a wait.

Where no browser or driver is installed these tests are skipped with the reason; ``make browser`` installs both.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

try:
    from playwright.sync_api import expect
except ModuleNotFoundError:  # what asks for `browser` is skipped then
    expect = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page

__all__ = ["DESKTOP", "PHONE", "Watched", "expect"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--no-sandbox",  # tests of a container run as root
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
PATIENCE = 60_000  # ms. What is right comes in some of them; only a failing test takes as long as this.


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser. What it is asked for beside files and this machine never leaves it.

    For a module only: its driver keeps an event loop running, beside which other tests could run none.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="needs playwright (make browser)")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium (make browser)")
    expect.set_options(timeout=PATIENCE)
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS), timeout=3 * PATIENCE)
        yield browser
        browser.close()


class Watched:
    """Pages of one test: what went wrong in them, and what they wanted from the network."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[Any] = []
        self.trouble: list[str] = []
        self.requests: list[str] = []

    def open(self, url: str | Path, **options: Any) -> Page:
        """Open a page in a window of its own; ``options`` are those of a browser context."""
        page = self.window(**options)
        page.goto(url.as_uri() if isinstance(url, Path) else url)
        return page

    def window(self, **options: Any) -> Page:
        """Open an empty window. Who routes its requests does so now: a page that is there may send one before it hears of that."""
        context = self._browser.new_context(**{"viewport": DESKTOP, **options})
        self._contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on("console", self._heard)
        page.on("dialog", self._asked)
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.trouble.append(message.text)

    def _asked(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def close(self) -> None:
        """Close the windows, and demand that nothing was wrong."""
        for context in self._contexts:
            context.close()
        assert self.trouble == []
        foreign = [url for url in self.requests if not url.startswith(("file://", "http://127.0.0.1:", "data:"))]
        assert foreign == []


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """Opens pages; the test fails if one of them logs an error or asks for anything from elsewhere."""
    pages = Watched(browser)
    yield pages
    pages.close()


@pytest.fixture(scope="session")
def violations() -> Callable[[Any], list[str]]:
    """Check a page with axe-core; the rules that it breaks, with the elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()

    def check(page: Page) -> list[str]:
        found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
        return [f"{entry['id']}: {[node['html'][:200] for node in entry['nodes'][:3]]}" for entry in found]

    return check


@pytest.fixture(scope="session")
def fits() -> Callable[[Any], bool]:
    """Tell whether a page is no wider than its window."""

    def check(page: Page) -> bool:
        return bool(page.evaluate("document.scrollingElement.scrollWidth <= window.innerWidth"))

    return check
