/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pgtable.h"

#include "mm/site.h"

bool table_is_empty(const u64 *table)
{
	u64 any = 0;

	for (u32 i = 0; i < PTRS_PER_PTE; i++)
		any |= table[i];
	return any == 0;
}

pmd_t *mm_find_pmd(struct mm_struct *mm, u64 addr)
{
	u64 table = mm->pgd;

	for (u32 level = 4; level > 2; level--) {
		u64 entry = entry_get(pa_to_host(mm->ram, table + entry_offset(addr, level)));

		if (!(entry & X86_P))
			return NULL;
		table = entry & X86_ADDR_MASK;
	}
	return pa_to_host(mm->ram, table + entry_offset(addr, 2));
}

/* In the 512 GiB of *addr, find the PUD entry that refers to the PMD table; *addr is its first. */
static bool find_pmd_table(struct mm_struct *mm, u64 pfn, u64 *addr)
{
	u64 pgdval = entry_get(pa_to_host(mm->ram, mm->pgd + entry_offset(*addr, 4)));

	if (!(pgdval & X86_P))
		return false;
	for (u64 i = 0; i < PTRS_PER_PTE; i++) {
		u64 pudval = entry_get(table_of(mm, pgdval) + i);

		if (pudval & X86_P && entry_pfn(pudval) == pfn) {
			*addr += i * level_size(3);
			return true;
		}
	}
	return false;
}

u64 pmd_address(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 pa = host_to_pa(mm->ram, pmd);

	if (likely(mm_find_pmd(mm, addr) == pmd))
		return addr;
	for (u64 i = 0; i < PTRS_PER_PTE / 2; i++) {
		u64 found = i * level_size(4);

		if (find_pmd_table(mm, pa >> PAGE_SHIFT, &found))
			return found + pa / sizeof(pmd_t) % PTRS_PER_PTE * level_size(2);
	}
	return addr;
}

void set_pte_at_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte, u64 value)
{
	emit_from(from, mm->kernel->ring, set_pte, addr & PAGE_MASK, *pte, value,
		  host_to_pa(mm->ram, pte));
	__atomic_store_n(pte, value, __ATOMIC_RELEASE);
}

u64 ptep_get_and_clear_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte)
{
	u64 old = get_and_clear(pte);

	emit_from(from, mm->kernel->ring, set_pte, addr & PAGE_MASK, old, 0,
		  host_to_pa(mm->ram, pte));
	return old;
}

u64 vm_page_prot(u64 vm_flags)
{
	u64 prot = X86_A;

	if (!(vm_flags & (VM_READ | VM_WRITE | VM_EXEC)))
		return prot | _PAGE_PROTNONE | X86_XD;
	prot |= X86_P | X86_US;
	if ((vm_flags & (VM_WRITE | VM_SHARED)) == (VM_WRITE | VM_SHARED))
		prot |= X86_RW;
	return vm_flags & VM_EXEC ? prot : prot | X86_XD;
}

void add_mm_counter_from(const char *from, struct mm_struct *mm, u32 member, s64 nr)
{
	s64 pages = stat_add(mm->rss_stat[member], nr), rss;

	if (unlikely(pages < 0))
		mm_bug(mm, BUG_RSS_NEGATIVE, 0);
	emit_from(from, mm->kernel->ring, rss_stat, mm->pgd, member, pages);
	rss = READ_ONCE(mm->rss_stat[MM_FILEPAGES]) + READ_ONCE(mm->rss_stat[MM_ANONPAGES]) +
	      READ_ONCE(mm->rss_stat[MM_SHMEMPAGES]);
	if (nr > 0 && rss > 0)
		stat_max(&mm->hiwater_rss, rss);
}
