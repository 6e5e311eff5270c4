/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pte_ref.h"

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pt_reclaim.h"
#include "mm/rcu.h"
#include "mm/site.h"

#define PTE_REF_MAX 0x7fffffffu

/* Whose the references of an event are. */
#define VISITOR 0
#define ENTRIES 1

void pte_ref_init(struct mm_struct *mm, u64 table, pmd_t *pmd, u32 count)
{
	struct page *page = pfn_to_page(mm->ram, table);

	WRITE_ONCE(page->pmd, host_to_pa(mm->ram, pmd));
	__atomic_store_n(&page->pte_refcount, count, __ATOMIC_RELAXED);
}

/* pte_get_many(), inlined where nr is known. */
static always_inline void table_get(const char *from, struct mm_struct *mm, u64 table, u32 nr,
				    u32 holder)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old;

	if (!nr || unlikely(!pte_ref_is_enabled(mm)))
		return;
	old = __atomic_fetch_add(&page->pte_refcount, nr, __ATOMIC_RELAXED);
	if (unlikely(old - 1 >= PTE_REF_MAX - nr)) {
		mm_bug(mm, old ? BUG_PTE_REF_OVERFLOW : BUG_PTE_REF_FROM_ZERO, table);
		__atomic_fetch_sub(&page->pte_refcount, nr, __ATOMIC_RELAXED);
		return;
	}
	emit_from(from, mm->kernel->ring, pte_get, table, old, old + nr, holder);
}

void pte_get_from(const char *from, struct mm_struct *mm, u64 table)
{
	table_get(from, mm, table, 1, VISITOR);
}

void pte_get_many_from(const char *from, struct mm_struct *mm, u64 table, u32 nr)
{
	table_get(from, mm, table, nr, ENTRIES);
}

/* Take a reference unless the count is 0; whether it did. */
static always_inline bool table_get_unless_zero(const char *from, struct mm_struct *mm, u64 table)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old = __atomic_load_n(&page->pte_refcount, __ATOMIC_RELAXED);

	do {
		if (!old)
			return false;
	} while (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	emit_from(from, mm->kernel->ring, pte_get, table, old, old + 1, VISITOR);
	return true;
}

bool pte_get_unless_zero_from(const char *from, struct mm_struct *mm, pmd_t *pmd)
{
	return !pte_ref_is_enabled(mm) || table_get_unless_zero(from, mm, entry_pfn(pmdp_get(pmd)));
}

static const char freeing[] = "free_pte_table";

/* Exchange the PMD entry of addr, whose lock is held. */
static void xchg_pmd(struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 value)
{
	u64 old = __atomic_exchange_n(pmd, value, __ATOMIC_ACQ_REL);

	emit_from(freeing, mm->kernel->ring, set_pmd, addr & PMD_MASK, old, value,
		  host_to_pa(mm->ram, pmd));
}

/* Take the dead table out of pmd. Returns its frame, 0 if another did or it lives. PMD lock held.
 */
static u64 detach_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 pmdval = *pmd;

	if (pmd_none(pmdval) || pmd_huge(pmdval) ||
	    __atomic_load_n(&pmd_page(mm, pmdval)->pte_refcount, __ATOMIC_ACQUIRE))
		return 0;
	xchg_pmd(mm, pmd, addr, 0);
	if (unlikely(!table_is_empty(table_of(mm, pmdval)))) {
		mm_bug(mm, BUG_PTE_TABLE_NOT_EMPTY, addr);
		xchg_pmd(mm, pmd, addr, pmdval);
		return 0;
	}
	emit_from(freeing, mm->kernel->ring, pte_free, addr & PMD_MASK, entry_pfn(pmdval), mm->pgd,
		  host_to_pa(mm->ram, pmd));
	return entry_pfn(pmdval);
}

/*
 * detach_pte_table(), then drop the PMD lock, and free what was detached: flushed at once, under
 * the lock, or by tlb, which may be NULL.
 */
static void free_and_unlock(struct mm_struct *mm, struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	u64 table, start = addr & PMD_MASK;

	funcgraph_entry(freeing, mm, start, start + PMD_SIZE);
	table = detach_pte_table(mm, pmd, addr);
	if (table && tlb) {
		tlb_gather_owed(tlb, addr, 1);
		pte_free_tlb(tlb, table, addr);
	} else if (table) {
		flush_pte_table(mm, addr);
	}
	pmd_unlock(mm, pmd);
	if (table)
		mm_dec_nr_ptes(mm);
	if (table && !tlb) {
		tlb_remove_tables(mm->kernel, &table, 1);
		pmd_entry_cleared(mm, pmd, addr);
	} else if (table) {
		pmd_entry_cleared_tlb(tlb, pmd, addr);
	}
	funcgraph_exit(freeing, mm, 0);
}

