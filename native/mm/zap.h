/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The range loop over PTEs that unmaps. */
#ifndef UCMMU_MM_ZAP_H
#define UCMMU_MM_ZAP_H

#include "mm/mm.h"

/* cffi-begin */
/* Clear what maps [start, end) of one VMA, gather the frames, free tables as the policy says. */
void unmap_page_range(struct mmu_gather *tlb, u64 start, u64 end, u32 details);
/* cffi-end */

#endif
