# SPDX-License-Identifier: GPL-2.0-or-later
"""The page walk of 4-level paging: from a linear address and CR3 to a page, or to a fault (SDM 4.5).

Rights are not judged on the way. The walk ANDs R/W and U/S of all levels and ORs XD (SDM 4.6); an entry
that is not present, or has a reserved bit set, ends it; and only where it reaches a leaf are the
combined rights held against the access. So a missing PTE under a forbidding PDE is a fault with P = 0.

A of a table-referencing entry is set when the walk uses it, even if a lower level then faults; A and D
of the leaf only if nothing faults (SDM 4.8 leaves the first open).

native/x86/walk.c is the same walk in C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.memory import Memory
from mmu.x86.entries import (
    LEVEL_NAMES,
    SIZE_NAMES,
    TOP_LEVEL,
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_G,
    X86_P,
    X86_RW,
    X86_US,
    describe_entry,
    entry_offset,
    is_leaf,
    level_size,
    reserved_bits,
)
from mmu.x86.faults import PF_P, PF_RSVD, describe_error_code, error_code, fetches_are_told
from mmu.x86.registers import (
    CR0_WP,
    CR4_LA57,
    CR4_PGE,
    CR4_SMAP,
    CR4_SMEP,
    RFLAGS_AC,
    is_canonical,
)
from mmu.x86.state import Unit

_WALK_ENTRY: Final = EVENT_ID["walk_entry"]
_WALK_SET_AD: Final = EVENT_ID["walk_set_ad"]
_WALK_DONE: Final = EVENT_ID["walk_done"]
_PAGE_WALKER_LOADS: Final = COUNTER_ID["page_walker_loads"]
_PG_TABLE: Final[int] = lib.PG_table

PERM_R: Final = 1
PERM_W: Final = 2
PERM_X: Final = 4


class Access(IntEnum):
    """What an access does; also its bit number among PERM_R, PERM_W, PERM_X."""

    READ = 0
    WRITE = 1
    FETCH = 2


class WalkMode(IntEnum):
    """What a walk may do to the tables.

    PROBE only looks. QUIET sets A and D as the processor does, HARDWARE too, and counts and emits events.
    """

    PROBE = 0
    QUIET = 1
    HARDWARE = 2


class Outcome(IntEnum):
    """What a translation, or an attempt at one, ended in; an exception has its vector's number."""

    OK = 0
    GENERAL_PROTECTION = 13
    PAGE_FAULT = 14
    BAD_TABLE = 64
    """An entry puts a paging structure outside guest RAM; x86 does not say what happens then."""


@dataclass(slots=True)
class Walk:
    """One page walk, step by step.

    ``entry`` and ``entry_pa`` are indexed by level (4 PML4E, 3 PDPTE, 2 PDE, 1 PTE): the entry as the walk
    left it, and where it lies, guest-physical; 0 where the walk did not come. ``level`` is where it
    ended, ``top_level`` where it began (below 4 after a paging-structure cache hit). ``pa`` (of va
    itself), ``rights`` (X86_RW | X86_US), ``xd``, ``dirty`` and ``is_global`` hold for Outcome.OK only,
    ``error_code`` for Outcome.PAGE_FAULT.
    """

    va: int
    top_level: int = TOP_LEVEL
    level: int = 0
    result: Outcome = Outcome.OK
    error_code: int = 0
    pa: int = 0
    rights: int = 0
    xd: bool = False
    dirty: bool = False
    is_global: bool = False
    entry: list[int] = field(default_factory=lambda: [0] * 5)
    entry_pa: list[int] = field(default_factory=lambda: [0] * 5)

    @classmethod
    def from_c(cls, w: Any) -> Walk:
        """The walk that a ``struct walk`` tells."""
        return cls(
            va=w.va,
            top_level=w.top_level,
            level=w.level,
            result=Outcome(w.result),
            error_code=w.error_code,
            pa=w.pa,
            rights=w.rights,
            xd=bool(w.xd),
            dirty=bool(w.dirty),
            is_global=bool(getattr(w, "global")),
            entry=list(w.entry),
            entry_pa=list(w.entry_pa),
        )

    @property
    def ok(self) -> bool:
        """Whether the walk ended in a translation."""
        return self.result == Outcome.OK

    def __str__(self) -> str:
        lines = [f"walk of {self.va:#x}"]
        lines += [
            f"  {LEVEL_NAMES[level]:5} at {self.entry_pa[level]:#x}: {describe_entry(self.entry[level], level)}"
            for level in range(self.top_level, max(self.level, 1) - 1, -1)
            if self.entry_pa[level]
        ]
        return "\n".join([*lines, f"  = {self._ending()}"])

    def _ending(self) -> str:
        if self.result == Outcome.GENERAL_PROTECTION:
            return "#GP: the address is not canonical"
        if self.result == Outcome.BAD_TABLE:
            return f"the table of this {LEVEL_NAMES[self.level]} lies outside guest RAM"
        if self.result == Outcome.PAGE_FAULT:
            at = LEVEL_NAMES[self.level]
            return (
                f"#PF, error code {self.error_code:#x} ({describe_error_code(self.error_code)}), at the {at}"
            )
        if not self.level:
            return f"{self.pa:#x}, paging is off"
        who = "user" if self.rights & X86_US else "supervisor"
        what = "r" + ("w" if self.rights & X86_RW else "-") + ("-" if self.xd else "x")
        return f"{self.pa:#x} in a {SIZE_NAMES[self.level]} page, {who} {what}"


