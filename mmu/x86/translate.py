# SPDX-License-Identifier: GPL-2.0-or-later
"""Translate an access, and forecast the answer for a consumer that refills a cache of its own.

The life of an access in ``exact``::

    first-level TLB --hit, rights allow, D if a write--> done
        | miss              + else --> drop the page's entries, walk from CR3
    second-level TLB --hit, likewise--> enter it into the first level, done
        | miss
    paging-structure caches --deepest hit--> walk from there
        | miss                  + fails --> drop the entries used, walk from CR3
    walk from CR3 --> enter caches, second level, first level, done
        | fails
    page fault: drop what is cached for the address; CR2, error code

Two choices among those the SDM leaves open. A TLB entry that does not allow the access never makes the
fault itself: the tables are walked again first, as AMD's processors do. And a walk that a
paging-structure cache shortened, if it ends in no translation, is made again from CR3, as if the cache entry
had just been evicted. Together: every fault is justified by the tables as they are.

In ``fast`` there is no TLB: each access walks. native/x86/unit.c is the same in C.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mmu.events import COUNTER_ID, EVENT_ID
from mmu.x86.caches import psc_drop_address, psc_fill, psc_start
from mmu.x86.entries import SIZE_NAMES, level_size, vpn_of
from mmu.x86.faults import describe_error_code
from mmu.x86.registers import is_canonical
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    TLB_DIRTY,
    TLB_DTLB_STORE,
    TLB_GLOBAL,
    TLB_RW,
    TLB_US,
    TLB_VALID,
    TLB_XD,
    Hit,
    NewEntry,
    first_level,
    second_level,
    tlb_drop_page,
    tlb_fill,
    tlb_find,
    tlb_touch,
)
from mmu.x86.walk import (
    PERM_R,
    PERM_W,
    PERM_X,
    Access,
    Outcome,
    Walk,
    WalkMode,
    WalkStart,
    allows,
    mmu_walk,
    permissions,
    start_at_cr3,
    walk_from,
)

_TLB_HIT: Final = EVENT_ID["tlb_hit"]
_TLB_MISS: Final = EVENT_ID["tlb_miss"]
_WALK_CACHE_HIT: Final = EVENT_ID["walk_cache_hit"]
_PAGE_FAULT: Final = EVENT_ID["page_fault"]
_WALK_CACHE_HITS: Final = COUNTER_ID["walk_cache_hits"]
_PAGE_FAULTS_HW: Final = COUNTER_ID["page_faults_hw"]

# By Access: reads, writes, fetches.
_TRANSLATED: Final = [COUNTER_ID[name] for name in ("dTLB-loads", "dTLB-stores", "iTLB-loads")]
_MISSES: Final = ("dtlb_load_misses", "dtlb_store_misses", "itlb_misses")
_STLB_HIT: Final = [COUNTER_ID[f"{name}.stlb_hit"] for name in _MISSES]
_CAUSES_A_WALK: Final = [COUNTER_ID[f"{name}.miss_causes_a_walk"] for name in _MISSES]
_WALK_COMPLETED: Final = [COUNTER_ID[f"{name}.walk_completed"] for name in _MISSES]

_DATA_PERMS: Final = PERM_R | PERM_W


class Translation(NamedTuple):
    """The answer to one access.

    With Outcome.OK: ``pa`` of the address asked for, ``level`` of the page (1 4 KiB, 2 2 MiB, 3 1 GiB), and
    ``perms``, PERM_* that later accesses may rely on without asking again (W only once D is set).
    With Outcome.PAGE_FAULT: ``error_code``.
    """

    pa: int
    perms: int
    level: int
    result: Outcome
    error_code: int

    @property
    def ok(self) -> bool:
        """Whether there is a translation."""
        return self.result == Outcome.OK

    def __str__(self) -> str:
        if self.result == Outcome.PAGE_FAULT:
            return f"#PF, error code {self.error_code:#x} ({describe_error_code(self.error_code)})"
        if not self.ok:
            return self.result.name.lower().replace("_", " ")
        rwx = "".join(letter if self.perms >> bit & 1 else "-" for bit, letter in enumerate("rwx"))
        return f"{self.pa:#x} {rwx} in a {SIZE_NAMES[self.level]} page"


def _no_translation(result: Outcome, error_code: int = 0) -> Translation:
    return Translation(0, 0, 0, result, error_code)


def _if_dirty(perms: int, dirty: bool) -> int:
    """What is left of perms for a cache that does not come back to have D set."""
    return perms if dirty else perms & ~PERM_W


def _answer_of_walk(u: Unit, walk: Walk, user: bool) -> Translation:
    if not walk.ok:
        return _no_translation(walk.result, walk.error_code)
    perms = _if_dirty(permissions(u, walk.rights, walk.xd, user), walk.dirty)
    return Translation(walk.pa, perms, walk.level or 1, Outcome.OK, 0)


def _entry_perms(u: Unit, entry: Any, user: bool) -> int:
    flags = entry.flags
    perms = permissions(u, flags & (TLB_RW | TLB_US), bool(flags & TLB_XD), user)
    return _if_dirty(perms, bool(flags & TLB_DIRTY))


def _usable(u: Unit, entry: Any, access: int, user: bool) -> bool:
    """May the access use the entry as it stands? A write with D clear may not: a walk must set D first."""
    return allows(_entry_perms(u, entry, user), access)


def _answer_of_entry(u: Unit, entry: Any, va: int, user: bool) -> Translation:
    pa = entry.frame | va & (level_size(entry.level) - 1)
    return Translation(pa, _entry_perms(u, entry, user), entry.page_level, Outcome.OK, 0)


def _hand_out(u: Unit, answer: Translation) -> Translation:
    """An answer leaves the house: remember whether a consumer may hold parts of a large page."""
    if answer.level > 1:
        u.c.large = 1
    return answer


def mmu_translate(u: Unit, va: int, access: int, user: bool) -> Translation:
    """Translate one access as the processor would; a fault sets CR2 and is counted."""
    if not is_canonical(va):
        return _no_translation(Outcome.GENERAL_PROTECTION)
    if u.c.exact and u.paging:
        return _hand_out(u, _translate_exact(u, va, access, user))
    walk = mmu_walk(u, va, access, user, WalkMode.HARDWARE)
    if walk.result == Outcome.PAGE_FAULT:
        mmu_page_fault(u, va, walk.error_code)
    return _hand_out(u, _answer_of_walk(u, walk, user))


def _translate_exact(u: Unit, va: int, access: int, user: bool) -> Translation:
    u.count(_TRANSLATED[access])
    first = tlb_find(u, va, first_level(access))
    hit = first or tlb_find(u, va, second_level(access))
    if hit is None:
        return _translate_miss(u, va, access, user, from_cr3=False)
    if not _usable(u, hit.entry, access, user):
        tlb_drop_page(u, va)
        return _translate_miss(u, va, access, user, from_cr3=True)
    entry = hit.entry
    tlb_touch(u, entry)
    u.emit(_TLB_HIT, va, access, hit.array)
    answer = _answer_of_entry(u, entry, va, user)
    if first is None:
        u.count(_STLB_HIT[access])
        tlb_fill(u, first_level(access), va, NewEntry.of(entry))
    return answer


def _translate_miss(u: Unit, va: int, access: int, user: bool, *, from_cr3: bool) -> Translation:
    """No usable entry: walk, and enter what the walk found, outermost cache first."""
    u.count(_CAUSES_A_WALK[access])
    u.emit(_TLB_MISS, va, access)
    walk, start = _walk_for_miss(u, va, access, user, from_cr3)
    if walk.ok:
        u.count(_WALK_COMPLETED[access])
        psc_fill(u, walk, start)
        new = _entry_of_walk(u, walk, start.table_gen)
        tlb_fill(u, second_level(access), va, new)
        tlb_fill(u, first_level(access), va, new)
    elif walk.result == Outcome.PAGE_FAULT:
        mmu_page_fault(u, va, walk.error_code)
    return _answer_of_walk(u, walk, user)


def _walk_for_miss(u: Unit, va: int, access: int, user: bool, from_cr3: bool) -> tuple[Walk, WalkStart]:
    """The walk that counts, and where it began."""
    start, cached = (start_at_cr3(u), None) if from_cr3 else psc_start(u, va)
    if cached is not None:
        u.count(_WALK_CACHE_HITS)
        tlb_touch(u, cached)
        u.emit(_WALK_CACHE_HIT, va, cached.level)
        walk = walk_from(u, va, access, user, WalkMode.HARDWARE, start)
        if walk.ok:
            return walk, start
        psc_drop_address(u, va, u.pcid)
        start = start_at_cr3(u)
    return walk_from(u, va, access, user, WalkMode.HARDWARE, start), start


def _entry_of_walk(u: Unit, walk: Walk, table_gen: int) -> NewEntry:
    return NewEntry(
        vpn=vpn_of(walk.va, walk.level),
        frame=walk.pa & -level_size(walk.level),
        table_gen=table_gen,
        pcid=u.pcid,
        flags=TLB_VALID
        | walk.rights
        | (TLB_XD if walk.xd else 0)
        | (TLB_DIRTY if walk.dirty else 0)
        | (TLB_GLOBAL if walk.is_global else 0),
        level=walk.level,
    )


def mmu_page_fault(u: Unit, va: int, error_code: int) -> None:
    """Recognise a page fault (SDM 4.7), and forget what was cached for va (SDM 4.10.4.1)."""
    tlb_drop_page(u, va)
    psc_drop_address(u, va, u.pcid)
    u.c.cr2 = va
    u.count(_PAGE_FAULTS_HW)
    u.emit(_PAGE_FAULT, va, error_code)


def mmu_resident(u: Unit, va: int, access: int) -> Hit | None:
    """The first- or second-level entry that an access to va would find first, whatever its rights."""
    return tlb_find(u, va, first_level(access)) or tlb_find(u, va, second_level(access))


def _forecast(u: Unit, va: int, access: int, user: bool) -> tuple[Translation, bool]:
    """What mmu_translate() would answer now; and whether it would go on doing so until told otherwise.

    It would if the answer rests on a resident entry, whose end is announced, or on a walk with no
    possibly stale cache entry in it.
    """
    hit = mmu_resident(u, va, access)
    if hit is not None and _usable(u, hit.entry, access, user):
        return _answer_of_entry(u, hit.entry, va, user), True
    start, cached = (start_at_cr3(u), None) if hit is not None else psc_start(u, va)
    walk = walk_from(u, va, access, user, WalkMode.PROBE, start)
    if not walk.ok and cached is not None:
        start = start_at_cr3(u)
        walk = walk_from(u, va, access, user, WalkMode.PROBE, start)
    return _answer_of_walk(u, walk, user), start.table_gen == u.c.table_gen


def mmu_refill(u: Unit, va: int, access: int, user: bool) -> Translation:
    """The answer for a consumer that keeps it (Unicorn's soft TLB), at times of its own choosing.

    No counter, no event, no change to the model. Not in exact, it sets A and D as the access would. A
    fault is only told: the consumer calls mmu_translate() to have it happen.
    """
    if not is_canonical(va):
        return _no_translation(Outcome.GENERAL_PROTECTION)
    if u.c.exact and u.paging:
        return _hand_out(u, _refill_exact(u, va, access, user))
    walk = mmu_walk(u, va, access, user, WalkMode.QUIET)
    return _hand_out(u, _answer_of_walk(u, walk, user))


def _own_perms(u: Unit, access: int) -> int:
    """PERM_* that the first-level arrays of an access answer for."""
    if access == Access.FETCH:
        return PERM_X
    if not u.c.tlb.split:
        return _DATA_PERMS
    return PERM_W if first_level(access) == TLB_DTLB_STORE else PERM_R


def _refill_exact(u: Unit, va: int, access: int, user: bool) -> Translation:
    """Data and instruction side, or loads, stores and fetches, may hold different translations of one page.

    The answer is that of the side asked for; another side's rights join it only where it would go on
    saying the same. A write's own D is set by the access that follows.
    """
    told = _own_perms(u, access)
    answer, _ = _forecast(u, va, access, user)
    if not answer.ok:
        return answer
    perms = (answer.perms | (PERM_W if access == Access.WRITE else 0)) & told
    for side in (Access.READ, Access.WRITE, Access.FETCH):
        if told >> side & 1:
            continue
        other, lasting = _forecast(u, va, side, user)
        if other.ok and other.pa == answer.pa and lasting:
            perms |= other.perms & _own_perms(u, side)
        told |= _own_perms(u, side)
    return answer._replace(perms=perms)
