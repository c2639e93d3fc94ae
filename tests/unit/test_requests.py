"""Seeds of requests."""

from __future__ import annotations

from pytest_evals.runner.requests import request_seed


def test_a_seed_is_the_same_on_every_machine() -> None:
    # Pinned: with another seed an old artifact can no longer be reproduced.
    assert request_seed(0, "capitals", "France", 1) == 0xDC1B945BCB44


def test_everything_that_identifies_a_request_changes_its_seed() -> None:
    seeds = {
        request_seed(0, "capitals", "France", 1),
        request_seed(1, "capitals", "France", 1),
        request_seed(0, "cities", "France", 1),
        request_seed(0, "capitals", "Chad", 1),
        request_seed(0, "capitals", "France", 2),
    }
    assert len(seeds) == 5


def test_a_seed_fits_every_generator() -> None:
    assert all(0 <= request_seed(base, "s", str(base), 1) < 2**48 for base in range(100))
