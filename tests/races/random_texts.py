# SPDX-License-Identifier: GPL-2.0-or-later
"""Small random programs in the language of ucmmu.race.textbook, as Hypothesis draws them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from ucmmu.race.textbook import (
    Await,
    Cas,
    Fence,
    Kick,
    Load,
    Lock,
    Rmw,
    Store,
    Text,
    Thread,
    Unlock,
)

VARIABLES = st.sampled_from("xy")
WORDS = st.one_of(
    st.tuples(st.just("load"), VARIABLES),
    st.tuples(st.just("store"), VARIABLES),
    st.tuples(st.just("cas"), VARIABLES),
    st.tuples(st.just("copy"), VARIABLES),
    st.tuples(st.just("fence"), VARIABLES),
    st.tuples(st.just("lock"), VARIABLES),
    st.tuples(st.just("await"), VARIABLES),
    st.tuples(st.just("skip if 0"), VARIABLES),
)
Words = list[tuple[str, str]]
KICKS = st.one_of(
    st.tuples(st.just("kick"), VARIABLES),
    st.tuples(st.just("store"), VARIABLES),
    st.tuples(st.just("load"), VARIABLES),
    WORDS,
)
HANDLERS = st.lists(
    st.one_of(
        st.builds(Load, VARIABLES),
        st.builds(Rmw, st.sampled_from("xyz"), st.just(lambda value: value + 1)),
    ),
    max_size=2,
)


def _positive(value: int) -> bool:
    return value > 0


def _thread(words: Words) -> Callable[[], Thread]:
    def thread() -> Thread:
        seen: list[Any] = []
        held: list[str] = []
        skip = False
        for what, name in words:
            if skip:
                skip = False
            elif what == "load":
                seen.append((yield Load(name)))
            elif what == "store":
                yield Store(name, 1)
            elif what == "cas":
                seen.append((yield Cas(name, 0, 2)))
            elif what == "copy":
                value = yield Load(name)
                yield Store("y" if name == "x" else "x", value + 1)
            elif what == "kick":
                yield Kick("xy".index(name))
            elif what == "fence":
                yield Fence()
            elif what == "await":
                seen.append((yield Await(name, _positive)))
            elif what == "skip if 0":
                skip = (yield Load(name)) == 0
            elif name in held:
                held.remove(name)
                yield Unlock(name)
            else:
                held.append(name)
                yield Lock(name)
        for name in held:
            yield Unlock(name)
        return tuple(seen)

    return thread


def texts(threads: int, length: int) -> st.SearchStrategy[Text]:
    """Programs of so many threads, each of at most so many words; some deadlock."""
    words = st.lists(WORDS, min_size=1, max_size=length)
    return st.lists(words.map(_thread), min_size=threads, max_size=threads).map(Text)


def interrupted_texts(length: int) -> st.SearchStrategy[Text]:
    """Programs of two threads, which send each other interrupts."""
    words = st.lists(KICKS, min_size=1, max_size=length).map(_thread)
    return st.builds(
        lambda threads, handlers: Text(threads, handlers=handlers),
        st.lists(words, min_size=2, max_size=2),
        st.lists(HANDLERS, min_size=2, max_size=2),
    )
