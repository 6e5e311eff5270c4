/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mmu_gather: unmap first, flush once, free after. */
#ifndef UCMMU_MM_MMU_GATHER_H
#define UCMMU_MM_MMU_GATHER_H

#include "mm/mm.h"
#include "mm/tlbflush.h"

/* cffi-begin */
/* Begin to gather for mm; fullmm: the whole mm goes. One at a time. */
void tlb_gather_mmu(struct mmu_gather *tlb, struct mm_struct *mm, u32 fullmm);
/* Flush what is to be flushed, or all if others gather too, free what was gathered, end. */
void tlb_finish_mmu(struct mmu_gather *tlb);
/* Flush the gathered range; nothing is freed. */
void tlb_flush_mmu_tlbonly(struct mmu_gather *tlb);
/* Flush, then free the gathered frames and hand the gathered tables to RCU. */
void tlb_flush_mmu(struct mmu_gather *tlb);
/* Gather a data frame. Returns true if the gather is full and must be flushed. */
bool tlb_remove_page(struct mmu_gather *tlb, u64 pfn);
/* The PTE of addr was cleared or changed: its translation must be flushed. */
void tlb_remove_tlb_entry(struct mmu_gather *tlb, u64 addr);
/* Gather a table of level (1 PTE, 2 PMD, 3 PUD) taken out of the entry for addr. Flushes when full.
 */
void table_free_tlb(struct mmu_gather *tlb, u64 pfn, u64 addr, u32 level);
/* Gather a PTE table taken out of addr's PMD. */
void pte_free_tlb(struct mmu_gather *tlb, u64 pfn, u64 addr);
/* Count a PTE table that left the mm. */
void mm_dec_nr_ptes(struct mm_struct *mm);
/*
 * Free tables that no translation leads to any more: after a grace period, or at once.  At once may
 * wait: where the flush sent no IPI, one is sent, so that no lockless walker is left in them.
 */
void tlb_remove_tables(struct kernel *kernel, const u64 *table, u32 nr);
/*
 * The PTE table of addr left its PMD: flush what was cached of it on every CPU, with what gathers
 * in progress owe for its addresses.  The PMD lock is held.
 */
void flush_pte_table(struct mm_struct *mm, u64 addr);
/* The same of a PMD table (level 2) or a PUD table (3); page_table_lock is held. */
void flush_upper_table(struct mm_struct *mm, u64 addr, u32 level);
/* The table of level for addr is about to be gathered: its flush takes in what others owe for it.
 */
void tlb_gather_owed(struct mmu_gather *tlb, u64 addr, u32 level);
/* A table of level comes into the empty entry of addr: flush what is owed for the one before. */
void flush_freed_tables(struct mm_struct *mm, const u64 *entry, u64 addr, u32 level);
/* Does a gather in progress owe a flush for a table that it took out of entry? */
bool flush_is_owed(const struct mm_struct *mm, const u64 *entry);
/* cffi-end */

#endif
