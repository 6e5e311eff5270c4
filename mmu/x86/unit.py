# SPDX-License-Identifier: GPL-2.0-or-later
"""One processor's MMU: one interface, two engines over the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import COUNTERS
from mmu.units import PAGE_SHIFT, U32, U64
from mmu.x86 import control, engine
from mmu.x86.check import TlbCheck
from mmu.x86.geometry import Geometry, load_geometry
from mmu.x86.registers import (
    ARCHITECTURAL_MAXPHYADDR,
    CR4_LA57,
    RESET_CR0,
    RESET_CR4,
    RESET_EFER,
    RESET_PAT,
    Feature,
    Vendor,
)
from mmu.x86.state import Unit
from mmu.x86.tlb import (
    TLB_DIRTY,
    TLB_GLOBAL,
    TLB_RW,
    TLB_SHSTK,
    TLB_TABLE,
    TLB_US,
    TLB_VALID,
    TLB_XD,
    TlbEntry,
)
from mmu.x86.translate import Translation
from mmu.x86.walk import Access, Outcome, Privilege, Walk, WalkMode

if TYPE_CHECKING:
    from mmu._native import struct_tlb
    from mmu.events import EventRing
    from mmu.memory import Memory


_ENGINES: Final = ("c", "python")


def _kind(access: int, user: int) -> tuple[int, int]:
    """Numbers of an access and its privilege, which C takes as they are. Raises MmuError."""
    if not 0 <= access <= Access.RMW:
        raise MmuError(
            f"no access {access!r}: known are 0 to {int(Access.RMW)}, as mmu.x86.Access names them"
        )
    if not 0 <= user <= Privilege.IMPLICIT:
        raise MmuError(f"no privilege {user!r}: known are False, True and Privilege.IMPLICIT")
    return int(access), int(user)


def _number_of(c: Any, entry: Any) -> int:
    return int(entry - ffi.addressof(c.tlb, "entry", 0))


class Mmu(Unit):
    """The MMU of one processor: registers, page walk, TLB, counters.

    ``engine`` is "c" or "python": same answers, counters, events and bytes of state. ``exact``
    sends every translate() through the TLB model; without it each access walks, and the TLB stays
    empty. ``geometry`` is a shipped geometry's name, a file's path, or a Geometry. ``maxphyaddr``
    is the width of physical addresses in bits (SDM 4.1.4): the processor's, or what RAM needs.
    ``levels`` is 4, or 5 for CR4.LA57. Addresses and register values are 64 bits.

    After reset paging is on, with CR3 = 0: write_cr3() gives it tables. The write_* methods execute
    the write as the processor does: GENERAL_PROTECTION, and no change, for an illegal value
    (control.py lists them).

    ``check`` looks after stale translations: ``check.uses()`` tells them (mmu.x86.check).

    ``user`` says who makes an access: True a user access, False a supervisor one,
    Privilege.IMPLICIT an implicit supervisor one, as of descriptor tables.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        geometry: str | Geometry = "skylake",
        engine: str = "c",
        exact: bool = False,
        maxphyaddr: int | None = None,
        levels: int = 4,
        ring: EventRing | None = None,
        cpu: int = 0,
        check: bool = False,
    ) -> None:
        """Make a processor's MMU over this RAM; MmuError for an unknown engine or an impossible
        width.
        """
        if engine not in _ENGINES:
            raise MmuError(f"no MMU engine {engine!r}: known are {', '.join(_ENGINES)}")
        super().__init__(memory, ring)
        self.engine = engine
        self.native = engine == "c"
        self.geometry = load_geometry(geometry) if isinstance(geometry, str) else geometry
        self.c.maxphyaddr = _maxphyaddr(
            memory, maxphyaddr, self.geometry.processor.maxphyaddr.value
        )
        self.c.cpu = cpu
        self.c.exact = exact
        self._reset(levels)
        _lay_out(self.c.tlb, self.geometry)
        self.check = TlbCheck(self) if check else None
        """The stale-translation checker, if there is one."""

    def _reset(self, levels: int) -> None:
        """Registers as after a firmware that turned long mode on, with what the processor has of
        RESET_*.
        """
        c, processor = self.c, self.geometry.processor
        features = Feature(0)
        for name in processor.features:
            features |= Feature[name.upper()]
        c.vendor, c.features = Vendor[processor.vendor.upper()], features
        if levels not in (4, 5) or (levels == 5 and Feature.LA57 not in features):
            has = "4 or 5" if Feature.LA57 in features else "4, for this processor has no LA57"
            raise MmuError(f"levels of paging must be {has}, not {levels}")
        c.cr0, c.pat = RESET_CR0, RESET_PAT
        c.cr4 = (RESET_CR4 | (CR4_LA57 if levels == 5 else 0)) & control.cr4_legal(features)
        c.efer = RESET_EFER & control.efer_legal(features)

    def __repr__(self) -> str:
        """Engine, geometry and CR3, for people."""
        fidelity = "exact" if self.exact else "fast"
        return f"<Mmu {self.engine} {fidelity} {self.geometry.name} cr3={self.c.cr3:#x}>"

    @property
    def exact(self) -> bool:
        """Whether translate() goes through the TLB model."""
        return bool(self.c.exact)

    @exact.setter
    def exact(self, on: bool) -> None:
        self.c.exact = on

    @property
    def maxphyaddr(self) -> int:
        """The width of physical addresses in bits; MmuError if set to what RAM does not fit in, or
        above 52.
        """
        return int(self.c.maxphyaddr)

    @maxphyaddr.setter
    def maxphyaddr(self, bits: int) -> None:
        self.c.maxphyaddr = _maxphyaddr(self.memory, bits, bits)

    def walk(
        self,
        va: int,
        access: int = Access.READ,
        *,
        user: int = True,
        mode: int = WalkMode.PROBE,
    ) -> Walk:
        """Walk the tables for va (SDM 4.5), past the TLB; by default only looking."""
        return engine.mmu_walk(self, va & U64, *_kind(access, user), int(WalkMode(mode)))

    def translate(self, va: int, access: int, *, user: int = True) -> Translation:
        """Translate one access as the processor would: ``result`` tells, no fault is raised.

        In exact through the TLB, counted, with events. A page fault sets CR2, drops what is cached
        for the address (SDM 4.10.4.1) and is counted.
        """
        if self.check is None or not self.c.check:
            return engine.mmu_translate(self, va & U64, *_kind(access, user))
        return self._translate_checked(va & U64, *_kind(access, user))

    def _translate_checked(self, va: int, access: int, privilege: int) -> Translation:
        lib.check_before(self.c, va, access)
        answer = engine.mmu_translate(self, va, access, privilege)
        told = ffi.new("struct translation *", {"pa": answer.pa, "result": int(answer.result)})
        lib.check_after(self.c, va, access, privilege, told)
        return answer

    def refill(self, va: int, access: int, *, user: int = True) -> Translation:
        """What translate() would answer, for a consumer with a cache of its own; no counter, no
        event.
        """
        return engine.mmu_refill(self, va & U64, *_kind(access, user))

    def page_fault(self, va: int, error_code: int) -> None:
        """Have the page fault happen that refill() told: CR2, counter, event (SDM 4.7); not in
        exact.
        """
        engine.mmu_page_fault(self, va & U64, error_code)

    def resident(self, va: int, access: int = Access.READ) -> TlbEntry | None:
        """The TLB entry that an access to va would find first, whatever its rights; changes
        nothing.
        """
        entry = engine.mmu_resident(self, va & U64, _kind(access, True)[0])
        return None if entry is None else self._entry(_number_of(self.c, entry))

    def entries(self) -> list[TlbEntry]:
        """Every valid TLB entry, in order of array, set and way."""
        return self._valid(TLB_VALID)

    def paging_structure_caches(self) -> list[TlbEntry]:
        """Every valid entry of the paging-structure caches."""
        return self._valid(TLB_VALID | TLB_TABLE)

    def invlpg(self, va: int) -> None:
        """INVLPG: va's entries of the current PCID, global ones of any, all its paging-structure
        caches.
        """
        engine.mmu_invlpg(self, va & U64)

    def invpcid(self, kind: int, pcid: int = 0, va: int = 0) -> Outcome:
        """INVPCID of type kind 0 to 3 (SDM vol. 2A); GENERAL_PROTECTION: illegal descriptor."""
        return engine.mmu_invpcid(self, kind, pcid & U64, va & U64)

    def invlpgb(self, rax: int, ecx: int = 0, edx: int = 0) -> Outcome:
        """INVLPGB with these operands (APM vol. 3; INVLPGB_* of mmu.x86.invalidate): its effect on
        this processor.
        """
        return engine.mmu_invlpgb(self, rax & U64, ecx & U32, edx & U32)

    def write_cr3(self, value: int) -> Outcome:
        """MOV to CR3: new tables; unless bit 63 is set under PCIDE, drops the PCID's non-global
        entries.
        """
        return engine.mmu_write_cr3(self, value & U64)

    def write_cr4(self, value: int) -> Outcome:
        """MOV to CR4, with what the changed bits invalidate (SDM 4.10.4.1)."""
        return engine.mmu_write_cr4(self, value & U64)

    def write_cr0(self, value: int) -> Outcome:
        """MOV to CR0; turning PG off drops everything. LEGACY if PG is set without EFER.LME."""
        return engine.mmu_write_cr0(self, value & U64)

    def write_efer(self, value: int) -> Outcome:
        """WRMSR of EFER; LMA is the processor's own and stays."""
        return engine.mmu_write_efer(self, value & U64)

    def write_pat(self, value: int) -> Outcome:
        """WRMSR of IA32_PAT: eight memory types, a byte each."""
        return engine.mmu_write_pat(self, value & U64)

    def write_pkru(self, value: int) -> Outcome:
        """WRPKRU with EDX:EAX = value; INVALID_OPCODE without CR4.PKE."""
        return engine.mmu_write_pkru(self, value & U64)

    def write_pkrs(self, value: int) -> Outcome:
        """WRMSR of IA32_PKRS."""
        return engine.mmu_write_pkrs(self, value & U64)

    def flush_all(self) -> None:
        """Drop every entry of every PCID, global ones too."""
        engine.mmu_flush_all(self)

    def tables_changed(self) -> None:
        """Entries of tables changed without a flush: consumers must ask again, the TLB keeps what
        it has.
        """
        engine.mmu_tables_changed(self)

    def soft_flush(self, va: int, nr_pages: int) -> None:
        """Name pages of 4 KiB that a consumer of our answers must forget."""
        engine.mmu_soft_flush(self, va & U64, nr_pages)

    def take_soft_flush(self) -> tuple[bool, list[int]]:
        """What a consumer must forget since the last call: everything?, else these pages'
        addresses.
        """
        soft = self.c.soft
        taken = bool(soft.all), list(soft.page[0 : soft.nr])
        soft.all = soft.nr = 0
        return taken

    def counters(self) -> dict[str, int]:
        """Every counter by its name in events.def."""
        return dict(zip(COUNTERS, map(int, self.c.counter), strict=True))

    def _valid(self, flags: int) -> list[TlbEntry]:
        entries = self.c.tlb.entry
        return [
            self._entry(number)
            for number in range(self.c.tlb.nr_entries)
            if entries[number].flags & (TLB_VALID | TLB_TABLE) == flags
        ]

    def _entry(self, number: int) -> TlbEntry:
        entry = self.c.tlb.entry[number]
        flags = entry.flags
        array = self.c.tlb.array[entry.array]
        return TlbEntry(
            array=self.geometry.arrays[entry.array].name,
            set=(number - array.first) // array.ways,
            way=(number - array.first) % array.ways,
            va=entry.vpn << PAGE_SHIFT,
            pa=entry.frame,
            level=entry.level,
            pcid=entry.pcid,
            writable=bool(flags & TLB_RW),
            user=bool(flags & TLB_US),
            xd=bool(flags & TLB_XD),
            dirty=bool(flags & TLB_DIRTY),
            is_global=bool(flags & TLB_GLOBAL),
            used=entry.used,
            table_gen=entry.table_gen,
            shadow_stack=bool(flags & TLB_SHSTK),
            pkey=entry.pkey,
            pat=entry.pat,
            page_level=entry.page_level,
        )


