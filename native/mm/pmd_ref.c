/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/pmd_ref.h"

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/mmu_gather.h"
#include "mm/pgalloc.h"
#include "mm/rcu.h"
#include "mm/site.h"
#include "mm/tlbflush.h"

#define TABLE_REF_MAX 0x7fffffffu

/* Whose the references of an event are. */
#define VISITOR 0
#define ENTRIES 1

/* The functions that are named in events, by level. */
static const char *alloc_site(u32 level)
{
	return level == 2 ? "pmd_alloc" : "pud_alloc";
}

static const char *freeing_site(u32 level)
{
	return level == 2 ? "free_pmd_table" : "free_pud_table";
}

/* Tell an event whose kind depends on the level. */
static void tell(const char *from, struct mm_struct *mm, u32 event, u64 a, u64 b, u64 c, u64 d)
{
	struct event_ring *ring = mm->kernel->ring;

	if (unlikely(ring_records(ring)))
		ring_emit_from(ring, event, from, (const u64[4]){ a, b, c, d });
}

/* The entry of the level above that refers to a table was changed. */
static void tell_set(const char *from, struct mm_struct *mm, u32 level, u64 start, u64 old,
		     u64 value, const u64 *entry)
{
	tell(from, mm, level == 2 ? EVENT_set_pud : EVENT_set_p4d, start, old, value,
	     host_to_pa(mm->ram, entry));
}

/* The frame of the table that an entry lies in. */
static u64 frame_of(const struct mm_struct *mm, const u64 *entry)
{
	return host_to_pa(mm->ram, entry) >> PAGE_SHIFT;
}

/* Take a reference unless the count is 0; whether it did. */
static bool get_unless_zero(const char *from, struct mm_struct *mm, u64 table, u32 level)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old = __atomic_load_n(&page->pte_refcount, __ATOMIC_RELAXED);

	do {
		if (!old)
			return false;
	} while (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	tell(from, mm, level == 2 ? EVENT_pmd_get : EVENT_pud_get, table, old, old + 1, VISITOR);
	return true;
}

/* One more entry of the table of this level in which entry lies. */
static void entry_set(const char *from, struct mm_struct *mm, const u64 *entry, u32 level)
{
	struct page *page = table_page(mm, entry);
	u32 old;

	if (!table_is_counted(mm, level))
		return;
	old = __atomic_fetch_add(&page->pte_refcount, 1, __ATOMIC_RELAXED);
	if (unlikely(old - 1 >= TABLE_REF_MAX - 1)) {
		mm_bug(mm, old ? BUG_TABLE_REF_OVERFLOW : BUG_TABLE_REF_FROM_ZERO,
		       frame_of(mm, entry));
		__atomic_fetch_sub(&page->pte_refcount, 1, __ATOMIC_RELAXED);
		return;
	}
	tell(from, mm, level == 2 ? EVENT_pmd_get : EVENT_pud_get, frame_of(mm, entry), old,
	     old + 1, ENTRIES);
}

/* Drop one reference. Returns whether none is left. */
static bool table_put(const char *from, struct mm_struct *mm, u64 table, u32 level, u32 holder)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old = __atomic_fetch_sub(&page->pte_refcount, 1, __ATOMIC_ACQ_REL);

	if (unlikely(!old)) {
		mm_bug(mm, BUG_TABLE_REF_UNDERFLOW, table);
		__atomic_fetch_add(&page->pte_refcount, 1, __ATOMIC_RELAXED);
		return false;
	}
	tell(from, mm, level == 2 ? EVENT_pmd_put : EVENT_pud_put, table, old, old - 1, holder);
	return old == 1;
}

/*
 * Take the dead table of level out of entry.  Returns its frame, 0 if another did or it lives.
 * page_table_lock is held.
 */
static u64 detach_table(struct mm_struct *mm, u64 *entry, u64 addr, u32 level)
{
	const char *from = freeing_site(level);
	u64 value = entry_get(entry), start = addr & ~(level_size(level + 1) - 1);

	if (!(value & X86_P) ||
	    __atomic_load_n(&pmd_page(mm, value)->pte_refcount, __ATOMIC_ACQUIRE))
		return 0;
	value = __atomic_exchange_n(entry, 0, __ATOMIC_ACQ_REL);
	tell_set(from, mm, level, start, value, 0, entry);
	if (unlikely(!table_is_empty(table_of(mm, value)))) {
		mm_bug(mm, BUG_TABLE_NOT_EMPTY, addr);
		__atomic_store_n(entry, value, __ATOMIC_RELEASE);
		tell_set(from, mm, level, start, 0, value, entry);
		return 0;
	}
	tell(from, mm, level == 2 ? EVENT_pmd_free : EVENT_pud_free, start, entry_pfn(value),
	     mm->pgd, host_to_pa(mm->ram, entry));
	return entry_pfn(value);
}

