# SPDX-License-Identifier: GPL-2.0-or-later
"""The page walk of 4-level and 5-level paging: from a linear address and CR3 to a page or a fault
(SDM 4.5).

Rights are not judged on the way. The walk ANDs R/W and U/S of all levels and ORs XD (SDM 4.6); an
entry that is not present, or has a reserved bit set, ends it; and only where it reaches a leaf are
the combined rights held against the access. So a missing PTE under a forbidding PDE is a fault with
P = 0.

A of a table-referencing entry is set when the walk uses it, even if a lower level then faults; A
and D of the leaf only if nothing faults (SDM 4.8 leaves the first open).

native/x86/walk.c is the same walk in C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from mmu._native import lib
from mmu.events import COUNTER_ID, EVENT_ID
from mmu.memory import Exchange, Memory
from mmu.x86.entries import (
    LEVEL_NAMES,
    SIZE_NAMES,
    X86_A,
    X86_ADDR_MASK,
    X86_D,
    X86_G,
    X86_P,
    X86_RW,
    X86_US,
    X86_XD,
    describe_entry,
    entry_offset,
    is_leaf,
    level_size,
    pat_index_of,
    pkey_of,
    reserved_bits,
)
from mmu.x86.faults import PF_P, PF_PK, PF_RSVD, describe_error_code, error_code, fetches_are_told
from mmu.x86.registers import (
    CR0_WP,
    CR4_CET,
    CR4_PGE,
    CR4_PKE,
    CR4_PKS,
    CR4_SMAP,
    CR4_SMEP,
    PKR_AD,
    PKR_WD,
    RFLAGS_AC,
    Feature,
    MemoryType,
)
from mmu.x86.state import Unit

if TYPE_CHECKING:
    from mmu._native import struct_walk

_WALK_ENTRY: Final = EVENT_ID["walk_entry"]
_WALK_SET_AD: Final = EVENT_ID["walk_set_ad"]
_WALK_DONE: Final = EVENT_ID["walk_done"]
_PAGE_WALKER_LOADS: Final = COUNTER_ID["page_walker_loads"]

PERM_R: Final = 1
PERM_W: Final = 2
PERM_X: Final = 4
PERM_SHSTK: Final = 0x18
"""Shadow-stack reads (8) and writes (16); they go together, but for a protection key's WD."""


class Access(IntEnum):
    """What an access does; also its bit number among PERM_*, but for RMW."""

    READ = 0
    WRITE = 1
    FETCH = 2
    SHSTK_READ = 3
    """A shadow-stack load: RET's, and the first half of others' (SDM vol. 1 ch. 17)."""
    SHSTK_WRITE = 4
    """A shadow-stack store: CALL's, WRSS's."""
    RMW = 5
    """The load of a read-modify-write instruction, which processors make as one that a store
    follows: it needs the rights of a write, sets D, and has W/R = 1 in its error code; else it is a
    load."""

    @property
    def label(self) -> str:
        """Its name in a trace."""
        return self.name.lower()

    @property
    def verb(self) -> str:
        """Its name in a sentence: what a page fault tells of it, W/R first."""
        if self is Access.RMW:
            return "write"
        return self.name.lower().replace("shstk_", "shadow-stack ")


SETS_DIRTY: Final = (Access.WRITE, Access.RMW)
WRITES: Final = (*SETS_DIRTY, Access.SHSTK_WRITE)


class Privilege(IntEnum):
    """The mode of an access (SDM 4.6): a CPL of 3 makes user accesses, but for implicit ones."""

    SUPERVISOR = 0
    USER = 1
    IMPLICIT = 2
    """A supervisor access made by the processor, whatever the CPL: of descriptor tables, the TSS.
    """


class WalkMode(IntEnum):
    """What a walk may do to the tables.

    PROBE only looks. QUIET sets A and D as the processor does, HARDWARE too, and counts and emits
    events.
    """

    PROBE = 0
    QUIET = 1
    HARDWARE = 2


class Outcome(IntEnum):
    """What a translation, or an attempt at one, ended in; an exception has its vector's number."""

    OK = 0
    INVALID_OPCODE = 6
    """The processor has no such instruction."""
    GENERAL_PROTECTION = 13
    PAGE_FAULT = 14
    BAD_TABLE = 64
    """An entry puts a paging structure where no memory is; x86 does not say what happens then."""
    LEGACY = 66
    """CR0.PG without EFER.LME: 32-bit or PAE paging, which is not modelled; nothing was changed."""


