/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a user's bytes lie, for the kernel's own accesses to them. */
#ifndef UCMMU_MM_USER_RANGE_H
#define UCMMU_MM_USER_RANGE_H

#include "mm/mm.h"

/* cffi-begin */
#define USER_RANGE_MAX 256

/* Stretches of guest RAM that hold consecutive user bytes, and why they end. */
struct user_range {
	u64 done;	/* bytes of all stretches */
	u32 nr;		/* stretches */
	u32 result;	/* XLATE_*: OK if all was asked for, or the stretches are full */
	u32 error_code; /* of the access that faulted */
	u64 pa[USER_RANGE_MAX];
	u64 size[USER_RANGE_MAX];
};
/*
 * Translate the user bytes [addr, addr + n) for a supervisor's ACCESS_* with RFLAGS.AC set, a page
 * at a time, up to the first that faults: nothing waits.  Frames that hold code and are to be
 * written are noted with every CPU (note_code_written()).  Returns r->result.
 */
u32 user_range(struct mm_struct *mm, u64 addr, u64 n, u32 access, struct user_range *r);
/* cffi-end */

#endif
