/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is known of each frame: its flags, and through which virtual page it may be accessed.
 *
 * RAM has struct page and an array of owners. Other memory may lie anywhere, and its regions come,
 * go and split; its frames are described in chunks, made when the first frame of one is used.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "unicorn/vcpu.h"

#define CHUNK_SHIFT 21
#define CHUNK_FRAMES (1 << (CHUNK_SHIFT - PAGE_SHIFT))
#define CHAINS_AT_FIRST 64 /* a power of two */

struct frame_chunk {
	struct frame_chunk *next; /* of its chain */
	u64 number;		  /* guest-physical address >> CHUNK_SHIFT */
	u64 owner[CHUNK_FRAMES];
	u32 flags[CHUNK_FRAMES];
};

static u32 frame_in_chunk(u64 pa)
{
	return pa >> PAGE_SHIFT & (CHUNK_FRAMES - 1);
}

static struct frame_chunk **chain_of(const struct frames *frames, u64 number)
{
	return &frames->chain[number * 0x9e3779b97f4a7c15 >> 32 & (frames->nr_chains - 1)];
}

/* Where the chunk of that number is linked; there NULL stands if there is none. */
static struct frame_chunk **link_of(struct frames *frames, u64 number)
{
	struct frame_chunk **link = chain_of(frames, number);

	while (*link && (*link)->number != number)
		link = &(*link)->next;
	return link;
}

static struct frame_chunk *chunk_of(struct vcpu *v, u64 pa)
{
	struct frames *frames = &v->frames;
	struct frame_chunk *chunk = frames->last;
	u64 number = pa >> CHUNK_SHIFT;

	if (likely(chunk && chunk->number == number))
		return chunk;
	chunk = frames->nr ? *link_of(frames, number) : NULL;
	if (chunk)
		frames->last = chunk;
	return chunk;
}

static void link_chunk(struct frames *frames, struct frame_chunk *chunk)
{
	struct frame_chunk **chain = chain_of(frames, chunk->number);

	chunk->next = *chain;
	*chain = chunk;
}

/* Have as many chains as chunks. False: there is no memory. */
static bool grow_chains(struct frames *frames)
{
	struct frames old = *frames;

	if (frames->nr < frames->nr_chains)
		return true;
	frames->nr_chains = old.nr_chains ? 2 * old.nr_chains : CHAINS_AT_FIRST;
	frames->chain = calloc(frames->nr_chains, sizeof(struct frame_chunk *));
	if (!frames->chain) {
		*frames = old;
		return false;
	}
	for (u32 i = 0; i < old.nr_chains; i++)
		for (struct frame_chunk *chunk = old.chain[i], *next; chunk; chunk = next) {
			next = chunk->next;
			link_chunk(frames, chunk);
		}
	free(old.chain);
	return true;
}

/* From now on something may be known of pa's frame. False: there is no memory for that. */
bool open_frame(struct vcpu *v, u64 pa)
{
	struct frames *frames = &v->frames;
	struct frame_chunk *chunk;

	if (memory_holds(v->ram, pa) || chunk_of(v, pa))
		return true;
	chunk = grow_chains(frames) ? calloc(1, sizeof(*chunk)) : NULL;
	if (!chunk)
		return false;
	chunk->number = pa >> CHUNK_SHIFT;
	link_chunk(frames, chunk);
	frames->nr++;
	frames->last = chunk;
	return true;
}

/* PG_table and PG_code of pa's frame; NULL: nothing is known of it. */
u32 *frame_flags(struct vcpu *v, u64 pa)
{
	struct frame_chunk *chunk;

	if (likely(memory_holds(v->ram, pa)))
		return &pfn_to_page(v->ram, pa >> PAGE_SHIFT)->flags;
	chunk = chunk_of(v, pa);
	return chunk ? &chunk->flags[frame_in_chunk(pa)] : NULL;
}

/* Whether pa's frame holds a paging structure. */
bool is_table(struct vcpu *v, u64 pa)
{
	const u32 *flags = frame_flags(v, pa);

	return flags && *flags & PG_table;
}

/* The owner of pa's frame, see owner.c; NULL: nothing is known of it. Only while owning. */
u64 *frame_owner(struct vcpu *v, u64 pa)
{
	struct frame_chunk *chunk;

	if (likely(memory_holds(v->ram, pa)))
		return &v->frames.ram_owner[MEMORY_PAGE_INDEX(v->ram, pa >> PAGE_SHIFT)];
	chunk = chunk_of(v, pa);
	return chunk ? &chunk->owner[frame_in_chunk(pa)] : NULL;
}

