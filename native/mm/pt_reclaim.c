/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pt_reclaim.h"

#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/site.h"

static u64 pmd_clear(struct mm_struct *mm, pmd_t *pmd, u64 addr, const char *from)
{
	u64 old = __atomic_exchange_n(pmd, 0, __ATOMIC_ACQ_REL);

	emit_from(from, mm->kernel->ring, set_pmd, addr & PMD_MASK, old, 0,
		  host_to_pa(mm->ram, pmd));
	return old;
}

bool try_get_and_clear_pmd(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *pmdval)
{
	if (!pmd_trylock(mm, pmd))
		return false;
	*pmdval = pmd_clear(mm, pmd, addr, __func__);
	pmd_unlock(mm, pmd);
	return true;
}

void free_pte(struct mmu_gather *tlb, pmd_t *pmd, u64 pmdval, u64 addr)
{
	emit_from(__func__, tlb->mm->kernel->ring, pte_free, addr & PMD_MASK, entry_pfn(pmdval),
		  tlb->mm->pgd, host_to_pa(tlb->mm->ram, pmd));
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
			pmd_clear(mm, pmd, addr, __func__);
		pte_unlock(mm, entry_pfn(pmdval));
	}
	pmd_unlock(mm, pmd);
	if (empty)
		free_pte(tlb, pmd, pmdval, addr);
}
