"""A further rank of a model under tensor parallelism: ``python -m pytest_evals.engines.transformers.tensor_parallel_worker``.

Started by ``tensor_parallel``. It reads its orders, one line of JSON, from standard input, loads its part of the model and does
what the first rank does. When that process is gone, so is this one.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

from pytest_evals.engines.spec import parse_spec
from pytest_evals.engines.transformers import tensor_parallel
from pytest_evals.engines.transformers.engine import open_rank
from pytest_evals.processes import end_with_parent


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Follow until the first rank stops."""
    end_with_parent()
    orders = json.loads(sys.stdin.buffer.readline())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:0] = [entry for entry in orders["path"] if entry not in sys.path]
    threading.Thread(target=_end_with_input, name="evals-parent", daemon=True).start()
    tensor_parallel.join()
    engine = open_rank(parse_spec(orders["spec"], Path(orders["root"])), orders["options"], lambda _text: None)
    for _event in engine.generate(tensor_parallel.SharedInbox()):
        # The first rank tells what happens.
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
