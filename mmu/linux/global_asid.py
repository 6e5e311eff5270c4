# SPDX-License-Identifier: GPL-2.0-or-later
"""Global ASIDs: an address space identifier that is an mm's on every CPU, so that INVLPGB can name
it to all of them at once (arch/x86/mm/tlb.c, CONFIG_BROADCAST_TLB_FLUSH, v6.18).

An mm gets one, for the rest of its life, when it is flushed while more than three CPUs use it. One
that was given back is not given out again before every processor has dropped all that is not
global.

::

    ASID   0 … 5                     6 … 4093
          +-------------------------+---------------------------------------------+
          | each CPU's own, by turn | global: one mm's, on all CPUs; never flushed |
          +-------------------------+  by a load of CR3                           |
    PCID   1 … 6                     7 … 4094
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mmu._native import lib
from mmu.linux.state import Cpu, Kernel, MmStruct
from mmu.x86.invalidate import INVLPGB_COUNT_MAX, INVLPGB_PCID, INVLPGB_STRIDE_2M, INVLPGB_VA

if TYPE_CHECKING:
    from mmu._native import Array

TLB_NR_DYN_ASIDS: Final = lib.TLB_NR_DYN_ASIDS
MAX_ASID_AVAILABLE: Final = lib.MAX_ASID_AVAILABLE
invlpgb_count_max: Final = INVLPGB_COUNT_MAX + 1
"""Pages that one INVLPGB can name."""


def is_dyn_asid(asid: int) -> bool:
    """Whether it is one of a CPU's own."""
    return asid < TLB_NR_DYN_ASIDS


def is_global_asid(asid: int) -> bool:
    """Whether it is an mm's on every CPU."""
    return not is_dyn_asid(asid)


def mm_needs_global_asid(mm: MmStruct, asid: int) -> bool:
    """Whether mm has a global ASID that a CPU which uses this one has yet to take up."""
    return bool(mm.c.global_asid) and asid != mm.c.global_asid


def mm_in_asid_transition(mm: MmStruct) -> bool:
    """Whether a CPU may still use an ASID of its own for mm."""
    return bool(mm.c.asid_transition)


# INVLPGB: what it does, it does to every processor before TLBSYNC ends, whatever they execute.


def _invlpgb(kernel: Kernel, rax: int, ecx: int, edx: int) -> None:
    this_cpu = kernel.this_cpu
    for cpu in kernel.cpus:
        kernel.this_cpu = cpu
        cpu.mmu.invlpgb(rax, ecx, edx)
    kernel.this_cpu = this_cpu


def invlpgb_flush_user_nr(kernel: Kernel, asid: int, addr: int, nr: int, pmd_stride: bool) -> None:
    """Drop nr pages from addr on, 2 MiB apart with ``pmd_stride``, of a global ASID everywhere."""
    ecx = nr - 1 | (INVLPGB_STRIDE_2M if pmd_stride else 0)
    _invlpgb(kernel, addr | INVLPGB_PCID | INVLPGB_VA, ecx, asid + 1 << 16)


def invlpgb_flush_single_pcid(kernel: Kernel, asid: int) -> None:
    """Drop all of a global ASID everywhere."""
    _invlpgb(kernel, INVLPGB_PCID, 0, asid + 1 << 16)


def invlpgb_flush_all_nonglobals(kernel: Kernel) -> None:
    """Drop everything of every PCID, but for global translations, everywhere."""
    _invlpgb(kernel, 0, 0, 0)


# Who has which.


def _test_bit(bitmap: Array[int], asid: int) -> bool:
    return bool(bitmap[asid >> 6] >> (asid & 63) & 1)


def _set_bit(bitmap: Array[int], asid: int) -> None:
    bitmap[asid >> 6] |= 1 << (asid & 63)


def _reset_global_asid_space(kernel: Kernel) -> None:
    """Nothing of the ASIDs that were given back is left in any TLB: they may be used again."""
    c = kernel.c
    invlpgb_flush_all_nonglobals(kernel)
    for i in range(len(c.global_asid_used)):
        c.global_asid_used[i] &= ~c.global_asid_freed[i]
        c.global_asid_freed[i] = 0
    c.last_global_asid = TLB_NR_DYN_ASIDS


def _allocate_global_asid(kernel: Kernel) -> int:
    """The next one that nobody has; 0 if all are had."""
    c = kernel.c
    if c.last_global_asid >= MAX_ASID_AVAILABLE - 1:
        _reset_global_asid_space(kernel)
    for asid in range(c.last_global_asid, MAX_ASID_AVAILABLE):
        if not _test_bit(c.global_asid_used, asid):
            _set_bit(c.global_asid_used, asid)
            c.last_global_asid = asid
            c.global_asid_available -= 1
            return asid
    return 0


def _mm_active_cpus_exceeds(mm: MmStruct, threshold: int) -> bool:
    """Whether more than so many CPUs are using mm now."""
    return sum(_uses(cpu, mm) for cpu in mm.cpus) > threshold


def _uses(cpu: Cpu, mm: MmStruct) -> bool:
    loaded = cpu.kernel.read_once(cpu, "loaded_mm_id")
    return loaded == mm.c.ctx_id and not cpu.kernel.read_once(cpu, "is_lazy")


def use_global_asid(mm: MmStruct) -> None:
    """Give mm a global ASID, if one is free; its CPUs take it up one by one."""
    if mm.c.global_asid or not mm.kernel.c.global_asid_available:
        return
    asid = _allocate_global_asid(mm.kernel)
    if asid:
        mm.c.asid_transition = 1
        mm.c.global_asid = asid


def consider_global_asid(mm: MmStruct, cpu: Cpu) -> None:
    """Give mm a global ASID if more than three CPUs use it; looked at in one of 32 jiffies, which
    one the PID of the task on this CPU says.
    """
    kernel = mm.kernel
    if not kernel.c.invlpgb or (cpu.current_pid ^ kernel.jiffies) & 0x1F:
        return
    if _mm_active_cpus_exceeds(mm, 3):
        use_global_asid(mm)


def mm_free_global_asid(mm: MmStruct) -> None:
    """Give mm's global ASID back, if it has one."""
    if mm.c.global_asid:
        _set_bit(mm.kernel.c.global_asid_freed, mm.c.global_asid)
        mm.c.global_asid = 0
        mm.kernel.c.global_asid_available += 1