@dataclass(slots=True)
class Walk:
    """One page walk, step by step.

    ``entry`` and ``entry_pa`` are indexed by level (5 PML5E, 4 PML4E, 3 PDPTE, 2 PDE, 1 PTE): the
    entry as the walk left it, and where it lies, guest-physical; 0 where the walk did not come.
    ``level`` is where it ended, ``top_level`` where it began (below CR3's after a paging-structure
    cache hit). ``pa`` (of va itself), ``rights`` (X86_RW | X86_US), ``xd``, ``dirty``,
    ``is_global``, ``shadow_stack`` and ``pkey`` hold for Outcome.OK only, ``error_code`` for
    Outcome.PAGE_FAULT.
    """

    va: int
    top_level: int = 4
    level: int = 0
    result: Outcome = Outcome.OK
    error_code: int = 0
    pa: int = 0
    rights: int = 0
    xd: bool = False
    dirty: bool = False
    is_global: bool = False
    shadow_stack: bool = False
    pkey: int = 0
    entry: list[int] = field(default_factory=lambda: [0] * 6)
    entry_pa: list[int] = field(default_factory=lambda: [0] * 6)

    @classmethod
    def from_c(cls, w: struct_walk) -> Walk:
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
            shadow_stack=bool(w.shstk),
            pkey=w.pkey,
            entry=list(w.entry),
            entry_pa=list(w.entry_pa),
        )

    @property
    def ok(self) -> bool:
        """Whether the walk ended in a translation."""
        return self.result == Outcome.OK

    @property
    def pat_index(self) -> int:
        """The index into IA32_PAT that the leaf gives, 0 to 7; 0 without a leaf (SDM 4.9.2)."""
        return pat_index_of(self.entry[self.level], self.level) if self.ok and self.level else 0

    def __str__(self) -> str:
        lines = [f"walk of {self.va:#x}"]
        lines += [
            f"  {LEVEL_NAMES[level]:5} at {self.entry_pa[level]:#x}:"
            f" {describe_entry(self.entry[level], level)}"
            for level in range(self.top_level, max(self.level, 1) - 1, -1)
            if self.entry_pa[level]
        ]
        return "\n".join([*lines, f"  = {self._ending()}"])

    def _ending(self) -> str:
        if self.result == Outcome.GENERAL_PROTECTION:
            return "#GP: the address is not canonical"
        if self.result == Outcome.BAD_TABLE:
            return f"the table of this {LEVEL_NAMES[self.level]} lies outside guest memory"
        if self.result == Outcome.PAGE_FAULT:
            at = LEVEL_NAMES[self.level]
            reason = describe_error_code(self.error_code)
            return f"#PF, error code {self.error_code:#x} ({reason}), at the {at}"
        if not self.level:
            return f"{self.pa:#x}, paging is off"
        who = "user" if self.rights & X86_US else "supervisor"
        what = "r" + ("w" if self.rights & X86_RW else "-") + ("-" if self.xd else "x")
        if self.shadow_stack:
            what += " shadow-stack"
        return f"{self.pa:#x} in a {SIZE_NAMES[self.level]} page, {who} {what}"


class Rights(NamedTuple):
    """What the entries of a walk give together (SDM 4.6): R/W and U/S by AND, XD by OR.

    Of a whole walk also ``shadow_stack``: the page is one (R/W only missing in the leaf, whose D is
    set; SDM 4.6.1), and ``pkey``: the leaf's protection key.
    """

    writable: bool
    user: bool
    xd: bool
    shadow_stack: bool = False
    pkey: int = 0

    def combine(self, entry: int) -> Rights:
        """With one more table-referencing entry on the way."""
        return Rights(
            self.writable and bool(entry & X86_RW),
            self.user and bool(entry & X86_US),
            self.xd or bool(entry & X86_XD),
        )

    def of_leaf(self, leaf: int) -> Rights:
        """With the leaf, that is, the page's."""
        shadow_stack = self.writable and leaf & (X86_RW | X86_D) == X86_D
        return self.combine(leaf)._replace(shadow_stack=shadow_stack, pkey=pkey_of(leaf))


class WalkStart(NamedTuple):
    """Where a walk begins: the table to read first, and what the levels above it have said.

    ``table_gen`` is the unit's table_gen when the oldest entry above ``table`` was read.
    """

    table: int
    level: int
    rights: Rights
    table_gen: int


def start_at_cr3(u: Unit) -> WalkStart:
    """Begin at the PML4 table, with every right still given."""
    c = u.c
    return WalkStart(c.cr3 & X86_ADDR_MASK, u.top_level, Rights(True, True, False), c.table_gen)


