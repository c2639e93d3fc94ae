"""What the engines did, summed up over copies and over specifications that share them."""

from __future__ import annotations

from pathlib import Path

from pytest_evals.engines.protocol import EngineInfo
from pytest_evals.engines.replica_set import ReplicaSet
from pytest_evals.engines.spec import parse_spec
from pytest_evals.session.scorecard import Tokens, model_use

INFO = EngineInfo("cpu", "fp32", rows=8, seconds=1.0)


def loaded(replicas: int = 1) -> ReplicaSet:
    replica_set = ReplicaSet(parse_spec("org/base?template=none", Path()), replicas)
    for replica in replica_set.replicas:
        replica.info = INFO
    return replica_set


def test_completions_are_counted_with_their_tokens() -> None:
    tokens = Tokens()
    tokens.count(10, 3)
    tokens.count(5, 0)
    assert tokens == Tokens(2, 15, 3)


def test_the_use_of_a_model_is_what_its_copy_did() -> None:
    replica_set = loaded()
    (replica,) = replica_set.replicas
    replica.seconds, replica.loading_seconds, replica.duplicates = 2.0, 1.5, 3
    replica.usage = {"decodes": 4, "decode_rows": 12, "most_rows": 4}
    use = model_use("org/base?template=none", replica_set, [Tokens(5, 50, 20)])
    assert (use.model, use.short, use.device, use.dtype, use.rows) == (
        "org/base?template=none",
        "base",
        "cpu",
        "fp32",
        8,
    )
    assert (use.completions, use.prompt_tokens, use.completion_tokens) == (5, 50, 20)
    assert (use.seconds, use.loading_seconds, use.duplicates, use.replicas) == (2.0, 1.5, 3, 1)
    assert use.occupancy == 0.75


def test_replicas_work_side_by_side_so_that_counts_add_up_and_times_do_not() -> None:
    replica_set = loaded(2)
    first, second = replica_set.replicas
    first.seconds, first.loading_seconds, first.duplicates = 2.0, 1.0, 1
    second.seconds, second.loading_seconds, second.duplicates = 3.0, 0.5, 2
    first.usage = {"decodes": 10, "decode_rows": 40, "most_rows": 4, "peak_bytes": 100}
    second.usage = {"decodes": 10, "decode_rows": 20, "most_rows": 2, "peak_bytes": 300}
    use = model_use("m", replica_set, [Tokens()])
    assert (use.seconds, use.loading_seconds, use.duplicates, use.replicas) == (3.0, 1.0, 3, 2)
    assert use.usage == {"decodes": 20, "decode_rows": 60, "most_rows": 4, "peak_bytes": 300}
    assert use.occupancy == 0.75


def test_what_specifications_that_share_a_copy_asked_for_is_added() -> None:
    use = model_use("m", loaded(), [Tokens(2, 20, 4), Tokens(1, 5, 1)])
    assert (use.completions, use.prompt_tokens, use.completion_tokens) == (3, 25, 5)


def test_a_process_that_died_counts_too() -> None:
    replica_set = loaded()
    (replica,) = replica_set.replicas
    replica.usage = {"prompt_tokens": 30}
    replica.archive_usage()
    replica.usage = {"prompt_tokens": 10, "shared_tokens": 40}
    assert model_use("m", replica_set, []).shared_prompt == 0.5


def test_a_copy_that_could_not_be_loaded_does_not_hide_the_other() -> None:
    replica_set = loaded(2)
    replica_set.replicas[0].info = None
    assert model_use("m", replica_set, []).device == "cpu"
