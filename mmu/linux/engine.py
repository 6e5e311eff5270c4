# SPDX-License-Identifier: GPL-2.0-or-later
"""What the mm does that is written twice, in Python and in C: one line each (mmu.twin).

The ``native`` of the first argument, which is the kernel's, chooses between native/mm and this
package. What each function means is said where Python defines it. Entries are guest-physical
addresses (EntryPa). A broken invariant raises MmBug from the call that met it.

The modules above this one call these; those below call each other, Python to Python.
"""

from __future__ import annotations

from functools import partial

from mmu.linux import (
    anon,
    free_pgtables,
    locks,
    mmu_gather,
    pgtable,
    pmd_ref,
    pte_ref,
    rcu,
    tlbflush,
    zap,
)
from mmu.linux import (
    change_protection as protection,
)
from mmu.linux import copy_page_range as copying
from mmu.linux import set_pte_range as set_pte_ranges
from mmu.linux import (
    user_range as user_ranges,
)
from mmu.linux.tracepoint import note_caller
from mmu.twin import Twin

_Named = partial(Twin, note_caller=note_caller)  # their events name the caller

mm_find_pmd = Twin(pgtable.mm_find_pmd)
set_pte_at = _Named(pgtable.set_pte_at)
add_mm_counter = _Named(pgtable.add_mm_counter)
pud_alloc = Twin(pmd_ref.pud_alloc)
pmd_alloc = Twin(pmd_ref.pmd_alloc)
pmd_tryget = Twin(pmd_ref.pmd_tryget)
pmd_put = Twin(pmd_ref.pmd_put)
pmd_put_tlb = Twin(pmd_ref.pmd_put_tlb)
pud_put = Twin(pmd_ref.pud_put)
pmd_entry_set = Twin(pmd_ref.pmd_entry_set)
pmd_entry_cleared = Twin(pmd_ref.pmd_entry_cleared)
pmd_entry_cleared_tlb = Twin(pmd_ref.pmd_entry_cleared_tlb)
pte_lock = Twin(locks.pte_lock)
pte_lock_nested = Twin(locks.pte_lock_nested)
pte_unlock = Twin(locks.pte_unlock)
pmd_lock = Twin(locks.pmd_lock)
pmd_lock_nested = Twin(locks.pmd_lock_nested)
pmd_unlock = Twin(locks.pmd_unlock)
pte_ref_init = Twin(pte_ref.pte_ref_init)
pte_get = _Named(pte_ref.pte_get)
pte_get_many = _Named(pte_ref.pte_get_many)
pte_entries_set = _Named(pte_ref.pte_entries_set)
pte_get_unless_zero = _Named(pte_ref.pte_get_unless_zero)
pte_try_get = _Named(pte_ref.pte_try_get)
pte_tryget_map = _Named(pte_ref.pte_tryget_map)
pte_tryget_map_lock = _Named(pte_ref.pte_tryget_map_lock)
pte_relock = _Named(pte_ref.pte_relock)
pte_alloc_get = _Named(pte_ref.pte_alloc_get)
pte_alloc_get_map = _Named(pte_ref.pte_alloc_get_map)
pte_alloc_get_map_lock = _Named(pte_ref.pte_alloc_get_map_lock)
pmd_install = _Named(pte_ref.pmd_install)
pte_put = _Named(pte_ref.pte_put)
pte_put_many = _Named(pte_ref.pte_put_many)
pte_put_tlb = _Named(pte_ref.pte_put_tlb)
pte_put_many_tlb = _Named(pte_ref.pte_put_many_tlb)
pte_put_vmf = _Named(pte_ref.pte_put_vmf)
free_pte_table = Twin(pte_ref.free_pte_table)
free_pte_table_tlb = Twin(pte_ref.free_pte_table_tlb)
tlb_gather_mmu = Twin(mmu_gather.tlb_gather_mmu)
tlb_finish_mmu = Twin(mmu_gather.tlb_finish_mmu)
tlb_flush_mmu = Twin(mmu_gather.tlb_flush_mmu)
tlb_remove_page = Twin(mmu_gather.tlb_remove_page)
tlb_gather_owed = Twin(mmu_gather.tlb_gather_owed)
pte_free_tlb = Twin(mmu_gather.pte_free_tlb)
flush_tlb_mm_range = _Named(tlbflush.flush_tlb_mm_range)
flush_tlb_is_local = Twin(tlbflush.flush_tlb_is_local)
ptep_clear_flush = _Named(tlbflush.ptep_clear_flush)
unmap_page_range = Twin(zap.unmap_page_range)
change_protection = Twin(protection.change_protection)
copy_page_range = Twin(copying.copy_page_range)
free_pgd_range = Twin(free_pgtables.free_pgd_range)
do_anonymous_fault = Twin(anon.do_anonymous_fault)
mm_fast_fault = Twin(anon.mm_fast_fault)
set_pte_range = Twin(set_pte_ranges.set_pte_range)
user_range = Twin(user_ranges.user_range)
rcu_read_lock = Twin(rcu.rcu_read_lock)
rcu_read_unlock = Twin(rcu.rcu_read_unlock)
call_rcu = Twin(rcu.call_rcu)
rcu_report_qs = Twin(rcu.rcu_report_qs)
rcu_process_callbacks = Twin(rcu.rcu_process_callbacks)
