/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reference counts of PTE tables.  One reference for each entry that is not none, one for each
 * visitor.  Under the policies never and scan the counting functions do nothing, and "get" means
 * "find": so that every path reads the same whichever policy is in force.
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
void pte_ref_init(struct mm_struct *mm, u64 pfn, pmd_t *pmd, u32 count);
/* Take nr references; the caller holds one, or the PTE lock and a non-none entry. Never from 0. */
void pte_get(struct mm_struct *mm, pmd_t *pmd);
void pte_get_many(struct mm_struct *mm, pmd_t *pmd, u32 nr);
/* Take one unless the count is 0; whether it did. Under the PMD lock or in an RCU read section. */
bool pte_get_unless_zero(struct mm_struct *mm, pmd_t *pmd);
/* Take a reference on whatever table pmd points to now: TRYGET_*. Nothing is held on failure. */
u32 pte_try_get(struct mm_struct *mm, pmd_t *pmd);
/* pte_try_get() and the entry of addr; with _lock the PTE lock too. NULL: nothing is held. */
pte_t *pte_tryget_map(struct mm_struct *mm, pmd_t *pmd, u64 addr);
pte_t *pte_tryget_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr);
/* Find or install the table of addr and take a reference: PTE_ALLOC_*. */
u32 pte_alloc_get(struct mm_struct *mm, pmd_t *pmd, u64 addr);
/* The same, and the entry of addr in *pte; with _lock the PTE lock too. */
u32 pte_alloc_get_map(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte);
u32 pte_alloc_get_map_lock(struct mm_struct *mm, pmd_t *pmd, u64 addr, pte_t **pte);
/*
 * Publish table pfn, whose count is 1, in pmd.  The loser of an install race frees its table and
 * takes a reference on the winner's.  Whether a reference is held now: no if the winner's is going.
 */
bool pmd_install(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 pfn);
/* nr entries of a table the caller visits became non-none. The PTE lock may still be held. */
void pte_entries_set(struct mm_struct *mm, pmd_t *pmd, u32 nr);
/* Drop nr references of the table under pmd; the last one frees it. Flushes at once, or by tlb. */
void pte_put(struct mm_struct *mm, pmd_t *pmd, u64 addr);
void pte_put_many(struct mm_struct *mm, pmd_t *pmd, u64 addr, u32 nr);
void pte_put_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);
void pte_put_many_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr, u32 nr);
/* Free the table under pmd if its count is 0, exactly once whoever asks. No lock held. */
void free_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr);
void free_pte_table_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr);

/* What a fault holds while it runs: struct vm_fault, what of it the counts need. */
struct vm_fault {
	struct mm_struct *mm;
	u64 address;
	pmd_t *pmd;
	u32 has_ref; /* 1: holds a visitor reference on the table under pmd */
	u32 pad;
};
/* Drop the fault's reference, if it holds one; before mmap_lock is dropped. */
void pte_put_vmf(struct vm_fault *vmf);
/* cffi-end */

#endif
