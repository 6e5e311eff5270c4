/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/free_pgtables.h"

#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"
#include "mm/pgtable.h"
#include "mm/pt_reclaim.h"
#include "mm/site.h"

/* A PTE table still in its PMD: what tearing down is for, but under refcount a leaked reference. */
static void free_pte_range(struct mmu_gather *tlb, u64 pfn, u64 addr, u64 pmd_pa)
{
	struct mm_struct *mm = tlb->mm;

	if (pte_ref_is_enabled(mm))
		mm_bug(mm, BUG_PTE_TABLE_LEAKED, addr);
	emit_from(__func__, mm->kernel->ring, pte_free, addr & PMD_MASK, pfn, mm->pgd, pmd_pa);
	pte_free_tlb(tlb, pfn, addr);
	mm_dec_nr_ptes(mm);
}

/*
 * [floor, ceiling) holds nothing but what is being unmapped.  May the table that level's entry for
 * [start, end) points to go?  Only if its whole reach lies inside: free_pmd_range() and its kin.
 */
static bool inside(u64 start, u64 end, u64 floor, u64 ceiling, u32 level)
{
	u64 mask = ~(level_size(level) - 1);

	if ((start & mask) < floor)
		return false;
	if (ceiling) {
		ceiling &= mask;
		if (!ceiling)
			return false;
	}
	return end - 1 <= ceiling - 1;
}

/* Clear the entry of level, which refers to a table. */
static void clear_entry(struct mm_struct *mm, u64 addr, u64 *entry, u32 level)
{
	struct event_ring *ring = mm->kernel->ring;
	u64 start = addr & ~(level_size(level) - 1), pa = host_to_pa(mm->ram, entry);

	if (level == 2)
		emit_from("free_pte_range", ring, set_pmd, start, *entry, 0, pa);
	else if (level == 3)
		emit_from("free_pgd_range", ring, set_pud, start, *entry, 0, pa);
	else
		emit_from("free_pgd_range", ring, set_p4d, start, *entry, 0, pa);
	__atomic_store_n(entry, 0, __ATOMIC_RELAXED);
}

/* Free below the entries of level in table, for [addr, end), then the tables themselves. */
static void free_level(struct mmu_gather *tlb, u64 *table, u64 addr, u64 end, u64 floor,
		       u64 ceiling, u32 level)
{
	struct mm_struct *mm = tlb->mm;
	u64 next;

	for (; addr < end; addr = next) {
		u64 *entry = table + (entry_offset(addr, level) >> 3), value = *entry;

		next = addr_end(addr, end, level);
		if (!(value & X86_P) || pmd_huge(value))
			continue;
		if (level > 2)
			free_level(tlb, table_of(mm, value), addr, next, floor, ceiling, level - 1);
		if (level > 2 && !inside(addr, next, floor, ceiling, level))
			continue;
		if (level > 2 && table_is_counted(mm, level - 1))
			mm_bug(mm, BUG_TABLE_LEAKED, addr);
		clear_entry(mm, addr, entry, level);
		if (level == 2) {
			free_pte_range(tlb, entry_pfn(value), addr, host_to_pa(mm->ram, entry));
		} else {
			mm_dec_pgtables(mm);
			table_free_tlb(tlb, entry_pfn(value), addr, level - 1);
		}
	}
}

void free_pgd_range(struct mmu_gather *tlb, u64 addr, u64 end, u64 floor, u64 ceiling)
{
	addr &= PMD_MASK;
	if (addr < floor) {
		addr += PMD_SIZE;
		if (!addr)
			return;
	}
	if (ceiling) {
		ceiling &= PMD_MASK;
		if (!ceiling)
			return;
	}
	if (end - 1 > ceiling - 1)
		end -= PMD_SIZE;
	if (addr > end - 1)
		return;
	funcgraph_entry(__func__, tlb->mm, addr, end);
	free_level(tlb, pa_to_host(tlb->mm->ram, tlb->mm->pgd), addr, end, floor, ceiling, 4);
	funcgraph_exit(__func__, tlb->mm, 0);
}