class WalkStart(NamedTuple):
    """Where a walk begins: the table to read first, and what the levels above it have said.

    ``table_gen`` is the unit's table_gen when the oldest entry above ``table`` was read.
    """

    table: int
    level: int
    rights: int
    xd: bool
    table_gen: int


def top_level(u: Unit) -> int:
    """Level of the table that CR3 names (SDM 4.5): 5 with CR4.LA57, else 4."""
    return 5 if u.c.cr4 & CR4_LA57 else 4


def start_at_cr3(u: Unit) -> WalkStart:
    """Begin at the PML4 table, with every right still given."""
    c = u.c
    return WalkStart(c.cr3 & X86_ADDR_MASK, TOP_LEVEL, X86_RW | X86_US, False, c.table_gen)


def permissions(u: Unit, rights: int, xd: bool, user: bool) -> int:
    """PERM_* that combined rights give to one privilege level (SDM 4.6.1), D not considered.

    =========== ======================================= ====================== ====================
    access      read                                    write                  fetch
    =========== ======================================= ====================== ====================
    user        user page                               user page, R/W         user page, no XD
    supervisor  supervisor page, or user page without   as read, and R/W or    no XD, and not a user
                SMAP or with RFLAGS.AC                  CR0.WP = 0             page under SMEP
    =========== ======================================= ====================== ====================

    Bit number Access.X of the result is the answer for that access. XD counts only under EFER.NXE.
    """
    c = u.c
    user_page = bool(rights & X86_US)
    writable = bool(rights & X86_RW)
    fetchable = not (xd and u.nxe)
    if user:
        if not user_page:
            return 0
        return PERM_R | (PERM_W if writable else 0) | (PERM_X if fetchable else 0)
    perms = 0
    if not user_page or not c.cr4 & CR4_SMAP or c.rflags & RFLAGS_AC:
        perms |= PERM_R
        if writable or not c.cr0 & CR0_WP:
            perms |= PERM_W
    if fetchable and not (user_page and c.cr4 & CR4_SMEP):
        perms |= PERM_X
    return perms


def allows(perms: int, access: int) -> bool:
    """Whether PERM_* permit the access."""
    return bool(perms >> access & 1)


def compare_exchange(memory: Memory, pa: int, old: int, new: int) -> bool:
    """LOCK CMPXCHG of the word at pa: set it to new if it is old. One step: nothing runs in between here."""
    if memory.read_u64(pa) != old:
        return False
    memory.write_u64(pa, new)
    return True


def mmu_walk(u: Unit, va: int, access: int, user: bool, mode: int) -> Walk:
    """Walk the tables for va. Sets A and D unless it is a probe; never looks at, or changes, the TLB."""
    if not is_canonical(va):
        return Walk(va, top_level=0, result=Outcome.GENERAL_PROTECTION)
    if not u.paging:
        return Walk(va, top_level=0, pa=va, rights=X86_RW | X86_US, dirty=True)
    return walk_from(u, va, access, user, mode, start_at_cr3(u))