static void free_table_of(struct mm_struct *mm, struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	pmd_lock(mm, pmd);
	free_and_unlock(mm, tlb, pmd, addr);
}

void free_pte_table(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	free_table_of(mm, NULL, pmd, addr);
}

void free_pte_table_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	free_table_of(tlb->mm, tlb, pmd, addr);
}

/* Drop nr references. Returns whether none is left. */
static bool table_put(const char *from, struct mm_struct *mm, u64 table, u32 nr, u32 holder)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old = __atomic_fetch_sub(&page->pte_refcount, nr, __ATOMIC_ACQ_REL);

	if (unlikely(old < nr)) {
		mm_bug(mm, BUG_PTE_REF_UNDERFLOW, table);
		__atomic_fetch_add(&page->pte_refcount, nr, __ATOMIC_RELAXED);
		return false;
	}
	emit_from(from, mm->kernel->ring, pte_put, table, old, old - nr, holder);
	return old == nr;
}

/*
 * Take the PMD lock of the slot in which the table stands: a mover may change the back pointer.
 * The PMD table that it leaves could go, with the lock that is waited for, if RCU did not keep it.
 */
static pmd_t *lock_pmd_of(struct mm_struct *mm, const struct page *page)
{
	bool counted = table_is_counted(mm, 2);
	pmd_t *pmd;
	u64 pa;

	if (unlikely(counted))
		rcu_read_lock(mm->kernel);
	for (;;) {
		pa = READ_ONCE(page->pmd);
		pmd = pa_to_host(mm->ram, pa);
		pmd_lock(mm, pmd);
		if (likely(READ_ONCE(page->pmd) == pa))
			break;
		pmd_unlock(mm, pmd);
	}
	if (unlikely(counted))
		rcu_read_unlock(mm->kernel);
	return pmd;
}

/* pmd_address(), pmd locked.  RCU keeps the tables above it that are looked at on the way. */
static u64 locked_pmd_address(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 found;

	rcu_read_lock(mm->kernel);
	found = pmd_address(mm, pmd, addr);
	rcu_read_unlock(mm->kernel);
	return found;
}

/*
 * Drop the nr references that were the last ones a moment ago, and free the table if they are.
 * First design: the count reaches 0 under the PMD lock, with the PMD cleared in the same hold.
 * Second: in an RCU read section, for once it is 0 anybody may free the table.
 */
static __attribute__((noinline)) void table_put_last(const char *from, struct mm_struct *mm,
						     struct mmu_gather *tlb, u64 table, u64 addr,
						     u32 nr, u32 holder)
{
	const struct page *page = pfn_to_page(mm->ram, table);

	if (READ_ONCE(page->pte_refcount) && mm->kernel->policy == FREE_TABLES_REFCOUNT_PMDLOCK) {
		pmd_t *pmd = lock_pmd_of(mm, page);

		if (table_put(from, mm, table, nr, holder))
			free_and_unlock(mm, tlb, pmd, locked_pmd_address(mm, pmd, addr));
		else
			pmd_unlock(mm, pmd);
		return;
	}
	rcu_read_lock(mm->kernel);
	if (table_put(from, mm, table, nr, holder)) {
		pmd_t *pmd = pa_to_host(mm->ram, READ_ONCE(page->pmd));

		free_table_of(mm, tlb, pmd, pmd_address(mm, pmd, addr));
	}
	rcu_read_unlock(mm->kernel);
}

/* Drop nr references, no lock taken unless they are the last (as refcount_dec_and_lock()). */
static always_inline void put_many(const char *from, struct mm_struct *mm, struct mmu_gather *tlb,
				   u64 table, u64 addr, u32 nr, u32 holder)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old;

	if (!nr || unlikely(!pte_ref_is_enabled(mm)))
		return;
	old = __atomic_load_n(&page->pte_refcount, __ATOMIC_RELAXED);
	do {
		if (unlikely(old <= nr)) {
			table_put_last(from, mm, tlb, table, addr, nr, holder);
			return;
		}
	} while (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old - nr, true,
					      __ATOMIC_RELEASE, __ATOMIC_RELAXED));
	emit_from(from, mm->kernel->ring, pte_put, table, old, old - nr, holder);
}

void pte_put_many_from(const char *from, struct mm_struct *mm, u64 table, u64 addr, u32 nr)
{
	put_many(from, mm, NULL, table, addr, nr, ENTRIES);
}

