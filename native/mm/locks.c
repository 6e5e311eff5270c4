/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/locks.h"

/* What the contention events call the lock: a table's frame, else the address of the mm's PGD. */
static u64 lock_name(const struct mm_struct *mm, const u32 *lock)
{
	const struct memory *ram = mm->ram;
	const char *pages = (const char *)ram->pages;
	u64 offset = (u64)((const char *)lock - pages);

	if (lock == &mm->page_table_lock)
		return mm->pgd;
	return (ram->base >> PAGE_SHIFT) + offset / sizeof(struct page);
}

/* Wait until the lock is free, and take it. */
static void wait_for_lock(struct mm_struct *mm, u32 *lock, u32 kind)
{
	struct kernel *kernel = mm->kernel;
	u64 name = lock_name(mm, lock);
	bool had = true;

	stat_inc(kernel->counter[KERNEL_COUNTER_pte_lock_contended + kind]);
	emit(kernel->ring, contention_begin, name, kind, LCB_F_SPIN);
	do {
		had = kernel->wait_for_lock && kernel->wait_for_lock(kernel, lock, kind);
	} while (had && !spin_try(mm, lock));
	emit(kernel->ring, contention_end, name, kind, !had);
	if (!had) {
		mm_bug(mm, BUG_LOCK_HELD, name);
		WRITE_ONCE(*lock, this_cpu(kernel)->id + 1);
	}
}

static void lockdep(struct mm_struct *mm, u32 what, const u32 *lock, u32 kind)
{
	if (mm->kernel->lockdep)
		mm->kernel->lockdep(mm->kernel, what, lock_name(mm, lock), kind);
}

void spin_lock_slowpath(struct mm_struct *mm, u32 *lock, u32 kind)
{
	lockdep(mm, LOCKDEP_ACQUIRE, lock, kind);
	if (!spin_try(mm, lock))
		wait_for_lock(mm, lock, kind & ~(u32)LOCK_NESTED);
	lockdep(mm, LOCKDEP_ACQUIRED, lock, kind);
}

void spin_unlock_slowpath(struct mm_struct *mm, u32 *lock, u32 kind)
{
	if (READ_ONCE(*lock) != this_cpu(mm->kernel)->id + 1)
		mm_bug(mm, BUG_LOCK_NOT_HELD, lock_name(mm, lock));
	lockdep(mm, LOCKDEP_RELEASE, lock, kind);
}

void pte_lock(struct mm_struct *mm, u64 table)
{
	spin_lock(mm, &pfn_to_page(mm->ram, table)->ptl, LOCK_PTE);
}

void pte_lock_nested(struct mm_struct *mm, u64 table)
{
	spin_lock(mm, &pfn_to_page(mm->ram, table)->ptl, LOCK_PTE | LOCK_NESTED);
}

void pte_unlock(struct mm_struct *mm, u64 table)
{
	spin_unlock(mm, &pfn_to_page(mm->ram, table)->ptl, LOCK_PTE);
}

void pmd_lock(struct mm_struct *mm, pmd_t *pmd)
{
	spin_lock(mm, &table_page(mm, pmd)->ptl, LOCK_PMD);
}

void pmd_lock_nested(struct mm_struct *mm, pmd_t *pmd)
{
	spin_lock(mm, &table_page(mm, pmd)->ptl, LOCK_PMD | LOCK_NESTED);
}

bool pmd_trylock(struct mm_struct *mm, pmd_t *pmd)
{
	u32 *lock = &table_page(mm, pmd)->ptl;

	if (!spin_try(mm, lock))
		return false;
	lockdep(mm, LOCKDEP_TRYLOCK, lock, LOCK_PMD);
	return true;
}

void pmd_unlock(struct mm_struct *mm, pmd_t *pmd)
{
	spin_unlock(mm, &table_page(mm, pmd)->ptl, LOCK_PMD);
}
