/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reaching and changing entries of an mm's tables. */
#ifndef UCMMU_MM_PGTABLE_H
#define UCMMU_MM_PGTABLE_H

#include "mm/mm.h"

/* cffi-begin */
/* The PMD entry of addr, or NULL where a PUD or PMD table is missing. */
pmd_t *mm_find_pmd(struct mm_struct *mm, u64 addr);
/*
 * An address that *pmd, whose PTE table is held, maps: addr, unless that table was moved since it
 * was looked up for addr (mremap()); then pmd is searched for in all of the tree.
 */
u64 pmd_address(struct mm_struct *mm, pmd_t *pmd, u64 addr);
/* Write a PTE, telling the ring. The PTE lock is held. */
void set_pte_at(struct mm_struct *mm, u64 addr, pte_t *pte, u64 value);
/* The PTE that a present page of this VMA gets, without W and D: vm_get_page_prot(). */
u64 vm_page_prot(u64 vm_flags);
/* Add nr pages (or drop, nr < 0) to an rss_stat member; keeps hiwater_rss. */
void add_mm_counter(struct mm_struct *mm, u32 member, s64 nr);
/* cffi-end */

#define PMD_MASK (~(u64)(PMD_SIZE - 1))
#define pmd_none(value) ((value) == 0)
/* Not only where P is set: while a huge PMD is split it is not present. */
#define pmd_huge(value) (((value) & X86_PS) != 0)
#define pte_none(value) ((value) == 0)
#define pte_present(value) (((value) & (X86_P | _PAGE_PROTNONE)) != 0)
#define entry_pfn(value) (((value) & X86_ADDR_MASK) >> PAGE_SHIFT)

/*
 * What an entry holds that another CPU, or the processor, may change meanwhile; and then what its
 * table held when it was published: ptep_get(), pmdp_get() and their kin.
 */
static inline u64 entry_get(const u64 *entry)
{
	return __atomic_load_n(entry, __ATOMIC_ACQUIRE);
}

#define ptep_get(pte) entry_get(pte)
#define pmdp_get(pmd) entry_get(pmd)

/* A present PTE with its dirtiness where it belongs: D with R/W, SAVED_DIRTY without. */
static inline u64 pte_mksaveddirty(u64 value)
{
	u64 dirty = value & _PAGE_DIRTY_BITS ? value & X86_RW ? X86_D : _PAGE_SAVED_DIRTY : 0;

	return (value & ~(u64)_PAGE_DIRTY_BITS) | dirty;
}

static inline u64 pte_wrprotect(u64 value)
{
	return pte_mksaveddirty(value & ~(u64)X86_RW);
}

/* Keep the first broken invariant, for the caller to raise. */
static inline void kernel_bug(struct kernel *kernel, u32 bug, u64 address)
{
	u32 none = BUG_NONE;

	if (__atomic_compare_exchange_n(&kernel->bug, &none, bug, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		kernel->bug_address = address;
}

static inline void mm_bug(struct mm_struct *mm, u32 bug, u64 address)
{
	kernel_bug(mm->kernel, bug, address);
}

static inline u64 *table_of(const struct mm_struct *mm, u64 entry)
{
	return pa_to_host(mm->ram, entry & X86_ADDR_MASK);
}

static inline pte_t *pte_offset(const struct mm_struct *mm, u64 pmdval, u64 addr)
{
	return table_of(mm, pmdval) + (addr >> 12 & 511);
}

/* The entry of addr in the PTE table of that frame. */
static inline pte_t *table_entry(const struct mm_struct *mm, u64 table, u64 addr)
{
	return (pte_t *)pa_to_host(mm->ram, table << PAGE_SHIFT) + (addr >> 12 & 511);
}

/* The frame of the PTE table that an entry lies in. */
static inline u64 pte_table(const struct mm_struct *mm, const pte_t *pte)
{
	return host_to_pa(mm->ram, pte) >> PAGE_SHIFT;
}

static inline struct page *pmd_page(const struct mm_struct *mm, u64 pmdval)
{
	return pfn_to_page(mm->ram, entry_pfn(pmdval));
}

/* The struct page of the table that an entry lies in. */
static inline struct page *table_page(const struct mm_struct *mm, const u64 *entry)
{
	return pfn_to_page(mm->ram, host_to_pa(mm->ram, entry) >> PAGE_SHIFT);
}

/* The rss_stat member that a mapped page counts in: mm_counter(), mm_counter_file(). */
static inline u32 mm_counter(const struct page *page)
{
	if (page->flags & PG_anon)
		return MM_ANONPAGES;
	return page->flags & PG_swapbacked ? MM_SHMEMPAGES : MM_FILEPAGES;
}

/* The end of the entry of level that addr lies in, or end if that is nearer. */
static inline u64 addr_end(u64 addr, u64 end, u32 level)
{
	u64 size = level_size(level), next = (addr + size) & ~(size - 1);

	return next - 1 < end - 1 ? next : end;
}

/* Does the PML4 entry of addr refer to a table? */
static inline bool has_pud_table(const struct mm_struct *mm, u64 addr)
{
	const u64 *pml4e = pa_to_host(mm->ram, mm->pgd + entry_offset(addr, 4));

	return entry_get(pml4e) & X86_P;
}

/* The end of the span below which addr has no PMD table: the missing entry's reach. */
static inline u64 hole_end(struct mm_struct *mm, u64 addr, u64 end)
{
	return addr_end(addr, end, has_pud_table(mm, addr) ? 3 : 4);
}

/* Are all 512 entries of the table none? */
bool table_is_empty(const u64 *table);

#endif