void pte_put_from(const char *from, struct mm_struct *mm, u64 table, u64 addr)
{
	put_many(from, mm, NULL, table, addr, 1, VISITOR);
}

void pte_put_many_tlb_from(const char *from, struct mmu_gather *tlb, u64 table, u64 addr, u32 nr)
{
	put_many(from, tlb->mm, tlb, table, addr, nr, ENTRIES);
}

void pte_put_tlb_from(const char *from, struct mmu_gather *tlb, u64 table, u64 addr)
{
	put_many(from, tlb->mm, tlb, table, addr, 1, VISITOR);
}

bool pte_entry_set_from(const char *from, struct mm_struct *mm, u64 table)
{
	const struct event_ring *ring = mm->kernel->ring;
	u32 count;

	if (!pte_ref_is_enabled(mm))
		return true;
	count = __atomic_load_n(&pfn_to_page(mm->ram, table)->pte_refcount, __ATOMIC_RELAXED);
	if (likely(count - 1 < PTE_REF_MAX - 1 && !(ring && ring->enabled)))
		return true;
	pte_get_many_from(from, mm, table, 1);
	return false;
}

/* What pmdval refers to, with a reference taken if it is a table: TRYGET_*. */
static always_inline u32 get_named(const char *from, struct mm_struct *mm, u64 pmdval, bool counted)
{
	if (pmd_none(pmdval))
		return TRYGET_FAILED_NONE;
	if (unlikely(pmd_huge(pmdval)))
		return TRYGET_FAILED_HUGE_PMD;
	if (!counted || likely(table_get_unless_zero(from, mm, entry_pfn(pmdval))))
		return TRYGET_SUCCEEDED;
	return TRYGET_FAILED_ZERO;
}

/* First design: under the PMD lock, under which nothing waits. */
static always_inline u32 try_get_locked(const char *from, struct mm_struct *mm, pmd_t *pmd,
					u64 *pmdval)
{
	u32 *lock = &table_page(mm, pmd)->ptl, result;

	spin_lock(mm, lock, LOCK_PMD);
	*pmdval = *pmd;
	result = get_named(from, mm, *pmdval, true);
	if (unlikely(mm->kernel->lockdep))
		spin_unlock_slowpath(mm, lock, LOCK_PMD);
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
	return result;
}

/* Second design: on a copy of the PMD's value, whose table RCU keeps from being freed. */
static always_inline u32 try_get_rcu(const char *from, struct mm_struct *mm, pmd_t *pmd,
				     u64 *pmdval, bool counted)
{
	u32 result;

	rcu_read_lock(mm->kernel);
	*pmdval = pmdp_get(pmd);
	result = get_named(from, mm, *pmdval, counted);
	if (result == TRYGET_SUCCEEDED && unlikely(pmdp_get(pmd) != *pmdval)) {
		/* The table left this slot meanwhile: the put is of the table held. */
		pte_put_from(from, mm, entry_pfn(*pmdval), 0);
		result = TRYGET_FAILED_NONE;
	}
	rcu_read_unlock(mm->kernel);
	return result;
}

static always_inline u32 try_get(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 *table,
				 bool counted)
{
	u64 pmdval;
	u32 result;

	if (mm->kernel->policy == FREE_TABLES_REFCOUNT_PMDLOCK)
		result = try_get_locked(from, mm, pmd, &pmdval);
	else
		result = try_get_rcu(from, mm, pmd, &pmdval, counted);
	*table = result == TRYGET_FAILED_NONE ? 0 : entry_pfn(pmdval);
	if (counted)
		emit_from(from, mm->kernel->ring, pte_tryget, *table, result,
			  result > TRYGET_FAILED_ZERO ? 0
						      : pfn_to_page(mm->ram, *table)->pte_refcount);
	return result;
}

u32 pte_try_get_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 *table)
{
	return try_get(from, mm, pmd, table, pte_ref_is_enabled(mm));
}

pte_t *pte_tryget_map_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 table;

	return try_get(from, mm, pmd, &table, pte_ref_is_enabled(mm)) == TRYGET_SUCCEEDED
		       ? table_entry(mm, table, addr)
		       : NULL;
}

/*
 * Find the table and take its PTE lock; false: nothing is held.  One that is not counted may go
 * meanwhile: it is looked up and locked in one RCU read section, and another is looked for if pmd
 * does not name it any more (pte_offset_map_lock(), v6.18).
 */
