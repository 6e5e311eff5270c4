# SPDX-License-Identifier: GPL-2.0-or-later
"""Races of the literature, in the language of ucmmu.race.textbook."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from ucmmu.race.textbook import Cas, Fence, Load, Lock, Memory, Op, Rmw, Store, Text, Thread, Unlock

MakeThread = Callable[[], Thread]


def straight(*ops: Op) -> MakeThread:
    """A thread that does these, and returns what it loaded."""

    def thread() -> Thread:
        seen = []
        for op in ops:
            result = yield op
            if isinstance(op, Load):
                seen.append(result)
        return tuple(seen)

    return thread


def litmus(*threads: Sequence[Op], final: Sequence[str] = ()) -> Text:
    """A litmus test: its outcome is what was loaded, in order, and then the ``final`` values."""

    def outcome(memory: Memory, results: Sequence[Any]) -> Hashable:
        return (*(value for seen in results for value in seen), *(memory[name] for name in final))

    return Text([straight(*ops) for ops in threads], outcome=outcome)


# Programs of the papers on partial-order reduction.


def readers(count: int) -> Text:
    """One writer, and so many readers, of one variable: 2^n traces."""
    return Text([straight(Store("x", 42)), *(straight(Load("x")) for _ in range(count))])


def lastzero(count: int) -> Text:
    """Abdulla et al. 2014: one looks for the last zero in an array that the others fill."""

    def look() -> Thread:
        place = count
        while (yield Load(place)) != 0:
            place -= 1
        return place

    def fill(place: int) -> MakeThread:
        def thread() -> Thread:
            value = yield Load(place - 1)
            yield Store(place, value + 1)

        return thread

    return Text([look, *(fill(place) for place in range(1, count + 1))])


def indexer(count: int) -> Text:
    """Flanagan and Godefroid 2005: threads that insert messages into a hash table of 128 places."""

    def insert(number: int) -> MakeThread:
        def thread() -> Thread:
            for message in range(1, 5):
                word = message * 11 + number
                place = word * 7 % 128
                while not (yield Cas(place, 0, word)):
                    place = (place + 1) % 128

        return thread

    return Text([insert(number) for number in range(count)])


def filesystem(count: int) -> Text:
    """Flanagan and Godefroid 2005: threads that give blocks to inodes, each under its lock."""

    def allocate(number: int) -> MakeThread:
        def thread() -> Thread:
            inode = number % 32
            yield Lock(("inode", inode))
            if (yield Load(("inode", inode))) == 0:
                block = inode * 2 % 26
                while True:
                    yield Lock(("block", block))
                    if (yield Load(("busy", block))) == 0:
                        yield Store(("busy", block), 1)
                        yield Store(("inode", inode), block + 1)
                        yield Unlock(("block", block))
                        break
                    yield Unlock(("block", block))
                    block = (block + 1) % 26
            yield Unlock(("inode", inode))

        return thread

    return Text([allocate(number) for number in range(count)])


# Mutual exclusion.


def _critical(number: int) -> Thread:
    inside = yield Rmw("inside", lambda value: value + 1)
    assert inside == 0, f"{number} is not alone in the critical section"
    yield Rmw("inside", lambda value: value - 1)


def dekker(*, fence: bool) -> Text:
    """Dekker's way in: raise my flag, and enter if the other's is down."""

    def enter(number: int) -> MakeThread:
        def thread() -> Thread:
            yield Store(("flag", number), 1)
            if fence:
                yield Fence()
            if (yield Load(("flag", 1 - number))) == 0:
                yield from _critical(number)

        return thread

    return Text([enter(0), enter(1)])


def peterson(*, fence: bool) -> Text:
    """Peterson's algorithm, looked at once: flags, and who is to wait."""

    def enter(number: int) -> MakeThread:
        def thread() -> Thread:
            yield Store(("flag", number), 1)
            yield Store("turn", 1 - number)
            if fence:
                yield Fence()
            other = yield Load(("flag", 1 - number))
            if other == 0 or (yield Load("turn")) == number:
                yield from _critical(number)
            yield Store(("flag", number), 0)

        return thread

    return Text([enter(0), enter(1)])


def double_checked(*, published_first: bool = False, locked: bool = True) -> Text:
    """Double-checked locking: the object is made once, and nobody sees it half made."""

    def get() -> Thread:
        if (yield Load("pointer")) == 0:
            if locked:
                yield Lock("making")
            if (yield Load("pointer")) == 0:
                yield Rmw("made", lambda value: value + 1)
                stores = [Store("field", 42), Store("pointer", 1)]
                yield from reversed(stores) if published_first else stores
            if locked:
                yield Unlock("making")
        field = yield Load("field")
        assert field == 42, f"half made: field is {field}"

    def check(memory: Memory, results: Sequence[Any]) -> None:
        assert memory["made"] == 1, f"made {memory['made']} times"

    return Text([get, get], check=check)


def treiber(*, tagged: bool) -> Text:
    """Treiber's stack of nodes 1 and 2. One thread pops; the other pops both and pushes 1 again.
    ``tagged``: the top has a number that each change makes larger, against ABA.
    """
    tag = 16 if tagged else 0

    def pop() -> Thread:
        while True:
            top = yield Load("top")
            node = top % 16
            if node == 0:
                return 0
            below = yield Load(("next", node))
            if (yield Cas("top", top, top // 16 * 16 + tag + below)):
                return node

    def push(node: int) -> Thread:
        while True:
            top = yield Load("top")
            yield Store(("next", node), top % 16)
            if (yield Cas("top", top, top // 16 * 16 + tag + node)):
                return

    def one() -> Thread:
        return [(yield from pop())]

    def other() -> Thread:
        first = yield from pop()
        second = yield from pop()
        if first:
            yield from push(first)
        return [second]

    def check(memory: Memory, results: Sequence[Any]) -> None:
        nodes = [node for popped in results for node in popped if node]
        node = memory["top"] % 16
        while node and len(nodes) < 8:
            nodes.append(node)
            node = memory[("next", node)]
        assert sorted(nodes) == [1, 2], f"nodes {nodes}: one is there twice, or lost"

    return Text([one, other], initial={"top": 1, ("next", 1): 2, ("next", 2): 0}, check=check)
