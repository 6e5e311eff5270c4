/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the host's own kernel takes for the same work, measured from user space. */
#ifndef UCMMU_BENCHMARKS_HOST_H
#define UCMMU_BENCHMARKS_HOST_H

#include "types.h"

/* cffi-begin */
enum host_sharing {
	HOST_PROCESSES,
	HOST_OWN_VMAS,
	HOST_ONE_VMA
};
struct host_rates {
	double fault_ns; /* a first touch of a page, by each thread */
	double zap_ns;	 /* MADV_DONTNEED of a page, by each thread */
	double round_ns; /* both */
	double busy;	 /* the lowest share of its time that a thread had its CPU */
	double probe_ns; /* an addition before and after, on the slowest core */
};
/*
 * Each thread touches `pages` of the 512 pages in each of its `areas` of 2 MiB and gives them back
 * by chunks, `rounds` times, on a CPU of its own, from the number `first_cpu` of those allowed on;
 * `sharing` an address space and a VMA, or not.  Returns an errno.
 */
int host_faults(u32 threads, u32 first_cpu, u32 areas, u32 pages, u32 rounds, u64 chunk,
		u32 sharing, struct host_rates *rates);
/*
 * Give the first `pages` pages of one 2 MiB area back, n times over, by one call that does or does
 * not cover the whole area; spin: another thread of the process computes meanwhile.  Writes the
 * nanoseconds of each call, and of the first touch after it, and what the other thread loses in a
 * call, mean.  Returns an errno.
 */
int host_refill(u32 n, u32 pages, bool whole, bool spin, double *zap_ns, double *touch_ns,
		double *lost_ns);
/* cffi-end */

#endif
