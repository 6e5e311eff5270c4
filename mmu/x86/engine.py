# SPDX-License-Identifier: GPL-2.0-or-later
"""What a processor's MMU does that is written twice: one line each (mmu.twin).

The first argument is the Unit; its ``native`` chooses between native/x86 and this package. What
each function means is said where Python defines it.
"""

from __future__ import annotations

from mmu.twin import Twin
from mmu.x86 import control, invalidate, tlb, translate, walk

mmu_walk = Twin(walk.mmu_walk)
mmu_translate = Twin(translate.mmu_translate)
mmu_refill = Twin(translate.mmu_refill)
mmu_page_fault = Twin(translate.mmu_page_fault)
mmu_resident = Twin(translate.mmu_resident)
mmu_invlpg = Twin(invalidate.mmu_invlpg)
mmu_invpcid = Twin(invalidate.mmu_invpcid)
mmu_invlpgb = Twin(invalidate.mmu_invlpgb)
mmu_flush_all = Twin(invalidate.mmu_flush_all)
mmu_tables_changed = Twin(invalidate.mmu_tables_changed)
mmu_soft_flush = Twin(tlb.mmu_soft_flush)
mmu_write_cr0 = Twin(control.mmu_write_cr0)
mmu_write_cr3 = Twin(control.mmu_write_cr3)
mmu_write_cr4 = Twin(control.mmu_write_cr4)
mmu_write_efer = Twin(control.mmu_write_efer)
mmu_write_pat = Twin(control.mmu_write_pat)
mmu_write_pkru = Twin(control.mmu_write_pkru)
mmu_write_pkrs = Twin(control.mmu_write_pkrs)
