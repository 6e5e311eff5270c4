/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which VMAs may share anonymous pages: their anon_vma (mm/rmap.c, mm/vma.c). */
#ifndef UCMMU_MM_RMAP_H
#define UCMMU_MM_RMAP_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Give the VMA, which lies in mm's index, an anon_vma if it has none: that of a neighbour it could
 * be joined with but for its rights, else a new one.  __anon_vma_prepare(); the mmap_lock is held
 * or nobody else runs.
 */
void __anon_vma_prepare(struct mm_struct *mm, struct vm_area_struct *vma);
/* cffi-end */

static inline void anon_vma_prepare(struct mm_struct *mm, struct vm_area_struct *vma)
{
	if (unlikely(!vma->anon_vma))
		__anon_vma_prepare(mm, vma);
}

#endif
