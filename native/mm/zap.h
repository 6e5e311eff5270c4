/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The range loops over PTEs: unmapping, changing rights, freeing tables. */
#ifndef UCMMU_MM_ZAP_H
#define UCMMU_MM_ZAP_H

#include "mm/mm.h"

/* cffi-begin */
/* Clear what maps [start, end) of one VMA, gather the frames, free tables as the policy says. */
void unmap_page_range(struct mmu_gather *tlb, u64 start, u64 end, u32 details);
/* Give the PTEs of [start, end), pages of one private VMA, the rights of vm_flags. */
void change_protection(struct mmu_gather *tlb, u64 start, u64 end, u64 vm_flags);
/*
 * Free the tables of [addr, end) that map nothing outside [floor, ceiling): free_pgd_range().
 * Under refcount a PTE table met here is a leak and is told as one.  ceiling 0: none.
 */
void free_pgd_range(struct mmu_gather *tlb, u64 addr, u64 end, u64 floor, u64 ceiling);
/* cffi-end */

/* The end of the entry of level that addr lies in, or end if that is nearer. */
static inline u64 addr_end(u64 addr, u64 end, u32 level)
{
	u64 size = level_size(level), next = (addr + size) & ~(size - 1);

	return next - 1 < end - 1 ? next : end;
}

#endif