static void put(const char *from, struct mm_struct *mm, struct mmu_gather *tlb, u64 table, u64 addr,
		u32 level, u32 holder);

/*
 * detach_table(), then drop page_table_lock, and free what was detached: flushed at once, under the
 * lock, or by tlb, which may be NULL.  The entry's reference in the table above is dropped last.
 */
static void free_and_unlock(struct mm_struct *mm, struct mmu_gather *tlb, u64 *entry, u64 addr,
			    u32 level)
{
	const char *from = freeing_site(level);
	u64 size = level_size(level + 1), start = addr & ~(size - 1), table;

	funcgraph_entry(from, mm, start, start + size);
	table = detach_table(mm, entry, addr, level);
	if (table && tlb) {
		tlb_gather_owed(tlb, addr, level);
		table_free_tlb(tlb, table, addr, level);
	} else if (table) {
		flush_upper_table(mm, addr, level);
	}
	spin_unlock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
	if (table) {
		mm_dec_pgtables(mm);
		if (!tlb)
			call_rcu(mm->kernel, table);
		if (table_is_counted(mm, level + 1))
			put(from, mm, tlb, frame_of(mm, entry), addr, level + 1, ENTRIES);
	}
	funcgraph_exit(from, mm, 0);
}

/* Free the table of level under entry if its count is 0, exactly once whoever asks. */
static void free_table(struct mm_struct *mm, struct mmu_gather *tlb, u64 *entry, u64 addr,
		       u32 level)
{
	spin_lock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
	free_and_unlock(mm, tlb, entry, addr, level);
}

/*
 * Drop one reference of the table of level.  Once the count is 0 anybody may free it: RCU keeps its
 * frame, and the one above, until the entry that refers to it was looked at.
 */
