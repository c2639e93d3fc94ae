"""How far a load is: bytes of weights that were read, and that were downloaded, told a person who waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import transformers
from huggingface_hub import HfApi, constants, file_download, try_to_load_from_cache

from pytest_evals.engines.kind import Report

_LOOK_SECONDS = 1.0
_GIGA = 1e9


@contextlib.contextmanager
def told_progress(report: Report, source: str, revision: str | None, subfolder: str | None) -> Iterator[None]:
    """Tell ``report`` how far the weights in ``source`` are, if it wants to know: see `tell_progress`."""
    tell = getattr(report, "progress", None)
    if tell is None:
        yield
        return
    local = Path(source).is_dir()
    watch = None if local or constants.HF_HUB_OFFLINE else DownloadWatch(source, revision, subfolder, tell)

    def weights() -> int:
        return weight_bytes(Path(source) if local else _snapshot(source, revision, subfolder))

    logging: Any = transformers.utils.logging
    before = logging.set_tqdm_hook(
        lambda factory, arguments, options: _Counted(factory(*arguments, **options), tell, weights, arguments)
    )
    try:
        yield
    finally:
        logging.set_tqdm_hook(before)
        if watch is not None:
            watch.end()


class _Counted:
    """A progress bar of transformers that tells how far it is; everything else is the bar's own."""

    def __init__(
        self, bar: Any, tell: Callable[[str], None], weights: Callable[[], int], arguments: tuple[Any, ...]
    ) -> None:
        self._bar = bar
        self._tell = tell
        self._bytes = weights()
        self._all = len(arguments[0]) if arguments and hasattr(arguments[0], "__len__") else 0

    def __iter__(self) -> Iterator[Any]:
        for number, each in enumerate(self._bar, start=1):
            yield each
            if self._all:
                self._tell(loaded_text(number / self._all, self._bytes))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bar, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *problem: object) -> None:
        close = getattr(self._bar, "close", None)
        if close is not None:
            close()


def loaded_text(share: float, size: int) -> str:
    """Say how much of weights of ``size`` bytes, or 0 where that is not known, was read."""
    if size < _GIGA / 10:
        return f"reading weights, {share:.0%}"
    return f"reading weights, {share * size / _GIGA:.1f} of {size / _GIGA:.1f} GB"


def _snapshot(name: str, revision: str | None, subfolder: str | None) -> Path:
    """Return the folder of the hub's cache in which the files of a repository are."""
    found = try_to_load_from_cache(name, f"{subfolder}/config.json" if subfolder else "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else Path("nowhere")


def weight_bytes(folder: Path) -> int:
    """Return the bytes of the weights in a folder, 0 where it is none."""
    if not folder.is_dir():
        return 0
    found = [*folder.glob("*.safetensors")] or [*folder.glob("*.bin")]
    return sum(path.stat().st_size for path in found)


class DownloadWatch:
    """Tells how much of a repository has come into the hub's cache since this was made. transformers downloads several files at once
    and shows bars, which are not seen here; the growth of the cache shows what arrives.
    """

    def __init__(self, name: str, revision: str | None, subfolder: str | None, tell: Callable[[str], None]) -> None:
        self._name, self._revision, self._subfolder = name, revision, subfolder
        self._tell = tell
        self._blobs = (
            Path(constants.HF_HUB_CACHE) / file_download.repo_folder_name(repo_id=name, repo_type="model") / "blobs"
        )
        self._before = self._size()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="evals-download", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Tell nothing more."""
        self._ended.set()

    def _size(self) -> int:
        total = 0
        with contextlib.suppress(OSError):
            for path in self._blobs.iterdir():
                with contextlib.suppress(OSError):
                    # A file in the making may be allocated as a whole.
                    stat = path.stat()
                    total += min(stat.st_size, getattr(stat, "st_blocks", 1 << 60) * 512)
        return total

    def _watch(self) -> None:
        told, expected = 0, None
        while not self._ended.wait(_LOOK_SECONDS):
            come = self._size() - self._before
            if come <= told:
                continue
            if expected is None:
                expected = self._expected()
            told = come
            self._tell(downloaded_text(come, expected))

    def _expected(self) -> int:
        """Return the bytes of the weights that will come, 0 where the hub does not say."""
        try:
            found = (
                HfApi().model_info(self._name, revision=self._revision, files_metadata=True, timeout=5).siblings or []
            )
        except Exception:  # noqa: BLE001 - whatever keeps the hub from saying it: the download goes on
            return 0
        prefix = f"{self._subfolder}/" if self._subfolder else ""
        here = [
            (each.rfilename.removeprefix(prefix), each.size or 0) for each in found if each.rfilename.startswith(prefix)
        ]
        for ending in (".safetensors", ".bin"):
            sizes = [size for file, size in here if file.endswith(ending) and "/" not in file]
            if sizes:
                return sum(sizes)
        return 0


def downloaded_text(come: int, expected: int) -> str:
    """Say how much of a download has come; ``expected`` is 0 where it is not known."""
    if expected < come:
        return f"downloading, {come / _GIGA:.2f} GB"
    return f"downloading, {come / _GIGA:.2f} of {expected / _GIGA:.2f} GB"
