"""What is guessed of the next tokens, and for whom."""

from __future__ import annotations

import pytest

from pytest_evals.engines.protocol import Request
from pytest_evals.engines.transformers.packed.speculation import FEW_ROWS, TOKENS, AcceptanceHistory, PromptLookup
from pytest_evals.engines.transformers.sequence import TokenSequence
from pytest_evals.engines.transformers.verification import NullTokenizer
from pytest_evals.generation import GenerationParams


def trusting(tokens: list[int]) -> AcceptanceHistory:
    memory = AcceptanceHistory(tokens)
    memory.draft_length = TOKENS
    return memory


@pytest.mark.parametrize(
    ("tokens", "most", "guessed"),
    [
        ([], 4, []),
        ([7], 4, []),
        ([1, 2, 3, 4, 5], 4, []),
        # What followed the same three tokens, the last time.
        ([1, 2, 3, 8, 1, 2, 3, 9, 5, 1, 2, 3], 2, [9, 5]),
        # Three tokens tell more than two, which stand later.
        ([1, 2, 3, 8, 9, 2, 3, 7, 1, 2, 3], 1, [8]),
        ([6, 2, 3, 8, 1, 2, 3], 2, [8, 1]),
        # What repeats itself goes on, also beyond what there is.
        ([1, 2, 3, 1, 2, 3], 8, [1, 2, 3, 1, 2, 3, 1, 2]),
        ([5, 5, 5], 3, [5, 5, 5]),
        ([1, 2, 1, 2], 0, []),
    ],
)
def test_what_followed_the_last_tokens_before_is_guessed(tokens: list[int], most: int, guessed: list[int]) -> None:
    assert trusting(tokens).guess(most) == guessed
    # It makes no difference when they came.
    for cut in range(len(tokens)):
        memory = trusting(tokens[:cut])
        memory.learn(tokens[cut : cut + 1])
        memory.learn(tokens[cut:])
        assert memory.guess(most) == guessed


def test_more_is_guessed_after_right_guesses_and_less_after_wrong_ones() -> None:
    memory, counts = AcceptanceHistory([5] * 9), list[int]()
    for right in (True, True, True, True, True, False, True):
        counts.append(len(memory.guess(100)))
        memory.update(counts[-1], counts[-1] if right else 2)
    assert counts == [1, 2, 4, 8, 16, TOKENS, 3]


def row(prompt: list[int], generated: list[int], limit: int = 50) -> TokenSequence:
    made = TokenSequence(
        Request("r", "", (), GenerationParams(max_new_tokens=limit)), prompt, NullTokenizer(), frozenset({99})
    )
    for token in generated:
        made.accept(token, None)
    made.stored = len(prompt) + len(generated) - 1
    return made


def test_few_rows_share_the_tokens_of_a_step_and_none_gets_more_than_there_is_room_for() -> None:
    told: list[tuple[int, int]] = []
    guesser = PromptLookup(lambda guessed, right: told.append((guessed, right)))
    rows = [row([5] * 6, [5, 5]) for _ in range(FEW_ROWS)]
    for _ in range(6):
        for each, guessed in zip(rows, guesser.guess(rows), strict=True):
            guesser.update(each, len(guessed), len(guessed))
    assert [len(guessed) for guessed in guesser.guess(rows)] == [TOKENS // FEW_ROWS - 1] * FEW_ROWS
    assert len(guesser.guess(rows[:1])[0]) == TOKENS - 1
    # The last token that may be generated is never stored.
    assert len(guesser.guess([rows[0], row([5] * 6, [5] * 47)])[0]) == 3
    assert guesser.guess([rows[0], row([1, 2, 3], [4])])[1] == []
    assert guesser.guess([*rows, rows[0]]) == [[]] * (FEW_ROWS + 1)
    assert guesser.guess([]) == []
    assert told[0] == (1, 1)
    told.clear()
    guesser.update(rows[0], 0, 0)
    assert told == []
