/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame allocator: Linux's zoned buddy allocator (mm/page_alloc.c) for one
 * zone and one CPU.  From the caller inwards:
 *
 *	pcp[]		a stack of single frames; what was freed last goes out first
 *	free_head[]	free blocks of 2^order frames, naturally aligned in guest-physical
 *			memory; two buddies that are both free become one block
 *	frontier	frames never handed out: no struct page of theirs was written
 *
 * Whether a free frame reads as zero (PG_zero) and whether it holds host memory
 * (PG_host) is kept for each frame, so that splitting and merging touch no other.
 */
#include "memory/page_alloc.h"

#include <string.h>

#define PCP_BATCH_ORDER 6 /* the largest block split to fill pcp[] at once */
#define PCP_BATCH (1u << PCP_BATCH_ORDER)
#define PCP_DRAIN (PCP_MAX / 4) /* frames, the longest kept first, that make room */

/* ---- lists of free blocks ---- */

/* Put the free block of 2^order frames at index in front of its list. */
static void list_add(struct memory *m, u32 index, u32 order)
{
	struct page *page = &m->pages[index];
	u32 head = m->free_head[order];

	WRITE_ONCE(page->flags,
		   (page->flags & (PG_zero | PG_host)) | PG_buddy | order << PG_order_shift);
	page->next = head;
	page->prev = PAGE_NONE;
	if (head != PAGE_NONE)
		m->pages[head].prev = index;
	m->free_head[order] = index;
}

/* Take the free block at index out of its list. */
static void list_del(struct memory *m, u32 index, u32 order)
{
	struct page *page = &m->pages[index];

	if (page->prev == PAGE_NONE)
		m->free_head[order] = page->next;
	else
		m->pages[page->prev].next = page->next;
	if (page->next != PAGE_NONE)
		m->pages[page->next].prev = page->prev;
	page_change_flags(page, 0, ~(u32)(PG_zero | PG_host));
}

/* ---- the buddy system ---- */

/* Index of the buddy of the block at index, or PAGE_NONE if it is not a free block of order. */
static u32 free_buddy(const struct memory *m, u32 index, u32 order)
{
	u64 buddy = ((index + first_pfn(m)) ^ (u64)1 << order) - first_pfn(m);
	u32 flags;

	if (buddy >= m->frontier)
		return PAGE_NONE;
	flags = READ_ONCE(m->pages[buddy].flags);
	if (!(flags & PG_buddy) || flags >> PG_order_shift != order)
		return PAGE_NONE;
	return buddy;
}

/* Give 2^order frames at index to the free lists, merged with free buddies as far as it goes. */
static void buddy_free(struct memory *m, u32 index, u32 order)
{
	u32 buddy;

	while (order + 1 < NR_PAGE_ORDERS && (buddy = free_buddy(m, index, order)) != PAGE_NONE) {
		list_del(m, buddy, order);
		if (buddy < index)
			index = buddy;
		order++;
	}
	list_add(m, index, order);
}

/* The largest block that may start at index and ends by end. */
static u32 natural_order(const struct memory *m, u64 index, u64 end)
{
	u64 pfn = index + first_pfn(m);
	u32 order = 0;

	while (order + 1 < NR_PAGE_ORDERS && !(pfn >> order & 1) &&
	       index + ((u64)2 << order) <= end)
		order++;
	return order;
}

/* Move the frontier to the next boundary of the largest block. false at the end of RAM. */
static bool buddy_carve(struct memory *m)
{
	u64 largest = (u64)1 << (NR_PAGE_ORDERS - 1);
	u64 index = m->frontier;
	u64 pfn = index + first_pfn(m);
	u64 end = index + largest - (pfn & (largest - 1));

	if (index == m->nr_pages)
		return false;
	if (end > m->nr_pages)
		end = m->nr_pages;
	for (u64 i = index; i < end; i++)
		m->pages[i].flags = PG_zero;
	m->frontier = end;
	while (index < end) {
		u32 order = natural_order(m, index, end);

		buddy_free(m, index, order);
		index += (u64)1 << order;
	}
	return true;
}

