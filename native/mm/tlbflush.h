/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dropping translations of an mm from the TLBs of the CPUs that may hold them. */
#ifndef UCMMU_MM_TLBFLUSH_H
#define UCMMU_MM_TLBFLUSH_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Drop [start, end) from every TLB that may hold it, page by page of 1 << stride_shift bytes up to
 * TLB_SINGLE_PAGE_FLUSH_CEILING pages, else the whole address space (end TLB_FLUSH_ALL too).
 * Waits for other CPUs if there are any: then through kernel->flush_others.
 */
void flush_tlb_mm_range(struct mm_struct *mm, u64 start, u64 end, u32 stride_shift,
			u32 freed_tables);
/* Would a flush of mm need no other CPU, and so not wait? */
bool flush_tlb_is_local(struct mm_struct *mm);
/* Clear a PTE and flush what it mapped: returns it.  The PTE lock is held.  May wait. */
u64 ptep_clear_flush(struct mm_struct *mm, u64 addr, pte_t *pte);
/* cffi-end */

/* Do a flush of mm on the CPU that runs this, which has mm loaded and is not lazy. */
void flush_tlb_func(struct cpu *cpu, struct mm_struct *mm, const struct flush_tlb_info *f);

#endif
