"""Which cases this process is going to run: all of the session, or those in the queue of a worker of pytest-xdist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def coming_up(item: pytest.Item, nextitem: pytest.Item | None, *, first: bool) -> Sequence[pytest.Item]:
    """Return ``item`` and what this process will run that it may not have known before: all of the session for the ``first``
    item; in a worker what it was given.
    """
    if not hasattr(item.config, "workerinput"):
        return item.session.items if first else [item]
    following = [] if nextitem is None else [nextitem]
    return [item, *following, *_queued(item)]


def _queued(item: pytest.Item) -> list[pytest.Item]:
    """Return what stands in the worker's queue behind the next item."""
    # The queue is not public in pytest-xdist; without it the next item is all that is known.
    queue: Any = next(
        (plugin.torun for plugin in item.config.pluginmanager.get_plugins() if hasattr(plugin, "torun")), None
    )
    if queue is None or not hasattr(queue, "lock"):
        return []
    items = item.session.items
    with queue.lock() as entries:
        return [items[index] for index in entries if isinstance(index, int) and index < len(items)]