/* Call on_frame for each frame that holds code. */
void for_each_code_frame(struct vcpu *v, void (*on_frame)(struct vcpu *v, u64 pa))
{
	const struct frames *frames = &v->frames;

	for (u64 i = 0; i < v->ram->frontier; i++)
		if (v->ram->pages[i].flags & PG_code)
			on_frame(v, v->ram->base + (i << PAGE_SHIFT));
	for (u32 i = 0; i < frames->nr_chains; i++)
		for (struct frame_chunk *chunk = frames->chain[i]; chunk; chunk = chunk->next)
			for (u64 f = 0; f < CHUNK_FRAMES; f++)
				if (chunk->flags[f] & PG_code)
					on_frame(v, (chunk->number << CHUNK_SHIFT) +
							    (f << PAGE_SHIFT));
}

/* Frames have owners from now on. False: there is no memory for that. */
bool begin_owning(struct vcpu *v)
{
	struct frames *frames = &v->frames;

	frames->nr_ram = v->ram->nr_pages;
	frames->ram_owner = map_lazily(frames->nr_ram * sizeof(*frames->ram_owner));
	return v->owning = frames->ram_owner;
}

/* All owners become 0. */
void clear_owners(struct vcpu *v)
{
	struct frames *frames = &v->frames;

	if (frames->ram_owner)
		madvise(frames->ram_owner, frames->nr_ram * sizeof(*frames->ram_owner),
			MADV_DONTNEED);
	for (u32 i = 0; i < frames->nr_chains; i++)
		for (struct frame_chunk *chunk = frames->chain[i]; chunk; chunk = chunk->next)
			memset(chunk->owner, 0, sizeof(chunk->owner));
}

static void free_chunk(struct frames *frames, struct frame_chunk **link)
{
	struct frame_chunk *chunk = *link;

	*link = chunk->next;
	free(chunk);
	frames->nr--;
	frames->last = NULL;
}

/* Forget those of the chunk's frames that lie in [base, base + size); true: it is freed, for there
 * is no memory left that it could be for. */
static bool close_chunk(struct vcpu *v, struct frame_chunk **link, u64 base, u64 size)
{
	struct frame_chunk *chunk = *link;
	u64 first = chunk->number << CHUNK_SHIFT;

	if (!has_region(v, first, 1 << CHUNK_SHIFT)) {
		free_chunk(&v->frames, link);
		return true;
	}
	for (u32 i = 0; i < CHUNK_FRAMES; i++)
		if (first + ((u64)i << PAGE_SHIFT) - base < size)
			chunk->owner[i] = chunk->flags[i] = 0;
	return false;
}

static void close_all(struct vcpu *v, u64 base, u64 size)
{
	const struct frames *frames = &v->frames;

	for (u32 i = 0; i < frames->nr_chains; i++)
		for (struct frame_chunk **link = &frames->chain[i]; *link;)
			if (!close_chunk(v, link, base, size))
				link = &(*link)->next;
}

/* Forget the frames of [base, base + size), outside RAM: the memory there is gone. */
void close_frames(struct vcpu *v, u64 base, u64 size)
{
	struct frames *frames = &v->frames;
	u64 first = base >> CHUNK_SHIFT, last = (base + size - 1) >> CHUNK_SHIFT;

	if (last - first >= frames->nr_chains) {
		close_all(v, base, size);
		return;
	}
	for (u64 number = first; number <= last; number++) {
		struct frame_chunk **link = link_of(frames, number);

		if (*link)
			close_chunk(v, link, base, size);
	}
}

/* Forget frames where no memory is any more, as far as they lie far from any. */
void close_frames_without_memory(struct vcpu *v)
{
	close_all(v, 0, 0);
}

void free_frames(struct vcpu *v)
{
	struct frames *frames = &v->frames;

	for (u32 i = 0; i < frames->nr_chains; i++)
		while (frames->chain[i])
			free_chunk(frames, &frames->chain[i]);
	free(frames->chain);
	if (frames->ram_owner)
		munmap(frames->ram_owner, frames->nr_ram * sizeof(*frames->ram_owner));
}
