"""``python -m pytest_evals`` is the command ``pytest-evals``."""

from __future__ import annotations

import sys

from pytest_evals.cli import main

sys.exit(main())
