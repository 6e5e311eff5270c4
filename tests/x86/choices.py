# SPDX-License-Identifier: GPL-2.0-or-later
"""What a random test may choose, written once, to be drawn from a seed or by Hypothesis.

A seed makes a million draws in the time that Hypothesis takes for some ten thousand; Hypothesis
finds the smallest example. Both read the same ``Choice``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Dice = Callable[[], float]
"""``random.Random.random``: the next number of a sequence, from 0 to below 1."""


@dataclass(frozen=True)
class Choice:
    """A value to be chosen: ``draw(dice)`` throws for it, ``strategy`` is Hypothesis's."""

    draw: Callable[[Dice], Any]
    strategy: st.SearchStrategy[Any]


def pick(*values: Any) -> Choice:
    """One of these; what is named twice comes twice as often."""
    count = len(values)
    return Choice(lambda dice: values[int(dice() * count)], st.sampled_from(values))


def integer(low: int, high: int) -> Choice:
    """A number from low to high, both included."""
    count = high - low + 1
    return Choice(lambda dice: low + int(dice() * count), st.integers(low, high))


def weighted(*choices: tuple[int, Choice]) -> Choice:
    """One of several choices, by weight; one_of() would weigh each of its innermost parts alike."""
    tickets = [choice for weight, choice in choices for _ in range(weight)]
    draws, count = [choice.draw for choice in tickets], len(tickets)
    return Choice(
        lambda dice: draws[int(dice() * count)](dice),
        st.integers(0, count - 1).flatmap(lambda n: tickets[n].strategy),
    )


def build(make: Callable[..., Any], *parts: Choice) -> Choice:
    """make(one choice of each part)."""
    draws = [part.draw for part in parts]
    return Choice(
        lambda dice: make(*[draw(dice) for draw in draws]),
        st.builds(make, *(part.strategy for part in parts)),
    )


def several(values: Sequence[Any], most: int) -> Choice:
    """A set of at most so many of these."""
    count = len(values)
    return Choice(
        lambda dice: {values[int(dice() * count)] for _ in range(int(dice() * (most + 1)))},
        st.lists(st.sampled_from(values), max_size=most).map(set),
    )


def sequence(choice: Choice, least: int, most: int) -> Choice:
    """A list of so many."""
    draw = choice.draw
    return Choice(
        lambda dice: [draw(dice) for _ in range(least + int(dice() * (most - least + 1)))],
        st.lists(choice.strategy, min_size=least, max_size=most),
    )
