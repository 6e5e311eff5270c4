/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/zap.h"

#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pt_reclaim.h"
#include "mm/site.h"

/* One stretch of zap_pte_range() under one hold of the PTE lock. */
struct zap_stretch {
	u64 addr;	    /* where it ended */
	u32 cleared;	    /* entries that became none */
	u32 full;	    /* it ended because the gather is full */
	u32 skipped;	    /* entries that stayed */
	s64 rss[NR_MM_RSS]; /* pages to add, negative */
};

/* Does this zap leave the non-none entry alone: a guard marker, or a private copy of a file's page?
 */
static bool zap_skips(struct mm_struct *mm, u64 pte, u32 details)
{
	if (pte == PTE_GUARD_MARKER)
		return !(details & ZAP_DROP_MARKER);
	return details & ZAP_KEEP_COWS && pte_present(pte) && !(pte & _PAGE_SPECIAL) &&
	       pfn_to_page(mm->ram, entry_pfn(pte))->flags & PG_anon;
}

/* Clear one non-none PTE. Returns true if the gather is full now. */
static bool zap_pte(struct mmu_gather *tlb, pte_t *pte, u64 addr, struct zap_stretch *z)
{
	struct mm_struct *mm = tlb->mm;
	u64 old = ptep_get_and_clear_from("zap_pte_range", mm, addr, pte);
	struct page *page;

	z->cleared++;
	if (!pte_present(old))
		return false;
	tlb_remove_tlb_entry(tlb, addr);
	if (old & _PAGE_SPECIAL)
		return false;
	page = pfn_to_page(mm->ram, entry_pfn(old));
	page->_mapcount--;
	if (old & _PAGE_DIRTY_BITS && !(page->flags & PG_anon)) {
		page_change_flags(page, PG_dirty, 0);
		tlb->delayed_rmap = 1;
	}
	z->rss[mm_counter(page)]--;
	return tlb_remove_page(tlb, entry_pfn(old));
}

static void zap_stretch(struct mmu_gather *tlb, pte_t *pte, u64 end, u32 details,
			struct zap_stretch *z)
{
	for (; z->addr < end; z->addr += PAGE_SIZE, pte++) {
		u64 value = ptep_get(pte);

		if (pte_none(value))
			continue;
		if (unlikely(zap_skips(tlb->mm, value, details))) {
			z->skipped++;
			continue;
		}
		if (unlikely(zap_pte(tlb, pte, z->addr, z))) {
			z->addr += PAGE_SIZE;
			z->full = 1;
			break;
		}
	}
	for (u32 i = 0; i < NR_MM_RSS; i++)
		if (z->rss[i])
			add_mm_counter_from("zap_pte_range", tlb->mm, i, z->rss[i]);
}

static void zap_pte_range(struct mmu_gather *tlb, pmd_t *pmd, u64 start, u64 end, u32 details)
{
	struct mm_struct *mm = tlb->mm;
	bool can_reclaim = reclaim_pt_is_enabled(mm, start, end, details);
	bool direct = true, flush;
	u64 addr = start, pmdval = 0, table;

	if (pte_try_get(mm, pmd, &table) != TRYGET_SUCCEEDED)
		return;
	do {
		struct zap_stretch z = { .addr = addr };

		table = pte_relock(mm, pmd, table);
		if (unlikely(!table))
			return;
		zap_stretch(tlb, table_entry(mm, table, addr), end, details, &z);
		addr = z.addr;
		can_reclaim = can_reclaim && !z.skipped;
		direct = direct && !z.full;
		if (can_reclaim && direct)
			direct = try_get_and_clear_pmd(mm, pmd, start, &pmdval);
		flush = z.full || tlb->delayed_rmap;
		if (flush) {
			tlb_flush_mmu_tlbonly(tlb);
			tlb->delayed_rmap = 0;
		}
		pte_unlock(mm, table);
		if (flush)
			tlb_flush_mmu(tlb);
		pte_put_many_tlb(tlb, table, start, z.cleared);
	} while (addr < end);
	if (can_reclaim && direct)
		free_pte(tlb, pmd, pmdval, start);
	else if (can_reclaim)
		try_to_free_pte(tlb, pmd, start);
	else
		pte_put_tlb(tlb, table, start);
}

void unmap_page_range(struct mmu_gather *tlb, u64 start, u64 end, u32 details)
{
	u64 next;

	funcgraph_entry(__func__, tlb->mm, start, end);
	for (u64 addr = start; addr < end; addr = next) {
		pmd_t *pmd = next_pmd(tlb, tlb->mm, addr, end, &next);

		if (!pmd)
			continue;
		zap_pte_range(tlb, pmd, addr, next, details);
		leave_pmd(tlb, tlb->mm, pmd, addr);
	}
	funcgraph_exit(__func__, tlb->mm, 0);
}
