/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * When empty PTE tables are freed: the questions that faults and range loops ask the policy.
 *   never     only when the address space around them is unmapped (Linux before 6.14)
 *   scan      also when one MADV_DONTNEED clears a whole table (CONFIG_PT_RECLAIM, 6.14 to 6.18)
 *   refcount  whenever the last entry becomes none; freed after an RCU grace period
 *   refcount-pmdlock  the same, lookups and the last put under the PMD lock; freed at once
 */
#ifndef UCMMU_MM_PT_RECLAIM_H
#define UCMMU_MM_PT_RECLAIM_H

#include "mm/mm.h"

/* Are references of PTE tables counted? */
static inline bool pte_ref_is_enabled(const struct mm_struct *mm)
{
	return mm->kernel->policy >= FREE_TABLES_REFCOUNT;
}

/* Are references of PMD tables (level 2), of PUD tables (3) counted? */
static inline bool table_is_counted(const struct mm_struct *mm, u32 level)
{
	return level <= mm->kernel->free_levels;
}

/* May this zap of [start, end), part of one table, free the table after a look at it? */
static inline bool reclaim_pt_is_enabled(const struct mm_struct *mm, u64 start, u64 end,
					 u32 details)
{
	return mm->kernel->policy == FREE_TABLES_SCAN && details & ZAP_RECLAIM_PT &&
	       end - start >= PMD_SIZE;
}

/*
 * The fast way: every entry was cleared under the PTE lock that is still held; take the table out
 * of its PMD if the PMD lock is free. Returns whether it did, and what the PMD was.
 */
bool try_get_and_clear_pmd(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *pmdval);
/* Gather the table that pmdval named, already out of pmd. */
void free_pte(struct mmu_gather *tlb, pmd_t *pmd, u64 pmdval, u64 addr);
/* The slow way: the PTE lock was dropped midway, so look at every entry under both locks. */
void try_to_free_pte(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);

#endif
