# SPDX-License-Identifier: GPL-2.0-or-later
"""Translate an access, and forecast the answer for a consumer that refills a cache of its own.

The life of an access in ``exact``::

    first-level TLB --hit, rights allow, D if a write--> done
        | miss              + rights do not allow it --> Intel: page fault
        |                   + else --> drop the page's entries, walk from CR3
    second-level TLB --hit, likewise--> enter it into the first level, done
        | miss
    paging-structure caches --deepest hit--> walk from there
        | miss                  + fails --> Intel: page fault
        |                       + fails --> AMD: drop the entries used, walk from CR3
    walk from CR3 --> enter caches, second level, first level, done
        | fails
    page fault: drop what is cached for the address; CR2, error code

Vendors differ in what fails. AMD's processors walk the tables again before they fault: an entry
that does not allow the access is dropped first, and so is a paging-structure cache entry from which
the walk ended in no translation; every fault is justified by the tables as they are. Intel's use
what they have cached: a stale entry can cause a fault that the tables do not justify, once, since
the fault drops it (SDM 4.10.4.3: "spurious"). A write that only lacks D is no fault: either walks
from CR3 to set it.

In ``fast`` there is no TLB: each access walks. native/x86/translate.c is the same in C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mmu._native import ffi, lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.twin import CPointer
from mmu.x86.caches import psc_drop_address, psc_fill, psc_start
from mmu.x86.entries import SIZE_NAMES, X86_RW, X86_US, level_size, vpn_of
from mmu.x86.faults import describe_error_code
from mmu.x86.registers import MemoryType
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    TLB_DIRTY,
    TLB_DTLB_STORE,
    TLB_GLOBAL,
    TLB_VALID,
    Hit,
    NewEntry,
    first_level,
    flags_of,
    number_of,
    rights_of,
    second_level,
    tlb_drop_page,
    tlb_fill,
    tlb_find,
    tlb_touch,
)
from mmu.x86.walk import (
    PERM_R,
    PERM_SHSTK,
    PERM_W,
    PERM_X,
    Access,
    Outcome,
    Rights,
    Walk,
    WalkMode,
    WalkStart,
    allows,
    error_code_of,
    memory_type,
    mmu_walk,
    permissions,
    start_at_cr3,
    walk_from,
    why_denied,
)

if TYPE_CHECKING:
    from mmu._native import struct_tlb_entry, struct_translation

_TLB_HIT: Final = EVENT_ID["tlb_hit"]
_TLB_DENY: Final = EVENT_ID["tlb_deny"]
_TLB_MISS: Final = EVENT_ID["tlb_miss"]
_WALK_CACHE_HIT: Final = EVENT_ID["walk_cache_hit"]
_PAGE_FAULT: Final = EVENT_ID["page_fault"]
_WALK_CACHE_HITS: Final = COUNTER_ID["walk_cache_hits"]
_PAGE_FAULTS_HW: Final = COUNTER_ID["page_faults_hw"]

# By Access; shadow-stack accesses are loads and stores, RMW is a load.
_LIKE: Final = (0, 1, 2, 0, 1, 0)
_MISSES: Final = ("dtlb_load_misses", "dtlb_store_misses", "itlb_misses")
_TRANSLATED: Final = [
    COUNTER_ID[("dTLB-loads", "dTLB-stores", "iTLB-loads")[kind]] for kind in _LIKE
]
_STLB_HIT: Final = [COUNTER_ID[f"{_MISSES[kind]}.stlb_hit"] for kind in _LIKE]
_CAUSES_A_WALK: Final = [COUNTER_ID[f"{_MISSES[kind]}.miss_causes_a_walk"] for kind in _LIKE]
_WALK_COMPLETED: Final = [
    [COUNTER_ID[f"{_MISSES[kind]}.walk_completed{size}"] for size in ("", "_4k", "_2m_4m", "_1g")]
    for kind in _LIKE
]
"""By Access: all sizes, then by level of the leaf."""

_LOAD_PERMS: Final = PERM_R | 1 << Access.SHSTK_READ
_STORE_PERMS: Final = PERM_W | 1 << Access.SHSTK_WRITE


_OUTCOMES: Final = {int(outcome): outcome for outcome in Outcome}
_MEMORY_TYPES: Final = {int(kind): kind for kind in MemoryType}


class Translation(NamedTuple):
    """The answer to one access.

    With Outcome.OK: ``pa`` of the address asked for, ``level`` of the page (1 4 KiB, 2 2 MiB, 3 1
    GiB), and ``perms``, PERM_* that later accesses may rely on without asking again (W only once D
    is set), and ``memory_type``, what the leaf's PAT, PCD and PWT choose in IA32_PAT (MTRRs are not
    looked at). With Outcome.PAGE_FAULT: ``error_code``.
    """

    pa: int
    perms: int
    level: int
    result: Outcome
    error_code: int
    memory_type: MemoryType = MemoryType.UC

    @classmethod
    def from_c(cls, c: struct_translation) -> Translation:
        """The answer that a ``struct translation`` holds."""
        result, memory_type = _OUTCOMES[c.result], _MEMORY_TYPES[c.memory_type]
        return cls(c.pa, c.perms, c.level, result, c.error_code, memory_type)

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


def _rights_of_walk(walk: Walk) -> Rights:
    return Rights(
        bool(walk.rights & X86_RW),
        bool(walk.rights & X86_US),
        walk.xd,
        walk.shadow_stack,
        walk.pkey,
    )


def answer_of_walk(u: Unit, walk: Walk, privilege: int) -> Translation:
    """What an access that finds no TLB entry gets from this walk; changes nothing."""
    if not walk.ok:
        return _no_translation(walk.result, walk.error_code)
    if not walk.level:  # paging is off: nothing forbids, nothing says a type
        return Translation(walk.pa, PERM_R | PERM_W | PERM_X | PERM_SHSTK, 1, Outcome.OK, 0)
    perms = _if_dirty(permissions(u, _rights_of_walk(walk), privilege), walk.dirty)
    return Translation(walk.pa, perms, walk.level, Outcome.OK, 0, memory_type(u, walk.pat_index))


def _entry_perms(u: Unit, entry: struct_tlb_entry, privilege: int) -> int:
    return _if_dirty(permissions(u, rights_of(entry), privilege), bool(entry.flags & TLB_DIRTY))


def _usable(u: Unit, entry: struct_tlb_entry, access: int, privilege: int) -> bool:
    """May the access use the entry as it stands? A write with D clear may not: a walk must set D
    first.
    """
    return allows(_entry_perms(u, entry, privilege), access)


def _fault_of_entry(u: Unit, entry: struct_tlb_entry, access: int, privilege: int) -> int:
    """The error code of the fault that an entry which is not usable makes by itself, or 0."""
    rights = rights_of(entry)
    if u.amd or allows(permissions(u, rights, privilege), access):
        return 0
    return error_code_of(u, access, privilege, why_denied(u, rights, access, privilege))


def _must_retry(u: Unit, walk: Walk) -> bool:
    """Whether a walk that began at a paging-structure cache, and failed, is repeated from CR3."""
    return u.amd or walk.result != Outcome.PAGE_FAULT


def _answer_of_entry(u: Unit, entry: struct_tlb_entry, va: int, privilege: int) -> Translation:
    pa = entry.frame | va & (level_size(entry.level) - 1)
    perms = _entry_perms(u, entry, privilege)
    return Translation(pa, perms, entry.page_level, Outcome.OK, 0, memory_type(u, entry.pat))


def _hand_out(u: Unit, answer: Translation) -> Translation:
    """Remember, of a translation that is returned, whether it may be a part of a large page."""
    if answer.level > 1:
        u.c.large = 1
    return answer


def mmu_translate(u: Unit, va: int, access: int, privilege: int) -> Translation:
    """Translate one access as the processor would; a fault sets CR2 and is counted."""
    if not u.canonical(va):
        return _no_translation(Outcome.GENERAL_PROTECTION)
    if u.c.exact and u.paging:
        return _hand_out(u, _translate_exact(u, va, access, privilege))
    walk = mmu_walk(u, va, access, privilege, WalkMode.HARDWARE)
    if walk.result == Outcome.PAGE_FAULT:
        mmu_page_fault(u, va, walk.error_code)
    return _hand_out(u, answer_of_walk(u, walk, privilege))


def _translate_exact(u: Unit, va: int, access: int, privilege: int) -> Translation:
    u.count(_TRANSLATED[access])
    first = tlb_find(u, va, first_level(access))
    hit = first or tlb_find(u, va, second_level(access))
    if hit is None:
        return _translate_miss(u, va, access, privilege, from_cr3=False)
    if not _usable(u, hit.entry, access, privilege):
        if code := _fault_of_entry(u, hit.entry, access, privilege):
            u.emit(_TLB_DENY, va, access, hit.array, number_of(u, hit.entry))
            mmu_page_fault(u, va, code)
            return _no_translation(Outcome.PAGE_FAULT, code)
        tlb_drop_page(u, va)
        return _translate_miss(u, va, access, privilege, from_cr3=True)
    entry = hit.entry
    tlb_touch(u, entry)
    u.emit(_TLB_HIT, va, access, hit.array, number_of(u, entry))
    answer = _answer_of_entry(u, entry, va, privilege)
    if first is None:
        u.count(_STLB_HIT[access])
        tlb_fill(u, first_level(access), va, NewEntry.of(entry))
        if u.c.check:
            _tell_copied(u, va, access, entry)
    return answer


def _tell_copied(u: Unit, va: int, access: int, source: struct_tlb_entry) -> None:
    """The checker follows an entry from the second level into the first."""
    copy = tlb_find(u, va, first_level(access))
    if copy is not None:
        lib.check_copied(u.c, number_of(u, copy.entry), number_of(u, source))


def _translate_miss(
    u: Unit, va: int, access: int, privilege: int, *, from_cr3: bool
) -> Translation:
    """No usable entry: walk, and enter what the walk found, outermost cache first."""
    u.count(_CAUSES_A_WALK[access])
    u.emit(_TLB_MISS, va, access)
    walk, start = _walk_for_miss(u, va, access, privilege, from_cr3)
    if walk.ok:
        u.count(_WALK_COMPLETED[access][0])
        u.count(_WALK_COMPLETED[access][walk.level])
        psc_fill(u, walk, start)
        new = _entry_of_walk(u, walk, start.table_gen)
        tlb_fill(u, second_level(access), va, new)
        tlb_fill(u, first_level(access), va, new)
    elif walk.result == Outcome.PAGE_FAULT:
        mmu_page_fault(u, va, walk.error_code)
    return answer_of_walk(u, walk, privilege)


def _walk_for_miss(
    u: Unit, va: int, access: int, privilege: int, from_cr3: bool
) -> tuple[Walk, WalkStart]:
    """The walk that counts, and where it began."""
    start, cached = (start_at_cr3(u), None) if from_cr3 else psc_start(u, va)
    if cached is not None:
        u.count(_WALK_CACHE_HITS)
        tlb_touch(u, cached)
        u.emit(_WALK_CACHE_HIT, va, cached.level, cached.frame, number_of(u, cached))
        walk = walk_from(u, va, access, privilege, WalkMode.HARDWARE, start)
        if walk.ok or not _must_retry(u, walk):
            return walk, start
        psc_drop_address(u, va, u.pcid)
        start = start_at_cr3(u)
    return walk_from(u, va, access, privilege, WalkMode.HARDWARE, start), start


def _entry_of_walk(u: Unit, walk: Walk, table_gen: int) -> NewEntry:
    return NewEntry(
        vpn=vpn_of(walk.va, walk.level),
        frame=walk.pa & -level_size(walk.level),
        table_gen=table_gen,
        pcid=u.pcid,
        flags=TLB_VALID
        | flags_of(_rights_of_walk(walk))
        | (TLB_DIRTY if walk.dirty else 0)
        | (TLB_GLOBAL if walk.is_global else 0),
        level=walk.level,
        pkey=walk.pkey,
        pat=walk.pat_index,
    )


def mmu_page_fault(u: Unit, va: int, error_code: int) -> None:
    """Recognise a page fault (SDM 4.7), and forget what was cached for va (SDM 4.10.4.1)."""
    u.c.cr2 = va
    u.count(_PAGE_FAULTS_HW)
    u.emit(_PAGE_FAULT, va, error_code)
    tlb_drop_page(u, va)
    psc_drop_address(u, va, u.pcid)


def mmu_resident(u: Unit, va: int, access: int) -> CPointer | None:
    """The ``struct tlb_entry *`` of the first- or second-level entry that an access to va would
    find first, whatever its rights. Changes nothing.
    """
    hit = _resident(u, va, access)
    return None if hit is None else CPointer(ffi.addressof(hit.entry))


def _resident(u: Unit, va: int, access: int) -> Hit | None:
    return tlb_find(u, va, first_level(access)) or tlb_find(u, va, second_level(access))


def _forecast(u: Unit, va: int, access: int, privilege: int) -> tuple[Translation, bool]:
    """What mmu_translate() would answer now; and whether it would go on doing so until told
    otherwise.

    It would if the answer rests on a resident entry, whose end is announced, or on a walk with no
    possibly stale cache entry in it.
    """
    hit = _resident(u, va, access)
    if hit is not None and _usable(u, hit.entry, access, privilege):
        return _answer_of_entry(u, hit.entry, va, privilege), True
    if hit is not None and (code := _fault_of_entry(u, hit.entry, access, privilege)):
        return _no_translation(Outcome.PAGE_FAULT, code), True
    start, cached = (start_at_cr3(u), None) if hit is not None else psc_start(u, va)
    walk = walk_from(u, va, access, privilege, WalkMode.PROBE, start)
    if not walk.ok and cached is not None and _must_retry(u, walk):
        start = start_at_cr3(u)
        walk = walk_from(u, va, access, privilege, WalkMode.PROBE, start)
    return answer_of_walk(u, walk, privilege), start.table_gen == u.c.table_gen


def mmu_refill(u: Unit, va: int, access: int, privilege: int) -> Translation:
    """The answer for a consumer that keeps it (Unicorn's soft TLB), at times of its own choosing.

    No counter, no event, no change to the model. Not in exact, it sets A and D as the access would.
    A fault is only told: the consumer calls mmu_translate() to have it happen.
    """
    if not u.canonical(va):
        return _no_translation(Outcome.GENERAL_PROTECTION)
    if u.c.exact and u.paging:
        return _hand_out(u, _refill_exact(u, va, access, privilege))
    walk = mmu_walk(u, va, access, privilege, WalkMode.QUIET)
    return _hand_out(u, answer_of_walk(u, walk, privilege))


def _own_perms(u: Unit, access: int) -> int:
    """PERM_* that the first-level arrays of an access answer for."""
    if access == Access.FETCH:
        return PERM_X
    if not u.c.tlb.split:
        return _LOAD_PERMS | _STORE_PERMS
    return _STORE_PERMS if first_level(access) == TLB_DTLB_STORE else _LOAD_PERMS


def _refill_exact(u: Unit, va: int, access: int, privilege: int) -> Translation:
    """Data and instruction side, or loads, stores and fetches, may hold different translations of
    one page.

    The answer is that of the side asked for; another side's rights join it only where it would go
    on saying the same. A write's own D is set by the access that follows.
    """
    told = _own_perms(u, access)
    answer, _ = _forecast(u, va, access, privilege)
    if not answer.ok:
        return answer
    perms = (answer.perms | (PERM_W if access == Access.WRITE else 0)) & told
    for side in (Access.READ, Access.WRITE, Access.FETCH):
        if told >> side & 1:
            continue
        other, lasting = _forecast(u, va, side, privilege)
        if other.ok and other.pa == answer.pa and lasting:
            perms |= other.perms & _own_perms(u, side)
        told |= _own_perms(u, side)
    return answer._replace(perms=perms)
