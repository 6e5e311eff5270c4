# SPDX-License-Identifier: GPL-2.0-or-later
"""Wakeup trees: what is still to be explored from one state, as sequences of steps.

From "Optimal Dynamic Partial Order Reduction" (Abdulla, Aronis, Jonsson, Sagonas, POPL 2014). A
*weak initial* of a sequence is an actor whose next step could as well be taken first: no step of
the sequence that stands before it happens before it, or the actor takes none and its step is
independent of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ucmmu.race.happens import Event, Masks


@dataclass(slots=True)
class Branch:
    """One step of a wakeup tree, and what is to follow it, oldest first."""

    actor: int
    masks: Masks
    branches: list[Branch] = field(default_factory=list)
    covers: dict[tuple[tuple[int, Masks], ...], list[Event]] = field(default_factory=dict)
    """What was not added to the tree because it may as well come behind this step, of which it is
    not known yet whether it can be taken.
    """


Planted = tuple[int, Branch]
"""A branch that has none, and the number of the one that it grows from; -1: from none."""


def flattened(branches: list[Branch], *, first: bool) -> list[Planted]:
    """All branches of a tree, each behind the one that it grows from: a tree is as deep as an order
    is long, too deep to be pickled as it is. Without ``first`` what grows from the first is left
    out.
    """
    flat: list[Planted] = []
    left = [(-1, branch) for branch in reversed(branches)]
    while left:
        parent, branch = left.pop()
        if branch is not branches[0] or first:
            left += [(len(flat), other) for other in reversed(branch.branches)]
        flat.append((parent, Branch(branch.actor, branch.masks, covers=branch.covers)))
    return flat


def grown(flat: list[Planted]) -> list[Branch]:
    """The tree again."""
    branches: list[Branch] = []
    for parent, branch in flat:
        (branches if parent < 0 else flat[parent][1].branches).append(branch)
    return branches


def take_weak_initial(sequence: list[Event], actor: int, masks: Masks) -> list[Event] | None:
    """The sequence without the actor's first step, if the actor is a weak initial of it; None if
    it is not. ``masks`` are those of its step if the sequence has none.
    """
    for number, event in enumerate(sequence):
        if event.actor == actor:
            if any(other.masks.bars(event.masks) for other in sequence[:number]):
                return None
            return [*sequence[:number], *sequence[number + 1 :]]
    if any(event.masks.bars(masks) for event in sequence):
        return None
    return sequence


def leads_to(sequence: list[Event], actor: int, masks: Masks, *, fixed: bool) -> list[Event] | None:
    """take_weak_initial(), as far as it says that what is explored behind the actor's step leads to
    the sequence. Where what a step touches is not ``fixed`` (Program.fixed), a step that the
    sequence does not have may change what comes behind it, and says nothing.
    """
    rest = take_weak_initial(sequence, actor, masks)
    return None if rest is sequence and not fixed else rest


def insert(branches: list[Branch], sequence: list[Event], *, fixed: bool) -> bool:
    """Add the sequence, unless what the tree has leads to it; whether it was added."""
    while True:
        for branch in branches:
            rest = leads_to(sequence, branch.actor, branch.masks, fixed=fixed)
            if rest is None:
                continue
            branch.covers[tuple((event.actor, event.masks) for event in sequence)] = sequence
            if not rest or not branch.branches:
                return False
            branches, sequence = branch.branches, rest
            break
        else:
            for event in sequence:
                branch = Branch(event.actor, event.masks)
                branches.append(branch)
                branches = branch.branches
            return True


def drop_first(branches: list[Branch], *, fixed: bool) -> None:
    """Take out the first branch, whose step its actor cannot take: what it was to lead to is added
    again without it.
    """
    for sequence in branches.pop(0).covers.values():
        insert(branches, sequence, fixed=fixed)
