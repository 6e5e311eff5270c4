# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mm a CPU has loaded, and flushing an mm from the TLBs (arch/x86/mm/tlb.c, v6.18).

Each flush of an mm is one more *generation* (``mm.c.tlb_gen``). A CPU keeps what its TLB holds of
six mms, one for each of its ASIDs, with the generation up to which it has flushed each: what it has
missed it catches up with when it loads the mm again. ::

    flush_tlb_mm_range()        generation + 1, then
      INVLPGB                     if the mm has a global ASID: every processor, no interrupt
      flush_tlb_multi()           if another CPU is in mm_cpumask: interrupts, and waits for them
        should_flush_tlb()          not a lazy one, nor one that left, unless tables were freed
      flush_tlb_func()            what each CPU does, this one too

docs/shootdown.md tells it at length.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Final, cast

from mmu._native import ffi, lib
from mmu.errors import MmuError
from mmu.events import EVENT_ID, KERNEL_COUNTER_ID, MM_COUNTER_ID
from mmu.linux.global_asid import (
    consider_global_asid,
    invlpgb_count_max,
    invlpgb_flush_single_pcid,
    invlpgb_flush_user_nr,
    is_global_asid,
    mm_in_asid_transition,
    mm_needs_global_asid,
)
from mmu.linux.mm_count import mmdrop, mmgrab
from mmu.linux.pgtable import PMD_SHIFT, TLB_FLUSH_ALL, P, ptep_get_and_clear
from mmu.linux.smp import local_irqs_off, on_each_cpu_cond_mask, smp_mb
from mmu.linux.state import HZ, LOADED_MM_SWITCHING, Cpu, Kernel, MmStruct, mm_of
from mmu.linux.tracepoint import Span, emit
from mmu.twin import EntryPa
from mmu.units import PAGE_SHIFT, PAGE_SIZE

if TYPE_CHECKING:
    from mmu._native import struct_flush_tlb_info_ptr, struct_mm_struct_ptr

_FLUSH_RANGE: Final = EVENT_ID["flush_tlb_mm_range"]
_TLB_FLUSH: Final = EVENT_ID["tlb_flush"]
_SWITCH_MM: Final = EVENT_ID["switch_mm"]
_FLUSH_FUNC: Final = EVENT_ID["flush_tlb_func"]
_LOCAL_ALL: Final = MM_COUNTER_ID["nr_tlb_local_flush_all"]
_LOCAL_ONE: Final = MM_COUNTER_ID["nr_tlb_local_flush_one"]
_REMOTE: Final = MM_COUNTER_ID["nr_tlb_remote_flush"]
_RECEIVED: Final = MM_COUNTER_ID["nr_tlb_remote_flush_received"]
_IRQ_TLB_COUNT: Final = KERNEL_COUNTER_ID["irq_tlb_count"]


class TlbFlushReason(IntEnum):
    """Why the event tlb_flush was told (enum tlb_flush_reason); ``label`` as ftrace says it."""

    ON_TASK_SWITCH = lib.TLB_FLUSH_ON_TASK_SWITCH
    REMOTE_SHOOTDOWN = lib.TLB_REMOTE_SHOOTDOWN
    LOCAL_SHOOTDOWN = lib.TLB_LOCAL_SHOOTDOWN
    LOCAL_MM_SHOOTDOWN = lib.TLB_LOCAL_MM_SHOOTDOWN
    REMOTE_SEND_IPI = lib.TLB_REMOTE_SEND_IPI
    REMOTE_WRONG_CPU = lib.TLB_REMOTE_WRONG_CPU

    @property
    def label(self) -> str:
        """Its words."""
        return _REASON_LABELS[self]


_REASON_LABELS: Final = (
    *("flush on task switch", "remote shootdown", "local shootdown"),
    *("local MM shootdown", "remote IPI send", "remote wrong CPU"),
)
TLB_FLUSH_ON_TASK_SWITCH: Final = TlbFlushReason.ON_TASK_SWITCH
TLB_REMOTE_SHOOTDOWN: Final = TlbFlushReason.REMOTE_SHOOTDOWN
TLB_LOCAL_SHOOTDOWN: Final = TlbFlushReason.LOCAL_SHOOTDOWN
TLB_LOCAL_MM_SHOOTDOWN: Final = TlbFlushReason.LOCAL_MM_SHOOTDOWN
TLB_REMOTE_SEND_IPI: Final = TlbFlushReason.REMOTE_SEND_IPI
TLB_REMOTE_WRONG_CPU: Final = TlbFlushReason.REMOTE_WRONG_CPU

