/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts of PMD and PUD tables, where those are freed when empty as well (free_levels).
 * One reference for each entry that is not none, one for each visitor, as with PTE tables; a
 * visitor of a PTE table needs none, for that table is an entry of those above.  Where a level is
 * not counted, its functions find or make, and "put" does nothing.
 *
 * Lookups are in an RCU read section, the last put clears the entry above under page_table_lock.
 */
#ifndef UCMMU_MM_PMD_REF_H
#define UCMMU_MM_PMD_REF_H

#include "mm/mm.h"
#include "mm/pgtable.h"
#include "mm/pt_reclaim.h"

/* cffi-begin */
/*
 * The PMD entry of addr, missing PUD and PMD tables made, and a visitor's reference on its table.
 * NULL: out of memory.  No spinlock is held.
 */
pmd_t *pmd_alloc(struct mm_struct *mm, u64 addr);
/* The PDPT entry of addr, a missing PUD table made, and a visitor's reference. As pmd_alloc(). */
u64 *pud_alloc(struct mm_struct *mm, u64 addr);
/* The PMD entry of addr and a visitor's reference on its table. NULL: there is none, none is held.
 */
pmd_t *pmd_tryget(struct mm_struct *mm, u64 addr);
/* Drop a visitor's reference of the table of addr; the last one frees it. Flushes, or tlb does. */
void pmd_put(struct mm_struct *mm, pmd_t *pmd, u64 addr);
void pmd_put_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);
void pud_put(struct mm_struct *mm, u64 *pud, u64 addr);
/* The entry at pmd became non-none; the caller visits its table. */
void pmd_entry_set(struct mm_struct *mm, pmd_t *pmd);
/* The entry at pmd became none: drop its reference, as pmd_put(). No PMD lock is held. */
void pmd_entry_cleared(struct mm_struct *mm, pmd_t *pmd, u64 addr);
void pmd_entry_cleared_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);
/* cffi-end */

/* Could pmd_alloc() have to wait for another CPU, for a lock or a flush?  Looks only. */
bool pmd_alloc_waits(struct mm_struct *mm, u64 addr);
/* pmd_alloc() where PMD tables are counted. */
pmd_t *pmd_alloc_get(struct mm_struct *mm, u64 addr);

/* Drop the visitor's reference that next_pmd() took; tlb may be NULL. */
static always_inline void leave_pmd(struct mmu_gather *tlb, struct mm_struct *mm, pmd_t *pmd,
				    u64 addr)
{
	if (likely(!table_is_counted(mm, 2)))
		return;
	if (tlb)
		pmd_put_tlb(tlb, pmd, addr);
	else
		pmd_put(mm, pmd, addr);
}

/*
 * For loops over [addr, end): the PMD entry of addr if it is not none, its table visited, else
 * NULL; and in *next where to go on: behind its 2 MiB, or behind the hole.
 */
static always_inline pmd_t *next_pmd(struct mmu_gather *tlb, struct mm_struct *mm, u64 addr,
				     u64 end, u64 *next)
{
	bool counted = table_is_counted(mm, 2);
	pmd_t *pmd = unlikely(counted) ? pmd_tryget(mm, addr) : mm_find_pmd(mm, addr);

	*next = pmd ? addr_end(addr, end, 2) : hole_end(mm, addr, end);
	if (!pmd || !pmd_none(pmdp_get(pmd)))
		return pmd;
	if (unlikely(counted))
		leave_pmd(tlb, mm, pmd, addr);
	return NULL;
}

#endif
