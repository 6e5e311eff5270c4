/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The locks of tables: one word in each table's struct page, and page_table_lock. */
#ifndef UCMMU_MM_LOCKS_H
#define UCMMU_MM_LOCKS_H

#include "mm/mm.h"
#include "mm/pgtable.h"

/* cffi-begin */
/* Take or drop the lock of the PTE table in frame table, of the PMD table that holds pmd. */
void pte_lock(struct mm_struct *mm, u64 table);
void pte_unlock(struct mm_struct *mm, u64 table);
void pmd_lock(struct mm_struct *mm, pmd_t *pmd);
bool pmd_trylock(struct mm_struct *mm, pmd_t *pmd);
void pmd_unlock(struct mm_struct *mm, pmd_t *pmd);
/* cffi-end */

/* One CPU: a lock that is held here can never become free. */
static inline void spin_lock(struct mm_struct *mm, u32 *lock)
{
	if (unlikely(*lock))
		mm_bug(mm, BUG_LOCK_HELD, 0);
	__atomic_store_n(lock, 1, __ATOMIC_RELAXED);
}

static inline void spin_unlock(struct mm_struct *mm, u32 *lock)
{
	if (unlikely(!*lock))
		mm_bug(mm, BUG_LOCK_NOT_HELD, 0);
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
