/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What counting costs on real threads, each on a CPU of its own: bare C11 forms of the designs. */
#ifndef UCMMU_BENCHMARKS_REFCOUNT_THREADS_H
#define UCMMU_BENCHMARKS_REFCOUNT_THREADS_H

#include "types.h"

/* cffi-begin */
enum thread_work {
	WORK_ATOMIC,   /* a fetch_add */
	WORK_LOCK,     /* a ticket lock taken and released */
	WORK_RCU_READ, /* a read section, entered and left */
	WORK_TURNS,    /* two threads write a line in turn: a time is one way */
	WORK_SCAN,     /* 512 entries looked at: is a table empty? */
	/* A lookup of a table and the put of what it got, by design. */
	WORK_PAIR_NONE,
	WORK_PAIR_PMD_LOCK,
	WORK_PAIR_RCU,
	WORK_PAIR_PER_CPU
};
struct thread_times {
	double ns;	  /* an operation of one thread */
	double transfers; /* how often an operation found the count last written by the other */
};
/*
 * Have one or two threads do it n times each, on one table or each on its own.  Returns an errno.
 */
int time_threads(u32 threads, u32 work, bool shared, u64 n, struct thread_times *times);
/* cffi-end */

#endif
