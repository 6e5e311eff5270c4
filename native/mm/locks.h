/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The locks of tables: one word in each table's struct page, and page_table_lock. */
#ifndef UCMMU_MM_LOCKS_H
#define UCMMU_MM_LOCKS_H

#include "mm/mm.h"
#include "mm/pgtable.h"

/* cffi-begin */
/* Take or drop the lock of the PTE table under pmd, of the PMD table that holds pmd. */
void pte_lock(struct mm_struct *mm, pmd_t *pmd);
void pte_unlock(struct mm_struct *mm, pmd_t *pmd);
void pmd_lock(struct mm_struct *mm, pmd_t *pmd);
bool pmd_trylock(struct mm_struct *mm, pmd_t *pmd);
void pmd_unlock(struct mm_struct *mm, pmd_t *pmd);
/* cffi-end */

/* The lock, of this kind, is held: wait until it is free.  It may not become so: BUG_LOCK_HELD. */
void spin_lock_slowpath(struct mm_struct *mm, u32 *lock, u32 kind);

/* Take a lock whose word is 0, or the number of the CPU that holds it and 1.  May wait. */
static inline void spin_lock(struct mm_struct *mm, u32 *lock, u32 kind)
{
	if (unlikely(*lock))
		spin_lock_slowpath(mm, lock, kind);
	__atomic_store_n(lock, mm->kernel->this_cpu->id + 1, __ATOMIC_RELAXED);
}

static inline void spin_unlock(struct mm_struct *mm, u32 *lock)
{
	if (unlikely(*lock != mm->kernel->this_cpu->id + 1))
		mm_bug(mm, BUG_LOCK_NOT_HELD, 0);
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

#endif