def denied_by_key(u: Unit, rights: Rights, privilege: int) -> int:
    """PERM_* that the page's protection key takes away (SDM 4.6.2).

    ========================== ============ ======================= =============================
    page                       register     AD: no data access of   WD: no write of
    ========================== ============ ======================= =============================
    user, under CR4.PKE        PKRU         anyone                  user; supervisor under CR0.WP
    supervisor, under CR4.PKS  IA32_PKRS    anyone                  anyone under CR0.WP
    ========================== ============ ======================= =============================

    Fetches are never restricted. Shadow-stack accesses are data accesses.
    """
    c = u.c
    if not c.cr4 & (CR4_PKE if rights.user else CR4_PKS):
        return 0
    key = (c.pkru if rights.user else c.pkrs) >> 2 * rights.pkey & 3
    if key & PKR_AD:
        return PERM_R | PERM_W | PERM_SHSTK
    if key & PKR_WD and (c.cr0 & CR0_WP or (rights.user and privilege == Privilege.USER)):
        return PERM_W | 1 << Access.SHSTK_WRITE
    return 0


def permissions(u: Unit, rights: Rights, privilege: int) -> int:
    """PERM_* that a page's rights give to one privilege (SDM 4.6), D not considered.

    ========== =========================== ================== ================== =================
    access     read                        write              fetch              shadow stack
    ========== =========================== ================== ================== =================
    user       user page                   user page, R/W     user page, no XD   user page that is
                                                                                 a shadow stack
    supervisor supervisor page; or user    as read, and R/W   no XD, and not a   supervisor page
               page without SMAP or with   or CR0.WP = 0      user page under    that is a shadow
               RFLAGS.AC (which implicit                      SMEP               stack
               accesses ignore)
    ========== =========================== ================== ================== =================

    Less what denied_by_key() says. Bit number Access.X of the result is the answer for that access.
    XD counts only under EFER.NXE, shadow stacks exist only under CR4.CET.
    """
    if privilege == Privilege.USER:
        perms = _user_permissions(u, rights)
    else:
        perms = _supervisor_permissions(u, rights, heeds_ac=privilege == Privilege.SUPERVISOR)
    return perms & ~denied_by_key(u, rights, privilege)


def _fetchable(u: Unit, rights: Rights) -> bool:
    return not (rights.xd and u.nxe)


def _user_permissions(u: Unit, rights: Rights) -> int:
    if not rights.user:
        return 0
    perms = PERM_R
    if rights.writable:
        perms |= PERM_W
    if _fetchable(u, rights):
        perms |= PERM_X
    if rights.shadow_stack and u.c.cr4 & CR4_CET:
        perms |= PERM_SHSTK
    return perms


def _supervisor_permissions(u: Unit, rights: Rights, *, heeds_ac: bool) -> int:
    c = u.c
    perms = 0
    if not rights.user or not c.cr4 & CR4_SMAP or (heeds_ac and c.rflags & RFLAGS_AC):
        perms |= PERM_R
        if rights.writable or not c.cr0 & CR0_WP:
            perms |= PERM_W
    if _fetchable(u, rights) and not (rights.user and c.cr4 & CR4_SMEP):
        perms |= PERM_X
    if rights.shadow_stack and not rights.user and c.cr4 & CR4_CET:
        perms |= PERM_SHSTK
    return perms


def why_denied(u: Unit, rights: Rights, access: int, privilege: int) -> int:
    """Why rights that do not allow an access forbid it: PF_P, and PF_PK where the key alone would
    (SDM 4.7).
    """
    return PF_P | PF_PK if allows(denied_by_key(u, rights, privilege), access) else PF_P


def error_code_of(u: Unit, access: int, privilege: int, why: int) -> int:
    """The error code of a fault of this access (SDM 4.7); why as for faults.error_code()."""
    return error_code(
        why,
        write=access in WRITES,
        fetch=access == Access.FETCH and fetches_are_told(u.c.cr4, u.c.efer),
        user=privilege == Privilege.USER,
        shadow_stack=access in (Access.SHSTK_READ, Access.SHSTK_WRITE),
    )


def memory_type(u: Unit, pat_index: int) -> MemoryType:
    """The memory type at that index of IA32_PAT (SDM 12.12.2)."""
    return MemoryType(u.c.pat >> 8 * pat_index & 7)


def allows(perms: int, access: int) -> bool:
    """Whether PERM_* permit the access."""
    return bool(perms >> (Access.WRITE if access == Access.RMW else access) & 1)


def compare_exchange(memory: Memory, pa: int, old: int, new: int) -> Exchange:
    """LOCK CMPXCHG of the word at pa: set it to new if it is old."""
    return memory.exchange(pa, old, new)


def mmu_walk(u: Unit, va: int, access: int, privilege: int, mode: int) -> Walk:
    """Walk the tables for va. Sets A and D unless it is a probe; never looks at, or changes, the
    TLB.
    """
    if not u.canonical(va):
        return Walk(va, top_level=0, result=Outcome.GENERAL_PROTECTION)
    if not u.paging:
        pa = va & (X86_ADDR_MASK | 0xFFF)
        return Walk(va, top_level=0, pa=pa, rights=X86_RW | X86_US, dirty=True)
    return walk_from(u, va, access, privilege, mode, start_at_cr3(u))


