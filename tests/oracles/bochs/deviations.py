# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a result of ours and Bochs' may differ.

A CHOICE is left open by the architecture, and the two choose otherwise. A DEVIATION is one's
mistake, or a limit of Unicorn. A state that differs is excused only if it differs just as its entry
here says. Each has a test that it still occurs (tests/oracles/test_bochs.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mmu.units import U64
from mmu.x86.entries import X86_A, X86_ADDR_MASK, X86_P, entry_offset, is_leaf
from mmu.x86.registers import CR4_SMAP, RFLAGS_AC, is_canonical
from tests.oracles.bochs import layout
from tests.oracles.bochs.accesses import Quirk
from tests.oracles.bochs.states import KINDS, PAGE_FAULT, Result, State


@dataclass(frozen=True)
class Deviation:
    """One way to differ."""

    name: str
    limit: float
    """The largest share of random states, or kernels, that it may excuse."""
    reason: str
    quirk: Quirk | None = None
    """How our walk does the same."""
    legs: tuple[str, ...] = ()
    """What of ours has the quirk."""


UPPER_ACCESSED: Final = Deviation(
    "UPPER_ACCESSED",
    0.6,
    "CHOICE. An access that faults: we have set A in the entries that refer to tables, as the walk"
    " used them; Bochs sets A only once the access is allowed. SDM 4.8 sets A whenever an entry is"
    " used as part of linear-address translation, and says nothing of one that ends in a fault.",
)
IMPLICIT_AC: Final = Deviation(
    "IMPLICIT_AC",
    0.01,
    "DEVIATION of Bochs. SMAP takes no heed of RFLAGS.AC for implicit supervisor accesses, as those"
    " of descriptors (SDM 4.6.1). Bochs does.",
)
RMW_ASKED_AS_LOAD: Final = Deviation(
    "RMW_ASKED_AS_LOAD",
    0.05,
    "LIMIT of Unicorn, in fast. Unicorn asks for the load of a read-modify-write as for any load,"
    " and only if that faults it is told as the store's. So A may be set where only the store"
    " faults; and of two pages the one that cannot be read faults before one that cannot be"
    " written.",
    Quirk.RMW_ASKED_AS_LOAD,
    ("fast",),
)
SECOND_FIRST: Final = Deviation(
    "SECOND_FIRST",
    0.02,
    "CHOICE. In exact an access to two pages of which only the second faults leaves A and D of the"
    " first as they were; Bochs, and fast, set them. The architecture has no order of the two.",
    Quirk.SECOND_FIRST,
    ("exact",),
)
CANONICAL_LATE: Final = Deviation(
    "CANONICAL_LATE",
    0.005,
    "LIMIT of Unicorn. An access whose second page is not canonical: the first page is translated,"
    " with its A and D or its page fault, before. Whether an operand is canonical comes before"
    " paging (SDM vol. 1 3.3.7.1).",
    Quirk.CANONICAL_LATE,
    ("fast", "exact"),
)
JUMP_ARRIVES: Final = Deviation(
    "JUMP_ARRIVES",
    0.005,
    "LIMIT of Unicorn. A near jump to an address that is not canonical is #GP of the jump (SDM vol."
    " 2 JMP). Unicorn jumps, and raises it when it fetches there: RIP is the target.",
    Quirk.JUMP_ARRIVES,
    ("fast", "exact"),
)
ALL: Final = (
    UPPER_ACCESSED,
    IMPLICIT_AC,
    RMW_ASKED_AS_LOAD,
    SECOND_FIRST,
    CANONICAL_LATE,
    JUMP_ARRIVES,
)


def combinations(leg: str) -> Iterator[tuple[Deviation, ...]]:
    """The deviations that quirks of this leg make, few at a time first, none first of all."""
    known = [deviation for deviation in ALL if deviation.quirk and leg in deviation.legs]
    for size in range(len(known) + 1):
        yield from itertools.combinations(known, size)


def quirks_of(chosen: tuple[Deviation, ...]) -> frozenset[Quirk]:
    """The quirks that make these."""
    return frozenset(deviation.quirk for deviation in chosen if deviation.quirk)


def heeds_ac(state: State) -> bool:
    """Whether Bochs may let an implicit access pass that SMAP forbids."""
    return bool(KINDS[state.kind].implicit and state.cr4 & CR4_SMAP and state.rflags & RFLAGS_AC)


def as_bochs_heeds_it(state: State) -> State:
    """The state in which the architecture does what Bochs does with AC."""
    return state._replace(cr4=state.cr4 & ~CR4_SMAP)


def referring_entries(state: State) -> set[int]:
    """Where the entries lie that refer to tables on the way to the pages of the instruction."""
    words = dict(state.words)
    found: set[int] = set()
    for step in KINDS[state.kind].steps:
        va = state.registers[step.register] + step.offset & U64
        for address in {va, va + step.size - 1 & U64}:
            if is_canonical(address):
                found |= _referring(words, state.cr3 & X86_ADDR_MASK, address)
    return found


def _referring(words: dict[int, int], table: int, va: int) -> set[int]:
    found = set()
    for level in (4, 3, 2):
        pa = table + entry_offset(va, level)
        entry = words.get(pa, 0)
        if not entry & X86_P or is_leaf(entry, level):
            break
        found.add(pa)
        table = entry & X86_ADDR_MASK & (1 << layout.MAXPHYADDR) - 1
    return found


def with_upper_accessed(state: State, bochs: Result, ours: Result) -> Result:
    """Bochs' result with A set where only the architecture's choice keeps it from ours."""
    if bochs.vector != PAGE_FAULT:
        return bochs
    pairs = list(zip(bochs.words, ours.words, strict=True))
    if any(mine not in (its, its | X86_A) for its, mine in pairs):
        return bochs
    referring = referring_entries(state)
    words = tuple(
        [
            mine if pa in referring else its
            for (pa, _), (its, mine) in zip(state.words, pairs, strict=True)
        ]
    )
    return bochs._replace(words=words)