tlb_single_page_flush_ceiling: Final = lib.TLB_SINGLE_PAGE_FLUSH_CEILING
"""Pages; a flush of more of them is one of the whole address space."""


# Loading an mm.


def switch_mm(kernel: Kernel, mm: MmStruct | None) -> None:
    """Load mm into this CPU, which leaves lazy mode; None is init_mm, the kernel's own, which maps
    nothing.

    What the TLB still holds of mm stays, if no flush was missed. Raises MmuError if mm has exited.
    """
    if mm is not None and not mm.mm_users:
        raise MmuError(f"CPU {kernel.this_cpu.id} cannot load {mm!r}: it has exited")
    with local_irqs_off(kernel):
        switch_mm_irqs_off(kernel, mm)


def enter_lazy_tlb(kernel: Kernel) -> None:
    """This CPU goes on without a user of the mm that it has loaded: a kernel thread, or idle.

    It stays loaded, so that coming back is free; flushes pass the CPU by, unless tables are freed.
    """
    if kernel.this_cpu.loaded_mm is not None:
        kernel.write_once(kernel.this_cpu, "is_lazy", 1)


def leave_mm(kernel: Kernel) -> None:
    """Leave the mm that this CPU has loaded: init_mm takes its place."""
    if kernel.this_cpu.loaded_mm is not None:
        switch_mm(kernel, None)


def switch_mm_irqs_off(kernel: Kernel, next_mm: MmStruct | None) -> None:
    """switch_mm() with interrupts off.

    What other CPUs look at (is_lazy, loaded_mm, mm_cpumask) is seen by them before this one reads
    which flush was the last: one that it does not see sees it. The mm that was loaded keeps this
    CPU in its mm_cpumask. To the same mm it only takes up a global ASID, or what a lazy CPU has
    missed.
    """
    cpu, c = kernel.this_cpu, kernel.this_cpu.c
    prev, asid = cpu.loaded_mm, int(c.loaded_mm_asid)
    was_lazy = bool(kernel.read_once(cpu, "is_lazy"))
    kernel.instrument_read(cpu, "tlbstate")
    if was_lazy:
        kernel.write_once(cpu, "is_lazy", 0)
    if prev is not next_mm:
        _begin_switching(cpu, next_mm)
        next_tlb_gen = 0 if next_mm is None else _mm_tlb_gen(next_mm)
        asid, need_flush = _choose_new_asid(cpu, next_mm, next_tlb_gen)
    elif next_mm is not None and mm_needs_global_asid(next_mm, asid):
        next_tlb_gen = _mm_tlb_gen(next_mm)
        asid, need_flush = _choose_new_asid(cpu, next_mm, next_tlb_gen)
    elif next_mm is None or is_global_asid(asid) or not was_lazy:
        return
    else:
        smp_mb(kernel)
        next_tlb_gen = _mm_tlb_gen(next_mm)
        if c.ctxs[asid].tlb_gen == next_tlb_gen:
            return
        need_flush = True
    if need_flush:
        c.ctxs[asid].ctx_id = _ctx_id(next_mm)
        c.ctxs[asid].tlb_gen = next_tlb_gen
    _load_new_mm_cr3(cpu, next_mm, asid, need_flush)
    emit(kernel, _SWITCH_MM, _pgd_of(kernel, prev), _pgd_of(kernel, next_mm), cpu.mmu.c.cr3)
    pages = TLB_FLUSH_ALL if need_flush else 0
    emit(kernel, _TLB_FLUSH, TLB_FLUSH_ON_TASK_SWITCH, pages, _pgd_of(kernel, next_mm))
    kernel.write_once(cpu, "loaded_mm_id", _ctx_id(next_mm))
    cpu.loaded_mm = next_mm
    c.loaded_mm = ffi.NULL if next_mm is None else next_mm.c
    c.loaded_mm_asid = asid
    if prev is not None and prev is not next_mm:
        mmdrop(prev)


