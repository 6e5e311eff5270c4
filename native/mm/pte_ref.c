/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pte_ref.h"

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"
#include "mm/pgtable.h"
#include "mm/pt_reclaim.h"
#include "mm/rcu.h"
#include "mm/tlbflush.h"

#define PTE_REF_MAX 0x7fffffffu

void pte_ref_init(struct mm_struct *mm, u64 pfn, pmd_t *pmd, u32 count)
{
	struct page *page = pfn_to_page(mm->ram, pfn);

	page->pmd = host_to_pa(mm->ram, pmd);
	__atomic_store_n(&page->pte_refcount, count, __ATOMIC_RELAXED);
}

/* pte_get_many(), inlined where nr is known: one atomic of the hottest kind should cost little
 * more. */
static always_inline void table_get(struct mm_struct *mm, pmd_t *pmd, u32 nr)
{
	u64 pmdval = *pmd;
	struct page *page = pmd_page(mm, pmdval);
	u32 old;

	if (!nr || unlikely(!pte_ref_is_enabled(mm)))
		return;
	old = __atomic_fetch_add(&page->pte_refcount, nr, __ATOMIC_RELAXED);
	if (unlikely(old - 1 >= PTE_REF_MAX - nr)) {
		mm_bug(mm, old ? BUG_PTE_REF_OVERFLOW : BUG_PTE_REF_FROM_ZERO, pmdval);
		__atomic_fetch_sub(&page->pte_refcount, nr, __ATOMIC_RELAXED);
		return;
	}
	emit(mm->kernel->ring, pte_get, entry_pfn(pmdval), nr, old + nr);
}

void pte_get(struct mm_struct *mm, pmd_t *pmd)
{
	table_get(mm, pmd, 1);
}

void pte_get_many(struct mm_struct *mm, pmd_t *pmd, u32 nr)
{
	table_get(mm, pmd, nr);
}

void pte_entries_set(struct mm_struct *mm, pmd_t *pmd, u32 nr)
{
	table_get(mm, pmd, nr);
}

static bool page_get_unless_zero(struct mm_struct *mm, u64 pmdval)
{
	struct page *page = pmd_page(mm, pmdval);
	u32 old = __atomic_load_n(&page->pte_refcount, __ATOMIC_RELAXED);

	do {
		if (!old)
			return false;
	} while (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	emit(mm->kernel->ring, pte_get, entry_pfn(pmdval), 1, old + 1);
	return true;
}

bool pte_get_unless_zero(struct mm_struct *mm, pmd_t *pmd)
{
	return !pte_ref_is_enabled(mm) || page_get_unless_zero(mm, *pmd);
}

/* Drop nr references of the table that pmdval names. Returns whether none is left. */
static always_inline bool table_put(struct mm_struct *mm, u64 pmdval, u32 nr)
{
	struct page *page = pmd_page(mm, pmdval);
	u32 old = __atomic_fetch_sub(&page->pte_refcount, nr, __ATOMIC_ACQ_REL);

	if (unlikely(old < nr)) {
		mm_bug(mm, BUG_PTE_REF_UNDERFLOW, pmdval);
		__atomic_fetch_add(&page->pte_refcount, nr, __ATOMIC_RELAXED);
		return false;
	}
	emit(mm->kernel->ring, pte_put, entry_pfn(pmdval), nr, old - nr);
	return old == nr;
}

u32 pte_try_get(struct mm_struct *mm, pmd_t *pmd)
{
	u64 pmdval;
	u32 result;

	rcu_read_lock(mm->kernel);
	pmdval = __atomic_load_n(pmd, __ATOMIC_ACQUIRE);
	if (pmd_none(pmdval)) {
		result = TRYGET_FAILED_NONE;
	} else if (unlikely(pmd_huge(pmdval))) {
		result = TRYGET_FAILED_HUGE_PMD;
	} else if (!pte_ref_is_enabled(mm)) {
		result = TRYGET_SUCCEEDED;
	} else if (!page_get_unless_zero(mm, pmdval)) {
		result = TRYGET_FAILED_ZERO;
	} else if (unlikely(__atomic_load_n(pmd, __ATOMIC_ACQUIRE) != pmdval)) {
		/* The table left this slot meanwhile: the put is of the table held. */
		if (table_put(mm, pmdval, 1))
			free_pte_table(mm, pa_to_host(mm->ram, pmd_page(mm, pmdval)->pmd), 0);
		result = TRYGET_FAILED_NONE;
	} else {
		result = TRYGET_SUCCEEDED;
	}
	rcu_read_unlock(mm->kernel);
	if (pte_ref_is_enabled(mm))
		emit(mm->kernel->ring, pte_tryget,
		     result == TRYGET_FAILED_NONE ? 0 : entry_pfn(pmdval), result,
		     result > TRYGET_FAILED_ZERO ? 0 : pmd_page(mm, pmdval)->pte_refcount);
	return result;
}

pte_t *pte_tryget_map(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	return pte_try_get(mm, pmd) == TRYGET_SUCCEEDED ? pte_offset(mm, *pmd, addr) : NULL;
}

pte_t *pte_tryget_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	pte_t *pte = pte_tryget_map(mm, pmd, addr);

	if (pte)
		pte_lock(mm, pmd);
	return pte;
}

