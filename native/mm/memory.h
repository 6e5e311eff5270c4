/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM, struct page and the frame allocator. */
#ifndef UCMMU_MM_MEMORY_H
#define UCMMU_MM_MEMORY_H

#include <sys/mman.h>

#include "trace/ring.h"
#include "types.h"

/* cffi-begin */
#define NR_PAGE_ORDERS 11    /* blocks of 2^0 .. 2^10 frames, as Linux's MAX_PAGE_ORDER */
#define PCP_MAX 1024	     /* single frames kept back from merging, last freed first */
#define PAGE_NONE 0xffffffff /* "no frame" in links of struct page */

/*
 * struct page.flags
 *
 *    31       24 23                  9   8   7   6   5   4   3   2   1   0
 *   +-----------+----------------------+---+---+---+---+---+---+---+---+---+
 *   |   order   |          0           |DTY|SWB|HST|ANO|RSV|COD|TBL|BUD|ZER|
 *   +-----------+----------------------+---+---+---+---+---+---+---+---+---+
 */
#define PG_zero 0x1	   /* free, and every byte is known to be 0 */
#define PG_buddy 0x2	   /* first frame of a free block of 2^order frames */
#define PG_table 0x4	   /* holds a paging structure */
#define PG_code 0x8	   /* instructions were fetched from it since it was handed out */
#define PG_reserved 0x10   /* never freed: the zero page */
#define PG_anon 0x20	   /* mapped anonymously (counted in RssAnon) */
#define PG_host 0x40	   /* was handed out since its host memory was last given back */
#define PG_swapbacked 0x80 /* anonymous or shared memory: its only other home would be swap */
#define PG_dirty 0x100	   /* written, though no PTE that is left may say so by its D */
#define PG_order_shift 24

/* One guest frame; 32 bytes, so that one host page describes 512 KiB. */
struct page {
	u32 flags;
	u32 _refcount; /* owners; 0 means free */
	union {
		u32 _mapcount; /* data frames: PTEs that map it */
		u32 ptl;       /* tables: the table's lock word, 0 or 1 */
	};
	u32 pte_refcount; /* PTE tables under refcount: entries + visitors */
	u32 next, prev;	  /* links of a free list or a callback list: frame indexes */
	union {
		u64 pmd;   /* PTE tables: guest-physical address of the PMD entry */
		u64 index; /* page-cache frames: page offset in the file */
	};
};

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
	u64 fail_after;	   /* fault injection: allocations left before one fails; ~0 never */
	u32 free_head[NR_PAGE_ORDERS];
	u32 pcp_nr;
	u32 pcp[PCP_MAX];
	u32 *nr_freed; /* by frame index, how often it was taken back; NULL: nobody asks */
	u32 code_free; /* list of freed PG_code frames that wait for memory_take_code() */
	struct event_ring *ring;
};

/* Map size bytes of RAM (a multiple of 4096) at guest-physical base. 0, or a negative errno. */
int memory_init(struct memory *m, u64 size, u64 base);
/* Count in nr_freed from now on. 0, or -ENOMEM. */
int memory_count_frees(struct memory *m);
/* Unmap everything memory_init() mapped. */
void memory_destroy(struct memory *m);
/* Hand out 2^order frames with _refcount 1, zeroed if zero. Returns the pfn, 0 when RAM is out. */
u64 alloc_pages(struct memory *m, u32 order, bool zero);
/* Drop the frames' one reference and take them back; zero: the caller knows they are all 0. */
void free_pages(struct memory *m, u64 pfn, u32 order, bool zero);
/* Drop one reference; the last one frees the frame. */
void put_page(struct memory *m, u64 pfn);
/* The next freed frame whose translated code must be dropped, 0 if none; give it to free_code(). */
u64 memory_take_code(struct memory *m);
/* Take a frame from memory_take_code() back for good. */
void memory_free_code(struct memory *m, u64 pfn);
/* Give the host memory of free frames back until keep frames of it are left. Returns bytes given.
 */
u64 memory_trim(struct memory *m, u64 keep);
/* If the frame, free or in use, is all 0, give its host memory back. Returns whether it did. */
bool memory_release_if_zero(struct memory *m, u64 pfn);
/* cffi-end */

/* Zeroed host memory that takes none until it is touched; NULL: there is no room for it. */
static inline void *map_lazily(u64 bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

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

static inline struct page *pfn_to_page(const struct memory *m, u64 pfn)
{
	return m->pages + MEMORY_PAGE_INDEX(m, pfn);
}

#endif