def _begin_switching(cpu: Cpu, next_mm: MmStruct | None) -> None:
    """From here on flushes of next_mm reach the CPU. Without the barrier it could read tlb_gen
    while a flush still finds another mm loaded here; a CPU that is in mm_cpumask already gets none
    from cpumask_set_cpu().
    """
    kernel = cpu.kernel
    if next_mm is not None:
        mmgrab(next_mm)
    kernel.write_once(cpu, "loaded_mm_id", LOADED_MM_SWITCHING)
    if next_mm is not None:
        kernel.instrument_read(next_mm, "cpu_bitmap")
        if not next_mm.c.cpu_bitmap >> cpu.id & 1:
            kernel.instrument_write(next_mm, "cpu_bitmap")
            next_mm.c.cpu_bitmap |= 1 << cpu.id
            return
    smp_mb(kernel)


def _pgd_of(kernel: Kernel, mm: MmStruct | None) -> int:
    """What names an mm in events; init_mm too."""
    return kernel.swapper_pg_dir if mm is None else int(mm.c.pgd)


def _ctx_id(mm: MmStruct | None) -> int:
    return lib.INIT_MM_CTX_ID if mm is None else int(mm.c.ctx_id)


def _choose_new_asid(cpu: Cpu, mm: MmStruct | None, next_tlb_gen: int) -> tuple[int, bool]:
    """choose_new_asid(): the ASID for mm on this CPU, and whether what is held under it is out of
    date: mm's global one, the one that it had, or the next in turn.
    """
    c = cpu.c
    if not cpu.mmu.c.cr4 & lib.CR4_PCIDE:
        return 0, True
    if mm is not None and mm.c.global_asid:
        return int(mm.c.global_asid), False
    ctx_id = _ctx_id(mm)
    for asid in range(lib.TLB_NR_DYN_ASIDS):
        if c.ctxs[asid].ctx_id == ctx_id:
            return asid, bool(c.ctxs[asid].tlb_gen < next_tlb_gen)
    asid = int(c.next_asid)
    if asid >= lib.TLB_NR_DYN_ASIDS:
        asid = 0
    c.next_asid = asid + 1
    return asid, True


def _load_new_mm_cr3(cpu: Cpu, mm: MmStruct | None, asid: int, need_flush: bool) -> None:
    pgd = cpu.kernel.swapper_pg_dir if mm is None else mm.c.pgd
    cpu.mmu.write_cr3(cpu.build_cr3(pgd, asid) | (0 if need_flush else lib.CR3_NOFLUSH))


# Flushing one.


@dataclass(frozen=True, slots=True)
class FlushTlbInfo:
    """struct flush_tlb_info: what one flush asks of the CPUs."""

    mm: MmStruct
    start: int
    end: int
    stride_shift: int
    freed_tables: bool
    new_tlb_gen: int
    initiating_cpu: int
    trim_cpumask: bool = False


def inc_mm_tlb_gen(mm: MmStruct) -> int:
    """The generation of a flush of mm that begins: whoever loads mm from here on sees it."""
    mm.kernel.instrument_write(mm, "tlb_gen")
    mm.c.tlb_gen += 1
    return int(mm.c.tlb_gen)


def _mm_tlb_gen(mm: MmStruct) -> int:
    """The last flush of mm that began."""
    mm.kernel.instrument_read(mm, "tlb_gen")
    return int(mm.c.tlb_gen)


def flush_tlb_is_local(mm: MmStruct) -> bool:
    """Whether a flush of mm would need no other CPU, and so not wait."""
    cpu = mm.kernel.this_cpu
    return (
        not mm.c.cpu_bitmap & ~(1 << cpu.id)
        and not mm.c.global_asid
        and not (cpu.loaded_mm is mm and mm.kernel.read_once(cpu, "is_lazy"))
    )


def flush_tlb_mm_range(
    mm: MmStruct, start: int, end: int, stride_shift: int, freed_tables: int
) -> None:
    """Drop the translations of [start, end), in steps of ``1 << stride_shift`` bytes, from every
    CPU that may hold them.

    Up to tlb_single_page_flush_ceiling steps, one INVLPG each; above, or with end TLB_FLUSH_ALL, a
    MOV to CR3 that drops the whole address space. Either drops every paging-structure-cache entry
    of the address space; freed_tables (0 or 1) says that tables were freed, so that CPUs with a
    lazy TLB may not be spared. When it returns, no CPU that uses mm holds such a translation; one
    that does not has a generation to catch up with. May wait, with interrupts on; spinlocks may be
    held.
    """
    new_tlb_gen = inc_mm_tlb_gen(mm)
    mm.kernel.point("inc_mm_tlb_gen")
    if (end - start) >> stride_shift > tlb_single_page_flush_ceiling:
        start, end = 0, TLB_FLUSH_ALL
    cpu = mm.kernel.this_cpu.id
    info = FlushTlbInfo(mm, start, end, stride_shift, bool(freed_tables), new_tlb_gen, cpu)
    with Span(mm.kernel, "flush_tlb_mm_range", start, end, mm.c.pgd):
        emit(mm.kernel, _FLUSH_RANGE, start, end, freed_tables, mm.c.pgd)
        _flush_tlb(info)


