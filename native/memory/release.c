/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "memory/release.h"

#include <string.h>
#include <sys/mman.h>

/* Give the host memory of nr free frames at index back; each reads as zero from then on. */
static u64 release_run(struct memory *m, u64 index, u64 nr)
{
	if (!nr || madvise(frame_host(m, index), nr << PAGE_SHIFT, MADV_DONTNEED))
		return 0;
	for (u64 i = index; i < index + nr; i++)
		m->pages[i].flags = (m->pages[i].flags & ~PG_host) | PG_zero;
	m->nr_dirty_free -= nr;
	return nr << PAGE_SHIFT;
}

/* Give back what [index, end), all free, holds, in as few calls as there are runs. */
static u64 release_frames(struct memory *m, u64 index, u64 end)
{
	u64 bytes = 0;

	while (index < end) {
		u64 start = index;

		while (index < end && m->pages[index].flags & PG_host)
			index++;
		bytes += release_run(m, start, index - start);
		index++;
	}
	return bytes;
}

/* The largest blocks go first: they are the least likely to be wanted again soon. */
u64 memory_trim(struct memory *m, u64 keep)
{
	u64 bytes = 0;

	for (u32 order = NR_PAGE_ORDERS; order-- > 0;)
		for (u32 i = m->free_head[order]; i != PAGE_NONE; i = m->pages[i].next) {
			if (m->nr_dirty_free <= keep)
				return bytes;
			bytes += release_frames(m, i, (u64)i + (1u << order));
		}
	for (u32 i = 0; i < m->pcp_nr && m->nr_dirty_free > keep; i++)
		bytes += release_frames(m, m->pcp[i], (u64)m->pcp[i] + 1);
	return bytes;
}

/* Whether all 4096 bytes are 0. Reading them costs the host no memory: absent pages read its zero
 * page. */
static bool frame_is_zero(const u8 *frame)
{
	return !frame[0] && !memcmp(frame, frame + 1, PAGE_SIZE - 1);
}

bool memory_release_if_zero(struct memory *m, u64 pfn)
{
	u64 index = MEMORY_PAGE_INDEX(m, pfn);
	struct page *page = &m->pages[index];

	if (index >= m->frontier || !frame_is_zero(frame_host(m, index)) ||
	    madvise(frame_host(m, index), PAGE_SIZE, MADV_DONTNEED))
		return false;
	if (page->_refcount)
		return true;
	if (page->flags & PG_host && !(page->flags & PG_code))
		m->nr_dirty_free--;
	page->flags = (page->flags & ~PG_host) | PG_zero;
	return true;
}