def walk_from(u: Unit, va: int, access: int, user: bool, mode: int, start: WalkStart) -> Walk:
    """The walk from a given start; va is canonical and paging is on.

    If another agent changes an entry between our reading it and setting A or D in it, the walk
    begins again (SDM 4.8: A and D are set atomically, in an entry that still says the same).
    """
    while (walk := _walk_once(u, va, access, user, mode, start)) is None:
        pass
    return walk


def _walk_once(u: Unit, va: int, access: int, user: bool, mode: int, start: WalkStart) -> Walk | None:
    walk = Walk(va, top_level=start.level)
    table, rights, xd = start.table, start.rights, start.xd
    for level in range(start.level, 0, -1):
        walk.level = level
        if not _read_entry(u, walk, table, mode):
            walk.result = Outcome.BAD_TABLE
            return walk
        entry = walk.entry[level]
        if not entry & X86_P:
            return _fault(u, walk, access, user, 0)
        if entry & reserved_bits(entry, level, u.c.maxphyaddr, u.nxe):
            return _fault(u, walk, access, user, PF_P | PF_RSVD)
        rights &= entry
        xd |= bool(entry >> 63)
        if is_leaf(entry, level):
            break
        if not _set_accessed_dirty(u, walk, X86_A, mode):
            return None
        table = entry & X86_ADDR_MASK
    if not allows(permissions(u, rights, xd, user), access):
        return _fault(u, walk, access, user, PF_P)
    bits = X86_A | X86_D if access == Access.WRITE else X86_A
    if not _set_accessed_dirty(u, walk, bits, mode):
        return None
    return _translated(u, walk, rights, xd, mode)


def _read_entry(u: Unit, walk: Walk, table: int, mode: int) -> bool:
    """Read va's entry of walk.level. False if its table lies outside guest RAM."""
    pa = walk.entry_pa[walk.level] = table + entry_offset(walk.va, walk.level)
    if not u.memory.holds(table):
        return False
    entry = walk.entry[walk.level] = u.memory.read_u64(pa)
    if mode == WalkMode.HARDWARE:
        u.count(_PAGE_WALKER_LOADS)
        u.emit(_WALK_ENTRY, walk.va, pa, entry)
    if u.c.exact and mode != WalkMode.PROBE:
        u.memory.page(table >> 12).flags |= _PG_TABLE
    return True


def _set_accessed_dirty(u: Unit, walk: Walk, bits: int, mode: int) -> bool:
    """Set bits in the entry just read, unless it has them. False if the entry changed meanwhile."""
    pa, seen = walk.entry_pa[walk.level], walk.entry[walk.level]
    if mode == WalkMode.PROBE or seen & bits == bits:
        return True
    if not compare_exchange(u.memory, pa, seen, seen | bits):
        return False
    walk.entry[walk.level] = seen | bits
    if mode == WalkMode.HARDWARE:
        u.emit(_WALK_SET_AD, walk.va, pa, seen | bits)
    return True


def _fault(u: Unit, walk: Walk, access: int, user: bool, why: int) -> Walk:
    fetch = access == Access.FETCH and fetches_are_told(u.c.cr4, u.c.efer)
    walk.result = Outcome.PAGE_FAULT
    walk.error_code = error_code(why, write=access == Access.WRITE, fetch=fetch, user=user)
    return walk


def _translated(u: Unit, walk: Walk, rights: int, xd: bool, mode: int) -> Walk:
    """The leaf was found and allows the access: say where va lies and with which rights."""
    leaf, offset = walk.entry[walk.level], level_size(walk.level) - 1
    walk.pa = leaf & X86_ADDR_MASK & ~offset | walk.va & offset
    walk.rights, walk.xd = rights, xd
    walk.dirty = bool(leaf & X86_D)
    walk.is_global = bool(leaf & X86_G and u.c.cr4 & CR4_PGE)
    if mode == WalkMode.HARDWARE:
        u.emit(_WALK_DONE, walk.va, walk.pa, walk.level)
    return walk
