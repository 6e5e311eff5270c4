# SPDX-License-Identifier: GPL-2.0-or-later
"""The two engines of the mm: the readable one in Python, the fast one in C, with one set of names.

Both work on the same bytes (RAM, ``struct page``, ``mm_struct``, ``mmu_gather``) and give the same
answers, counters and events; ``tests/linux/test_engines_agree.py`` holds them together.
``mm.engine`` is the one in force. What each function means is said where the Python engine defines
it. A broken invariant raises MmBug from the call that met it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mmu._native import ffi, lib
from mmu.linux import (
    anon,
    free_pgtables,
    locks,
    mmu_gather,
    pgalloc,
    pgtable,
    pte_ref,
    rcu,
    tlbflush,
    zap,
)
from mmu.linux import change_protection as protection
from mmu.linux.bug import check_bug
from mmu.linux.mmu_gather import Gather
from mmu.linux.pte_ref import PteAlloc, TryGet, VmFault

if TYPE_CHECKING:
    from mmu.linux.mm import MmStruct


class Engine(Protocol):
    """What faults, system calls and tests ask of an engine; pmd and pte are guest-physical
    addresses of entries.
    """

    name: str

    def pmd_offset_or_none(self, mm: MmStruct, addr: int) -> int | None:
        """See mmu.linux.pgtable."""

    def pmd_alloc(self, mm: MmStruct, addr: int) -> int | None:
        """See mmu.linux.pgalloc."""

    def set_pte_at(self, mm: MmStruct, addr: int, pte: int, value: int) -> None:
        """See mmu.linux.pgtable."""

    def add_mm_counter(self, mm: MmStruct, member: int, nr: int) -> None:
        """See mmu.linux.pgtable."""

    def pte_lock(self, mm: MmStruct, pmd: int) -> None:
        """See mmu.linux.locks."""

    def pte_unlock(self, mm: MmStruct, pmd: int) -> None:
        """See mmu.linux.locks."""

    def pmd_lock(self, mm: MmStruct, pmd: int) -> None:
        """See mmu.linux.locks."""

    def pmd_unlock(self, mm: MmStruct, pmd: int) -> None:
        """See mmu.linux.locks."""

    def pte_ref_init(self, mm: MmStruct, table: int, pmd: int, count: int) -> None:
        """See mmu.linux.pte_ref, as for all that follow with pte in their names."""

    def pte_get(self, mm: MmStruct, pmd: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_get_many(self, mm: MmStruct, pmd: int, nr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_entries_set(self, mm: MmStruct, pmd: int, nr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_get_unless_zero(self, mm: MmStruct, pmd: int) -> bool:
        """See mmu.linux.pte_ref."""

    def pte_try_get(self, mm: MmStruct, pmd: int) -> TryGet:
        """See mmu.linux.pte_ref."""

    def pte_tryget_map(self, mm: MmStruct, pmd: int, addr: int) -> int | None:
        """See mmu.linux.pte_ref."""

    def pte_tryget_map_lock(self, mm: MmStruct, pmd: int, addr: int) -> int | None:
        """See mmu.linux.pte_ref."""

    def pte_alloc_get(self, mm: MmStruct, pmd: int, addr: int) -> PteAlloc:
        """See mmu.linux.pte_ref."""

    def pte_alloc_get_map(self, mm: MmStruct, pmd: int, addr: int) -> tuple[PteAlloc, int]:
        """See mmu.linux.pte_ref."""

    def pte_alloc_get_map_lock(self, mm: MmStruct, pmd: int, addr: int) -> tuple[PteAlloc, int]:
        """See mmu.linux.pte_ref."""

    def pmd_install(self, mm: MmStruct, pmd: int, addr: int, table: int) -> bool:
        """See mmu.linux.pte_ref."""

    def pte_put(self, mm: MmStruct, pmd: int, addr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_put_many(self, mm: MmStruct, pmd: int, addr: int, nr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_put_tlb(self, tlb: Gather, pmd: int, addr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_put_many_tlb(self, tlb: Gather, pmd: int, addr: int, nr: int) -> None:
        """See mmu.linux.pte_ref."""

    def pte_put_vmf(self, vmf: VmFault) -> None:
        """See mmu.linux.pte_ref."""

    def free_pte_table(self, mm: MmStruct, pmd: int, addr: int) -> None:
        """See mmu.linux.pte_ref."""

    def free_pte_table_tlb(self, tlb: Gather, pmd: int, addr: int) -> None:
        """See mmu.linux.pte_ref."""

    def tlb_gather_mmu(self, mm: MmStruct, fullmm: bool = False) -> Gather:
        """See mmu.linux.mmu_gather."""

    def tlb_finish_mmu(self, tlb: Gather) -> None:
        """See mmu.linux.mmu_gather."""

    def tlb_flush_mmu(self, tlb: Gather) -> None:
        """See mmu.linux.mmu_gather."""

    def tlb_remove_page(self, tlb: Gather, pfn: int) -> bool:
        """See mmu.linux.mmu_gather."""

    def flush_tlb_mm_range(
        self, mm: MmStruct, start: int, end: int, stride_shift: int, freed_tables: int
    ) -> None:
        """See mmu.linux.tlbflush."""

    def unmap_page_range(self, tlb: Gather, start: int, end: int, details: int) -> None:
        """See mmu.linux.zap."""

    def change_protection(self, tlb: Gather, start: int, end: int, vm_flags: int) -> None:
        """See mmu.linux.change_protection."""

    def free_pgd_range(self, tlb: Gather, addr: int, end: int, floor: int, ceiling: int) -> None:
        """See mmu.linux.free_pgtables."""

    def do_anonymous_fault(self, mm: MmStruct, address: int, write: bool) -> int:
        """See mmu.linux.anon."""

    def fast_fault(self, mm: MmStruct, address: int, error_code: int) -> bool:
        """See mm_fast_fault in mmu.linux.anon."""

    def rcu_read_lock(self, mm: MmStruct) -> None:
        """See mmu.linux.rcu."""

    def rcu_read_unlock(self, mm: MmStruct) -> None:
        """See mmu.linux.rcu."""

    def call_rcu(self, mm: MmStruct, pfn: int) -> None:
        """See mmu.linux.rcu."""

    def rcu_process_callbacks(self, mm: MmStruct) -> int:
        """See mmu.linux.rcu."""


def _of_mm(function: Any) -> Any:
    """A method that calls function(mm, ...) and raises what broke."""

    def method(self: object, mm: MmStruct, *args: Any) -> Any:
        result = function(mm, *args)
        if mm.c.bug:
            check_bug(mm)
        return result

    method.__name__ = function.__name__
    method.__doc__ = function.__doc__
    return method


def _of_gather(function: Any) -> Any:
    """A method that calls function(gather, ...) and raises what broke."""

    def method(self: object, tlb: Gather, *args: Any) -> Any:
        result = function(tlb, *args)
        if tlb.mm.c.bug:
            check_bug(tlb.mm)
        return result

    method.__name__ = function.__name__
    method.__doc__ = function.__doc__
    return method


class PythonEngine:
    """The engine to read: every method is the function of its name in this package."""

    name = "python"
    pmd_offset_or_none = _of_mm(pgtable.pmd_offset_or_none)
    pmd_alloc = _of_mm(pgalloc.pmd_alloc)
    set_pte_at = _of_mm(pgtable.set_pte_at)
    add_mm_counter = _of_mm(pgtable.add_mm_counter)
    pte_lock = _of_mm(locks.pte_lock)
    pte_unlock = _of_mm(locks.pte_unlock)
    pmd_lock = _of_mm(locks.pmd_lock)
    pmd_unlock = _of_mm(locks.pmd_unlock)
    pte_ref_init = _of_mm(pte_ref.pte_ref_init)
    pte_get = _of_mm(pte_ref.pte_get)
    pte_get_many = _of_mm(pte_ref.pte_get_many)
    pte_entries_set = _of_mm(pte_ref.pte_entries_set)
    pte_get_unless_zero = _of_mm(pte_ref.pte_get_unless_zero)
    pte_try_get = _of_mm(pte_ref.pte_try_get)
    pte_tryget_map = _of_mm(pte_ref.pte_tryget_map)
    pte_tryget_map_lock = _of_mm(pte_ref.pte_tryget_map_lock)
    pte_alloc_get = _of_mm(pte_ref.pte_alloc_get)
    pte_alloc_get_map = _of_mm(pte_ref.pte_alloc_get_map)
    pte_alloc_get_map_lock = _of_mm(pte_ref.pte_alloc_get_map_lock)
    pmd_install = _of_mm(pte_ref.pmd_install)
    pte_put = _of_mm(pte_ref.pte_put)
    pte_put_many = _of_mm(pte_ref.pte_put_many)
    pte_put_tlb = _of_gather(pte_ref.pte_put_tlb)
    pte_put_many_tlb = _of_gather(pte_ref.pte_put_many_tlb)
    pte_put_vmf = _of_gather(pte_ref.pte_put_vmf)
    free_pte_table = _of_mm(pte_ref.free_pte_table)
    free_pte_table_tlb = _of_gather(pte_ref.free_pte_table_tlb)
    tlb_gather_mmu = _of_mm(mmu_gather.tlb_gather_mmu)
    tlb_finish_mmu = _of_gather(mmu_gather.tlb_finish_mmu)
    tlb_flush_mmu = _of_gather(mmu_gather.tlb_flush_mmu)
    tlb_remove_page = _of_gather(mmu_gather.tlb_remove_page)
    flush_tlb_mm_range = _of_mm(tlbflush.flush_tlb_mm_range)
    unmap_page_range = _of_gather(zap.unmap_page_range)
    change_protection = _of_gather(protection.change_protection)
    free_pgd_range = _of_gather(free_pgtables.free_pgd_range)
    do_anonymous_fault = _of_mm(anon.do_anonymous_fault)
    fast_fault = _of_mm(anon.mm_fast_fault)
    rcu_read_lock = _of_mm(rcu.rcu_read_lock)
    rcu_read_unlock = _of_mm(rcu.rcu_read_unlock)
    call_rcu = _of_mm(rcu.call_rcu)
    rcu_process_callbacks = _of_mm(rcu.rcu_process_callbacks)


def _entry(mm: MmStruct, pa: int) -> Any:
    """The host pointer of the entry at guest-physical pa."""
    return ffi.cast("u64 *", mm.memory.c.ram + (pa - mm.memory.base))


def _pa(mm: MmStruct, entry: Any) -> int | None:
    """The guest-physical address of an entry in RAM, None for NULL."""
    if entry == ffi.NULL:
        return None
    return int(ffi.cast("char *", entry) - ffi.cast("char *", mm.memory.c.ram)) + mm.memory.base


def _c_mm(name: str) -> Any:
    """A method over a C function of (mm, plain numbers...)."""
    function = getattr(lib, name)

    def method(self: object, mm: MmStruct, *args: int) -> Any:
        result = function(mm.c, *args)
        if mm.c.bug:
            check_bug(mm)
        return result

    method.__name__ = name
    return method


def _c_pmd(name: str) -> Any:
    """A method over a C function of (mm, pmd, plain numbers...)."""
    function = getattr(lib, name)

    def method(self: object, mm: MmStruct, pmd: int, *args: int) -> Any:
        result = function(mm.c, _entry(mm, pmd), *args)
        if mm.c.bug:
            check_bug(mm)
        return result

    method.__name__ = name
    return method


def _c_gather(name: str) -> Any:
    """A method over a C function of (gather, plain numbers...)."""
    function = getattr(lib, name)

    def method(self: object, tlb: Gather, *args: int) -> Any:
        result = function(tlb.c, *args)
        if tlb.mm.c.bug:
            check_bug(tlb.mm)
        return result

    method.__name__ = name
    return method


def _c_gather_pmd(name: str) -> Any:
    """A method over a C function of (gather, pmd, plain numbers...)."""
    function = getattr(lib, name)

    def method(self: object, tlb: Gather, pmd: int, *args: int) -> Any:
        function(tlb.c, _entry(tlb.mm, pmd), *args)
        if tlb.mm.c.bug:
            check_bug(tlb.mm)

    method.__name__ = name
    return method


class CEngine:
    """The fast engine: every method is the C function of its name in native/mm."""

    name = "c"
    add_mm_counter = _c_mm("add_mm_counter")
    pte_lock = _c_pmd("pte_lock")
    pte_unlock = _c_pmd("pte_unlock")
    pmd_lock = _c_pmd("pmd_lock")
    pmd_unlock = _c_pmd("pmd_unlock")
    pte_get = _c_pmd("pte_get")
    pte_get_many = _c_pmd("pte_get_many")
    pte_entries_set = _c_pmd("pte_entries_set")
    pte_get_unless_zero = _c_pmd("pte_get_unless_zero")
    pmd_install = _c_pmd("pmd_install")
    pte_put = _c_pmd("pte_put")
    pte_put_many = _c_pmd("pte_put_many")
    pte_put_tlb = _c_gather_pmd("pte_put_tlb")
    pte_put_many_tlb = _c_gather_pmd("pte_put_many_tlb")
    free_pte_table = _c_pmd("free_pte_table")
    free_pte_table_tlb = _c_gather_pmd("free_pte_table_tlb")
    tlb_finish_mmu = _c_gather("tlb_finish_mmu")
    tlb_flush_mmu = _c_gather("tlb_flush_mmu")
    tlb_remove_page = _c_gather("tlb_remove_page")
    flush_tlb_mm_range = _c_mm("flush_tlb_mm_range")
    unmap_page_range = _c_gather("unmap_page_range")
    change_protection = _c_gather("change_protection")
    free_pgd_range = _c_gather("free_pgd_range")
    do_anonymous_fault = _c_mm("do_anonymous_fault")
    fast_fault = _c_mm("mm_fast_fault")
    rcu_read_lock = _c_mm("rcu_read_lock")
    rcu_read_unlock = _c_mm("rcu_read_unlock")
    call_rcu = _c_mm("call_rcu")
    rcu_process_callbacks = _c_mm("rcu_process_callbacks")

    def pmd_offset_or_none(self, mm: MmStruct, addr: int) -> int | None:
        """See mmu.linux.pgtable."""
        return _pa(mm, lib.pmd_offset_or_null(mm.c, addr))

    def pmd_alloc(self, mm: MmStruct, addr: int) -> int | None:
        """See mmu.linux.pgalloc."""
        pmd = lib.pmd_alloc(mm.c, addr)
        check_bug(mm)
        return _pa(mm, pmd)

    def set_pte_at(self, mm: MmStruct, addr: int, pte: int, value: int) -> None:
        """See mmu.linux.pgtable."""
        lib.set_pte_at(mm.c, addr, _entry(mm, pte), value)

    def pte_ref_init(self, mm: MmStruct, table: int, pmd: int, count: int) -> None:
        """See mmu.linux.pte_ref."""
        lib.pte_ref_init(mm.c, table, _entry(mm, pmd), count)

    def pte_try_get(self, mm: MmStruct, pmd: int) -> TryGet:
        """See mmu.linux.pte_ref."""
        result = TryGet(lib.pte_try_get(mm.c, _entry(mm, pmd)))
        check_bug(mm)
        return result

    def pte_tryget_map(self, mm: MmStruct, pmd: int, addr: int) -> int | None:
        """See mmu.linux.pte_ref."""
        return self._mapped(mm, lib.pte_tryget_map(mm.c, _entry(mm, pmd), addr))

    def pte_tryget_map_lock(self, mm: MmStruct, pmd: int, addr: int) -> int | None:
        """See mmu.linux.pte_ref."""
        return self._mapped(mm, lib.pte_tryget_map_lock(mm.c, _entry(mm, pmd), addr))

    def pte_alloc_get(self, mm: MmStruct, pmd: int, addr: int) -> PteAlloc:
        """See mmu.linux.pte_ref."""
        result = PteAlloc(lib.pte_alloc_get(mm.c, _entry(mm, pmd), addr))
        check_bug(mm)
        return result

    def pte_alloc_get_map(self, mm: MmStruct, pmd: int, addr: int) -> tuple[PteAlloc, int]:
        """See mmu.linux.pte_ref."""
        return self._alloc_map(lib.pte_alloc_get_map, mm, pmd, addr)

    def pte_alloc_get_map_lock(self, mm: MmStruct, pmd: int, addr: int) -> tuple[PteAlloc, int]:
        """See mmu.linux.pte_ref."""
        return self._alloc_map(lib.pte_alloc_get_map_lock, mm, pmd, addr)

    def pte_put_vmf(self, vmf: VmFault) -> None:
        """See mmu.linux.pte_ref."""
        c = ffi.new(
            "struct vm_fault *", [vmf.mm.c, vmf.address, _entry(vmf.mm, vmf.pmd), vmf.has_ref]
        )
        lib.pte_put_vmf(c)
        vmf.has_ref = bool(c.has_ref)
        check_bug(vmf.mm)

    def tlb_gather_mmu(self, mm: MmStruct, fullmm: bool = False) -> Gather:
        """See mmu.linux.mmu_gather."""
        c = ffi.new("struct mmu_gather *")
        lib.tlb_gather_mmu(c, mm.c, fullmm)
        check_bug(mm)
        return Gather(mm, c)

    @staticmethod
    def _mapped(mm: MmStruct, pte: Any) -> int | None:
        check_bug(mm)
        return _pa(mm, pte)

    @staticmethod
    def _alloc_map(function: Any, mm: MmStruct, pmd: int, addr: int) -> tuple[PteAlloc, int]:
        pte = ffi.new("pte_t **")
        result = PteAlloc(function(mm.c, _entry(mm, pmd), addr, pte))
        check_bug(mm)
        return result, _pa(mm, pte[0]) or 0


PYTHON: Engine = PythonEngine()
C: Engine = CEngine()
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (C, PYTHON)}
