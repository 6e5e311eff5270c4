/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which records are wanted. */
#ifndef UCMMU_TRACE_FILTER_H
#define UCMMU_TRACE_FILTER_H

#include "trace/roles.h"

/* cffi-begin */

struct number_range {
	u64 begin, end; /* from begin on, before end */
};

/* Conditions that must all hold. A list of none holds always, but code when by_code. */
struct event_filter {
	u8 kind[EVENT_KINDS]; /* by number, 1: wanted */
	u8 cpu[256];	      /* the same */
	struct number_range number, instruction, time;
	u32 nr_tasks, nr_addresses, nr_frames, nr_code;
	const u32 *task;
	const u8 *site; /* 65536, by number, 1: wanted; NULL: all are */
	const struct number_range *address;
	const u64 *frame;		 /* frame numbers, ascending */
	const struct number_range *code; /* of the instruction during which it happened */
	bool by_code;
	u8 in_code[256]; /* by CPU: the last insn was in code; from call to call */
};

/* Say of each of nr records, the numbers of which are given, whether it is wanted; returns how
 * many. */
u32 filter_mask(struct event_filter *filter, const struct event_roles *roles,
		const struct event *records, const u64 *numbers, u32 nr, u8 *mask);
/* Move the records that mask names to the front, and their numbers; returns how many. */
u32 filter_keep(struct event *records, u64 *numbers, u32 nr, const u8 *mask);
/* How many of nr records are of kind id; the place of number nth (from 0) goes to *place, else nr.
 */
u32 filter_count(const struct event *records, u32 nr, u32 id, u64 nth, u32 *place);
/* cffi-end */

#endif
