/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define AREA (2ul << 20)
#define PAGE 4096ul
#define MOST_THREADS 256

struct worker {
	pthread_t thread;
	pthread_barrier_t *barrier;
	unsigned char *base;
	u32 areas, pages, rounds;
	u64 chunk;
	double fault_ns, zap_ns, all_ns, cpu_ns;
	int error;
};

static double clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

/* An aligned area without huge pages; NULL: errno says why. */
static unsigned char *map_areas(size_t bytes)
{
	unsigned char *base = mmap(NULL, bytes + AREA, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t skip;

	if (base == MAP_FAILED)
		return NULL;
	skip = -(size_t)base % AREA;
	if (skip)
		munmap(base, skip);
	munmap(base + skip + bytes, AREA - skip);
	madvise(base + skip, bytes, MADV_NOHUGEPAGE);
	return base + skip;
}

/* One round without a clock: the first one pays for what the process never touched before. */
static void touch(const struct worker *w)
{
	for (u32 area = 0; area < w->areas; area++)
		for (u32 page = 0; page < w->pages; page++)
			*(volatile unsigned char *)(w->base + area * AREA + page * PAGE) = 1;
}

static int give_back(const struct worker *w)
{
	for (size_t at = 0; at < w->areas * AREA; at += w->chunk)
		if (madvise(w->base + at, w->chunk, MADV_DONTNEED))
			return errno;
	return 0;
}

static void *work(void *argument)
{
	struct worker *w = argument;
	double start, touched, given, began, cpu;

	touch(w);
	w->error = give_back(w);
	pthread_barrier_wait(w->barrier);
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	began = now_ns();
	for (u32 round = 0; round < w->rounds && !w->error; round++) {
		start = now_ns();
		touch(w);
		touched = now_ns();
		w->error = give_back(w);
		given = now_ns();
		w->fault_ns += touched - start;
		w->zap_ns += given - touched;
	}
	w->all_ns = now_ns() - began;
	w->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	return NULL;
}

int host_faults(u32 threads, u32 areas, u32 pages, u32 rounds, u64 chunk, bool apart,
		struct host_rates *rates)
{
	static struct worker w[MOST_THREADS];
	size_t each = areas * AREA, stride = each + (apart ? AREA : 0);
	double faults = (double)areas * pages * rounds;
	pthread_barrier_t barrier;
	unsigned char *base;
	int error = 0;

	if (!threads || threads > MOST_THREADS || !rounds || !chunk || each % chunk)
		return EINVAL;
	base = map_areas(threads * stride);
	if (!base)
		return errno;
	for (u32 i = 0; apart && i < threads; i++)
		mprotect(base + i * stride + each, AREA, PROT_NONE);
	pthread_barrier_init(&barrier, NULL, threads);
	for (u32 i = 0; i < threads; i++)
		w[i] = (struct worker){
			.barrier = &barrier,
			.base = base + i * stride,
			.areas = areas,
			.pages = pages,
			.rounds = rounds,
			.chunk = chunk,
		};
	for (u32 i = 1; i < threads; i++)
		if (pthread_create(&w[i].thread, NULL, work, &w[i]))
			abort(); /* the others would wait at the barrier */
	work(&w[0]);
	*rates = (struct host_rates){ .busy = 1 };
	for (u32 i = 0; i < threads; i++) {
		if (i)
			pthread_join(w[i].thread, NULL);
		error = error ? error : w[i].error;
		rates->fault_ns += w[i].fault_ns / faults / threads;
		rates->zap_ns += w[i].zap_ns / faults / threads;
		if (w[i].all_ns / faults > rates->round_ns)
			rates->round_ns = w[i].all_ns / faults;
		if (w[i].cpu_ns / w[i].all_ns < rates->busy)
			rates->busy = w[i].cpu_ns / w[i].all_ns;
	}
	pthread_barrier_destroy(&barrier);
	munmap(base, threads * stride);
	return error;
}

static void *compute(void *stop)
{
	while (!atomic_load_explicit((atomic_bool *)stop, memory_order_relaxed))
		;
	return NULL;
}

int host_refill(u32 n, u32 pages, bool whole, bool spin, double *zap_ns, double *touch_ns)
{
	unsigned char *base = map_areas(AREA);
	size_t bytes = whole ? AREA : AREA - PAGE;
	atomic_bool stop = false;
	double start, zapped;
	pthread_t other;
	int error = 0;

	if (!base)
		return errno;
	if (!pages || pages >= AREA / PAGE)
		error = EINVAL;
	if (!error && spin)
		error = pthread_create(&other, NULL, compute, &stop);
	if (error) {
		munmap(base, AREA);
		return error;
	}
	for (u32 i = 0; i < n && !error; i++) {
		for (u32 page = 0; page < pages; page++)
			*(volatile unsigned char *)(base + page * PAGE) = 1;
		start = now_ns();
		error = madvise(base, bytes, MADV_DONTNEED) ? errno : 0;
		zapped = now_ns();
		*(volatile unsigned char *)base = 1;
		touch_ns[i] = now_ns() - zapped;
		zap_ns[i] = zapped - start;
	}
	if (spin) {
		atomic_store(&stop, true);
		pthread_join(other, NULL);
	}
	munmap(base, AREA);
	return error;
}
