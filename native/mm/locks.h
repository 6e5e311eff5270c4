/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The locks of tables: one word in each table's struct page, and page_table_lock. */
#ifndef UCMMU_MM_LOCKS_H
#define UCMMU_MM_LOCKS_H

#include "mm/mm.h"
#include "mm/pgtable.h"

/* cffi-begin */
/* Take or drop the lock of the PTE table in frame table, of the PMD table that holds pmd. */
void pte_lock(struct mm_struct *mm, u64 table);
/* pte_lock() inside the PTE lock of another table, which is taken first everywhere. */
void pte_lock_nested(struct mm_struct *mm, u64 table);
void pte_unlock(struct mm_struct *mm, u64 table);
void pmd_lock(struct mm_struct *mm, pmd_t *pmd);
bool pmd_trylock(struct mm_struct *mm, pmd_t *pmd);
void pmd_unlock(struct mm_struct *mm, pmd_t *pmd);
/* pmd_lock() inside the PMD lock of another table, which is taken first everywhere. */
void pmd_lock_nested(struct mm_struct *mm, pmd_t *pmd);
/* cffi-end */

/*
 * The lock, of this kind, is held, or lockdep is on: tell it, wait, and take the lock.
 * It may not become free: BUG_LOCK_HELD.
 */
void spin_lock_slowpath(struct mm_struct *mm, u32 *lock, u32 kind);
/* Lockdep is on, or this CPU does not hold the lock: BUG_LOCK_NOT_HELD. */
void spin_unlock_slowpath(struct mm_struct *mm, u32 *lock, u32 kind);

/* Take the lock if it is free; whether it did. */
static always_inline bool spin_try(struct mm_struct *mm, u32 *lock)
{
	u32 unlocked = 0;

	return __atomic_compare_exchange_n(lock, &unlocked, this_cpu(mm->kernel)->id + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/*
 * Take a lock whose word is 0, or the number of the CPU that holds it and 1.  May wait.  kind is
 * LOCK_*, with LOCK_NESTED inside another lock of the kind.
 */
static inline void spin_lock(struct mm_struct *mm, u32 *lock, u32 kind)
{
	if (unlikely(mm->kernel->lockdep || !spin_try(mm, lock)))
		spin_lock_slowpath(mm, lock, kind);
}

static inline void spin_unlock(struct mm_struct *mm, u32 *lock, u32 kind)
{
	const struct kernel *kernel = mm->kernel;

	if (unlikely(READ_ONCE(*lock) != this_cpu(kernel)->id + 1 || kernel->lockdep))
		spin_unlock_slowpath(mm, lock, kind);
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
