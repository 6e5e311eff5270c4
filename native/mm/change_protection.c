/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/change_protection.h"

#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/site.h"

/*
 * The new value of a present PTE.  A write right comes back at once only where no copy can be due
 * (can_change_pte_writable(), mm/mprotect.c): on a page that no other process can map; and on a
 * page of a shared file only if it is dirty already.
 */
static u64 pte_modify(struct mm_struct *mm, u64 pte, u64 vm_flags)
{
	u64 keep = X86_ADDR_MASK | X86_A | _PAGE_DIRTY_BITS | _PAGE_SPECIAL;
	u64 value = (pte & keep) | vm_page_prot(vm_flags);

	if (vm_flags & VM_WRITE && !(pte & _PAGE_SPECIAL)) {
		const struct page *page = pfn_to_page(mm->ram, entry_pfn(pte));

		if (page->flags & PG_anon_exclusive ||
		    (pte & _PAGE_DIRTY_BITS && !(page->flags & PG_anon)))
			value |= X86_RW;
	}
	return pte_mksaveddirty(value);
}

/* pte_needs_flush(), arch/x86/include/asm/tlbflush.h: P, A or D cleared, or rights changed. */
static bool pte_needs_flush(u64 old, u64 value)
{
	u64 diff = old ^ value;

	if (!(old & X86_P))
		return false;
	return (diff & old & (X86_P | X86_D)) || (diff & (X86_RW | X86_US | X86_G | X86_XD));
}

static void change_pte_range(struct mmu_gather *tlb, pmd_t *pmd, u64 addr, u64 end, u64 vm_flags)
{
	struct mm_struct *mm = tlb->mm;
	u64 start = addr, table;
	pte_t *pte = pte_tryget_map_lock(mm, pmd, addr);

	if (!pte)
		return;
	table = pte_table(mm, pte);
	for (; addr < end; addr += PAGE_SIZE, pte++) {
		u64 old = *pte, value;

		if (!pte_present(old))
			continue;
		value = pte_modify(mm, old, vm_flags);
		if (value == old)
			continue;
		set_pte_at(mm, addr, pte, value);
		if (pte_needs_flush(old, value))
			tlb_remove_tlb_entry(tlb, addr);
	}
	pte_unlock(mm, table);
	pte_put_tlb(tlb, table, start);
}

void change_protection(struct mmu_gather *tlb, u64 start, u64 end, u64 vm_flags)
{
	u64 next;

	funcgraph_entry(__func__, tlb->mm, start, end);
	for (u64 addr = start; addr < end; addr = next) {
		pmd_t *pmd = next_pmd(tlb, tlb->mm, addr, end, &next);

		if (!pmd)
			continue;
		change_pte_range(tlb, pmd, addr, next, vm_flags);
		leave_pmd(tlb, tlb->mm, pmd, addr);
	}
	funcgraph_exit(__func__, tlb->mm, 0);
}
