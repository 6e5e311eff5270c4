/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the index says of a chunk, so that it need not be read where nothing is to be found in it.
 */
#ifndef UCMMU_TRACE_DIGEST_H
#define UCMMU_TRACE_DIGEST_H

#include "trace/roles.h"

/* cffi-begin */

#define DIGEST_TASKS 64
#define DIGEST_SET_BITS 65536 /* at most; a power of two */
#define DIGEST_SETS 3
#define DIGEST_PAGES_INSNS 0 /* pages of addresses in TRACE_PART_INSNS */
#define DIGEST_PAGES 1	     /* those in the other parts */
#define DIGEST_FRAMES 2	     /* frames, as roles.h says, in the other parts */

/* A set of 64-bit numbers by their hashes: may hold one that was not put in, never the contrary. */
struct digest_set {
	u32 nr_bits; /* a power of two; 0: the set is empty */
	u64 bits[1024];
};

struct digest_cpu {
	u64 nr, first, last; /* events; the least and greatest instruction */
};

struct digest {
	u64 first_time, last_time; /* the least and greatest */
	u32 kinds[EVENT_KINDS];	   /* events by kind */
	struct digest_cpu cpu[256];
	u32 nr_tasks; /* more than DIGEST_TASKS: not all are listed */
	u32 tasks[DIGEST_TASKS];
	struct digest_set set[DIGEST_SETS];
};

/* Say what is in nr records (one at least). */
void digest_records(struct digest *digest, const struct event_roles *roles,
		    const struct event *records, u32 nr);
/* Whether a set of nr_bits (a power of two) may hold a number from first to last. */
bool digest_may_hold(const u64 *bits, u32 nr_bits, u64 first, u64 last);
/* cffi-end */

#endif