def walk_from(u: Unit, va: int, access: int, privilege: int, mode: int, start: WalkStart) -> Walk:
    """The walk from a given start; va is canonical and paging is on.

    If another agent changes an entry between our reading it and setting A or D in it, the walk
    begins again (SDM 4.8: A and D are set atomically, in an entry that still says the same).
    """
    while (walk := _walk_once(u, va, access, privilege, mode, start)) is None:
        pass
    return walk


def _walk_once(
    u: Unit, va: int, access: int, privilege: int, mode: int, start: WalkStart
) -> Walk | None:
    walk = Walk(va, top_level=start.level)
    table, rights = start.table, start.rights
    for level in range(start.level, 0, -1):
        walk.level = level
        if not _read_entry(u, walk, table, mode):
            walk.result = Outcome.BAD_TABLE
            return walk
        entry = walk.entry[level]
        if not entry & X86_P:
            return _fault(u, walk, access, privilege, 0)
        if entry & reserved_bits(
            entry, level, u.c.maxphyaddr, u.nxe, page1gb=u.has(Feature.PAGE1GB), amd=u.amd
        ):
            return _fault(u, walk, access, privilege, PF_P | PF_RSVD)
        if is_leaf(entry, level):
            break
        rights = rights.combine(entry)
        if not _set_accessed_dirty(u, walk, X86_A, mode):
            return None
        table = entry & X86_ADDR_MASK
    return _judge(u, walk, access, privilege, mode, rights.of_leaf(entry))


def _judge(
    u: Unit, walk: Walk, access: int, privilege: int, mode: int, rights: Rights
) -> Walk | None:
    """The leaf was read: does the page allow the access? None if the leaf changed under us."""
    if not allows(permissions(u, rights, privilege), access):
        return _fault(u, walk, access, privilege, why_denied(u, rights, access, privilege))
    bits = X86_A | X86_D if access in SETS_DIRTY else X86_A
    if not _set_accessed_dirty(u, walk, bits, mode):
        return None
    return _translated(u, walk, rights, access, mode)


def _read_entry(u: Unit, walk: Walk, table: int, mode: int) -> bool:
    """Read va's entry of walk.level. False if its table lies where no memory is."""
    pa = walk.entry_pa[walk.level] = table + entry_offset(walk.va, walk.level)
    entry = u.memory.load(pa)
    if entry is None:
        return False
    walk.entry[walk.level] = entry
    if mode == WalkMode.HARDWARE:
        u.count(_PAGE_WALKER_LOADS)
        if u.c.check:
            lib.check_table(u.c, table, walk.level, walk.va)
        u.emit(_WALK_ENTRY, walk.va, pa, entry, walk.level)
    if u.c.exact and mode != WalkMode.PROBE:
        u.memory.mark_table(table)
    return True


def _set_accessed_dirty(u: Unit, walk: Walk, bits: int, mode: int) -> bool:
    """Set bits in the entry just read, unless it has them, or cannot change. False if it changed
    meanwhile.
    """
    pa, seen = walk.entry_pa[walk.level], walk.entry[walk.level]
    if mode == WalkMode.PROBE or seen & bits == bits:
        return True
    exchange = compare_exchange(u.memory, pa, seen, seen | bits)
    if exchange != Exchange.DONE:
        return exchange == Exchange.READ_ONLY
    walk.entry[walk.level] = seen | bits
    if u.c.check:
        lib.check_set_ad(u.c, pa, seen | bits)
    if mode == WalkMode.HARDWARE:
        u.emit(_WALK_SET_AD, walk.va, pa, seen, seen | bits)
    return True


def _fault(u: Unit, walk: Walk, access: int, privilege: int, why: int) -> Walk:
    walk.result = Outcome.PAGE_FAULT
    walk.error_code = error_code_of(u, access, privilege, why)
    return walk


def _translated(u: Unit, walk: Walk, rights: Rights, access: int, mode: int) -> Walk:
    """The leaf was found and allows the access: say where va lies and with which rights."""
    leaf, offset = walk.entry[walk.level], level_size(walk.level) - 1
    walk.pa = leaf & X86_ADDR_MASK & ~offset | walk.va & offset
    walk.rights = (X86_RW if rights.writable else 0) | (X86_US if rights.user else 0)
    walk.xd, walk.shadow_stack, walk.pkey = rights.xd, rights.shadow_stack, rights.pkey
    walk.dirty = bool(leaf & X86_D)
    walk.is_global = bool(leaf & X86_G and u.c.cr4 & CR4_PGE)
    if mode == WalkMode.HARDWARE:
        u.emit(_WALK_DONE, walk.va, walk.pa, walk.level, access)
    return walk
