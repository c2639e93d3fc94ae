"""The bookkeeping of one model's requests: who waits, what was sent, who is suspected of a crash."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pytest_evals.completion import Completion, Failure, Message
from pytest_evals.engines.protocol import Request, Result
from pytest_evals.engines.request_tracker import MAX_CONSECUTIVE_CRASHES, RequestTracker, request_key
from pytest_evals.generation import GenerationParams


def ask(key: str, text: str | None = None, **params: Any) -> Request:
    messages: tuple[Message] = ({"role": "user", "content": key if text is None else text},)
    return Request(key, "smollm2", messages, GenerationParams(**params))


def slot_with(*keys: str) -> RequestTracker:
    slot = RequestTracker(deduplicates=True)
    slot.add(ask(key) for key in keys)
    return slot


def send(slot: RequestTracker) -> list[str]:
    return [request.id for request in slot.next_to_send()]


def weigh(key: str, *choices: str, text: str = "same", alone: bool = False, **params: Any) -> Request:
    """Return a request for the likelihood of choices (none: for a text)."""
    return dataclasses.replace(ask(key, text, **params), choices=choices, alone=alone)


def send_and_start(slot: RequestTracker) -> list[str]:
    keys = send(slot)
    slot.started(keys)
    return keys


def finish(slot: RequestTracker, key: str) -> list[str]:
    return [result.id for result in slot.finished(Result(key, Completion(f"text of {key}")))]


def crash(slot: RequestTracker) -> dict[str, Failure | None]:
    return {result.id: result.error for result in slot.crashed("was killed")}


# -- the ordinary way


def test_requests_are_sent_once_and_in_order() -> None:
    slot = slot_with("c", "a", "b")
    assert send(slot) == ["c", "a", "b"]
    assert send(slot) == []


def test_requests_that_arrive_later_are_sent_while_others_are_computed() -> None:
    slot = slot_with("a")
    send_and_start(slot)
    slot.add([ask("b")])
    assert send(slot) == ["b"]


def test_somebody_waits_until_everything_is_finished() -> None:
    slot = slot_with("a", "b")
    send(slot)
    assert slot.busy
    assert "a" in slot
    assert finish(slot, "b") == ["b"]
    assert finish(slot, "a") == ["a"]
    assert not slot.busy
    assert "a" not in slot


def test_a_result_that_nobody_waits_for_is_dropped() -> None:
    slot = slot_with("a")
    finish(slot, "a")
    assert finish(slot, "a") == []
    assert finish(slot, "stranger") == []


def test_what_nobody_has_got_and_what_the_engine_works_on_are_counted() -> None:
    slot = slot_with("a", "b", "c")
    assert (slot.unfinished, slot.computing) == (3, False)
    send(slot)
    assert (slot.unfinished, slot.computing) == (3, True)
    finish(slot, "a")
    finish(slot, "b")
    assert (slot.unfinished, slot.computing) == (1, True)
    finish(slot, "c")
    assert (slot.unfinished, slot.computing) == (0, False)


def test_an_engine_that_died_is_not_computing() -> None:
    slot = slot_with("a")
    send_and_start(slot)
    crash(slot)
    assert (slot.unfinished, slot.computing) == (1, False)


# -- de-duplication


def test_identical_greedy_requests_are_computed_once_and_answered_each() -> None:
    slot = RequestTracker(deduplicates=True)
    assert slot.add([ask("a", "same"), ask("b", "same"), ask("c", "other"), ask("d", "same")]) == 2
    assert send(slot) == ["a", "c"]
    results = slot.finished(Result("a", Completion("text", completion_tokens=3)))
    assert results == [Result(key, Completion("text", completion_tokens=3)) for key in "abd"]


def test_a_copy_that_arrives_later_joins_the_one_that_is_computed() -> None:
    slot = slot_with("a")
    send(slot)
    assert slot.add([ask("b", "a")]) == 0
    assert send(slot) == []
    assert finish(slot, "a") == ["a", "b"]


def test_a_copy_of_what_is_finished_is_computed_again() -> None:
    slot = slot_with("a")
    send(slot)
    finish(slot, "a")
    assert slot.add([ask("b", "a")]) == 1
    assert send(slot) == ["b"]


def test_sampled_requests_are_never_shared() -> None:
    slot = RequestTracker(deduplicates=True)
    assert slot.add([ask("a", "same", temperature=1.0), ask("b", "same", temperature=1.0)]) == 2


def test_likelihoods_are_shared_whatever_the_temperature() -> None:
    slot = RequestTracker(deduplicates=True)
    requests = [weigh("a", "x", "y"), weigh("b", "x", "y", temperature=1.0), weigh("c", "x", "y", temperature=1.0)]
    assert slot.add(requests) == 2
    assert send(slot) == ["a", "b"]
    assert finish(slot, "b") == ["b", "c"]


@pytest.mark.parametrize("choices", [(), ("x",), ("y", "x"), ("x", "y", "z")])
def test_other_choices_make_another_request(choices: tuple[str, ...]) -> None:
    slot = RequestTracker(deduplicates=True)
    assert slot.add([weigh("a", "x", "y"), weigh("b", *choices)]) == 2


def test_who_wants_to_be_alone_is_computed_beside_its_copies() -> None:
    slot = RequestTracker(deduplicates=True)
    assert slot.add([ask("a", "same"), weigh("alone", alone=True), weigh("too", alone=True), ask("b", "same")]) == 3
    assert send(slot) == ["a", "alone", "too"]
    assert finish(slot, "alone") == ["alone"]
    assert finish(slot, "a") == ["a", "b"]
    assert finish(slot, "too") == ["too"]


def test_an_engine_that_must_see_every_request_does() -> None:
    slot = RequestTracker(deduplicates=False)
    assert slot.add([ask("a", "same"), ask("b", "same")]) == 2


@pytest.mark.parametrize(
    "params",
    [
        {"max_new_tokens": 5},
        {"stop": ("x",)},
        {"logprobs": True},
        {"chat_template_kwargs": {"a": 1}},
        {"repetition_penalty": 1.5},
        {"regex": "a+"},
        {"json_schema": {"type": "object"}},
        {"choice": ("a", "b")},
    ],
)
def test_other_parameters_make_another_request(params: dict[str, Any]) -> None:
    assert request_key(ask("a", "same")) != request_key(ask("b", "same", **params))


def test_a_seed_makes_no_difference_to_a_greedy_request() -> None:
    assert request_key(ask("a", "same", seed=1)) == request_key(ask("b", "same", seed=2))


def test_another_model_makes_another_request_although_it_may_share_the_weights() -> None:
    request = ask("a")
    other = Request("a", "other", request.messages, request.params)
    assert request_key(request) != request_key(other)
    slot = RequestTracker(deduplicates=True)
    assert slot.add([request, dataclasses.replace(other, id="b")]) == 2


# -- crashes


def test_after_a_crash_what_had_not_started_is_sent_again_before_what_is_new() -> None:
    slot = slot_with("a", "b")
    send(slot)
    slot.add([ask("c", "new")])
    assert crash(slot) == {}
    assert send(slot) == ["a", "b", "c"]


def test_suspects_are_sent_again_one_at_a_time_and_before_the_rest() -> None:
    slot = slot_with("a", "b", "c")
    send(slot)
    slot.started(["a", "b"])
    assert crash(slot) == {}
    assert send_and_start(slot) == ["a"]
    assert send(slot) == []
    finish(slot, "a")
    assert send_and_start(slot) == ["b"]
    assert send(slot) == []
    finish(slot, "b")
    assert send(slot) == ["c"]


def test_a_second_crash_convicts_the_one_that_was_alone_and_lets_the_others_go_on() -> None:
    slot = slot_with("good", "bad", "last")
    send_and_start(slot)
    crash(slot)
    assert send_and_start(slot) == ["good"]
    finish(slot, "good")
    assert send_and_start(slot) == ["bad"]
    errors = crash(slot)
    assert list(errors) == ["bad"]
    assert errors["bad"] == Failure("engine", "this request ended the engine's process 2 times; the process was killed")
    assert send_and_start(slot) == ["last"]
    assert finish(slot, "last") == ["last"]
    assert not slot.busy


def test_copies_of_the_guilty_request_share_its_error() -> None:
    slot = slot_with("bad")
    slot.add([ask("copy", "bad")])
    for _ in range(2):
        send_and_start(slot)
        errors = crash(slot)
    assert set(errors) == {"bad", "copy"}
    assert not slot.busy


def test_a_request_that_finished_before_the_crash_is_no_suspect() -> None:
    slot = slot_with("a", "b")
    send_and_start(slot)
    finish(slot, "a")
    crash(slot)
    assert send(slot) == ["b"]


def test_an_acquitted_request_starts_with_a_clean_record() -> None:
    slot = slot_with("a")
    send_and_start(slot)
    crash(slot)
    send_and_start(slot)
    finish(slot, "a")
    slot.add([ask("a", "a")])
    send_and_start(slot)
    assert crash(slot) == {}


def test_new_requests_wait_while_a_suspect_is_computed() -> None:
    slot = slot_with("a")
    send_and_start(slot)
    crash(slot)
    send_and_start(slot)
    slot.add([ask("new")])
    assert send(slot) == []
    finish(slot, "a")
    assert send(slot) == ["new"]


def test_a_suspect_stays_apart_when_the_process_dies_before_it_started() -> None:
    slot = slot_with("a", "b", "c")
    send(slot)
    slot.started(["a", "b"])
    crash(slot)
    assert send(slot) == ["a"]
    crash(slot)
    assert send_and_start(slot) == ["a"]
    assert crash(slot).keys() == {"a"}
    assert send_and_start(slot) == ["b"]


def test_an_engine_that_dies_without_a_cause_is_given_up() -> None:
    slot = slot_with("a", "b")
    for _ in range(MAX_CONSECUTIVE_CRASHES - 1):
        send(slot)
        assert crash(slot) == {}
    send(slot)
    errors = crash(slot)
    assert set(errors) == {"a", "b"}
    assert errors["a"] == Failure("engine", "the engine's process died 3 times in a row; it was killed")
    assert not slot.busy


def test_a_result_in_between_gives_hope_again() -> None:
    slot = slot_with("a", "b")
    for _ in range(MAX_CONSECUTIVE_CRASHES - 1):
        send(slot)
        crash(slot)
    send(slot)
    finish(slot, "a")
    assert crash(slot) == {}


def test_an_engine_that_every_request_kills_is_given_up_in_the_end() -> None:
    keys = [f"bad{number}" for number in range(50)]
    slot = slot_with(*keys)
    crashes, errors = 0, {}
    while slot.busy:
        send_and_start(slot)
        errors.update(crash(slot))
        crashes += 1
    assert crashes == 2 * MAX_CONSECUTIVE_CRASHES
    assert set(errors) == set(keys)


def test_giving_up_answers_everything_and_takes_new_requests() -> None:
    slot = slot_with("sent")
    send(slot)
    slot.add([ask("waiting"), ask("copy", "waiting")])
    errors = slot.give_up("no memory")
    assert {result.id: result.error for result in errors} == dict.fromkeys(
        ["sent", "waiting", "copy"], Failure("engine", "no memory")
    )
    assert not slot.busy
    slot.add([ask("later")])
    assert send(slot) == ["later"]


def test_what_is_taken_back_can_be_given_to_another() -> None:
    slot, other = slot_with("sent"), slot_with("own")
    send_and_start(slot)
    slot.add([ask("waiting"), ask("copy", "waiting")])
    requests = slot.take_back()
    assert [request.id for request in requests] == ["sent", "waiting", "copy"]
    assert (slot.busy, slot.computing) == (False, False)
    assert send(slot) == []
    assert finish(slot, "waiting") == []
    other.add(requests)
    assert send(other) == ["own", "sent", "waiting"]
    assert finish(other, "waiting") == ["waiting", "copy"]
