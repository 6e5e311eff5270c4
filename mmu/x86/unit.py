# SPDX-License-Identifier: GPL-2.0-or-later
"""One processor's MMU, as the rest of the house uses it: one face, two engines over the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import COUNTERS
from mmu.x86 import invalidate, translate
from mmu.x86.entries import PAGE_SHIFT
from mmu.x86.geometry import Geometry, load_geometry
from mmu.x86.registers import (
    ARCHITECTURAL_MAXPHYADDR,
    DEFAULT_MAXPHYADDR,
    RESET_CR0,
    RESET_CR4,
    RESET_EFER,
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
    mmu_soft_flush,
)
from mmu.x86.translate import Translation
from mmu.x86.walk import Access, Outcome, Walk, WalkMode, mmu_walk

if TYPE_CHECKING:
    from mmu.events import EventRing
    from mmu.memory import Memory

_U64: Final = (1 << 64) - 1
_OUTCOMES: Final = {int(outcome): outcome for outcome in Outcome}


class _Engine(Protocol):
    """What a twin answers for one unit: the functions of native/x86/unit.h."""

    def walk(self, va: int, access: int, user: bool, mode: int) -> Walk: ...
    def translate(self, va: int, access: int, user: bool) -> Translation: ...
    def refill(self, va: int, access: int, user: bool) -> Translation: ...
    def page_fault(self, va: int, error_code: int) -> None: ...
    def resident(self, va: int, access: int) -> int | None: ...
    def invlpg(self, va: int) -> None: ...
    def invpcid(self, kind: int, pcid: int, va: int) -> Outcome: ...
    def write_cr3(self, value: int) -> None: ...
    def write_cr4(self, value: int) -> None: ...
    def write_cr0(self, value: int) -> None: ...
    def flush_all(self) -> None: ...
    def tables_changed(self) -> None: ...
    def soft_flush(self, va: int, nr_pages: int) -> None: ...


class _C:
    """The engine of native/x86."""

    def __init__(self, u: Unit) -> None:
        self._c = u.c
        self._walk = ffi.new("struct walk *")
        self._answer = ffi.new("struct translation *")

    def _translation(self) -> Translation:
        t = self._answer
        return Translation(t.pa, t.perms, t.level, _OUTCOMES[t.result], t.error_code)

    def walk(self, va: int, access: int, user: bool, mode: int) -> Walk:
        lib.mmu_walk(self._c, va, access, user, mode, self._walk)
        return Walk.from_c(self._walk)

    def translate(self, va: int, access: int, user: bool) -> Translation:
        lib.mmu_translate(self._c, va, access, user, self._answer)
        return self._translation()

    def refill(self, va: int, access: int, user: bool) -> Translation:
        lib.mmu_refill(self._c, va, access, user, self._answer)
        return self._translation()

    def page_fault(self, va: int, error_code: int) -> None:
        lib.mmu_page_fault(self._c, va, error_code)

    def resident(self, va: int, access: int) -> int | None:
        entry = lib.mmu_resident(self._c, va, access)
        return None if entry == ffi.NULL else _number_of(self._c, entry)

    def invlpg(self, va: int) -> None:
        lib.mmu_invlpg(self._c, va)

    def invpcid(self, kind: int, pcid: int, va: int) -> Outcome:
        return _OUTCOMES[lib.mmu_invpcid(self._c, kind, pcid, va)]

    def write_cr3(self, value: int) -> None:
        lib.mmu_write_cr3(self._c, value)

    def write_cr4(self, value: int) -> None:
        lib.mmu_write_cr4(self._c, value)

    def write_cr0(self, value: int) -> None:
        lib.mmu_write_cr0(self._c, value)

    def flush_all(self) -> None:
        lib.mmu_flush_all(self._c)

    def tables_changed(self) -> None:
        lib.mmu_tables_changed(self._c)

    def soft_flush(self, va: int, nr_pages: int) -> None:
        lib.mmu_soft_flush(self._c, va, nr_pages)


class _Python:
    """The engine of this package."""

    def __init__(self, u: Unit) -> None:
        self._u = u

    def walk(self, va: int, access: int, user: bool, mode: int) -> Walk:
        return mmu_walk(self._u, va, access, user, mode)

    def translate(self, va: int, access: int, user: bool) -> Translation:
        return translate.mmu_translate(self._u, va, access, user)

    def refill(self, va: int, access: int, user: bool) -> Translation:
        return translate.mmu_refill(self._u, va, access, user)

    def page_fault(self, va: int, error_code: int) -> None:
        translate.mmu_page_fault(self._u, va, error_code)

    def resident(self, va: int, access: int) -> int | None:
        hit = translate.mmu_resident(self._u, va, access)
        return None if hit is None else _number_of(self._u.c, ffi.addressof(hit.entry))

    def invlpg(self, va: int) -> None:
        invalidate.mmu_invlpg(self._u, va)

    def invpcid(self, kind: int, pcid: int, va: int) -> Outcome:
        return invalidate.mmu_invpcid(self._u, kind, pcid, va)

    def write_cr3(self, value: int) -> None:
        invalidate.mmu_write_cr3(self._u, value)

    def write_cr4(self, value: int) -> None:
        invalidate.mmu_write_cr4(self._u, value)

    def write_cr0(self, value: int) -> None:
        invalidate.mmu_write_cr0(self._u, value)

    def flush_all(self) -> None:
        invalidate.mmu_flush_all(self._u)

    def tables_changed(self) -> None:
        invalidate.mmu_tables_changed(self._u)

    def soft_flush(self, va: int, nr_pages: int) -> None:
        mmu_soft_flush(self._u, va, nr_pages)


_ENGINES: Final[dict[str, type[_C] | type[_Python]]] = {"c": _C, "python": _Python}


def _number_of(c: Any, entry: Any) -> int:
    return int(entry - ffi.addressof(c.tlb, "entry", 0))


class Mmu(Unit):
    """The MMU of one processor: registers, page walk, TLB, counters.

    ``engine`` is "c" or "python": same answers, counters, events and bytes of state. ``exact`` sends every
    translate() through the TLB model; without it each access walks, and the TLB stays empty.
    ``geometry`` is a shipped geometry's name, a file's path, or a Geometry. ``maxphyaddr`` is the width
    of physical addresses in bits (SDM 4.1.4): 46, or what RAM needs. Addresses and register values are 64 bits.

    After reset paging is on, with CR3 = 0: write_cr3() gives it tables.
    """

    def __init__(
        self,
        memory: Memory,
        *,
        geometry: str | Geometry = "skylake",
        engine: str = "c",
        exact: bool = False,
        maxphyaddr: int | None = None,
        ring: EventRing | None = None,
        cpu: int = 0,
    ) -> None:
        """Make a processor's MMU over this RAM; MmuError for an unknown engine or an impossible width."""
        if engine not in _ENGINES:
            raise MmuError(f"no MMU engine {engine!r}: known are {', '.join(_ENGINES)}")
        super().__init__(memory, ring)
        self.engine = engine
        self.geometry = load_geometry(geometry) if isinstance(geometry, str) else geometry
        self.c.maxphyaddr = _maxphyaddr(memory, maxphyaddr)
        self.c.cpu = cpu
        self.c.exact = exact
        self.c.cr0, self.c.cr4, self.c.efer = RESET_CR0, RESET_CR4, RESET_EFER
        _lay_out(self.c.tlb, self.geometry)
        self._engine: _Engine = _ENGINES[engine](self)

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

    def walk(
        self,
        va: int,
        access: int = Access.READ,
        *,
        user: bool = True,
        mode: int = WalkMode.PROBE,
    ) -> Walk:
        """Walk the tables for va (SDM 4.5), past the TLB; by default only looking."""
        return self._engine.walk(va & _U64, int(access), user, int(mode))

    def translate(self, va: int, access: int, *, user: bool = True) -> Translation:
        """Translate one access as the processor would. Never raises: ``result`` tells.

        In exact through the TLB, counted, with events. A page fault sets CR2, drops what is cached for the
        address (SDM 4.10.4.1) and is counted.
        """
        return self._engine.translate(va & _U64, int(access), user)

    def refill(self, va: int, access: int, *, user: bool = True) -> Translation:
        """What translate() would answer, for a consumer with a cache of its own; no counter, no event."""
        return self._engine.refill(va & _U64, int(access), user)

    def page_fault(self, va: int, error_code: int) -> None:
        """Have the page fault happen that refill() told: CR2, counter, event (SDM 4.7); not in exact."""
        self._engine.page_fault(va & _U64, error_code)

    def resident(self, va: int, access: int = Access.READ) -> TlbEntry | None:
        """The TLB entry that an access to va would find first, whatever its rights; changes nothing."""
        number = self._engine.resident(va & _U64, int(access))
        return None if number is None else self._entry(number)

    def entries(self) -> list[TlbEntry]:
        """Every valid TLB entry, in order of array, set and way."""
        return self._valid(TLB_VALID)

    def paging_structure_caches(self) -> list[TlbEntry]:
        """Every valid entry of the paging-structure caches."""
        return self._valid(TLB_VALID | TLB_TABLE)

    def invlpg(self, va: int) -> None:
        """INVLPG: va's entries of the current PCID, global ones of any, all its paging-structure caches."""
        self._engine.invlpg(va & _U64)

    def invpcid(self, kind: int, pcid: int = 0, va: int = 0) -> Outcome:
        """INVPCID of type kind 0 to 3 (SDM vol. 2A); GENERAL_PROTECTION for an illegal descriptor."""
        return self._engine.invpcid(kind, pcid & _U64, va & _U64)

    def write_cr3(self, value: int) -> None:
        """MOV to CR3: new tables; unless bit 63 is set under PCIDE, drops the PCID's non-global entries."""
        self._engine.write_cr3(value & _U64)

    def write_cr4(self, value: int) -> None:
        """MOV to CR4, with what the changed bits invalidate (SDM 4.10.4.1)."""
        self._engine.write_cr4(value & _U64)

    def write_cr0(self, value: int) -> None:
        """MOV to CR0; turning PG off drops everything."""
        self._engine.write_cr0(value & _U64)

    def flush_all(self) -> None:
        """Drop every entry of every PCID, global ones too."""
        self._engine.flush_all()

    def tables_changed(self) -> None:
        """Entries of tables changed without a flush: consumers must ask again, the TLB keeps what it has."""
        self._engine.tables_changed()

    def soft_flush(self, va: int, nr_pages: int) -> None:
        """Name pages of 4 KiB that a consumer of our answers must forget."""
        self._engine.soft_flush(va & _U64, nr_pages)

    def take_soft_flush(self) -> tuple[bool, list[int]]:
        """What a consumer must forget since the last call: everything?, else these pages' addresses."""
        soft = self.c.soft
        taken = bool(soft.all), [int(soft.page[i]) for i in range(soft.nr)]
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


