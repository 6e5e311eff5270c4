/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How fast the core is that a thread runs on, now. */
#ifndef UCMMU_BENCHMARKS_PROBE_H
#define UCMMU_BENCHMARKS_PROBE_H

#include "types.h"

#include <time.h>

#define PROBE_TURNS 100000 /* some 100 us */

/*
 * ns of a turn of eight additions, four at a time independent.  It takes up to twice as long while
 * the other hyperthread of the core works, whoever's that is.
 */
static inline double probe(void)
{
	u64 a = 1, b = 2, c = 3, d = 4;
	struct timespec start, end;

	clock_gettime(CLOCK_MONOTONIC, &start);
	for (u32 i = 0; i < PROBE_TURNS; i++) {
		a += i, b ^= i, c += i, d ^= i;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
		a += 3, b ^= 5, c += 7, d ^= 9;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) /
	       PROBE_TURNS;
}

#endif
