/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which function did it: the site of the kernel's events (mmu/linux/tracepoint.py).
 *
 * A function that does something on another's behalf takes that one's name first, and is called by
 * its plain name, which here gives the name of the function that it stands in.  Python calls the
 * functions of that plain name (native/mm/callers.c); it has told the ring who calls.
 */
#ifndef UCMMU_MM_SITE_H
#define UCMMU_MM_SITE_H

#include "mm/mm.h"
#include "mm/pgtable.h"
#include "mm/pte_ref.h"
#include "mm/tlbflush.h"

/* pte_ref.h */
void pte_get_from(const char *from, struct mm_struct *mm, u64 table);
void pte_get_many_from(const char *from, struct mm_struct *mm, u64 table, u32 nr);
bool pte_get_unless_zero_from(const char *from, struct mm_struct *mm, pmd_t *pmd);
u32 pte_try_get_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 *table);
pte_t *pte_tryget_map_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr);
pte_t *pte_tryget_map_lock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr);
u64 pte_relock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 table);
u32 pte_alloc_get_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *table);
u32 pte_alloc_get_map_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr,
			   pte_t **pte);
u32 pte_alloc_get_map_lock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr,
				pte_t **pte);
u64 pmd_install_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 table);
void pte_put_from(const char *from, struct mm_struct *mm, u64 table, u64 addr);
void pte_put_many_from(const char *from, struct mm_struct *mm, u64 table, u64 addr, u32 nr);
void pte_put_tlb_from(const char *from, struct mmu_gather *tlb, u64 table, u64 addr);
void pte_put_many_tlb_from(const char *from, struct mmu_gather *tlb, u64 table, u64 addr, u32 nr);
/*
 * pte_entries_set() of one by a visitor who puts then: its reference becomes the entry's, which
 * costs no atomic.  Whether it did; if not, the visitor has its reference still.  The PTE lock is
 * held: after it, another CPU may have cleared the entry and dropped the reference.
 */
bool pte_entry_set_from(const char *from, struct mm_struct *mm, u64 table);
/* pgtable.h */
void set_pte_at_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte, u64 value);
/* Clear a PTE, which the processor may change meanwhile: what it was. The PTE lock is held. */
u64 ptep_get_and_clear_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte);
void add_mm_counter_from(const char *from, struct mm_struct *mm, u32 member, s64 nr);
/* tlbflush.h */
void flush_tlb_mm_range_from(const char *from, struct mm_struct *mm, u64 start, u64 end,
			     u32 stride_shift, u32 freed_tables);
u64 ptep_clear_flush_from(const char *from, struct mm_struct *mm, u64 addr, pte_t *pte);

#ifndef UCMMU_MM_PLAIN_NAMES
#define pte_get(...) pte_get_from(__func__, __VA_ARGS__)
#define pte_get_many(...) pte_get_many_from(__func__, __VA_ARGS__)
#define pte_entries_set(...) pte_get_many_from(__func__, __VA_ARGS__)
#define pte_get_unless_zero(...) pte_get_unless_zero_from(__func__, __VA_ARGS__)
#define pte_try_get(...) pte_try_get_from(__func__, __VA_ARGS__)
#define pte_tryget_map(...) pte_tryget_map_from(__func__, __VA_ARGS__)
#define pte_tryget_map_lock(...) pte_tryget_map_lock_from(__func__, __VA_ARGS__)
#define pte_relock(...) pte_relock_from(__func__, __VA_ARGS__)
#define pte_alloc_get(...) pte_alloc_get_from(__func__, __VA_ARGS__)
#define pte_alloc_get_map(...) pte_alloc_get_map_from(__func__, __VA_ARGS__)
#define pte_alloc_get_map_lock(...) pte_alloc_get_map_lock_from(__func__, __VA_ARGS__)
#define pmd_install(...) pmd_install_from(__func__, __VA_ARGS__)
#define pte_put(...) pte_put_from(__func__, __VA_ARGS__)
#define pte_put_many(...) pte_put_many_from(__func__, __VA_ARGS__)
#define pte_put_tlb(...) pte_put_tlb_from(__func__, __VA_ARGS__)
#define pte_put_many_tlb(...) pte_put_many_tlb_from(__func__, __VA_ARGS__)
#define set_pte_at(...) set_pte_at_from(__func__, __VA_ARGS__)
#define add_mm_counter(...) add_mm_counter_from(__func__, __VA_ARGS__)
#define flush_tlb_mm_range(...) flush_tlb_mm_range_from(__func__, __VA_ARGS__)
#define ptep_clear_flush(...) ptep_clear_flush_from(__func__, __VA_ARGS__)
#endif

/* The function of that name begins, and ends, to work on [start, end) of mm: ftrace's graph. */
#define funcgraph_entry(from, mm, start, end) \
	emit_from(from, (mm)->kernel->ring, funcgraph_entry, start, end, (mm)->pgd, 0)
#define funcgraph_exit(from, mm, ret) \
	emit_from(from, (mm)->kernel->ring, funcgraph_exit, ret, (mm)->pgd, 0, 0)

#endif
