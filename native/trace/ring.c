/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event ring, and the descriptions that events.def gives. */
#include "trace/ring.h"

#include <stdlib.h>

static const struct event_desc event_table[] = {
#define EVENT(ident, name, a, b, c, d, meaning) { name, { a, b, c, d }, meaning },
#include "trace/events.def"
};

static const struct counter_desc counter_table[] = {
#define COUNTER(ident, name, meaning) { name, meaning },
#include "trace/events.def"
};

static const struct counter_desc mm_counter_table[] = {
#define MM_COUNTER(ident, name, meaning) { name, meaning },
#include "trace/events.def"
};

static const struct counter_desc kernel_counter_table[] = {
#define KERNEL_COUNTER(ident, name, meaning) { name, meaning },
#include "trace/events.def"
};

struct event_ring *ring_create(u64 capacity)
{
	struct event_ring *ring;

	if (!capacity || capacity & (capacity - 1))
		return NULL;
	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	ring->records = calloc(capacity, sizeof(*ring->records));
	if (!ring->records) {
		free(ring);
		return NULL;
	}
	ring->capacity = capacity;
	return ring;
}

void ring_destroy(struct event_ring *ring)
{
	if (!ring)
		return;
	ring_free_sites(ring);
	free(ring->records);
	free(ring);
}

void ring_emit(struct event_ring *ring, u32 id, const u64 value[4])
{
	if (ring->enabled)
		ring_put(ring, id, value[0], value[1], value[2], value[3]);
}

void ring_emit_from(struct event_ring *ring, u32 id, const char *from, const u64 value[4])
{
	if (!ring->enabled || ring->unwanted[id])
		return;
	ring->site = ring_constant_site(ring, from);
	ring_emit(ring, id, value);
	ring->site = 0;
}

u64 ring_read(struct event_ring *ring, struct event *out, u64 max)
{
	u64 nr = 0;

	while (nr < max && ring->tail != ring->head)
		out[nr++] = ring->records[ring->tail++ & (ring->capacity - 1)];
	return nr;
}

const struct event_desc *event_describe(u32 id)
{
	return id < NR_EVENTS ? &event_table[id] : NULL;
}

const struct counter_desc *counter_describe(u32 id)
{
	return id < NR_COUNTERS ? &counter_table[id] : NULL;
}

const struct counter_desc *mm_counter_describe(u32 id)
{
	return id < NR_MM_COUNTERS ? &mm_counter_table[id] : NULL;
}

const struct counter_desc *kernel_counter_describe(u32 id)
{
	return id < NR_KERNEL_COUNTERS ? &kernel_counter_table[id] : NULL;
}
