/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mapping pages of a file's page cache. */
#ifndef UCMMU_MM_SET_PTE_RANGE_H
#define UCMMU_MM_SET_PTE_RANGE_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Map pfns[i], which each get an owner and a mapping more, at addr + i pages, where the PTE is none
 * and pfns[i] is not 0.  All nr entries lie in the table that pte is in, whose lock is held.
 * Returns how many were set: references of the table that the caller takes.
 */
u32 set_pte_range(struct mm_struct *mm, u64 *pte, u64 addr, u64 prot, u32 nr, const u64 *pfns);
/* cffi-end */

#endif
