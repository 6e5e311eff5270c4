/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making tables: the upper ones of an address, and the frames of all. */
#ifndef UCMMU_MM_PGALLOC_H
#define UCMMU_MM_PGALLOC_H

#include "mm/mm.h"

/*
 * The PMD entry, the PDPT entry of addr, missing tables above it made, none of which is counted:
 * what pmd_alloc() and pud_alloc() are where tables of their level stay.  NULL: out of memory.
 */
pmd_t *pmd_alloc_uncounted(struct mm_struct *mm, u64 addr);
u64 *pud_alloc_uncounted(struct mm_struct *mm, u64 addr);
/* An entry of level (4, 3) that was none refers to a new table. page_table_lock is held. */
void populate(struct mm_struct *mm, u64 addr, u64 *entry, u32 level, u64 pfn);
/* Make a table frame, zero, counted in pgtables_bytes by the caller. 0: out of memory. */
u64 table_alloc(struct mm_struct *mm);
void mm_inc_pgtables(struct mm_struct *mm);
void mm_dec_pgtables(struct mm_struct *mm);

#endif
