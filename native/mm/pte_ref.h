/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts of PTE tables.  One reference for each entry that is not none, one for each
 * visitor.  Under the policies never and scan the counting functions do nothing, and "get" means
 * "find": so that every path reads the same whichever policy is in force.
 *
 * What looks a table up takes the PMD entry; what acts on a table that is held takes the table's
 * frame number, for the PMD entry may name another one by then.
 */
#ifndef UCMMU_MM_PTE_REF_H
#define UCMMU_MM_PTE_REF_H

#include "mm/mm.h"

/* cffi-begin */
/* What pte_alloc_get() ended in. */
#define PTE_ALLOC_OK 0
#define PTE_ALLOC_OOM 1
#define PTE_ALLOC_HUGE_PMD 2

/* Set back pointer and count of the table in frame pfn, before pmd_install() publishes it. */
void pte_ref_init(struct mm_struct *mm, u64 table, pmd_t *pmd, u32 count);
/* Take nr references; the caller holds one, or the PTE lock and a non-none entry. Never from 0. */
void pte_get(struct mm_struct *mm, u64 table);
void pte_get_many(struct mm_struct *mm, u64 table, u32 nr);
/* Take one unless the count is 0; whether it did. Under the PMD lock or in an RCU read section. */
bool pte_get_unless_zero(struct mm_struct *mm, pmd_t *pmd);
/* Take a reference on the table that pmd refers to now: TRYGET_*. Nothing is held on failure. */
u32 pte_try_get(struct mm_struct *mm, pmd_t *pmd, u64 *table);
/* pte_try_get() and the entry of addr; with _lock the PTE lock too. NULL: nothing is held. */
pte_t *pte_tryget_map(struct mm_struct *mm, pmd_t *pmd, u64 addr);
pte_t *pte_tryget_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr);
/* Take the PTE lock of the visited table again. Returns the table to go on with, 0: it is gone. */
u64 pte_relock(struct mm_struct *mm, pmd_t *pmd, u64 table);
/* Find or install the table of addr and take a reference: PTE_ALLOC_*. */
u32 pte_alloc_get(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *table);
/* The same, and the entry of addr in *pte; with _lock the PTE lock too. */
u32 pte_alloc_get_map(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte);
u32 pte_alloc_get_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte);
/*
 * Publish the table, whose count is 1, in pmd.  The loser of an install race frees its table and
 * takes a reference on the winner's.  Returns the table that is held, 0 if the winner's is going.
 */
u64 pmd_install(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 table);
/* nr entries of a table the caller visits became non-none. The PTE lock may still be held. */
void pte_entries_set(struct mm_struct *mm, u64 table, u32 nr);
/* Drop nr references of the table held; the last one frees it. Flushes at once, or by tlb. */
void pte_put(struct mm_struct *mm, u64 table, u64 addr);
void pte_put_many(struct mm_struct *mm, u64 table, u64 addr, u32 nr);
void pte_put_tlb(struct mmu_gather *tlb, u64 table, u64 addr);
void pte_put_many_tlb(struct mmu_gather *tlb, u64 table, u64 addr, u32 nr);
/* Free the table under pmd if its count is 0, exactly once whoever asks. No lock held. */
void free_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr);
void free_pte_table_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);

/* What a fault holds while it runs: struct vm_fault, what of it the counts need. */
struct vm_fault {
	struct mm_struct *mm;
	u64 address;
	u64 table; /* on which it holds a visitor reference; 0: on none */
};
/* Drop the fault's reference, if it holds one; before mmap_lock is dropped. */
void pte_put_vmf(struct vm_fault *vmf);
/* cffi-end */

#endif
