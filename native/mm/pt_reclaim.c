/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pt_reclaim.h"

#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgtable.h"

bool try_get_and_clear_pmd(struct mm_struct *mm, pmd_t *pmd, u64 *pmdval)
{
	if (!pmd_trylock(mm, pmd))
		return false;
	*pmdval = __atomic_exchange_n(pmd, 0, __ATOMIC_ACQ_REL);
	pmd_unlock(mm, pmd);
	return true;
}

void free_pte(struct mmu_gather *tlb, u64 pmdval, u64 addr)
{
	emit(tlb->mm->kernel->ring, pte_free, addr & PMD_MASK, entry_pfn(pmdval), 0);
	pte_free_tlb(tlb, entry_pfn(pmdval), addr);
	mm_dec_nr_ptes(tlb->mm);
}

void try_to_free_pte(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	struct mm_struct *mm = tlb->mm;
	bool empty = false;
	u64 pmdval;

	pmd_lock(mm, pmd);
	pmdval = *pmd;
	if (!pmd_none(pmdval) && !pmd_huge(pmdval)) {
		pte_lock(mm, entry_pfn(pmdval));
		empty = table_is_empty(table_of(mm, pmdval));
		if (empty)
			__atomic_exchange_n(pmd, 0, __ATOMIC_ACQ_REL);
		pte_unlock(mm, entry_pfn(pmdval));
	}
	pmd_unlock(mm, pmd);
	if (empty)
		free_pte(tlb, pmdval, addr);
}
