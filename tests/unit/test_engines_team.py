"""The replicas of one model: who gets which request, and what two specifications share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_evals.completion import Failure
from pytest_evals.engines.protocol import EngineInfo, Request, Result
from pytest_evals.engines.replica import Replica, ReplicaState, merged_usage
from pytest_evals.engines.replica_set import AHEAD, ReplicaSet, replicas_of, weights_of
from pytest_evals.engines.spec import parse_spec
from pytest_evals.generation import GenerationParams
from tests.unit.building import model_folder


def ask(key: str, text: str | None = None, tokens: int = 10, **more: Any) -> Request:
    params = GenerationParams(max_new_tokens=tokens, **more)
    return Request(key, "smollm2", ({"role": "user", "content": key if text is None else text},), params)


def team_of(replicas: int, state: ReplicaState = "ready", rows: int = 2) -> ReplicaSet:
    team = ReplicaSet(parse_spec("smollm2", Path()), replicas)
    for resident in team.replicas:
        set_state(resident, state, rows)
    return team


def set_state(resident: Replica, state: ReplicaState, rows: int = 2) -> None:
    resident.state = state
    resident.info = EngineInfo(rows=rows)


def sent(resident: Replica) -> list[str]:
    return [request.id for request in resident.slot.next_to_send()]


def all_sent(team: ReplicaSet) -> list[list[str]]:
    return [sent(resident) for resident in team.replicas]


# -- a single replica


def test_a_single_replica_gets_everything_at_once_and_in_order() -> None:
    team = team_of(1, "out")
    team.add([ask("short"), ask("long", tokens=500), *(ask(str(number)) for number in range(20))])
    team.feed()
    assert all_sent(team) == [["short", "long", *map(str, range(20))]]
    (resident,) = team.replicas
    assert (resident.asked, resident.duplicates) == (22, 0)


def test_duplicates_are_counted() -> None:
    team = team_of(1)
    team.add([ask("a", "same"), ask("b", "same"), ask("c", "other")])
    assert (team.replicas[0].asked, team.replicas[0].duplicates) == (3, 1)


# -- several


def test_several_replicas_get_two_batches_each_and_the_longest_first() -> None:
    team = team_of(2, rows=2)
    team.add([ask(f"q{number:02}", tokens=number) for number in range(1, 21)])
    team.feed()
    assert AHEAD == 2
    assert all_sent(team) == [["q20", "q18", "q16", "q14"], ["q19", "q17", "q15", "q13"]]
    team.feed()
    assert all_sent(team) == [[], []]


def test_a_long_prompt_counts_like_a_long_answer() -> None:
    team = team_of(2, rows=1)
    team.add([ask("short", "x"), ask("long", "x" * 1000), ask("longest", "x", tokens=500)])
    team.feed()
    assert all_sent(team) == [["longest", "short"], ["long"]]


def test_who_finishes_first_gets_the_next_one() -> None:
    team = team_of(2, rows=1)
    team.add([ask(f"q{number}", tokens=10 - number) for number in range(1, 8)])
    team.feed()
    assert all_sent(team) == [["q1", "q3"], ["q2", "q4"]]
    second = team.replicas[1]
    second.slot.finished(Result("q2"))
    team.feed()
    assert all_sent(team) == [[], ["q5"]]
    second.slot.finished(Result("q4"))
    second.slot.finished(Result("q5"))
    team.feed()
    assert all_sent(team) == [[], ["q6", "q7"]]


def test_only_replicas_that_are_ready_are_given_work() -> None:
    team = team_of(3, "starting", rows=1)
    team.add([ask("a"), ask("b"), ask("c")])
    team.feed()
    assert all_sent(team) == [[], [], []]
    set_state(team.replicas[1], "ready", rows=1)
    team.feed()
    assert all_sent(team) == [[], ["a", "b"], []]
    assert "c" in team


def test_identical_requests_stay_together_and_are_computed_once() -> None:
    team = team_of(2, rows=1)
    team.add([ask("a1", "a"), ask("b1", "bb"), ask("a2", "a"), ask("b2", "bb"), ask("a3", "a")])
    team.feed()
    first, second = team.replicas
    assert all_sent(team) == [["b1"], ["a1"]]
    assert [result.id for result in first.slot.finished(Result("b1"))] == ["b1", "b2"]
    assert [result.id for result in second.slot.finished(Result("a1"))] == ["a1", "a2", "a3"]
    assert (first.duplicates, second.duplicates) == (1, 2)


def test_sampled_requests_are_spread_also_when_they_look_alike() -> None:
    team = team_of(2, rows=1)
    team.add([ask("a", "same", temperature=1.0), ask("b", "same", temperature=1.0)])
    team.feed()
    assert all_sent(team) == [["a"], ["b"]]


def test_a_request_is_known_from_the_backlog_to_its_result() -> None:
    team = team_of(2, "starting")
    assert "a" not in team
    assert not team.busy
    team.add([ask("a")])
    assert "a" in team
    assert team.busy
    for resident in team.replicas:
        resident.state = "ready"
    team.feed()
    assert "a" in team
    assert team.busy
    all_sent(team)
    team.replicas[0].slot.finished(Result("a"))
    assert "a" not in team
    assert not team.busy


def test_the_backlog_can_be_taken_back() -> None:
    team = team_of(2, "starting")
    team.add([ask("a", "same"), ask("b", "other"), ask("c", "same")])
    assert {request.id for request in team.take_back()} == {"a", "b", "c"}
    assert not team.busy
    assert "a" not in team
    assert team.take_back() == []


def test_what_a_replica_asked_adds_up_to_what_the_team_was_asked() -> None:
    team = team_of(2, rows=1)
    team.add([ask(str(number)) for number in range(3)])
    team.add([ask("later")])
    team.feed()
    assert sum(resident.asked for resident in team.replicas) == 4


# -- a replica that is gone


def test_a_replica_that_died_with_work_is_started_again_beside_the_others() -> None:
    team = team_of(2, rows=1)
    team.add([ask("a"), ask("b")])
    team.feed()
    all_sent(team)
    first, second = team.replicas
    first.state = "out"
    first.slot.crashed("was killed")
    assert team.fallen == [first]
    first.state = "starting"
    assert team.fallen == []
    for state in ("out", "leaving"):
        # Nobody is left: that is for the policy of turns.
        first.state, second.state = "out", state
        assert team.fallen == []


def test_a_replica_that_died_before_it_had_work_is_started_again_for_the_backlog() -> None:
    team = team_of(2, "starting")
    team.replicas[1].state = "out"
    assert team.fallen == []
    team.add([ask("a")])
    assert team.fallen == [team.replicas[1]]


def test_a_replica_that_cannot_be_loaded_again_leaves_its_work_to_the_others() -> None:
    team = team_of(2, rows=1)
    team.add([ask("a", "same"), ask("b", "other"), ask("c", "same")])
    team.feed()
    assert all_sent(team) == [["b"], ["a"]]
    first, second = team.replicas
    second.state, second.failure = "out", "no memory"
    team.hand_over(second)
    assert team.fallen == []
    assert not second.slot.busy
    team.feed()
    assert sent(first) == ["a"]
    assert [result.id for result in first.slot.finished(Result("a"))] == ["a", "c"]
    first.slot.finished(Result("b"))
    assert not team.busy


# -- what the policy of turns is told


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("out", "out"), "out"),
        (("out", "leaving"), "leaving"),
        (("starting", "leaving"), "starting"),
        (("starting", "ready"), "ready"),
        (("out", "ready"), "ready"),
    ],
)
def test_a_team_stands_where_its_foremost_replica_stands(states: tuple[ReplicaState, ...], state: ReplicaState) -> None:
    team = team_of(2)
    for resident, each in zip(team.replicas, states, strict=True):
        resident.state = each
    assert team.standing("m").state == state
    team.replicas.reverse()
    assert team.standing("m").state == state


def test_a_team_failed_when_all_replicas_did() -> None:
    team = team_of(2, "out")
    assert not team.standing("m").failed
    team.replicas[0].failure = "no memory"
    assert not team.standing("m").failed
    team.replicas[1].failure = "no memory"
    assert team.standing("m").failed


def test_a_team_is_wanted_and_busy_as_its_replicas_are() -> None:
    team = team_of(2, "out")
    assert (team.standing("m").busy, team.standing("m").wanted, team.needs_start) == (False, False, False)
    team.replicas[1].wanted = True
    assert (team.standing("m").busy, team.standing("m").wanted, team.needs_start) == (False, True, True)
    team.replicas[1].wanted = False
    team.add([ask("a")])
    assert (team.standing("m").busy, team.standing("m").wanted, team.needs_start) == (True, False, True)
    team.replicas[1].state = "starting"
    assert not team.needs_start


@pytest.mark.parametrize(("query", "size"), [("", 4), ("?dtype=auto", 4), ("?dtype=bf16", 2), ("?dtype=fp16", 2)])
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_model_needs_its_weights_in_its_precision_and_once_a_copy(
    query: str, size: int, replicas: int, tmp_path: Path
) -> None:
    folder = saved_tensor(tmp_path / "tiny", 1000)
    team = ReplicaSet(parse_spec(f"{folder}{query}", tmp_path), replicas)
    assert team.standing("m").need == 1000 * size * replicas


def test_what_a_model_of_the_hub_needs_is_not_known() -> None:
    assert ReplicaSet(parse_spec("org/name", Path()), 1).standing("m").need is None


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
    ],
)
def test_everything_else_makes_other_weights(other: str) -> None:
    assert weights_of(parse_spec("org/base", Path())) != weights_of(parse_spec(other, Path()))


def test_what_is_loaded_says_nothing_of_prompts_and_all_of_the_rest(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "tiny")
    weights = weights_of(parse_spec("./tiny?template=none&replicas=2&dtype=bf16", tmp_path))
    assert weights.text == f"hf:{folder}?dtype=bf16&replicas=2"
    assert weights.options == {"dtype": "bf16", "replicas": "2"}
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
    assert [resident.label for resident in team_of(2).replicas] == ["smollm2", "smollm2 (replica 2)"]


def test_sums_of_two_usages_are_added_and_levels_are_not() -> None:
    first = {"prompt_tokens": 3, "most_rows": 8, "peak_bytes": 10, "weights_bytes": 5, "only": 1}
    second = {"prompt_tokens": 4, "most_rows": 2, "peak_bytes": 20, "weights_bytes": 5, "new": 2, "most_new": 3}
    expected = {"prompt_tokens": 7, "most_rows": 8, "peak_bytes": 20, "weights_bytes": 5}
    assert merged_usage(first, second) == {**expected, "only": 1, "new": 2, "most_new": 3}
    assert first["prompt_tokens"] == 3


def test_what_a_process_that_died_had_done_is_not_forgotten() -> None:
    (resident,) = team_of(1).replicas
    resident.usage = {"decodes": 5, "most_rows": 4}
    resident.bury_usage()
    assert resident.all_usage == {"decodes": 5, "most_rows": 4}
    # The next process counts from zero, and tells its sums again and again.
    for decodes in (1, 2):
        resident.usage = {"decodes": decodes, "most_rows": 6}
    assert resident.all_usage == {"decodes": 7, "most_rows": 6}
    resident.bury_usage()
    resident.bury_usage()
    assert resident.all_usage == {"decodes": 7, "most_rows": 6}


def test_what_was_sent_to_a_replica_that_was_given_up_is_answered_once() -> None:
    (resident,) = team_of(1).replicas
    resident.slot.add([ask("a")])
    errors = resident.slot.give_up("gone")
    assert errors == [Result("a", error=Failure("engine", "gone"))]
    assert resident.slot.unfinished == 0
