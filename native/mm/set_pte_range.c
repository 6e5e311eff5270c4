/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/set_pte_range.h"

#include "mm/site.h"

u32 set_pte_range(struct mm_struct *mm, u64 *pte, u64 addr, u64 prot, u32 nr, const u64 *pfns)
{
	u32 set = 0;

	for (u32 i = 0; i < nr; i++, pte++, addr += PAGE_SIZE) {
		struct page *page;

		if (!pfns[i] || !pte_none(*pte))
			continue;
		page = pfn_to_page(mm->ram, pfns[i]);
		get_page(page);
		page->_mapcount++;
		set_pte_at(mm, addr, pte, pfns[i] << PAGE_SHIFT | prot);
		set++;
	}
	return set;
}
