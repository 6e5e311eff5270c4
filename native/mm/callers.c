/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Python calls of the functions that name their caller: it has told the ring who calls. */
#define UCMMU_MM_PLAIN_NAMES
#include "mm/site.h"

#define FROM site_of_caller

void pte_get(struct mm_struct *mm, u64 table)
{
	pte_get_from(FROM, mm, table);
}

void pte_get_many(struct mm_struct *mm, u64 table, u32 nr)
{
	pte_get_many_from(FROM, mm, table, nr);
}

void pte_entries_set(struct mm_struct *mm, u64 table, u32 nr)
{
	pte_get_many_from(FROM, mm, table, nr);
}

bool pte_get_unless_zero(struct mm_struct *mm, pmd_t *pmd)
{
	return pte_get_unless_zero_from(FROM, mm, pmd);
}

u32 pte_try_get(struct mm_struct *mm, pmd_t *pmd, u64 *table)
{
	return pte_try_get_from(FROM, mm, pmd, table);
}

pte_t *pte_tryget_map(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	return pte_tryget_map_from(FROM, mm, pmd, addr);
}

pte_t *pte_tryget_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	return pte_tryget_map_lock_from(FROM, mm, pmd, addr);
}

u64 pte_relock(struct mm_struct *mm, pmd_t *pmd, u64 table)
{
	return pte_relock_from(FROM, mm, pmd, table);
}

u32 pte_alloc_get(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *table)
{
	return pte_alloc_get_from(FROM, mm, pmd, addr, table);
}

u32 pte_alloc_get_map(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte)
{
	return pte_alloc_get_map_from(FROM, mm, pmd, addr, pte);
}

u32 pte_alloc_get_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte)
{
	return pte_alloc_get_map_lock_from(FROM, mm, pmd, addr, pte);
}

u64 pmd_install(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 table)
{
	return pmd_install_from(FROM, mm, pmd, addr, table);
}

void pte_put(struct mm_struct *mm, u64 table, u64 addr)
{
	pte_put_from(FROM, mm, table, addr);
}

void pte_put_many(struct mm_struct *mm, u64 table, u64 addr, u32 nr)
{
	pte_put_many_from(FROM, mm, table, addr, nr);
}

void pte_put_tlb(struct mmu_gather *tlb, u64 table, u64 addr)
{
	pte_put_tlb_from(FROM, tlb, table, addr);
}

void pte_put_many_tlb(struct mmu_gather *tlb, u64 table, u64 addr, u32 nr)
{
	pte_put_many_tlb_from(FROM, tlb, table, addr, nr);
}

void pte_put_vmf(struct vm_fault *vmf)
{
	u64 table = vmf->table;

	vmf->table = 0;
	if (table)
		pte_put_from(FROM, vmf->mm, table, vmf->address);
}

void set_pte_at(struct mm_struct *mm, u64 addr, pte_t *pte, u64 value)
{
	set_pte_at_from(FROM, mm, addr, pte, value);
}

void add_mm_counter(struct mm_struct *mm, u32 member, s64 nr)
{
	add_mm_counter_from(FROM, mm, member, nr);
}

void flush_tlb_mm_range(struct mm_struct *mm, u64 start, u64 end, u32 stride_shift,
			u32 freed_tables)
{
	flush_tlb_mm_range_from(FROM, mm, start, end, stride_shift, freed_tables);
}

u64 ptep_clear_flush(struct mm_struct *mm, u64 addr, pte_t *pte)
{
	return ptep_clear_flush_from(FROM, mm, addr, pte);
}
