/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fork's range loop over PTEs: a child's tables are made like the parent's. */
#ifndef UCMMU_MM_COPY_PAGE_RANGE_H
#define UCMMU_MM_COPY_PAGE_RANGE_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Map in dst what src maps in [start, end), a VMA of these flags in both; private writable pages
 * lose W in both.  Returns whether there was memory for it; if not, dst has a part of it.
 */
bool copy_page_range(struct mm_struct *src, struct mm_struct *dst, u64 start, u64 end,
		     u64 vm_flags);
/* cffi-end */

#endif