/* The smallest order from order on of which a free block is there, carving if need be. */
static u32 smallest_free_order(struct memory *m, u32 order)
{
	do {
		for (u32 o = order; o < NR_PAGE_ORDERS; o++)
			if (m->free_head[o] != PAGE_NONE)
				return o;
	} while (buddy_carve(m));
	return NR_PAGE_ORDERS;
}

/* Take a block of order found, and give back what of it goes beyond order. Returns its index. */
static u32 buddy_take(struct memory *m, u32 found, u32 order)
{
	u32 index = m->free_head[found];

	list_del(m, index, found);
	while (found > order) {
		found--;
		list_add(m, index + (1u << found), found);
	}
	return index;
}

/* ---- single frames ---- */

/* Fill pcp[] with about PCP_BATCH frames, the lowest of each block on top. false: RAM is out. */
static bool pcp_refill(struct memory *m)
{
	while (m->pcp_nr < PCP_BATCH) {
		u32 found = smallest_free_order(m, 0);
		u32 order = found < PCP_BATCH_ORDER ? found : PCP_BATCH_ORDER;
		u32 index;

		if (found == NR_PAGE_ORDERS)
			return m->pcp_nr != 0;
		index = buddy_take(m, found, order);
		for (u32 i = 1u << order; i-- > 0;)
			m->pcp[m->pcp_nr++] = index + i;
	}
	return true;
}

/* Give the nr frames that were kept longest to the free lists. */
static void pcp_drain(struct memory *m, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		buddy_free(m, m->pcp[i], 0);
	m->pcp_nr -= nr;
	memmove(m->pcp, m->pcp + nr, m->pcp_nr * sizeof(m->pcp[0]));
}

/* Find 2^order free frames. Returns their index, PAGE_NONE without such a block. */
static u32 find_block(struct memory *m, u32 order)
{
	u32 found = smallest_free_order(m, order);

	if (found == NR_PAGE_ORDERS && m->pcp_nr) {
		pcp_drain(m, m->pcp_nr);
		found = smallest_free_order(m, order);
	}
	return found == NR_PAGE_ORDERS ? PAGE_NONE : buddy_take(m, found, order);
}

/* Make a free frame one with a single owner, zeroed if zero. */
static void page_hand_out(struct memory *m, u32 index, bool zero)
{
	struct page *page = &m->pages[index];
	u32 flags = page->flags;

	if (zero && !(flags & PG_zero))
		memset(frame_host(m, index), 0, PAGE_SIZE);
	if (flags & PG_host)
		m->nr_dirty_free--;
	WRITE_ONCE(page->flags, PG_host);
	WRITE_ONCE(page->_refcount, 1);
	WRITE_ONCE(page->ptl, 0);
	WRITE_ONCE(page->pte_refcount, 0);
	page->next = page->prev = PAGE_NONE;
	WRITE_ONCE(page->pmd, 0);
}

/* Mark one frame free. false if it must wait for memory_take_code(). */
static bool page_take_back(struct memory *m, u32 index, bool zero)
{
	struct page *page = &m->pages[index];

	WRITE_ONCE(page->_refcount, 0);
	if (unlikely(page->flags & PG_code)) {
		page->flags = PG_code | (page->flags & PG_host) | (zero ? PG_zero : 0);
		page->next = m->code_free;
		m->code_free = index;
		return false;
	}
	m->nr_dirty_free += (page->flags & PG_host) != 0;
	WRITE_ONCE(page->flags, (page->flags & PG_host) | (zero ? PG_zero : 0));
	return true;
}

