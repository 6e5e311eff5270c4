/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pgalloc.h"

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/pgtable.h"
#include "mm/site.h"

u64 table_alloc(struct mm_struct *mm)
{
	u64 pfn = alloc_pages(mm->ram, 0, true);

	if (pfn) {
		struct page *page = pfn_to_page(mm->ram, pfn);

		page_change_flags(page, PG_table, 0);
		WRITE_ONCE(page->ptl, 0);
		WRITE_ONCE(page->pte_refcount, 0);
		WRITE_ONCE(page->pmd, 0);
	}
	return pfn;
}

void mm_inc_pgtables(struct mm_struct *mm)
{
	stat_max(&mm->hiwater_pgtables, stat_add(mm->pgtables_bytes, PAGE_SIZE));
}

void mm_dec_pgtables(struct mm_struct *mm)
{
	stat_add(mm->pgtables_bytes, -(u64)PAGE_SIZE);
}

void populate(struct mm_struct *mm, u64 addr, u64 *entry, u32 level, u64 pfn)
{
	u64 value = pfn << PAGE_SHIFT | _PAGE_TABLE, start = addr & ~(level_size(level) - 1);

	__atomic_store_n(entry, value, __ATOMIC_RELEASE);
	if (level == 4)
		emit_from("pud_alloc", mm->kernel->ring, set_p4d, start, 0, value,
			  host_to_pa(mm->ram, entry));
	else
		emit_from("pmd_alloc", mm->kernel->ring, set_pud, start, 0, value,
			  host_to_pa(mm->ram, entry));
}

/* The entry of addr in its table of level, the tables down to that one made. */
static u64 *entry_alloc(struct mm_struct *mm, u64 addr, u32 lowest)
{
	u64 table = mm->pgd;

	for (u32 level = 4; level > lowest; level--) {
		u64 *entry = pa_to_host(mm->ram, table + entry_offset(addr, level));

		if (unlikely(!(entry_get(entry) & X86_P))) {
			u64 pfn = table_alloc(mm);

			if (!pfn)
				return NULL;
			spin_lock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
			if (likely(!(entry_get(entry) & X86_P))) {
				populate(mm, addr, entry, level, pfn);
				mm_inc_pgtables(mm);
				pfn = 0;
			}
			spin_unlock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
			if (unlikely(pfn)) { /* another made one while the lock was waited for */
				page_change_flags(pfn_to_page(mm->ram, pfn), 0, PG_table);
				free_pages(mm->ram, pfn, 0, true);
			}
		}
		table = entry_get(entry) & X86_ADDR_MASK;
	}
	return pa_to_host(mm->ram, table + entry_offset(addr, lowest));
}

u64 *pud_alloc_uncounted(struct mm_struct *mm, u64 addr)
{
	return entry_alloc(mm, addr, 3);
}

pmd_t *pmd_alloc_uncounted(struct mm_struct *mm, u64 addr)
{
	return entry_alloc(mm, addr, 2);
}