bool pmd_install(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 pfn)
{
	bool held = true;

	flush_freed_tables(mm);
	pmd_lock(mm, pmd);
	if (likely(pmd_none(*pmd))) {
		__atomic_store_n(pmd, pfn << PAGE_SHIFT | _PAGE_TABLE, __ATOMIC_RELEASE);
		mm_inc_pgtables(mm);
		mm->counter[MM_COUNTER_pte_tables_allocated]++;
		emit(mm->kernel->ring, pte_alloc, addr & PMD_MASK, pfn, 0);
		pfn = 0;
	} else {
		held = !pmd_huge(*pmd) && pte_get_unless_zero(mm, pmd);
	}
	pmd_unlock(mm, pmd);
	if (pfn) {
		pfn_to_page(mm->ram, pfn)->flags &= ~PG_table;
		free_pages(mm->ram, pfn, 0, true);
	}
	return held;
}

u32 pte_alloc_get(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	for (;;) {
		u64 pfn;

		switch (pte_try_get(mm, pmd)) {
		case TRYGET_SUCCEEDED:
			return PTE_ALLOC_OK;
		case TRYGET_FAILED_HUGE_PMD:
			return PTE_ALLOC_HUGE_PMD;
		case TRYGET_FAILED_ZERO:
			/* Its freer has not come to the PMD yet: do its work, do not wait. */
			free_pte_table(mm, pmd, addr);
			continue;
		}
		pfn = table_alloc(mm);
		if (unlikely(!pfn))
			return PTE_ALLOC_OOM;
		pte_ref_init(mm, pfn, pmd, pte_ref_is_enabled(mm));
		if (likely(pmd_install(mm, pmd, addr, pfn)))
			return PTE_ALLOC_OK;
	}
}

u32 pte_alloc_get_map(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte)
{
	u32 result = pte_alloc_get(mm, pmd, addr);

	*pte = result == PTE_ALLOC_OK ? pte_offset(mm, *pmd, addr) : NULL;
	return result;
}

u32 pte_alloc_get_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte)
{
	u32 result = pte_alloc_get_map(mm, pmd, addr, pte);

	if (result == PTE_ALLOC_OK)
		pte_lock(mm, pmd);
	return result;
}

/* Take the dead table out of pmd. Returns its frame, 0 if another did or it lives. PMD lock held.
 */
static u64 detach_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 pmdval = *pmd;

	if (pmd_none(pmdval) || pmd_huge(pmdval) ||
	    __atomic_load_n(&pmd_page(mm, pmdval)->pte_refcount, __ATOMIC_ACQUIRE))
		return 0;
	__atomic_exchange_n(pmd, 0, __ATOMIC_ACQ_REL);
	if (unlikely(!table_is_empty(table_of(mm, pmdval)))) {
		mm_bug(mm, BUG_PTE_TABLE_NOT_EMPTY, addr);
		__atomic_store_n(pmd, pmdval, __ATOMIC_RELEASE);
		return 0;
	}
	emit(mm->kernel->ring, pte_free, addr & PMD_MASK, entry_pfn(pmdval), 0);
	return entry_pfn(pmdval);
}

void free_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 pfn;

	pmd_lock(mm, pmd);
	pfn = detach_pte_table(mm, pmd, addr);
	if (pfn)
		flush_tlb_mm_range(mm, addr & PMD_MASK, (addr & PMD_MASK) + PAGE_SIZE, PAGE_SHIFT,
				   1);
	pmd_unlock(mm, pmd);
	if (pfn) {
		mm_dec_nr_ptes(mm);
		call_rcu(mm->kernel, pfn);
	}
}

void free_pte_table_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	struct mm_struct *mm = tlb->mm;
	u64 pfn;

	pmd_lock(mm, pmd);
	pfn = detach_pte_table(mm, pmd, addr);
	if (pfn)
		pte_free_tlb(tlb, pfn, addr);
	pmd_unlock(mm, pmd);
	if (pfn)
		mm_dec_nr_ptes(mm);
}

void pte_put_many(struct mm_struct *mm, pmd_t *pmd, u64 addr, u32 nr)
{
	if (nr && pte_ref_is_enabled(mm) && table_put(mm, *pmd, nr))
		free_pte_table(mm, pmd, addr);
}

void pte_put(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	if (likely(pte_ref_is_enabled(mm)) && table_put(mm, *pmd, 1))
		free_pte_table(mm, pmd, addr);
}

void pte_put_many_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr, u32 nr)
{
	if (nr && pte_ref_is_enabled(tlb->mm) && table_put(tlb->mm, *pmd, nr))
		free_pte_table_tlb(tlb, pmd, addr);
}

void pte_put_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	pte_put_many_tlb(tlb, pmd, addr, 1);
}

void pte_put_vmf(struct vm_fault *vmf)
{
	if (!vmf->has_ref)
		return;
	vmf->has_ref = 0;
	pte_put(vmf->mm, vmf->pmd, vmf->address);
}
