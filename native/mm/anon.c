/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/anon.h"

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pt_reclaim.h"
#include "mm/pte_ref.h"
#include "mm/rmap.h"
#include "mm/site.h"
#include "mm/tlbflush.h"

/* Frames one fault can need: PUD, PMD and PTE table, and the page. */
#define FAULT_FRAMES_MAX 4

static bool is_zero_page(const struct mm_struct *mm, u64 pte)
{
	return entry_pfn(pte) == mm->ram->zero_pfn;
}

/* May a write go to the page itself: PageAnonExclusive(), or wp_can_reuse_anon_folio()? */
static bool can_reuse(const struct mm_struct *mm, u64 pte)
{
	const struct page *page = pfn_to_page(mm->ram, entry_pfn(pte));

	return page->flags & PG_anon && (page->flags & PG_anon_exclusive || page->_refcount == 1);
}

/* Hand out a zeroed page that one PTE of the VMA is about to map. 0: out of memory. */
static u64 alloc_anon_page(struct mm_struct *mm, const struct vm_area_struct *vma)
{
	u64 pfn = alloc_pages(mm->ram, 0, true);

	if (likely(pfn)) {
		struct page *page = pfn_to_page(mm->ram, pfn);

		page_change_flags(page,
				  vma->vm_flags & VM_DROPPABLE
					  ? PG_anon | PG_anon_exclusive
					  : PG_anon | PG_anon_exclusive | PG_swapbacked,
				  0);
		page->_mapcount = 1;
	}
	return pfn;
}

static u64 mk_anon_pte(u64 pfn, u64 vm_flags)
{
	return pfn << PAGE_SHIFT | vm_page_prot(vm_flags) | X86_RW | X86_D;
}

/* First touch: the table is had, held and locked; *pte is none.  Its reference is the caller's. */
static u32 do_anonymous_page(struct mm_struct *mm, struct vm_area_struct *vma, pte_t *pte, u64 addr,
			     u32 write)
{
	u64 value;

	if (write) {
		u64 pfn;

		anon_vma_prepare(mm, vma);
		pfn = alloc_anon_page(mm, vma);
		if (unlikely(!pfn))
			return VM_FAULT_OOM;
		value = mk_anon_pte(pfn, vma->vm_flags);
		add_mm_counter(mm, MM_ANONPAGES, 1);
	} else {
		value = mm->ram->zero_pfn << PAGE_SHIFT | vm_page_prot(vma->vm_flags) |
			_PAGE_SPECIAL;
	}
	set_pte_at(mm, addr, pte, value);
	return 0;
}

/* do_wp_page(), for what an anonymous VMA can hold: copy the zero page, or reuse our own page. */
static u32 do_wp_page(struct mm_struct *mm, struct vm_area_struct *vma, pte_t *pte, u64 addr)
{
	u64 value = ptep_get(pte), pfn;

	if (is_zero_page(mm, value)) {
		anon_vma_prepare(mm, vma);
		pfn = alloc_anon_page(mm, vma);
		if (unlikely(!pfn))
			return VM_FAULT_OOM;
		add_mm_counter(mm, MM_ANONPAGES, 1);
		value = mk_anon_pte(pfn, vma->vm_flags);
		ptep_clear_flush(mm, addr, pte);
		set_pte_at(mm, addr, pte, value);
	} else if (can_reuse(mm, value)) {
		page_change_flags(pfn_to_page(mm->ram, entry_pfn(value)), PG_anon_exclusive, 0);
		set_pte_at(mm, addr, pte, pte_mksaveddirty(value | X86_RW | X86_D | X86_A));
	} else {
		return VM_FAULT_FALLBACK;
	}
	return 0;
}

/* What an entry that is not none can need. */
static u32 resolve_set(struct mm_struct *mm, struct vm_area_struct *vma, pte_t *pte, u64 addr,
		       u32 write)
{
	u64 value = ptep_get(pte);

	if (!(value & X86_P))
		return VM_FAULT_FALLBACK;
	if (write && !(value & X86_RW))
		return do_wp_page(mm, vma, pte, addr);
	return VM_FAULT_NOPAGE;
}

static u32 handle_pte_fault(struct mm_struct *mm, struct vm_area_struct *vma, u64 addr, u32 write)
{
	bool counted = table_is_counted(mm, 2);
	pmd_t *pmd = unlikely(counted) ? pmd_alloc_get(mm, addr) : pmd_alloc_uncounted(mm, addr);
	pte_t *pte;
	u64 table;
	u32 result;
	bool put;

	if (unlikely(!pmd))
		return VM_FAULT_OOM;
	result = pte_alloc_get_map_lock(mm, pmd, addr, &pte);
	if (unlikely(counted))
		pmd_put(mm, pmd, addr);
	switch (result) {
	case PTE_ALLOC_OOM:
		return VM_FAULT_OOM;
	case PTE_ALLOC_HUGE_PMD:
		return VM_FAULT_FALLBACK;
	}
	table = pte_table(mm, pte);
	if (pte_none(ptep_get(pte))) {
		result = do_anonymous_page(mm, vma, pte, addr, write);
		put = result || !pte_entry_set_from("do_anonymous_page", mm, table);
		pte_unlock(mm, table);
		if (likely(!put))
			return 0;
	} else {
		result = resolve_set(mm, vma, pte, addr, write);
		pte_unlock(mm, table);
	}
	pte_put(mm, table, addr);
	return result;
}

u32 do_anonymous_fault(struct mm_struct *mm, u64 address, u32 write)
{
	struct vm_area_struct *vma = find_vma(mm, address);

	if (!vma || address < vma->vm_start || vma->vm_file)
		return VM_FAULT_FALLBACK;
	return handle_pte_fault(mm, vma, address & PAGE_MASK, write);
}

