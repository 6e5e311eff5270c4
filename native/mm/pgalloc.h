/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making tables: the upper ones of an address, and the frames of all. */
#ifndef UCMMU_MM_PGALLOC_H
#define UCMMU_MM_PGALLOC_H

#include "mm/mm.h"

/* cffi-begin */
/* The PMD entry of addr, missing PUD and PMD tables made. NULL: out of memory. */
pmd_t *pmd_alloc(struct mm_struct *mm, u64 addr);
/* The PDPT entry of addr, a missing PUD table made. NULL: out of memory. */
u64 *pud_alloc(struct mm_struct *mm, u64 addr);
/* cffi-end */

/* Make a table frame, zero, counted in pgtables_bytes by the caller. 0: out of memory. */
u64 table_alloc(struct mm_struct *mm);
void mm_inc_pgtables(struct mm_struct *mm);
void mm_dec_pgtables(struct mm_struct *mm);

#endif
