/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Freeing the tables of a range that maps nothing any more. */
#ifndef UCMMU_MM_FREE_PGTABLES_H
#define UCMMU_MM_FREE_PGTABLES_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Free the tables of [addr, end) that map nothing outside [floor, ceiling): free_pgd_range().
 * Under refcount a PTE table met here is a leak and is told as one, and so is a table of another
 * level that is counted.  ceiling 0: none.
 */
void free_pgd_range(struct mmu_gather *tlb, u64 addr, u64 end, u64 floor, u64 ceiling);
/* cffi-end */

#endif