/* access_error(): the VMA does not allow what was tried. */
static bool access_error(u64 vm_flags, u32 error_code)
{
	if (error_code & PF_WR)
		return !(vm_flags & VM_WRITE);
	if (error_code & PF_ID)
		return !(vm_flags & VM_EXEC);
	return error_code & PF_P || !(vm_flags & (VM_READ | VM_WRITE | VM_EXEC));
}

/* Has the table no reference left, so that whoever needs it frees it first? */
static bool is_being_freed(const struct mm_struct *mm, u64 pmdval)
{
	return pte_ref_is_enabled(mm) && !READ_ONCE(pmd_page(mm, pmdval)->pte_refcount);
}

/* Would handle_pte_fault() take it, and not wait for another CPU? Looks only. */
static bool is_common(struct mm_struct *mm, u64 addr, u32 write)
{
	pmd_t *pmd = mm_find_pmd(mm, addr), pmdval;
	u64 value;

	if (!pmd)
		return !pmd_alloc_waits(mm, addr);
	if (READ_ONCE(table_page(mm, pmd)->ptl))
		return false;
	if (unlikely(table_is_counted(mm, 2)) && !READ_ONCE(table_page(mm, pmd)->pte_refcount))
		return false;
	pmdval = pmdp_get(pmd);
	if (pmd_none(pmdval))
		return !flush_is_owed(mm, pmd) || flush_tlb_is_local(mm);
	if (pmd_huge(pmdval) || READ_ONCE(pmd_page(mm, pmdval)->ptl) || is_being_freed(mm, pmdval))
		return false;
	value = ptep_get(pte_offset(mm, pmdval, addr));
	if (pte_none(value))
		return true;
	if (!write || (value & (X86_P | X86_RW)) != X86_P)
		return false;
	return is_zero_page(mm, value) ? flush_tlb_is_local(mm) : can_reuse(mm, value);
}

#ifdef UCMMU_SMP
/*
 * Is it a common fault, and may it run under the lock of the VMA, which is read-locked then?  While
 * it is looked at interrupts are off, for tables may be freed; what was seen may be over already.
 */
static bool begin_fast_fault(struct mm_struct *mm, struct vm_area_struct *vma, u64 addr, u32 write)
{
	struct cpu *cpu = this_cpu(mm->kernel);
	bool common;

	if ((write && !vma->anon_vma) || !vma_start_read(mm, vma))
		return false;
	local_irq_save(cpu);
	common = is_common(mm, addr, write);
	local_irq_restore(cpu);
	if (!common)
		vma_end_read(vma);
	return common;
}

static void end_fast_fault(struct vm_area_struct *vma)
{
	vma_end_read(vma);
}
#else
/*
 * May the fault run under the lock of its VMA?  Not if a writer has it or waits for it; and what
 * gives the VMA an anon_vma must get mmap_lock for reading (vmf_anon_prepare()), the long way.
 */
static bool vma_lock_suffices(const struct mm_struct *mm, const struct vm_area_struct *vma,
			      u32 write)
{
	if (vma->vm_lock_seq == mm->mm_lock_seq || vma->vm_refcnt >= VMA_LOCK_OFFSET)
		return false;
	return !write || vma->anon_vma;
}

/* Nobody else runs until it is over: to look is enough. */
static bool begin_fast_fault(struct mm_struct *mm, const struct vm_area_struct *vma, u64 addr,
			     u32 write)
{
	return vma_lock_suffices(mm, vma, write) && is_common(mm, addr, write);
}

static void end_fast_fault(const struct vm_area_struct *vma)
{
	(void)vma;
}
#endif

/* The functions of Linux that mm_fast_fault() is: what it does is told in their names. */
static const char handle_user_fault[] = "handle_user_fault";
static const char do_user_addr_fault[] = "do_user_addr_fault";
static const char handle_mm_fault[] = "handle_mm_fault";

bool mm_fast_fault(struct mm_struct *mm, u64 address, u32 error_code)
{
	struct event_ring *ring = mm->kernel->ring;
	u32 write = error_code & PF_WR, result;
	struct vm_area_struct *vma;
	bool done;
	u64 addr;

	if (unlikely(READ_ONCE(mm->ram->nr_free) < FAULT_FRAMES_MAX || ~mm->ram->fail_after ||
		     error_code & PF_RSVD))
		return false;
	vma = find_vma(mm, address);
	if (unlikely(!vma || address < vma->vm_start || vma->vm_file || vma->vm_flags & VM_SHARED ||
		     access_error(vma->vm_flags, error_code) ||
		     !begin_fast_fault(mm, vma, address, write)))
		return false;
	emit_from(handle_user_fault, ring, page_fault_user, address, error_code, mm->pgd);
	addr = address & PAGE_MASK;
	funcgraph_entry(do_user_addr_fault, mm, address, address + 1);
	funcgraph_entry(handle_mm_fault, mm, addr, addr + PAGE_SIZE);
	result = handle_pte_fault(mm, vma, addr, write);
	funcgraph_exit(handle_mm_fault, mm, result);
	end_fast_fault(vma);
	emit_from(do_user_addr_fault, ring, vma_lock, VMA_LOCK_SUCCESS, address, mm->pgd);
	funcgraph_exit(do_user_addr_fault, mm, 0);
	done = !(result & (VM_FAULT_OOM | VM_FAULT_FALLBACK));
	if (likely(done)) {
		stat_inc(mm->kernel->counter[KERNEL_COUNTER_vma_lock_success]);
		stat_inc(mm->counter[MM_COUNTER_pgfault]);
	}
	return done;
}
