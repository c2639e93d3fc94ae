"""The root conftest: pytest wants ``pytest_plugins`` here."""

from __future__ import annotations

pytest_plugins = ["pytester", "pytest_evals.testing"]
