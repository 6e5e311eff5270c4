/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changing the rights of the PTEs of a range. */
#ifndef UCMMU_MM_CHANGE_PROTECTION_H
#define UCMMU_MM_CHANGE_PROTECTION_H

#include "mm/mm.h"

/* cffi-begin */
/* Give the PTEs of [start, end), pages of one private VMA, the rights of vm_flags. */
void change_protection(struct mmu_gather *tlb, u64 start, u64 end, u64 vm_flags);
/* cffi-end */

#endif
