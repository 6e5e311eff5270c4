/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a mapping has in memory, and whose it is (fs/proc/task_mmu.c). */
#ifndef UCMMU_MM_SMAPS_H
#define UCMMU_MM_SMAPS_H

#include "mm/mm.h"

/* cffi-begin */
#define PSS_SHIFT 12 /* bits below the point of the pss members */

/* Bytes; those of pss times 2^PSS_SHIFT. */
struct mem_size_stats {
	u64 resident;
	u64 shared_clean, shared_dirty, private_clean, private_dirty;
	u64 referenced, anonymous, lazyfree, anonymous_thp;
	u64 pss, pss_dirty, pss_anon, pss_file, pss_shmem, pss_locked;
	u64 nr_dirty, nr_anon, mapcount_max; /* pages, and PTEs that map one of them at most */
};

/*
 * Add what the PTEs and huge PMDs of [start, end), page-aligned, map.  mmap_lock is held; takes and
 * drops PTE locks and visitor references; may wait for a lock.
 */
void smap_gather_stats(struct mm_struct *mm, u64 start, u64 end, struct mem_size_stats *stats);
/* cffi-end */

#endif
