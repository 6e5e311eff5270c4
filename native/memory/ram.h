/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM: one flat mapping, an array of struct page, and the state of the frame allocator. */
#ifndef UCMMU_MEMORY_RAM_H
#define UCMMU_MEMORY_RAM_H

#include <sys/mman.h>

#include "memory/bus.h"
#include "memory/frames.h"
#include "smp.h"
#include "trace/ring.h"
#include "types.h"

/* cffi-begin */
#define NR_PAGE_ORDERS 11 /* blocks of 2^0 .. 2^10 frames, as Linux's MAX_PAGE_ORDER */
#define PCP_MAX 1024	  /* single frames kept back from merging, last freed first */

/*
 * Guest RAM: one flat mapping, one flat array of struct page.  A frame's index is
 * (guest-physical address - base) / 4096; its pfn is guest-physical address / 4096.
 * Frames at and above frontier were never handed out: they are free, zero and untouched.
 */
struct memory {
	u8 *ram; /* host address of guest-physical address base */
	struct page *pages;
	u64 base; /* guest-physical, bytes, page-aligned */
	u64 size; /* bytes */
	u64 nr_pages;
	u64 frontier;	   /* frame index */
	u64 nr_free;	   /* frames, those above frontier included */
	u64 nr_free_min;   /* the lowest nr_free has been */
	u64 nr_dirty_free; /* free frames that hold host memory */
	u64 keep_dirty;	   /* memory_trim() is worth calling above this */
	u64 zero_pfn;	   /* the zero page */
	u64 allocs, frees; /* frames handed out and taken back, ever */
	u64 tables_met;	   /* frames, beyond RAM too, that walks have marked PG_table, ever */
	u64 fail_after;	   /* fault injection: allocations left before one fails; ~0 never */
	u32 free_head[NR_PAGE_ORDERS];
	u32 pcp_nr;
	u32 pcp[PCP_MAX];
	u32 *nr_freed;	       /* by frame index, how often it was taken back; NULL: nobody asks */
	u32 code_free;	       /* list of freed PG_code frames that wait for memory_take_code() */
	u32 lock;	       /* zone->lock, where CPUs are host threads */
	const struct bus *bus; /* memory outside RAM; NULL: there is none */
	struct event_ring *ring;
};

/* Map size bytes of RAM (a multiple of 4096) at guest-physical base. 0, or a negative errno. */
int memory_init(struct memory *m, u64 size, u64 base);
/* Count in nr_freed from now on. 0, or -ENOMEM. */
int memory_count_frees(struct memory *m);
/* Unmap everything memory_init() mapped. */
void memory_destroy(struct memory *m);
/* cffi-end */

/* Zeroed host memory that takes none until it is touched; NULL: there is no room for it. */
static inline void *map_lazily(u64 bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

#define FAIL_NEVER (~(u64)0) /* struct memory.fail_after */

#define MEMORY_PAGE_INDEX(m, pfn) ((pfn) - ((m)->base >> PAGE_SHIFT))

static inline bool memory_holds(const struct memory *m, u64 pa)
{
	return pa - m->base < m->size;
}

static inline void *pa_to_host(const struct memory *m, u64 pa)
{
	return m->ram + (pa - m->base);
}

static inline u64 host_to_pa(const struct memory *m, const void *p)
{
	return (u64)((const u8 *)p - m->ram) + m->base;
}

/* Set and clear flags of a frame that is the caller's: who looks for a buddy reads them, too. */
static inline void page_change_flags(struct page *page, u32 set, u32 clear)
{
	WRITE_ONCE(page->flags, (page->flags | set) & ~clear);
}

/* One more owner of a frame that has one. */
static inline void get_page(struct page *page)
{
	__atomic_fetch_add(&page->_refcount, 1, __ATOMIC_RELAXED);
}

/* pfn of the first frame. */
static inline u64 first_pfn(const struct memory *m)
{
	return m->base >> PAGE_SHIFT;
}

/* Host address of frame number index. */
static inline u8 *frame_host(const struct memory *m, u64 index)
{
	return m->ram + (index << PAGE_SHIFT);
}

static inline struct page *pfn_to_page(const struct memory *m, u64 pfn)
{
	return m->pages + MEMORY_PAGE_INDEX(m, pfn);
}

#endif
