/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/locks.h"

void pte_lock(struct mm_struct *mm, u64 table)
{
	spin_lock(mm, &pfn_to_page(mm->ram, table)->ptl);
}

void pte_unlock(struct mm_struct *mm, u64 table)
{
	spin_unlock(mm, &pfn_to_page(mm->ram, table)->ptl);
}

void pmd_lock(struct mm_struct *mm, pmd_t *pmd)
{
	spin_lock(mm, &table_page(mm, pmd)->ptl);
}

bool pmd_trylock(struct mm_struct *mm, pmd_t *pmd)
{
	u32 *lock = &table_page(mm, pmd)->ptl;

	if (*lock)
		return false;
	__atomic_store_n(lock, 1, __ATOMIC_RELAXED);
	return true;
}

void pmd_unlock(struct mm_struct *mm, pmd_t *pmd)
{
	spin_unlock(mm, &table_page(mm, pmd)->ptl);
}
