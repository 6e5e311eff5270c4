# SPDX-License-Identifier: GPL-2.0-or-later
"""Taking memory back from processes that are to end (mm/oom_kill.c, v6.18)."""

from __future__ import annotations

from mmu.linux import engine
from mmu.linux.huge_memory import unmap_single_vma
from mmu.linux.state import MmStruct
from mmu.linux.vma import VM_PFNMAP, VM_SHARED


def oom_reap_task_mm(mm: MmStruct) -> None:
    """__oom_reap_task_mm(): unmap what is private in an address space that nobody will use again;
    its VMAs stay. Takes the mmap_lock for reading; EINTR if the caller is to end.
    """
    with mm.mmap_read_lock(killable=True):
        tlb = engine.tlb_gather_mmu(mm)
        try:
            for vma in mm.c.vmas.vma[0 : mm.c.vmas.nr]:
                if vma.vm_flags & VM_PFNMAP:
                    continue
                if not vma.vm_file or not vma.vm_flags & VM_SHARED:
                    unmap_single_vma(tlb, vma.vm_start, vma.vm_end, 0)
        finally:
            engine.tlb_finish_mmu(tlb)
