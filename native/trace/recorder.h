/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ring whose records a thread writes away: segments are handed over when they are full. */
#ifndef UCMMU_TRACE_RECORDER_H
#define UCMMU_TRACE_RECORDER_H

#include "trace/ring.h"

/* cffi-begin */

struct segment {
	struct event *records;
	u32 nr;
	u32 nr_sites; /* sites that the ring knew then */
};

struct recorder;

/* Make a recorder of nr segments for an empty ring, the records of which are its first; NULL
 * without memory.  It must outlive the ring, which nobody else reads.
 */
struct recorder *recorder_create(struct event_ring *ring, u32 nr);
/* Free it. No thread waits in it. */
void recorder_destroy(struct recorder *recorder);
/* A thread writes away from now on: take the ring's full(), and hand over what it holds. */
void recorder_begin(struct recorder *recorder);
/* Hand over what the ring holds, if anything; waits for a free segment. Only the ring's writer may.
 */
void recorder_hand_over(struct recorder *recorder);
/* Wait until all that was handed over is written. */
void recorder_drain(struct recorder *recorder);
/* Wait for a segment; NULL: there will be none. Only the thread that writes away may. */
const struct segment *recorder_wait(struct recorder *recorder);
/* The segment of recorder_wait() is written: it may be used again. */
void recorder_done(struct recorder *recorder);
/* No segment will come any more; who waits in recorder_wait() returns when it had all. */
void recorder_stop(struct recorder *recorder);
/* Records handed over so far; and how often a full ring had to wait for the thread. */
u64 recorder_given(const struct recorder *recorder);
u64 recorder_waits(const struct recorder *recorder);
/* cffi-end */

#endif
