# SPDX-License-Identifier: GPL-2.0-or-later
"""Which events a user wants, in words: ``--filter`` of the readers, ``--trace-filter`` of a run.

=============================== ==================================================================
word                            events that it keeps
=============================== ==================================================================
``event=NAME,...``              of these kinds; ``*`` stands for any characters: ``event=tlb_*``
``!event=NAME,...``             of all other kinds
``cpu=N,...``                   on these CPUs
``task=PID,...``                of these tasks; 0 is the idle task
``site=NAME,...``               that these kernel functions made
``address=A`` or ``A-B``        whose address (its field address, ip or start) is A, or from A up to
                                but not B; ``A+SIZE`` likewise; several with commas
``table=PFN,...``               of these page tables or frames: allocated, counted, freed, and each
                                entry in them
``function=NAME,...``           of instructions in these functions of the guest
``number=N`` or ``M-N``         with this number, or from M up to but not N; ``M-`` from M on
``instruction=N`` or ``M-N``    at these instruction counts of their CPU
``time=T`` or ``T-U``           at these virtual times: nanoseconds, or with us, ms or s
``faults=N-``                   from the Nth page fault on (of a run's ``--trace-filter`` only, as
                                the next)
``around=NAME:N,...``           up to N instructions before and after each event of these kinds, on
                                the same CPU
=============================== ==================================================================

An event is kept if all words keep it. Several words may stand in one text, with blanks between.
Numbers are decimal, or hexadecimal with 0x.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from ucmmu.exit_codes import ExitCode, Failure
from ucmmu.sizes import parse_size
from ucmmu.text import did_you_mean, printable, shortened

if TYPE_CHECKING:
    from mmu.trace.where import Around, From, Where

_U64_END: Final = 1 << 64
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|ms|s)?", re.ASCII)
_NANOSECONDS: Final = {None: 1, "ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
Range = tuple[int, int]
"""From the first on, up to but not the second."""


@dataclass(frozen=True)
class EventFilter:
    """What the words say: ``where`` each event by itself can be asked, and the guest ``functions``
    whose instructions' events are wanted (None: of all).
    """

    where: Where
    functions: frozenset[str] | None = None
    windows: tuple[From | Around, ...] = ()
    """Stretches of a run that are recorded."""


def parse_filter(
    words: Iterable[str], *, option: str = "--filter", recording: bool = False
) -> EventFilter:
    """The meaning of ``words``, each as one ``--filter`` had it; ``option`` is named in errors;
    ``recording`` allows what only a run can be asked. Raises Failure (USAGE).
    """
    from mmu.trace.where import ALL

    found = EventFilter(ALL)
    for text in words:
        for word in text.split():
            try:
                found = _with(found, word, recording)
            except ValueError as error:
                line = f"argument {option}: {printable(word)}: {error}"
                raise Failure(ExitCode.USAGE, line) from None
    return found


def _with(found: EventFilter, word: str, recording: bool) -> EventFilter:
    key, equals, text = word.partition("=")
    if not equals:
        raise ValueError("a filter is KEY=VALUE, as in event=page_fault")
    if key == "function":
        return replace(found, functions=_both(found.functions, frozenset(_words(text))))
    if key in _WINDOWS:
        if not recording:
            raise ValueError("is of `ucmmu run --trace-filter`: it chooses what is recorded")
        return replace(found, windows=(*found.windows, *_WINDOWS[key](text)))
    add = _KEYS.get(key)
    if add is None:
        keys = [*_KEYS, "function", *(_WINDOWS if recording else ())]
        hint = did_you_mean(key, keys)
        raise ValueError(f"no filter {key!r}: there are {', '.join(keys)}{hint}")
    return replace(found, where=add(found.where, text))


def _words(text: str) -> list[str]:
    words = [word for word in text.split(",") if word]
    if not words:
        raise ValueError("its value is missing")
    return words


def _both(old: frozenset[str] | None, new: frozenset[str]) -> frozenset[str]:
    both = new if not old else old & new
    if not both:
        raise ValueError("no event can be kept by this and the words before it")
    return both


def _whole(text: str, what: str, end: int = _U64_END) -> int:
    try:
        value = int(text, 16 if text[:2].lower() == "0x" else 10)
    except ValueError:
        raise ValueError(f"{text!r} is no {what}") from None
    if not 0 <= value < end:
        raise ValueError(f"{text!r} is no {what}: it must be from 0 to {end - 1:#x}")
    return value


def _kinds(text: str) -> frozenset[str]:
    from mmu.events import EVENT_ID

    kinds: set[str] = set()
    for word in _words(text):
        matching = [name for name in EVENT_ID if fnmatchcase(name, word)]
        if not matching:
            raise ValueError(f"no event {word!r}{did_you_mean(word, EVENT_ID)}")
        kinds.update(matching)
    return frozenset(kinds)


def _events(where: Where, text: str) -> Where:
    return replace(where, events=_both(where.events, _kinds(text)))


def _other_events(where: Where, text: str) -> Where:
    from mmu.events import EVENT_ID

    others = frozenset(EVENT_ID) - _kinds(text)
    return replace(where, events=_both(where.events, others))


def _numbers(text: str, what: str, end: int) -> frozenset[int]:
    return frozenset(_whole(word, what, end) for word in _words(text))


def _narrowed(old: frozenset[int], new: frozenset[int]) -> frozenset[int]:
    both = new if not old else old & new
    if not both:
        raise ValueError("no event can be kept by this and the words before it")
    return both


def _cpus(where: Where, text: str) -> Where:
    return replace(where, cpus=_narrowed(where.cpus, _numbers(text, "CPU", 256)))


def _tasks(where: Where, text: str) -> Where:
    return replace(where, tasks=_narrowed(where.tasks, _numbers(text, "PID", 1 << 32)))


def _tables(where: Where, text: str) -> Where:
    frames = _numbers(text, "frame number", 1 << 40)
    return replace(where, frames=_narrowed(where.frames, frames))


def _sites(where: Where, text: str) -> Where:
    return replace(where, sites=_both(where.sites, frozenset(_words(text))))


def _range(text: str, value: Callable[[str], int], end: int = _U64_END) -> Range:
    """``N``, ``M-N``, ``M-`` or ``-N``."""
    first, dash, last = text.partition("-")
    if not dash:
        return value(first), value(first) + 1
    begin = value(first) if first else 0
    stop = value(last) if last else end
    if begin >= stop:
        raise ValueError("the range is empty: its end is not behind its beginning")
    return begin, stop


def _address_range(text: str) -> Range:
    def address(word: str) -> int:
        return _whole(word, "address")

    begin, plus, size = text.partition("+")
    if plus:
        return address(begin), min(_U64_END, address(begin) + _size(size))
    return _range(text, address)


def _size(text: str) -> int:
    return _whole(text, "size") if text[:2].lower() == "0x" else parse_size(text)


def _addresses(where: Where, text: str) -> Where:
    new = [_address_range(word) for word in _words(text)]
    if where.addresses:
        new = [both for a in where.addresses for b in new if (both := _common(a, b)) is not None]
    if not new:
        raise ValueError("no event can be kept by this and the words before it")
    return replace(where, addresses=tuple(new))


def _common(a: Range, b: Range) -> Range | None:
    begin, end = max(a[0], b[0]), min(a[1], b[1])
    return (begin, end) if begin < end else None


def _narrow(old: Range, new: Range) -> Range:
    both = _common(old, new)
    if both is None:
        raise ValueError("no event can be kept by this and the words before it")
    return both


def _number(where: Where, text: str) -> Where:
    old = where.begin, _U64_END if where.end is None else where.end
    begin, end = _narrow(old, _range(text, lambda word: _whole(word, "event number")))
    return replace(where, begin=begin, end=None if end == _U64_END else end)


def _instructions(where: Where, text: str) -> Where:
    new = _range(text, lambda word: _whole(word, "instruction count"))
    return replace(where, instructions=_narrow(where.instructions or (0, _U64_END), new))


def _time(word: str) -> int:
    match = _TIME.fullmatch(word)
    if match is None:
        raise ValueError(f"{word!r} is no time: write nanoseconds, or 1.5ms, 20us, 2s")
    if not match[2]:
        return _whole(word, "time")
    time = float(match[1]) * _NANOSECONDS[match[2]]
    if time >= _U64_END:
        raise ValueError(f"{shortened(word, 40)!r} is no time: it must be below 2^64 ns")
    return int(time)


def _times(where: Where, text: str) -> Where:
    new = _range(text, _time)
    return replace(where, times=_narrow(where.times or (0, _U64_END), new))


def _from_fault(text: str) -> list[From]:
    from mmu.trace.where import From

    first, dash, last = text.partition("-")
    if not dash or last:
        raise ValueError("write faults=N-, from the Nth page fault on, as in faults=100-")
    number = _whole(first, "number of a page fault")
    if not number:
        raise ValueError("the first page fault is number 1")
    return [From(frozenset({"page_fault"}), number)]


def _around(text: str) -> list[Around]:
    from mmu.trace.where import Around

    found = []
    for word in _words(text):
        name, colon, count = word.partition(":")
        if not colon:
            raise ValueError("write around=NAME:N, as in around=pte_free:50")
        found.append(Around(_kinds(name), _whole(count, "number of instructions")))
    return found


_WINDOWS: Final[dict[str, Callable[[str], list[From] | list[Around]]]] = {
    "faults": _from_fault,
    "around": _around,
}
_KEYS: Final[dict[str, Callable[[Where, str], Where]]] = {
    "event": _events,
    "!event": _other_events,
    "cpu": _cpus,
    "task": _tasks,
    "site": _sites,
    "table": _tables,
    "address": _addresses,
    "number": _number,
    "instruction": _instructions,
    "time": _times,
}
KEYS: Final[Sequence[str]] = (*_KEYS, "function")
"""The keys that there are."""
