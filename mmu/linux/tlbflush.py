# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mm a CPU has loaded, and flushing an mm from the TLBs (arch/x86/mm/tlb.c, v6.18)."""

from __future__ import annotations

from typing import Final

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, MM_COUNTER_ID
from mmu.linux.pgtable import TLB_FLUSH_ALL, emit
from mmu.linux.state import Cpu, Kernel, MmStruct

_TLB_FLUSH: Final = EVENT_ID["tlb_flush"]
_LOCAL_ALL: Final = MM_COUNTER_ID["nr_tlb_local_flush_all"]
_LOCAL_ONE: Final = MM_COUNTER_ID["nr_tlb_local_flush_one"]
_REMOTE: Final = MM_COUNTER_ID["nr_tlb_remote_flush"]
_RECEIVED: Final = MM_COUNTER_ID["nr_tlb_remote_flush_received"]

tlb_single_page_flush_ceiling: Final = lib.TLB_SINGLE_PAGE_FLUSH_CEILING
"""Pages; a flush of more of them is one of the whole address space."""


def switch_mm(kernel: Kernel, mm: MmStruct | None) -> None:
    """Load mm into this CPU: mm_cpumask, then CR3. None leaves the CPU with no mm.

    switch_mm_irqs_off(). CR4.PCIDE is clear, so the MOV to CR3 drops all non-global translations,
    and the mm that was loaded need not flush this CPU any more. Raises MmuError if mm has no tables
    (it has exited).
    """
    cpu = kernel.this_cpu
    if mm is not None and not mm.c.pgd:
        raise MmuError(f"CPU {cpu.id} cannot load {mm!r}: it has exited")
    if cpu.loaded_mm is not None:
        cpu.loaded_mm.c.cpu_bitmap &= ~(1 << cpu.id)
    cpu.loaded_mm = mm
    cpu.c.loaded_mm = ffi.NULL if mm is None else mm.c
    if mm is not None:
        mm.c.cpu_bitmap |= 1 << cpu.id
        cpu.mmu.write_cr3(mm.c.pgd)


def leave_mm(mm: MmStruct) -> None:
    """Leave every CPU that has mm loaded with no mm. CR3 stays: nothing runs on it any more."""
    for cpu in mm.cpus:
        cpu.loaded_mm, cpu.c.loaded_mm = None, ffi.NULL
    mm.c.cpu_bitmap = 0


def flush_tlb_mm_range(
    mm: MmStruct, start: int, end: int, stride_shift: int, freed_tables: int
) -> None:
    """Drop the translations of [start, end), in steps of ``1 << stride_shift`` bytes, from every
    CPU that has mm loaded.

    Up to tlb_single_page_flush_ceiling steps, one INVLPG each; above, or with end TLB_FLUSH_ALL, a
    MOV to CR3 that drops the whole address space. Either drops every paging-structure-cache entry
    of the address space; freed_tables (0 or 1) says that tables were freed, so that CPUs with a
    lazy TLB may not be spared. When it returns, no CPU holds such a translation.
    """
    if (end - start) >> stride_shift > tlb_single_page_flush_ceiling:
        start, end = 0, TLB_FLUSH_ALL
    emit(mm.kernel, _TLB_FLUSH, start, end, freed_tables)
    this_cpu = mm.kernel.this_cpu
    others = [cpu for cpu in mm.cpus if cpu is not this_cpu]
    if others:
        mm.c.counter[_REMOTE] += 1
        for cpu in others:
            mm.kernel.this_cpu = cpu
            mm.c.counter[_RECEIVED] += 1
            _flush_tlb_func(cpu, mm, start, end, stride_shift)
        mm.kernel.this_cpu = this_cpu
    if mm.c.cpu_bitmap >> this_cpu.id & 1:
        _flush_tlb_func(this_cpu, mm, start, end, stride_shift)


def _flush_tlb_func(cpu: Cpu, mm: MmStruct, start: int, end: int, stride_shift: int) -> None:
    """What one CPU does: locally, or in the handler of the interprocessor interrupt."""
    if end == TLB_FLUSH_ALL:
        mm.c.counter[_LOCAL_ALL] += 1
        cpu.mmu.write_cr3(cpu.mmu.c.cr3 & ~lib.CR3_NOFLUSH)
        return
    for addr in range(start, end, 1 << stride_shift):
        mm.c.counter[_LOCAL_ONE] += 1
        cpu.mmu.invlpg(addr)