static always_inline bool try_get_lock(const char *from, struct mm_struct *mm, pmd_t *pmd,
				       u64 *table, bool counted)
{
	bool found, same;

	for (;;) {
		if (!counted)
			rcu_read_lock(mm->kernel);
		found = try_get(from, mm, pmd, table, counted) == TRYGET_SUCCEEDED;
		if (found)
			pte_lock(mm, *table);
		if (counted)
			return found;
		same = !found || entry_pfn(pmdp_get(pmd)) == *table;
		if (unlikely(!same))
			pte_unlock(mm, *table);
		rcu_read_unlock(mm->kernel);
		if (likely(same))
			return found;
	}
}

pte_t *pte_tryget_map_lock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	u64 table;

	return try_get_lock(from, mm, pmd, &table, pte_ref_is_enabled(mm))
		       ? table_entry(mm, table, addr)
		       : NULL;
}

u64 pte_relock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 table)
{
	if (likely(pte_ref_is_enabled(mm))) {
		pte_lock(mm, table);
		return table;
	}
	return try_get_lock(from, mm, pmd, &table, false) ? table : 0;
}

u64 pmd_install_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 table)
{
	u64 held = table, value = table << PAGE_SHIFT | _PAGE_TABLE;

	pmd_lock(mm, pmd);
	if (likely(pmd_none(*pmd))) {
		if (likely(pte_ref_is_enabled(mm)))
			flush_freed_tables(mm, pmd, addr, 1);
		__atomic_store_n(pmd, value, __ATOMIC_RELEASE);
		emit_from("pmd_install", mm->kernel->ring, set_pmd, addr & PMD_MASK, 0, value,
			  host_to_pa(mm->ram, pmd));
		mm_inc_pgtables(mm);
		stat_inc(mm->counter[MM_COUNTER_pte_tables_allocated]);
		emit_from(from, mm->kernel->ring, pte_alloc, addr & PMD_MASK, table, mm->pgd,
			  host_to_pa(mm->ram, pmd));
		if (unlikely(table_is_counted(mm, 2)))
			pmd_entry_set(mm, pmd);
		table = 0;
	} else {
		held = !pmd_huge(*pmd) && pte_get_unless_zero_from(from, mm, pmd) ? entry_pfn(*pmd)
										  : 0;
	}
	pmd_unlock(mm, pmd);
	if (table) {
		page_change_flags(pfn_to_page(mm->ram, table), 0, PG_table);
		free_pages(mm->ram, table, 0, true);
	}
	return held;
}

static always_inline u32 alloc_get(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr,
				   u64 *table, bool counted)
{
	for (;;) {
		switch (try_get(from, mm, pmd, table, counted)) {
		case TRYGET_SUCCEEDED:
			return PTE_ALLOC_OK;
		case TRYGET_FAILED_HUGE_PMD:
			return PTE_ALLOC_HUGE_PMD;
		case TRYGET_FAILED_ZERO:
			/* Its freer has not come to the PMD yet: do its work, do not wait. */
			free_pte_table(mm, pmd, addr);
			continue;
		}
		*table = table_alloc(mm);
		if (unlikely(!*table))
			return PTE_ALLOC_OOM;
		emit_from(from, mm->kernel->ring, pte_alloc_one, *table, mm->pgd);
		pte_ref_init(mm, *table, pmd, counted);
		*table = pmd_install_from(from, mm, pmd, addr, *table);
		if (likely(*table))
			return PTE_ALLOC_OK;
	}
}

u32 pte_alloc_get_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr, u64 *table)
{
	return alloc_get(from, mm, pmd, addr, table, pte_ref_is_enabled(mm));
}

u32 pte_alloc_get_map_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr,
			   pte_t **pte)
{
	u64 table;
	u32 result = alloc_get(from, mm, pmd, addr, &table, pte_ref_is_enabled(mm));

	*pte = result == PTE_ALLOC_OK ? table_entry(mm, table, addr) : NULL;
	return result;
}

u32 pte_alloc_get_map_lock_from(const char *from, struct mm_struct *mm, pmd_t *pmd, u64 addr,
				pte_t **pte)
{
	bool counted = pte_ref_is_enabled(mm);
	u64 table;

	*pte = NULL;
	while (counted || unlikely(!try_get_lock(from, mm, pmd, &table, false))) {
		u32 result = alloc_get(from, mm, pmd, addr, &table, counted);

		if (unlikely(result != PTE_ALLOC_OK))
			return result;
		if (likely(counted)) {
			pte_lock(mm, table);
			break;
		}
	}
	*pte = table_entry(mm, table, addr);
	return PTE_ALLOC_OK;
}
