"""The replicas of one model: who gets which request, and what two specifications share."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.replica import Replica, ReplicaState, merged_usage
from pytest_evals.engines.replica_set import AHEAD, ReplicaRegistry, ReplicaSet, replicas_of, weights_of
from pytest_evals.engines.spec import parse_spec
from pytest_evals.generation import GenerationParams
from tests.unit.building import model_folder


def ask(key: str, text: str | None = None, tokens: int = 10, **more: Any) -> Request:
    params = GenerationParams(max_new_tokens=tokens, **more)
    return Request(key, "smollm2", ({"role": "user", "content": key if text is None else text},), params)


def replica_set_of(replicas: int, state: ReplicaState = "ready", rows: int = 2) -> ReplicaSet:
    replica_set = ReplicaSet(parse_spec("smollm2", Path()), replicas)
    for replica in replica_set.replicas:
        set_state(replica, state, rows)
    return replica_set


def set_state(replica: Replica, state: ReplicaState, rows: int = 2) -> None:
    replica.state = state
    replica.info = EngineInfo(rows=rows)


def sent(replica: Replica) -> list[str]:
    return [request.id for request in replica.tracker.next_to_send()]


def all_sent(replica_set: ReplicaSet) -> list[list[str]]:
    return [sent(replica) for replica in replica_set.replicas]


# -- a single replica


def test_a_single_replica_gets_everything_at_once_and_in_order() -> None:
    replica_set = replica_set_of(1, "stopped")
    replica_set.add([ask("short"), ask("long", tokens=500), *(ask(str(number)) for number in range(20))])
    replica_set.feed()
    assert all_sent(replica_set) == [["short", "long", *map(str, range(20))]]
    (replica,) = replica_set.replicas
    assert (replica.asked, replica.duplicates) == (22, 0)


def test_duplicates_are_counted() -> None:
    replica_set = replica_set_of(1)
    replica_set.add([ask("a", "same"), ask("b", "same"), ask("c", "other")])
    assert (replica_set.replicas[0].asked, replica_set.replicas[0].duplicates) == (3, 1)


# -- several


def test_several_replicas_get_two_batches_each_and_the_longest_first() -> None:
    replica_set = replica_set_of(2, rows=2)
    replica_set.add([ask(f"q{number:02}", tokens=number) for number in range(1, 21)])
    replica_set.feed()
    assert AHEAD == 2
    assert all_sent(replica_set) == [["q20", "q18", "q16", "q14"], ["q19", "q17", "q15", "q13"]]
    replica_set.feed()
    assert all_sent(replica_set) == [[], []]


def test_requests_to_one_adapter_stand_together() -> None:
    replica_set = replica_set_of(2)
    models = {"a": "smollm2?adapter=/a", "b": "smollm2?adapter=/b"}
    replica_set.adapters = {model: f"/{name}" for name, model in models.items()}
    lengths = {"a1": 10, "b1": 40, "a2": 30, "b2": 20}
    replica_set.add(
        [dataclasses.replace(ask(key, tokens=tokens), model=models[key[0]]) for key, tokens in lengths.items()]
    )
    assert [request.id for request in replica_set.pending()] == ["a2", "a1", "b1", "b2"]


def test_adapters_of_one_base_are_models_of_one_replica_set(tmp_path: Path) -> None:
    registry = ReplicaRegistry(tmp_path, "cpu")
    models = {"org/base": None, "org/base?adapter=org/one": "org/one", "hf:org/base?adapter=org/two@v1": "org/two@v1"}
    assert len({id(registry.replica_set(model)) for model in models}) == 1
    assert {model: registry.adapter(model) for model in models} == models
    assert registry.adapter("org/never-named") is None


def test_a_long_prompt_counts_like_a_long_answer() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask("short", "x"), ask("long", "x" * 1000), ask("longest", "x", tokens=500)])
    replica_set.feed()
    assert all_sent(replica_set) == [["longest", "short"], ["long"]]


def test_who_finishes_first_gets_the_next_one() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask(f"q{number}", tokens=10 - number) for number in range(1, 8)])
    replica_set.feed()
    assert all_sent(replica_set) == [["q1", "q3"], ["q2", "q4"]]
    second = replica_set.replicas[1]
    second.tracker.finished(Result("q2"))
    replica_set.feed()
    assert all_sent(replica_set) == [[], ["q5"]]
    second.tracker.finished(Result("q4"))
    second.tracker.finished(Result("q5"))
    replica_set.feed()
    assert all_sent(replica_set) == [[], ["q6", "q7"]]


def test_only_replicas_that_are_ready_are_given_work() -> None:
    replica_set = replica_set_of(3, "starting", rows=1)
    replica_set.add([ask("a"), ask("b"), ask("c")])
    replica_set.feed()
    assert all_sent(replica_set) == [[], [], []]
    first, second, third = replica_set.replicas
    set_state(second, "ready", rows=1)
    replica_set.feed()
    assert all_sent(replica_set) == [[], ["a"], []], "the others will be there soon, and get their share"
    first.state = third.state = "stopped"
    replica_set.feed()
    assert all_sent(replica_set) == [[], ["b"], []]
    assert "c" in replica_set


def test_the_first_that_is_ready_leaves_the_others_their_share_and_is_never_without_work() -> None:
    replica_set = replica_set_of(2, "starting", rows=64)
    replica_set.add([ask(f"q{number}") for number in range(32)])
    first, second = replica_set.replicas
    set_state(first, "ready", rows=64)
    replica_set.feed()
    given = sent(first)
    assert len(given) == 16
    for key in given:
        first.tracker.finished(Result(key))
    replica_set.feed()
    assert len(sent(first)) == 8
    set_state(second, "ready", rows=64)
    replica_set.feed()
    assert [len(each) for each in all_sent(replica_set)] == [0, 8]


def test_identical_requests_stay_together_and_are_computed_once() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask("a1", "a"), ask("b1", "bb"), ask("a2", "a"), ask("b2", "bb"), ask("a3", "a")])
    replica_set.feed()
    first, second = replica_set.replicas
    assert all_sent(replica_set) == [["b1"], ["a1"]]
    assert [result.id for result in first.tracker.finished(Result("b1"))] == ["b1", "b2"]
    assert [result.id for result in second.tracker.finished(Result("a1"))] == ["a1", "a2", "a3"]
    assert (first.duplicates, second.duplicates) == (1, 2)


def test_sampled_requests_are_spread_also_when_they_look_alike() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask("a", "same", temperature=1.0), ask("b", "same", temperature=1.0)])
    replica_set.feed()
    assert all_sent(replica_set) == [["a"], ["b"]]


def test_a_request_is_known_from_the_backlog_to_its_result() -> None:
    replica_set = replica_set_of(2, "starting")
    assert "a" not in replica_set
    assert not replica_set.busy
    replica_set.add([ask("a")])
    assert "a" in replica_set
    assert replica_set.busy
    for replica in replica_set.replicas:
        replica.state = "ready"
    replica_set.feed()
    assert "a" in replica_set
    assert replica_set.busy
    all_sent(replica_set)
    replica_set.replicas[0].tracker.finished(Result("a"))
    assert "a" not in replica_set
    assert not replica_set.busy


def test_the_backlog_can_be_taken_back() -> None:
    replica_set = replica_set_of(2, "starting")
    replica_set.add([ask("a", "same"), ask("b", "other"), ask("c", "same")])
    assert {request.id for request in replica_set.take_back()} == {"a", "b", "c"}
    assert not replica_set.busy
    assert "a" not in replica_set
    assert replica_set.take_back() == []


def test_what_a_replica_asked_adds_up_to_what_the_team_was_asked() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask(str(number)) for number in range(3)])
    replica_set.add([ask("later")])
    replica_set.feed()
    assert sum(replica.asked for replica in replica_set.replicas) == 4


# -- a replica that is gone


def test_a_replica_that_died_with_work_is_started_again_beside_the_others() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask("a"), ask("b")])
    replica_set.feed()
    all_sent(replica_set)
    first, second = replica_set.replicas
    first.state = "stopped"
    first.tracker.crashed("was killed")
    assert replica_set.fallen == [first]
    first.state = "starting"
    assert replica_set.fallen == []
    for state in ("stopped", "stopping"):
        # Nobody is left: that is for the policy of turns.
        first.state, second.state = "stopped", state
        assert replica_set.fallen == []


def test_a_replica_that_died_before_it_had_work_is_started_again_for_the_backlog() -> None:
    replica_set = replica_set_of(2, "starting")
    replica_set.replicas[1].state = "stopped"
    assert replica_set.fallen == []
    replica_set.add([ask("a")])
    assert replica_set.fallen == [replica_set.replicas[1]]


def test_a_replica_that_cannot_be_loaded_again_leaves_its_work_to_the_others() -> None:
    replica_set = replica_set_of(2, rows=1)
    replica_set.add([ask("a", "same"), ask("b", "other"), ask("c", "same")])
    replica_set.feed()
    assert all_sent(replica_set) == [["b"], ["a"]]
    first, second = replica_set.replicas
    second.state, second.failure = "stopped", "no memory"
    replica_set.hand_over(second)
    assert replica_set.fallen == []
    assert not second.tracker.busy
    replica_set.feed()
    assert sent(first) == ["a"]
    assert [result.id for result in first.tracker.finished(Result("a"))] == ["a", "c"]
    first.tracker.finished(Result("b"))
    assert not replica_set.busy


# -- what the policy of turns is told


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("stopped", "stopped"), "stopped"),
        (("stopped", "stopping"), "stopping"),
        (("starting", "stopping"), "starting"),
        (("starting", "ready"), "ready"),
        (("stopped", "ready"), "ready"),
    ],
)
def test_a_team_stands_where_its_foremost_replica_stands(states: tuple[ReplicaState, ...], state: ReplicaState) -> None:
    replica_set = replica_set_of(2)
    for replica, each in zip(replica_set.replicas, states, strict=True):
        replica.state = each
    assert replica_set.status("m").state == state
    replica_set.replicas.reverse()
    assert replica_set.status("m").state == state


def test_a_team_failed_when_all_replicas_did() -> None:
    replica_set = replica_set_of(2, "stopped")
    assert not replica_set.status("m").failed
    replica_set.replicas[0].failure = "no memory"
    assert not replica_set.status("m").failed
    replica_set.replicas[1].failure = "no memory"
    assert replica_set.status("m").failed


def test_a_team_is_wanted_and_busy_as_its_replicas_are() -> None:
    replica_set = replica_set_of(2, "stopped")
    assert (replica_set.status("m").busy, replica_set.status("m").wanted, replica_set.needs_start) == (
        False,
        False,
        False,
    )
    replica_set.replicas[1].wanted = True
    assert (replica_set.status("m").busy, replica_set.status("m").wanted, replica_set.needs_start) == (
        False,
        True,
        True,
    )
    replica_set.replicas[1].wanted = False
    replica_set.add([ask("a")])
    assert (replica_set.status("m").busy, replica_set.status("m").wanted, replica_set.needs_start) == (
        True,
        False,
        True,
    )
    replica_set.replicas[1].state = "starting"
    assert not replica_set.needs_start


@pytest.mark.parametrize(("query", "size"), [("", 4), ("?dtype=auto", 4), ("?dtype=bf16", 2), ("?dtype=fp16", 2)])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_model_needs_its_weights_in_its_precision_and_once_a_copy(
    query: str, size: int, replicas: int, tmp_path: Path
) -> None:
    folder = saved_tensor(tmp_path / "tiny", 1000)
    replica_set = ReplicaSet(parse_spec(f"{folder}{query}", tmp_path), replicas)
    assert replica_set.status("m").need == 1000 * size * replicas


def test_what_a_model_of_the_hub_needs_is_not_known() -> None:
    assert ReplicaSet(parse_spec("org/name", Path()), 1).status("m").need is None


def saved_tensor(folder: Path, numbers: int) -> Path:
    model_folder(folder, num_attention_heads=4, hidden_size=32, num_hidden_layers=2)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * numbers))
    return folder


# -- what specifications share


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("org/base", "org/base?template=none"),
        ("org/base?template=a.jinja", "org/base?template=none"),
        ("org/base", "hf:org/base"),
        ("org/base", "org/base?adapter=org/one@v1"),
        ("org/base?adapter=org/one", "org/base?adapter=org/two"),
        ("org/base@v1", "org/base?revision=v1"),
        ("org/base@v1?dtype=bf16&template=none", "org/base@v1?dtype=bf16"),
        ("org/base?batch=4&dtype=bf16", "org/base?dtype=bf16&batch=4"),
    ],
)
def test_specifications_that_differ_in_how_prompts_are_written_share_their_weights(first: str, second: str) -> None:
    assert weights_of(parse_spec(first, Path())) == weights_of(parse_spec(second, Path()))


@pytest.mark.parametrize(
    "other",
    [
        "org/base2",
        "org/base@v1",
        "org/base?dtype=bf16",
        "org/base?device=cpu",
        "org/base?batch=4",
        "org/base?loop=generate",
        "org/base?replicas=2",
        "org/base?quantize=bnb4",
        "org/base?tokenizer=org/other",
        "org/base?subfolder=x",
        "org/base?remote_code=true",
    ],
)
def test_everything_else_makes_other_weights(other: str) -> None:
    assert weights_of(parse_spec("org/base", Path())) != weights_of(parse_spec(other, Path()))


def test_what_is_loaded_says_nothing_of_prompts_and_all_of_the_rest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny")
    weights = weights_of(parse_spec("./tiny?template=none&replicas=2&dtype=bf16", tmp_path))
    assert weights.text == f"hf:{folder}?dtype=bf16&replicas=2"
    assert weights.options == {"dtype": "bf16", "replicas": 2}
    assert (weights.name, weights.short) == (str(folder), "tiny")
    assert weights_of(parse_spec("org/name@v1", Path())).text == "hf:org/name@v1"


def test_a_script_is_told_as_it_was_named() -> None:
    assert weights_of(parse_spec("scripted:m:f", Path())).text == "scripted:m:f"


# -- how many


@pytest.mark.parametrize(
    ("text", "device", "gpus", "replicas"),
    [
        ("smollm2", "auto", 0, 1),
        ("smollm2", "auto", 1, 1),
        ("smollm2", "auto", 4, 4),
        ("smollm2", "cuda", 4, 4),
        ("smollm2", "cuda:1", 4, 1),
        ("smollm2", "cpu", 4, 1),
        ("smollm2?device=cpu", "auto", 4, 1),
        ("smollm2?device=auto", "cpu", 4, 4),
        ("smollm2?replicas=auto", "auto", 2, 2),
        ("smollm2?replicas=3", "auto", 0, 3),
        ("smollm2?replicas=1", "auto", 4, 1),
        ("smollm2?replicas=2&device=cpu", "auto", 4, 2),
        ("scripted:m:f", "auto", 4, 1),
    ],
)
def test_a_model_has_a_copy_for_each_gpu_or_as_many_as_it_says(
    text: str, device: str, gpus: int, replicas: int
) -> None:
    assert replicas_of(parse_spec(text, Path()), device, gpus) == replicas


# -- one copy


def test_a_replica_is_named_by_its_number_from_the_second_on() -> None:
    assert [replica.label for replica in replica_set_of(2).replicas] == ["smollm2", "smollm2 (replica 2)"]


def test_sums_of_two_usages_are_added_and_levels_are_not() -> None:
    first = {"prompt_tokens": 3, "most_rows": 8, "peak_bytes": 10, "weights_bytes": 5, "chosen_loops": 1, "only": 1}
    second = {
        "prompt_tokens": 4,
        "most_rows": 2,
        "peak_bytes": 20,
        "weights_bytes": 5,
        "chosen_loops": 1,
        "new": 2,
        "most_new": 3,
    }
    expected = {"prompt_tokens": 7, "most_rows": 8, "peak_bytes": 20, "weights_bytes": 5, "chosen_loops": 1}
    assert merged_usage(first, second) == {**expected, "only": 1, "new": 2, "most_new": 3}
    assert first["prompt_tokens"] == 3


def test_what_a_process_that_died_had_done_is_not_forgotten() -> None:
    (replica,) = replica_set_of(1).replicas
    replica.usage = {"decodes": 5, "most_rows": 4}
    replica.archive_usage()
    assert replica.all_usage == {"decodes": 5, "most_rows": 4}
    # The next process counts from zero, and tells its sums again and again.
    for decodes in (1, 2):
        replica.usage = {"decodes": decodes, "most_rows": 6}
    assert replica.all_usage == {"decodes": 7, "most_rows": 6}
    replica.archive_usage()
    replica.archive_usage()
    assert replica.all_usage == {"decodes": 7, "most_rows": 6}


def test_what_was_sent_to_a_replica_that_was_given_up_is_answered_once() -> None:
    (replica,) = replica_set_of(1).replicas
    replica.tracker.add([ask("a")])
    errors = replica.tracker.give_up("gone")
    assert errors == [Result("a", error=Failure("engine", "gone"))]
    assert replica.tracker.unfinished == 0