def _maxphyaddr(memory: Memory, wanted: int | None, usual: int) -> int:
    needed = (memory.base + memory.size - 1).bit_length()
    if wanted is None:
        wanted = max(needed, usual)
    if not needed <= wanted <= ARCHITECTURAL_MAXPHYADDR:
        raise MmuError(
            f"MAXPHYADDR must be {needed} (what guest RAM needs) to {ARCHITECTURAL_MAXPHYADDR}"
            f" bits, not {wanted}"
        )
    return wanted


def _lay_out(tlb: struct_tlb, geometry: Geometry) -> None:
    """Give each array its place among the entries, in the geometry's order."""
    tlb.random = geometry.seed
    nr_sets = 0
    for number, array in enumerate(geometry.arrays):
        c = tlb.array[number]
        c.kind, c.sizes, c.tables = array.kind_bits, array.sizes, array.tables
        c.sets, c.ways, c.first, c.first_set = array.sets, array.ways.value, tlb.nr_entries, nr_sets
        c.fold, c.policy = array.fold, array.policy.number
        c.enters[0 : len(array.enters)] = array.enters
        c.pcids = lib.TLB_ANY_PCIDS if array.pcids is None else array.pcids.value
        c.nr_live = 1 if 0 < c.pcids <= lib.TLB_MAX_PCIDS else 0  # PCID 0, in use after reset
        tlb.split |= array.kind in ("dtlb_loads", "dtlb_stores")
        tlb.nr_entries += array.entries.value
        nr_sets += array.sets
    tlb.nr_arrays = len(geometry.arrays)
