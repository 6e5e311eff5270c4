/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dropping translations of an mm from the TLBs of the CPUs that have it loaded. */
#ifndef UCMMU_MM_TLBFLUSH_H
#define UCMMU_MM_TLBFLUSH_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Drop [start, end) from the TLB of every CPU in mm_cpumask, page by page of 1 << stride_shift
 * bytes up to TLB_SINGLE_PAGE_FLUSH_CEILING pages, else the whole address space (end
 * TLB_FLUSH_ALL too).
 */
void flush_tlb_mm_range(struct mm_struct *mm, u64 start, u64 end, u32 stride_shift,
			u32 freed_tables);
/* cffi-end */

#endif
