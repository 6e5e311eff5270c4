/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event ring: fixed-size records, one writer, drained by its owner. */
#ifndef UCMMU_TRACE_RING_H
#define UCMMU_TRACE_RING_H

#include "types.h"

enum event_id {
#define EVENT(ident, name, a, b, c, d, meaning) EVENT_##ident,
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

/*
 * The last field of tlb_fill, tlb_evict, tlb_drop and their walk_cache_ kin:
 *
 *    63      48 47  40 39  36 35  32 31   28 27       16 15          0
 *   +----------+------+------+------+-------+-----------+-------------+
 *   | reserved | pkey | page | level|  PAT  |   PCID    |    slot     |
 *   |  flags   |      | level|      |       |           |             |
 *   +----------+------+------+------+-------+-----------+-------------+
 *
 * slot is the place among those of all arrays; level the size that it is entered as (1: 4 KiB, 2: 2
 * MiB, 3: 1 GiB), page level that of the page; flags are TLB_* of x86/state.h.
 */
#define EVENT_ENTRY_SLOT_SHIFT 0
#define EVENT_ENTRY_PCID_SHIFT 16
#define EVENT_ENTRY_PAT_SHIFT 28
#define EVENT_ENTRY_LEVEL_SHIFT 32
#define EVENT_ENTRY_PAGE_LEVEL_SHIFT 36
#define EVENT_ENTRY_PKEY_SHIFT 40
#define EVENT_ENTRY_FLAGS_SHIFT 48

#define EVENT_KINDS 256 /* id is a byte */

struct event {
	u8 id;	  /* enum event_id */
	u8 cpu;	  /* number of the vCPU */
	u16 site; /* the kernel function that did it: its number among the ring's sites, 0 none */
	u32 task; /* PID of the task on that CPU, 0 for the idle task or none */
	u64 instruction; /* instructions that CPU executed before this event, where counted */
	u64 time;	 /* virtual time, nanoseconds */
	u64 a, b, c, d;	 /* fields, as events.def names them */
};

struct event_desc {
	const char *name;
	const char *field[4];
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
	u32 enabled; /* 0: emit() does nothing */
	u32 cpu;     /* stamped on each record, as the next four */
	u32 task;
	u32 site;
	u64 instruction; /* kept by the CPU's hooks */
	u64 ahead_ns; /* what its virtual time is ahead of its instructions, at a nanosecond each */
	u64 head, tail; /* records written, records read */
	u64 capacity;	/* a power of two */
	u64 lost;
	struct event *records;
	void (*full)(struct event_ring *ring, void *arg);
	void *arg;
	u8 unwanted[EVENT_KINDS]; /* by event number, 1: not recorded */
	struct site_table *sites; /* names of kernel functions, NULL: none yet */
	u32 nr_sites;		  /* how many, numbered from 1 on; it only grows */
	u32 caller;		  /* the site that calls C from Python: see site_of_caller */
};

/* Make a ring of capacity records (a power of two). NULL without memory. */
struct event_ring *ring_create(u64 capacity);
/* Free a ring and its records. */
void ring_destroy(struct event_ring *ring);
/* Write one record with four values if the ring is enabled; drain or count a loss when full. */
void ring_emit(struct event_ring *ring, u32 id, const u64 value[4]);
/* Move up to max unread records to out; returns how many. */
u64 ring_read(struct event_ring *ring, struct event *out, u64 max);
/* The number of a kernel function's name, a new one if it has none; 0 for "", or without memory. */
u32 ring_site(struct event_ring *ring, const char *name);
/* The name of a site, "" for 0 and for what is none. */
const char *ring_site_name(const struct event_ring *ring, u32 site);
/* Describe event, counter, mm counter and kernel counter number id; NULL past the last. */
const struct event_desc *event_describe(u32 id);
const struct counter_desc *counter_describe(u32 id);
const struct counter_desc *mm_counter_describe(u32 id);
const struct counter_desc *kernel_counter_describe(u32 id);
/* cffi-end */

/* Whether anybody records: what only an event needs can be left out if not. ring may be NULL. */
static inline bool ring_records(const struct event_ring *ring)
{
	return ring && ring->enabled;
}

/*
 * ring_emit() in line, for who writes millions; the ring is enabled.  full() may put other records
 * in the place of these.
 */
static always_inline void ring_put(struct event_ring *ring, u32 id, u64 a, u64 b, u64 c, u64 d)
{
	if (unlikely(ring->unwanted[id]))
		return;
	if (unlikely(ring->head - ring->tail == ring->capacity)) {
		if (ring->full)
			ring->full(ring, ring->arg);
		if (ring->head - ring->tail == ring->capacity) {
			ring->lost++;
			return;
		}
	}
	ring->records[ring->head++ & (ring->capacity - 1)] = (struct event){
		.id = id,
		.cpu = ring->cpu,
		.site = ring->site,
		.task = ring->task,
		.instruction = ring->instruction,
		.time = ring->instruction + ring->ahead_ns,
		.a = a,
		.b = b,
		.c = c,
		.d = d,
	};
}

/* Emit from C: one test of a flag when tracing is off; ring may be NULL. */
#define emit(ring, ident, ...)                                                          \
	do {                                                                            \
		struct event_ring *ring_ = (ring);                                      \
		if (unlikely(ring_records(ring_)))                                      \
			ring_emit(ring_, EVENT_##ident, (const u64[4]){ __VA_ARGS__ }); \
	} while (0)

/* ring_emit() of an event that the function of this name did; from may be site_of_caller. */
void ring_emit_from(struct event_ring *ring, u32 id, const char *from, const u64 value[4]);
/* Stands for the name of the function in Python that called, which ring->caller numbers. */
extern const char site_of_caller[];
/* ring_site() of a constant of C, whose address mostly tells it; of site_of_caller the caller. */
u32 ring_constant_site(struct event_ring *ring, const char *name);
/* Free the names. */
void ring_free_sites(struct event_ring *ring);

/* emit() that names the kernel function that did it: mostly __func__. */
#define emit_from(from, ring, ident, ...)                                                          \
	do {                                                                                       \
		struct event_ring *ring_ = (ring);                                                 \
		if (unlikely(ring_records(ring_)))                                                 \
			ring_emit_from(ring_, EVENT_##ident, from, (const u64[4]){ __VA_ARGS__ }); \
	} while (0)

#endif
