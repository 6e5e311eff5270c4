/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/smaps.h"

#include "mm/locks.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pte_ref.h"

/* smaps_account(): one page that a PTE maps. */
static void account(struct mem_size_stats *stats, const struct page *page, u64 pte)
{
	bool dirty = pte & _PAGE_DIRTY_BITS || page->flags & PG_dirty;
	bool shared = page->_mapcount >= 2;
	u64 pss = (u64)PAGE_SIZE << PSS_SHIFT;

	if (shared)
		pss /= page->_mapcount;
	stats->resident += PAGE_SIZE;
	stats->pss += pss;
	if (pte & X86_A)
		stats->referenced += PAGE_SIZE;
	if (dirty) {
		*(shared ? &stats->shared_dirty : &stats->private_dirty) += PAGE_SIZE;
		stats->pss_dirty += pss;
		stats->nr_dirty++;
	} else {
		*(shared ? &stats->shared_clean : &stats->private_clean) += PAGE_SIZE;
	}
	if (page->flags & PG_anon) {
		stats->anonymous += PAGE_SIZE;
		stats->pss_anon += pss;
		stats->nr_anon++;
		if (!(page->flags & PG_swapbacked) && !dirty)
			stats->lazyfree += PAGE_SIZE;
	} else {
		*(page->flags & PG_swapbacked ? &stats->pss_shmem : &stats->pss_file) += pss;
	}
	if (page->_mapcount > stats->mapcount_max)
		stats->mapcount_max = page->_mapcount;
}

/*
 * A huge PMD as the PTEs that it would be split to, under the PMD lock.  false: it is none, or was
 * split.
 */
static bool gather_huge_pmd(struct mm_struct *mm, pmd_t *pmd, u64 start, u64 end,
			    struct mem_size_stats *stats)
{
	u64 pmdval;

	if (!pmd_huge(pmdp_get(pmd)))
		return false;
	pmd_lock(mm, pmd);
	pmdval = pmdp_get(pmd);
	pmd_unlock(mm, pmd);
	if (!pmd_huge(pmdval))
		return false;
	for (u64 addr = start; addr < end; addr += PAGE_SIZE)
		account(stats, pfn_to_page(mm->ram, entry_pfn(pmdval | (addr & (PMD_SIZE - 1)))),
			pmdval);
	stats->anonymous_thp += end - start;
	return true;
}

static void gather_pte_range(struct mm_struct *mm, pmd_t *pmd, u64 start, u64 end,
			     struct mem_size_stats *stats)
{
	const pte_t *pte = pte_tryget_map_lock(mm, pmd, start);
	u64 table;

	if (!pte)
		return;
	table = pte_table(mm, pte);
	for (u64 addr = start; addr < end; addr += PAGE_SIZE, pte++)
		if (pte_present(*pte) && !(*pte & _PAGE_SPECIAL))
			account(stats, pfn_to_page(mm->ram, entry_pfn(*pte)), *pte);
	pte_unlock(mm, table);
	pte_put(mm, table, start);
}

void smap_gather_stats(struct mm_struct *mm, u64 start, u64 end, struct mem_size_stats *stats)
{
	u64 next;

	for (u64 addr = start; addr < end; addr = next) {
		pmd_t *pmd = next_pmd(NULL, mm, addr, end, &next);

		if (!pmd)
			continue;
		if (!gather_huge_pmd(mm, pmd, addr, next, stats))
			gather_pte_range(mm, pmd, addr, next, stats);
		leave_pmd(NULL, mm, pmd, addr);
	}
}