def ptep_clear_flush(mm: MmStruct, addr: int, pte: EntryPa) -> int:
    """Clear a PTE and drop addr's translation from every CPU that may hold it; returns what it was.

    mm/pgtable-generic.c. The PTE lock is held. No CPU uses the old page any more afterwards, so a
    new one may be mapped.
    """
    old = ptep_get_and_clear(mm, addr, pte)
    if old & P:
        flush_tlb_mm_range(mm, addr, addr + PAGE_SIZE, PAGE_SHIFT, 0)
    return old


def _flush_tlb(info: FlushTlbInfo) -> None:
    """Which CPUs, and how."""
    mm, kernel, cpu = info.mm, info.mm.kernel, info.mm.kernel.this_cpu
    kernel.instrument_read(mm, "cpu_bitmap")
    if mm.c.global_asid:
        _broadcast_tlb_flush(info)
    elif mm.c.cpu_bitmap & ~(1 << cpu.id):
        if should_trim_cpumask(mm):
            info = replace(info, trim_cpumask=True)
        flush_tlb_multi(mm.c.cpu_bitmap, info)
        consider_global_asid(mm, cpu)
    elif cpu.loaded_mm is mm:
        with local_irqs_off(kernel):
            flush_tlb_func(info)


@ffi.def_extern()
def kernel_flush_others(c: struct_mm_struct_ptr, f: struct_flush_tlb_info_ptr) -> None:
    """What C calls for a flush that is not one of this CPU alone."""
    mm = mm_of(c)
    try:
        _flush_tlb(
            FlushTlbInfo(
                mm, f.start, f.end, f.stride_shift, bool(f.freed_tables), f.new_tlb_gen,
                mm.kernel.this_cpu.id,
            )
        )  # fmt: skip
    except BaseException as error:
        mm.kernel.keep_error(error)


def flush_tlb_multi(mask: int, info: FlushTlbInfo) -> None:
    """Have the CPUs of mask flush, and wait until they have: native_flush_tlb_multi().

    If tables were freed, every one of them: a lazy CPU may walk, of its own accord, through what
    was a table.
    """
    mm, kernel = info.mm, info.mm.kernel
    mm.c.counter[_REMOTE] += 1
    everything = info.end == TLB_FLUSH_ALL
    pages = TLB_FLUSH_ALL if everything else info.end - info.start >> PAGE_SHIFT
    emit(kernel, _TLB_FLUSH, TLB_REMOTE_SEND_IPI, pages, mm.c.pgd)
    everybody = info.freed_tables or mm_in_asid_transition(mm)
    on_each_cpu_cond_mask(kernel, None if everybody else _should_flush, _flush_tlb_func, info, mask)


def should_flush_tlb(cpu: Cpu, info: FlushTlbInfo) -> bool:
    """Whether that CPU must be asked now: it uses the mm. One that does not is asked once a second,
    so that it leaves mm_cpumask. is_lazy is read after loaded_mm, so it is no older than that: they
    are stored the other way round.
    """
    kernel = cpu.kernel
    loaded = kernel.read_once(cpu, "loaded_mm_id")
    if kernel.read_once(cpu, "is_lazy"):
        return False
    return loaded in (LOADED_MM_SWITCHING, info.mm.c.ctx_id) or info.trim_cpumask


def should_trim_cpumask(mm: MmStruct) -> bool:
    """Whether a second has passed since CPUs that left were last taken out of mm_cpumask."""
    if mm.kernel.jiffies > mm.c.next_trim_cpumask:
        mm.c.next_trim_cpumask = mm.kernel.jiffies + HZ
        return True
    return False


def _should_flush(cpu: Cpu, info: object) -> bool:
    return should_flush_tlb(cpu, cast("FlushTlbInfo", info))


def _flush_tlb_func(info: object) -> None:
    flush_tlb_func(cast("FlushTlbInfo", info))


