/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Giving the host memory of guest frames back to the host. */
#ifndef UCMMU_MEMORY_RELEASE_H
#define UCMMU_MEMORY_RELEASE_H

#include "memory/ram.h"

/* cffi-begin */
/* Give the host memory of free frames back until keep frames of it are left. Returns bytes given.
 */
u64 memory_trim(struct memory *m, u64 keep);
/* If the frame, free or in use, is all 0, give its host memory back. Returns whether it did. */
bool memory_release_if_zero(struct memory *m, u64 pfn);
/* cffi-end */

#endif