def _maxphyaddr(memory: Memory, wanted: int | None) -> int:
    needed = (memory.base + memory.size - 1).bit_length()
    if wanted is None:
        wanted = max(needed, DEFAULT_MAXPHYADDR)
    if not needed <= wanted <= ARCHITECTURAL_MAXPHYADDR:
        raise MmuError(
            f"MAXPHYADDR must be {needed} (what guest RAM needs) to {ARCHITECTURAL_MAXPHYADDR} bits, not {wanted}"
        )
    return wanted


def _lay_out(tlb: Any, geometry: Geometry) -> None:
    """Give each array its place among the entries, in the geometry's order."""
    tlb.random = geometry.seed
    nr_sets = 0
    for number, array in enumerate(geometry.arrays):
        c = tlb.array[number]
        c.kind, c.sizes, c.tables = array.kind_bits, array.sizes, array.tables
        c.sets, c.ways, c.first, c.first_set = array.sets, array.ways.value, tlb.nr_entries, nr_sets
        c.fold, c.policy, c.enters = array.fold, array.policy, array.enters
        c.pcids = lib.TLB_ANY_PCIDS if array.pcids is None else array.pcids.value
        c.nr_live = 1 if 0 < c.pcids <= lib.TLB_MAX_PCIDS else 0  # PCID 0, in use after reset
        tlb.split |= array.kind in ("dtlb_loads", "dtlb_stores")
        tlb.nr_entries += array.entries.value
        nr_sets += array.sets
    tlb.nr_arrays = len(geometry.arrays)