/* Put one frame that page_take_back() marked free where the next order-0 request finds it. */
static void pcp_push(struct memory *m, u32 index)
{
	if (unlikely(m->pcp_nr == PCP_MAX))
		pcp_drain(m, PCP_DRAIN);
	m->pcp[m->pcp_nr++] = index;
}

/* Hand out 2^order frames, zeroed if zero.  The zone's lock is held. */
static always_inline u64 take_pages(struct memory *m, u32 order, bool zero)
{
	u64 nr, pfn;
	u32 index;

	if (unlikely(m->fail_after != FAIL_NEVER) && m->fail_after-- == 0)
		return 0;
	nr = (u64)1 << order;
	if (likely(order == 0)) {
		if (unlikely(!m->pcp_nr) && !pcp_refill(m))
			return 0;
		index = m->pcp[--m->pcp_nr];
		page_hand_out(m, index, zero);
	} else {
		index = find_block(m, order);
		if (index == PAGE_NONE)
			return 0;
		for (u64 i = 0; i < nr; i++)
			page_hand_out(m, index + i, zero);
	}
	WRITE_ONCE(m->nr_free, m->nr_free - nr);
	if (m->nr_free < m->nr_free_min)
		m->nr_free_min = m->nr_free;
	m->allocs += nr;
	pfn = index + first_pfn(m);
	emit(m->ring, page_alloc, pfn, order, 0);
	return pfn;
}

/* Take 2^order frames back.  The zone's lock is held. */
static always_inline void give_pages(struct memory *m, u64 pfn, u32 order, bool zero)
{
	u32 index = MEMORY_PAGE_INDEX(m, pfn);
	u64 nr = (u64)1 << order, nr_back = 0;

	emit(m->ring, page_free, pfn, order, 0);
	m->frees += nr;
	for (u64 i = 0; unlikely(m->nr_freed) && i < nr; i++)
		WRITE_ONCE(m->nr_freed[index + i], m->nr_freed[index + i] + 1);
	for (u64 i = 0; i < nr; i++)
		nr_back += page_take_back(m, index + i, zero);
	WRITE_ONCE(m->nr_free, m->nr_free + nr_back);
	if (order && nr_back == nr) {
		buddy_free(m, index, order);
		return;
	}
	for (u64 i = 0; i < nr; i++)
		if (!(m->pages[index + i].flags & PG_code))
			pcp_push(m, index + i);
}

/* ---- what the rest calls ---- */

u64 alloc_pages(struct memory *m, u32 order, bool zero)
{
	u64 pfn;

	if (unlikely(order >= NR_PAGE_ORDERS))
		return 0;
	smp_lock(&m->lock);
	pfn = take_pages(m, order, zero);
	smp_unlock(&m->lock);
	return pfn;
}

/* A block with a frame that waits for memory_take_code() comes back frame by frame. */
void free_pages(struct memory *m, u64 pfn, u32 order, bool zero)
{
	smp_lock(&m->lock);
	give_pages(m, pfn, order, zero);
	smp_unlock(&m->lock);
}

void put_page(struct memory *m, u64 pfn)
{
	struct page *page = pfn_to_page(m, pfn);

	if (__atomic_sub_fetch(&page->_refcount, 1, __ATOMIC_ACQ_REL))
		return;
	if (unlikely(page->flags & PG_reserved))
		page->_refcount = 1;
	else
		free_pages(m, pfn, 0, false);
}

u64 memory_take_code(struct memory *m)
{
	u32 index = m->code_free;

	if (index == PAGE_NONE)
		return 0;
	m->code_free = m->pages[index].next;
	m->pages[index].next = PAGE_NONE;
	return index + first_pfn(m);
}

void memory_free_code(struct memory *m, u64 pfn)
{
	u32 index = MEMORY_PAGE_INDEX(m, pfn);
	struct page *page = &m->pages[index];

	m->nr_dirty_free += (page->flags & PG_host) != 0;
	page->flags &= PG_zero | PG_host;
	m->nr_free++;
	pcp_push(m, index);
}
