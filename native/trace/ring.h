/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event ring: fixed-size records, one writer, drained by its owner. */
#ifndef UCMMU_TRACE_RING_H
#define UCMMU_TRACE_RING_H

#include "types.h"

enum event_id {
#define EVENT(ident, name, a, b, c, meaning) EVENT_##ident,
#include "trace/events.def"
	NR_EVENTS
};

enum counter_id {
#define COUNTER(ident, name, meaning) COUNTER_##ident,
#include "trace/events.def"
	NR_COUNTERS
};

enum mm_counter_id {
#define MM_COUNTER(ident, name, meaning) MM_COUNTER_##ident,
#include "trace/events.def"
	NR_MM_COUNTERS
};

enum kernel_counter_id {
#define KERNEL_COUNTER(ident, name, meaning) KERNEL_COUNTER_##ident,
#include "trace/events.def"
	NR_KERNEL_COUNTERS
};

/* cffi-begin */

struct event {
	u32 id;		 /* enum event_id */
	u32 cpu;	 /* number of the vCPU */
	u64 instruction; /* instructions executed before this event, where counted */
	u64 a, b, c;	 /* fields, as events.def names them */
};

struct event_desc {
	const char *name;
	const char *field[3];
	const char *meaning;
};

struct counter_desc {
	const char *name;
	const char *meaning;
};

/*
 * Records [tail, head) modulo capacity are unread.  When the ring is full, full()
 * is called to drain it; without it the newest record is lost and counted.
 */
struct event_ring {
	u32 enabled;	 /* 0: emit() does nothing */
	u32 cpu;	 /* stamped on each record */
	u64 instruction; /* stamped on each record; kept by the CPU's hooks */
	u64 head, tail;	 /* records written, records read */
	u64 capacity;	 /* a power of two */
	u64 lost;
	struct event *records;
	void (*full)(struct event_ring *ring, void *arg);
	void *arg;
};

/* Make a ring of capacity records (a power of two). NULL without memory. */
struct event_ring *ring_create(u64 capacity);
/* Free a ring and its records. */
void ring_destroy(struct event_ring *ring);
/* Write one record if the ring is enabled; drain or count a loss when full. */
void ring_emit(struct event_ring *ring, u32 id, u64 a, u64 b, u64 c);
/* Move up to max unread records to out; returns how many. */
u64 ring_read(struct event_ring *ring, struct event *out, u64 max);
/* Describe event, counter, mm counter and kernel counter number id; NULL past the last. */
const struct event_desc *event_describe(u32 id);
const struct counter_desc *counter_describe(u32 id);
const struct counter_desc *mm_counter_describe(u32 id);
const struct counter_desc *kernel_counter_describe(u32 id);
/* cffi-end */

/* Emit from C: one test of a flag when tracing is off; ring may be NULL. */
#define emit(ring, ident, a, b, c)                                      \
	do {                                                            \
		struct event_ring *ring_ = (ring);                      \
		if (unlikely(ring_ && ring_->enabled))                  \
			ring_emit(ring_, EVENT_##ident, (a), (b), (c)); \
	} while (0)

#endif
