/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memory/ram.h"

#include <errno.h>
#include <sys/mman.h>

#define KEEP_DIRTY_DEFAULT 32768 /* frames: 128 MiB */
#define PHYSICAL_BITS 52

/* Take frame number frontier out of use for good. Returns its pfn. */
static u64 reserve_frame(struct memory *m)
{
	u64 index = m->frontier++;

	m->pages[index] = (struct page){
		.flags = PG_reserved,
		._refcount = 1,
		.next = PAGE_NONE,
		.prev = PAGE_NONE,
	};
	m->nr_free--;
	return index + first_pfn(m);
}

/* Frame 0 of guest-physical memory is never handed out: pfn 0 means "no frame". */
int memory_init(struct memory *m, u64 size, u64 base)
{
	u64 limit = (u64)1 << PHYSICAL_BITS;
	u64 nr_pages = size >> PAGE_SHIFT;

	*m = (struct memory){ 0 };
	if (size % PAGE_SIZE || base % PAGE_SIZE || nr_pages < 2 || nr_pages >= PAGE_NONE ||
	    base > limit || size > limit - base)
		return -EINVAL;
	m->ram = map_lazily(size);
	m->pages = map_lazily(nr_pages * sizeof(*m->pages));
	m->base = base;
	m->size = size;
	m->nr_pages = nr_pages;
	if (!m->ram || !m->pages) {
		memory_destroy(m);
		return -ENOMEM;
	}
	m->nr_free = nr_pages;
	m->keep_dirty = KEEP_DIRTY_DEFAULT;
	m->fail_after = FAIL_NEVER;
	m->code_free = PAGE_NONE;
	for (u32 order = 0; order < NR_PAGE_ORDERS; order++)
		m->free_head[order] = PAGE_NONE;
	if (!base)
		reserve_frame(m);
	m->zero_pfn = reserve_frame(m);
	m->nr_free_min = m->nr_free;
	return 0;
}

int memory_count_frees(struct memory *m)
{
	if (!m->nr_freed)
		m->nr_freed = map_lazily(m->nr_pages * sizeof(*m->nr_freed));
	return m->nr_freed ? 0 : -ENOMEM;
}

void memory_destroy(struct memory *m)
{
	if (m->nr_freed)
		munmap(m->nr_freed, m->nr_pages * sizeof(*m->nr_freed));
	if (m->ram)
		munmap(m->ram, m->size);
	if (m->pages)
		munmap(m->pages, m->nr_pages * sizeof(*m->pages));
	*m = (struct memory){ 0 };
}
