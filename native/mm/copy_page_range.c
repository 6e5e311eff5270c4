/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/copy_page_range.h"

#include "mm/locks.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/site.h"

/* May a write to the mapping need a copy? */
static bool is_cow_mapping(u64 vm_flags)
{
	return (vm_flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE;
}

/* One more PTE maps the page, in another process: a write to it is due a copy from now on. */
static void dup_rmap(struct mm_struct *src, u64 pte, s64 *rss)
{
	struct page *page = pfn_to_page(src->ram, entry_pfn(pte));

	get_page(page);
	page->_mapcount++;
	page_change_flags(page, 0, PG_anon_exclusive);
	rss[mm_counter(page)]++;
}

/* What the child's PTE is to be; the parent's loses W. */
static u64 copy_present_pte(struct mm_struct *src, u64 addr, pte_t *src_pte, u64 vm_flags, s64 *rss)
{
	u64 pte = *src_pte;

	if (!(pte & _PAGE_SPECIAL))
		dup_rmap(src, pte, rss);
	if (is_cow_mapping(vm_flags) && pte & X86_RW) {
		pte = pte_wrprotect(pte);
		set_pte_at(src, addr, src_pte, pte);
	}
	if (vm_flags & VM_SHARED)
		pte &= ~(u64)_PAGE_DIRTY_BITS;
	return pte & ~(u64)X86_A;
}

/* Copy the entries of [addr, end); both PTE locks are held. Returns how many there were. */
static u32 copy_ptes(struct mm_struct *src, struct mm_struct *dst, pte_t *src_pte, pte_t *dst_pte,
		     u64 addr, u64 end, u64 vm_flags)
{
	s64 rss[NR_MM_RSS] = { 0 };
	u32 copied = 0;

	for (; addr < end; addr += PAGE_SIZE, src_pte++, dst_pte++) {
		u64 pte = *src_pte;

		if (pte_none(pte))
			continue;
		if (pte_present(pte))
			pte = copy_present_pte(src, addr, src_pte, vm_flags, rss);
		set_pte_at_from("copy_pte_range", dst, addr, dst_pte, pte);
		copied++;
	}
	for (u32 i = 0; i < NR_MM_RSS; i++)
		if (rss[i])
			add_mm_counter_from("copy_pte_range", dst, i, rss[i]);
	return copied;
}

static bool copy_pte_range(struct mm_struct *src, struct mm_struct *dst, pmd_t *src_pmd,
			   pmd_t *dst_pmd, u64 addr, u64 end, u64 vm_flags)
{
	pte_t *src_pte = pte_tryget_map(src, src_pmd, addr), *dst_pte;
	u64 src_table, dst_table;
	u32 copied;

	if (!src_pte)
		return true;
	src_table = pte_table(src, src_pte);
	if (pte_alloc_get_map_lock(dst, dst_pmd, addr, &dst_pte) != PTE_ALLOC_OK) {
		pte_put(src, src_table, addr);
		return false;
	}
	dst_table = pte_table(dst, dst_pte);
	pte_lock_nested(src, src_table);
	copied = copy_ptes(src, dst, src_pte, dst_pte, addr, end, vm_flags);
	pte_unlock(src, src_table);
	pte_entries_set(dst, dst_table, copied);
	pte_unlock(dst, dst_table);
	pte_put(src, src_table, addr);
	pte_put(dst, dst_table, addr);
	return true;
}

/*
 * Where src has a PUD table and no PMD table, dst gets a PUD table too; not where an empty one does
 * not stay.  false: out of memory.
 */
static bool copy_hole(struct mm_struct *src, struct mm_struct *dst, u64 addr)
{
	return table_is_counted(dst, 3) || !has_pud_table(src, addr) || pud_alloc(dst, addr);
}

/*
 * Copy what src_pmd, whose table is visited, refers to.  dst gets a PMD table even for an empty
 * slot, but not where an empty one does not stay.  false: out of memory.
 */
static bool copy_slot(struct mm_struct *src, struct mm_struct *dst, pmd_t *src_pmd, u64 addr,
		      u64 end, u64 vm_flags)
{
	bool empty = pmd_none(*src_pmd), copied;
	pmd_t *dst_pmd;

	if (empty && table_is_counted(dst, 2))
		return true;
	dst_pmd = pmd_alloc(dst, addr);
	if (!dst_pmd)
		return false;
	copied = empty || copy_pte_range(src, dst, src_pmd, dst_pmd, addr, end, vm_flags);
	pmd_put(dst, dst_pmd, addr);
	return copied;
}

static bool copy_pmds(struct mm_struct *src, struct mm_struct *dst, u64 start, u64 end,
		      u64 vm_flags)
{
	u64 next;

	for (u64 addr = start; addr < end; addr = next) {
		pmd_t *src_pmd = pmd_tryget(src, addr);
		bool copied;

		if (!src_pmd) {
			next = hole_end(src, addr, end);
			if (!copy_hole(src, dst, addr))
				return false;
			continue;
		}
		next = addr_end(addr, end, 2);
		copied = copy_slot(src, dst, src_pmd, addr, next, vm_flags);
		pmd_put(src, src_pmd, addr);
		if (!copied)
			return false;
	}
	return true;
}

bool copy_page_range(struct mm_struct *src, struct mm_struct *dst, u64 start, u64 end, u64 vm_flags)
{
	bool had;

	funcgraph_entry(__func__, dst, start, end);
	had = copy_pmds(src, dst, start, end, vm_flags);
	funcgraph_exit(__func__, dst, had);
	return had;
}