def flush_tlb_func(info: FlushTlbInfo) -> None:
    """What this CPU does for a flush, its own or, in the handler of the interrupt, another's.
    Interrupts are off.

    It drops the pages one by one only if that is all it has missed; else everything, and is then as
    new as the mm. A CPU without a user of the mm, lazy or because the mm ends, leaves it instead.
    """
    mm, kernel = info.mm, info.mm.kernel
    cpu, c = kernel.this_cpu, kernel.this_cpu.c
    local = cpu.id == info.initiating_cpu
    if not local:
        kernel.c.counter[_IRQ_TLB_COUNT] += 1
        cpu.irq_tlb_count += 1
        mm.c.counter[_RECEIVED] += 1
        emit(kernel, _FLUSH_FUNC, mm.c.pgd, info.start, info.end, info.initiating_cpu)
    kernel.instrument_read(cpu, "tlbstate")
    if cpu.loaded_mm is not mm:
        kernel.instrument_write(mm, "cpu_bitmap")
        mm.c.cpu_bitmap &= ~(1 << cpu.id)
        emit(kernel, _TLB_FLUSH, TLB_REMOTE_WRONG_CPU, 0, mm.c.pgd)
        return
    if mm_needs_global_asid(mm, c.loaded_mm_asid):
        switch_mm_irqs_off(kernel, mm)
    if is_global_asid(c.loaded_mm_asid):
        return
    if kernel.read_once(cpu, "is_lazy") or not mm.mm_users:
        switch_mm_irqs_off(kernel, None)
        return
    _catch_up(cpu, info, local)


def _catch_up(cpu: Cpu, info: FlushTlbInfo, local: bool) -> None:
    """The flush itself, on a CPU that uses the mm under an ASID of its own."""
    mm, context = info.mm, cpu.c.ctxs[cpu.c.loaded_mm_asid]
    local_tlb_gen, mm_tlb_gen = int(context.tlb_gen), _mm_tlb_gen(mm)
    nr_invalidate = 0
    if info.new_tlb_gen <= local_tlb_gen:
        return
    if local_tlb_gen + 1 == info.new_tlb_gen == mm_tlb_gen and info.end != TLB_FLUSH_ALL:
        nr_invalidate = info.end - info.start >> info.stride_shift
        for addr in range(info.start, info.end, 1 << info.stride_shift):
            cpu.mmu.invlpg(addr)
        if local:
            mm.c.counter[_LOCAL_ONE] += nr_invalidate
    else:
        nr_invalidate = TLB_FLUSH_ALL
        cpu.mmu.write_cr3(cpu.mmu.c.cr3)
        if local:
            mm.c.counter[_LOCAL_ALL] += 1
    context.tlb_gen = mm_tlb_gen
    reason = TLB_LOCAL_MM_SHOOTDOWN if local else TLB_REMOTE_SHOOTDOWN
    emit(mm.kernel, _TLB_FLUSH, reason, nr_invalidate, mm.c.pgd, site="flush_tlb_func")


def _broadcast_tlb_flush(info: FlushTlbInfo) -> None:
    """broadcast_tlb_flush(): INVLPGB of the mm's global ASID, and TLBSYNC."""
    kernel, asid = info.mm.kernel, int(info.mm.c.global_asid)
    if info.end == TLB_FLUSH_ALL:
        invlpgb_flush_single_pcid(kernel, asid)
    else:
        addr = info.start
        while True:
            nr = 1
            if info.stride_shift <= PMD_SHIFT:
                nr = info.end - addr >> info.stride_shift
                nr = min(max(nr, 1), invlpgb_count_max)
            invlpgb_flush_user_nr(kernel, asid, addr, nr, info.stride_shift == PMD_SHIFT)
            addr += nr << info.stride_shift
            if addr >= info.end:
                break
    _finish_asid_transition(info)


def _finish_asid_transition(info: FlushTlbInfo) -> None:
    """finish_asid_transition(): while a CPU still uses mm under an ASID of its own, which no
    broadcast reaches, every CPU is interrupted as well, and then takes the global one up.
    """
    mm = info.mm
    if not mm_in_asid_transition(mm):
        return
    for cpu in mm.cpus:
        loaded = mm.kernel.read_once(cpu, "loaded_mm_id")
        mm.kernel.instrument_read(cpu, "tlbstate")
        if (
            loaded in (LOADED_MM_SWITCHING, mm.c.ctx_id)
            and cpu.c.loaded_mm_asid != mm.c.global_asid
        ):
            flush_tlb_multi(mm.c.cpu_bitmap, info)
            return
    mm.c.asid_transition = 0
