"""``--evals-artifact s3://bucket/run.jsonl``: the artifact is written in evals_dir, and goes to its address when the run has ended.

Whatever fsspec has a file system for is an address; its package and its credentials are fsspec's business.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_evals.redaction import masked
from pytest_evals.session.plugin import ARTIFACT
from pytest_evals.session.scorecard import display
from pytest_evals.sinks import for_terminal
from pytest_evals.text import one_line


def check_url(url: str) -> None:
    """Raise `pytest.UsageError` where nothing can be written to such an address: fsspec does not know it, or a package is missing."""
    scheme, _, rest = url.partition("://")
    try:
        from fsspec import available_protocols, get_filesystem_class
    except ImportError as error:
        raise pytest.UsageError(
            f"--evals-artifact: addresses such as {scheme}://... need fsspec: pip install 'pytest-evals-hf[cloud]'"
        ) from error
    if not rest.strip("/") or rest.endswith("/"):
        raise pytest.UsageError(f"--evals-artifact: {url} names no file; write {scheme}://FOLDER/run.jsonl")
    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        # fsspec says which package: "Install s3fs to access S3".
        raise pytest.UsageError(f"--evals-artifact: {scheme}:// cannot be used: {error}") from error
    except ValueError as error:
        from pytest_evals.errors import did_you_mean

        raise pytest.UsageError(
            f"--evals-artifact: fsspec knows no addresses of the kind {scheme}://{did_you_mean(scheme, available_protocols())}"
        ) from error


class Upload:
    """Hooks that copy the artifact to ``url`` at the end of the session, also of an interrupted one, and say where it is."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._line = ""
        self._failed = False

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Copy it. A failure fails the run: a later step of the job counts on the file."""
        path = session.config.stash.get(ARTIFACT, None)
        if path is None:
            return
        try:
            _upload(path, self._url)
        except Exception as error:  # noqa: BLE001 - each file system of fsspec raises errors of its own
            said = one_line(f"{type(error).__name__}: {error}", 300)
            self._line = (
                f"artifact not uploaded to {masked(self._url)} ({masked(said)}); it is whole here: {display(path)}"
            )
            self._failed = True
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        self._line = f"artifact uploaded: {masked(self._url)}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say it below the score card."""
        if self._line:
            terminalreporter.write_line(for_terminal(self._line), red=self._failed)


def _upload(path: Path, url: str) -> None:
    from fsspec.core import url_to_fs

    local = url.startswith(("file://", "local://"))
    filesystem, target = url_to_fs(url, **({"auto_mkdir": True} if local else {}))
    filesystem.put_file(str(path), target)