static void put(const char *from, struct mm_struct *mm, struct mmu_gather *tlb, u64 table, u64 addr,
		u32 level, u32 holder)
{
	struct page *page = pfn_to_page(mm->ram, table);
	u32 old = __atomic_load_n(&page->pte_refcount, __ATOMIC_RELAXED);

	while (old > 1) {
		if (!__atomic_compare_exchange_n(&page->pte_refcount, &old, old - 1, true,
						 __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			continue;
		tell(from, mm, level == 2 ? EVENT_pmd_put : EVENT_pud_put, table, old, old - 1,
		     holder);
		return;
	}
	rcu_read_lock(mm->kernel);
	if (table_put(from, mm, table, level, holder))
		free_table(mm, tlb, pa_to_host(mm->ram, READ_ONCE(page->pmd)), addr, level);
	rcu_read_unlock(mm->kernel);
}

void pmd_put(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	if (table_is_counted(mm, 2))
		put(__func__, mm, NULL, frame_of(mm, pmd), addr, 2, VISITOR);
}

void pmd_put_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	if (table_is_counted(tlb->mm, 2))
		put("pmd_put", tlb->mm, tlb, frame_of(tlb->mm, pmd), addr, 2, VISITOR);
}

void pud_put(struct mm_struct *mm, u64 *pud, u64 addr)
{
	if (table_is_counted(mm, 3))
		put(__func__, mm, NULL, frame_of(mm, pud), addr, 3, VISITOR);
}

void pmd_entry_set(struct mm_struct *mm, pmd_t *pmd)
{
	entry_set("pmd_install", mm, pmd, 2);
}

void pmd_entry_cleared(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	if (table_is_counted(mm, 2))
		put("free_pte_table", mm, NULL, frame_of(mm, pmd), addr, 2, ENTRIES);
}

void pmd_entry_cleared_tlb(struct mmu_gather *tlb, pmd_t *pmd, u64 addr)
{
	if (table_is_counted(tlb->mm, 2))
		put("free_pte_table", tlb->mm, tlb, frame_of(tlb->mm, pmd), addr, 2, ENTRIES);
}

pmd_t *pmd_tryget(struct mm_struct *mm, u64 addr)
{
	pmd_t *pmd;

	if (!table_is_counted(mm, 2))
		return mm_find_pmd(mm, addr);
	rcu_read_lock(mm->kernel);
	pmd = mm_find_pmd(mm, addr);
	if (pmd && !get_unless_zero(__func__, mm, frame_of(mm, pmd), 2))
		pmd = NULL;
	rcu_read_unlock(mm->kernel);
	return pmd;
}

/* A frame for a table that entry is to refer to, its count 1. 0: out of memory. */
static u64 counted_table(struct mm_struct *mm, const u64 *entry)
{
	u64 table = table_alloc(mm);

	if (table) {
		struct page *page = pfn_to_page(mm->ram, table);

		page_change_flags(page, PG_upper, 0);
		WRITE_ONCE(page->pmd, host_to_pa(mm->ram, entry));
		__atomic_store_n(&page->pte_refcount, 1, __ATOMIC_RELAXED);
	}
	return table;
}

/*
 * Publish the table, whose count is 1, in entry; as pmd_install(), of which this is the copy.
 * Returns the table that is held, 0 if the winner's is going.
 */
static u64 install(struct mm_struct *mm, u64 *entry, u64 addr, u64 table, u32 level)
{
	const char *from = alloc_site(level);
	u64 held = table;

	spin_lock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
	if (likely(!(entry_get(entry) & X86_P))) {
		flush_freed_tables(mm, entry, addr, level);
		populate(mm, addr, entry, level + 1, table);
		mm_inc_pgtables(mm);
		tell(from, mm, level == 2 ? EVENT_pmd_alloc : EVENT_pud_alloc,
		     addr & ~(level_size(level + 1) - 1), table, mm->pgd,
		     host_to_pa(mm->ram, entry));
		entry_set(from, mm, entry, level + 1);
		table = 0;
	} else {
		held = entry_pfn(entry_get(entry));
		if (!get_unless_zero(from, mm, held, level))
			held = 0;
	}
	spin_unlock(mm, &mm->page_table_lock, LOCK_PAGE_TABLE);
	if (unlikely(table)) {
		page_change_flags(pfn_to_page(mm->ram, table), 0, PG_table | PG_upper);
		free_pages(mm->ram, table, 0, true);
	}
	return held;
}

/* Find or install the table of level under entry, whose own table stays, and take a reference. */
static u64 table_alloc_get(struct mm_struct *mm, u64 *entry, u64 addr, u32 level)
{
	for (;;) {
		u64 value, table = 0;

		rcu_read_lock(mm->kernel);
		value = entry_get(entry);
		if (value & X86_P &&
		    get_unless_zero(alloc_site(level), mm, entry_pfn(value), level))
			table = entry_pfn(value);
		rcu_read_unlock(mm->kernel);
		if (table)
			return table;
		if (value & X86_P) {
			/* Its freer has not come to the entry yet: do its work, do not wait. */
			free_table(mm, NULL, entry, addr, level);
			continue;
		}
		table = counted_table(mm, entry);
		if (unlikely(!table))
			return 0;
		table = install(mm, entry, addr, table, level);
		if (likely(table))
			return table;
	}
}

/* The entry of level for addr in the table of that frame; NULL for no frame. */
static u64 *entry_in(const struct mm_struct *mm, u64 table, u64 addr, u32 level)
{
	return table ? pa_to_host(mm->ram, (table << PAGE_SHIFT) + entry_offset(addr, level))
		     : NULL;
}

u64 *pud_alloc(struct mm_struct *mm, u64 addr)
{
	u64 *p4d = pa_to_host(mm->ram, mm->pgd + entry_offset(addr, 4));

	if (!table_is_counted(mm, 3))
		return pud_alloc_uncounted(mm, addr);
	return entry_in(mm, table_alloc_get(mm, p4d, addr, 3), addr, 3);
}

pmd_t *pmd_alloc_get(struct mm_struct *mm, u64 addr)
{
	pmd_t *pmd = pmd_tryget(mm, addr);
	u64 *pud, table;

	if (pmd)
		return pmd;
	pud = pud_alloc(mm, addr);
	if (unlikely(!pud))
		return NULL;
	table = table_alloc_get(mm, pud, addr, 2);
	pud_put(mm, pud, addr);
	return entry_in(mm, table, addr, 2);
}

pmd_t *pmd_alloc(struct mm_struct *mm, u64 addr)
{
	return table_is_counted(mm, 2) ? pmd_alloc_get(mm, addr) : pmd_alloc_uncounted(mm, addr);
}

bool pmd_alloc_waits(struct mm_struct *mm, u64 addr)
{
	u64 table = mm->pgd;

	if (READ_ONCE(mm->page_table_lock))
		return true;
	if (!table_is_counted(mm, 2))
		return false;
	for (u32 level = 4; level > 2; level--) {
		u64 *entry = pa_to_host(mm->ram, table + entry_offset(addr, level));
		u64 value = entry_get(entry);

		if (!(value & X86_P))
			return flush_is_owed(mm, entry) && !flush_tlb_is_local(mm);
		if (table_is_counted(mm, level - 1) &&
		    !READ_ONCE(pmd_page(mm, value)->pte_refcount))
			return true;
		table = value & X86_ADDR_MASK;
	}
	return false;
}
