/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Faults on anonymous memory: the ones worth resolving without leaving C. */
#ifndef UCMMU_MM_ANON_H
#define UCMMU_MM_ANON_H

#include "mm/mm.h"

/* cffi-begin */
/*
 * Resolve a fault of an anonymous private VMA at address: first touch (a fresh page, or the zero
 * page for a read), write to the zero page, write to a page of our own that lost W.  The VMA
 * exists and allows the access.  VM_FAULT_* bits: 0 done, OOM, NOPAGE (nothing was left to do),
 * or FALLBACK with nothing changed.
 */
u32 do_anonymous_fault(struct mm_struct *mm, u64 address, u32 write);
/*
 * The fill hook's path: if the fault at address is one of do_anonymous_fault()'s, sure to
 * succeed, count it and resolve it.  Returns whether it did; if not, nothing was changed.  Where
 * CPUs are host threads it may have to wait for locks, and to fail, uncounted, after all.
 */
bool mm_fast_fault(struct mm_struct *mm, u64 address, u32 error_code);
/* cffi-end */

#endif
