/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "host.h"
#include "probe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AREA (2ul << 20)
#define PAGE 4096ul
#define MOST_THREADS 16
#define GAP 1000.0 /* ns: longer than two clocks take */

struct crew;

struct worker {
	struct crew *crew;
	pthread_t thread;
	pid_t pid;
	unsigned char *base;
	u32 cpu, areas, pages, rounds;
	u64 chunk;
	double fault_ns, zap_ns, all_ns, cpu_ns, probe_ns;
	int error;
};

/* In memory that processes share as well. */
struct crew {
	pthread_mutex_t hiring;
	pthread_barrier_t barrier;
	bool dismissed;
	struct worker worker[MOST_THREADS];
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

static void run_on(u32 cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *work(void *argument)
{
	struct worker *w = argument;
	double start, touched, given, began, cpu, again;

	pthread_mutex_lock(&w->crew->hiring);
	pthread_mutex_unlock(&w->crew->hiring);
	if (w->crew->dismissed)
		return NULL;
	run_on(w->cpu);
	touch(w);
	w->error = give_back(w);
	probe(); /* a new process pays for pages that it shared */
	pthread_barrier_wait(&w->crew->barrier);
	w->probe_ns = probe();
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
	again = probe();
	w->probe_ns = again > w->probe_ns ? again : w->probe_ns;
	return NULL;
}

static struct crew *make_crew(u32 threads)
{
	struct crew *crew = mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t barrier;
	pthread_mutexattr_t mutex;

	if (crew == MAP_FAILED)
		return NULL;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&crew->hiring, &mutex);
	pthread_barrierattr_init(&barrier);
	pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crew->barrier, &barrier, threads);
	return crew;
}

static int hire(struct worker *w, bool process)
{
	if (!process)
		return pthread_create(&w->thread, NULL, work, w);
	w->pid = fork();
	if (w->pid == 0) {
		work(w);
		_exit(0);
	}
	return w->pid < 0 ? errno : 0;
}

static void wait_for(const struct worker *w, bool process)
{
	if (process)
		waitpid(w->pid, NULL, 0);
	else
		pthread_join(w->thread, NULL);
}

/* Start all but the first; none works if one cannot be started. */
static int hire_others(struct crew *crew, u32 threads, bool processes)
{
	u32 hired = 1;
	int error = 0;

	pthread_mutex_lock(&crew->hiring);
	while (hired < threads && !error) {
		error = hire(&crew->worker[hired], processes);
		hired += !error;
	}
	crew->dismissed = error;
	pthread_mutex_unlock(&crew->hiring);
	while (error && --hired)
		wait_for(&crew->worker[hired], processes);
	return error;
}

/* The CPU number i of those that this thread may use, in turn. */
static u32 cpu_number(const cpu_set_t *cpus, u32 i)
{
	u32 left = i % (u32)CPU_COUNT(cpus) + 1, cpu = 0;

	for (; left -= !!CPU_ISSET(cpu, cpus); cpu++)
		;
	return cpu;
}

static void add_up(const struct worker *w, u32 threads, double faults, struct host_rates *rates)
{
	rates->fault_ns += w->fault_ns / faults / threads;
	rates->zap_ns += w->zap_ns / faults / threads;
	rates->round_ns += w->all_ns / faults / threads;
	if (w->cpu_ns / w->all_ns < rates->busy)
		rates->busy = w->cpu_ns / w->all_ns;
	if (w->probe_ns > rates->probe_ns)
		rates->probe_ns = w->probe_ns;
}

int host_faults(u32 threads, u32 first_cpu, u32 areas, u32 pages, u32 rounds, u64 chunk,
		u32 sharing, struct host_rates *rates)
{
	size_t each = areas * AREA, stride = each + (sharing == HOST_ONE_VMA ? 0 : AREA);
	bool processes = sharing == HOST_PROCESSES;
	struct crew *crew;
	unsigned char *base;
	cpu_set_t cpus;
	int error;

	if (!threads || threads > MOST_THREADS || !rounds || !chunk || each % chunk)
		return EINVAL;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	crew = make_crew(threads);
	base = map_areas(threads * stride);
	if (!crew || !base)
		return errno;
	for (u32 i = 0; i < threads; i++) {
		if (stride > each)
			mprotect(base + i * stride + each, AREA, PROT_NONE);
		crew->worker[i] = (struct worker){
			.crew = crew,
			.base = base + i * stride,
			.cpu = cpu_number(&cpus, first_cpu + i),
			.areas = areas,
			.pages = pages,
			.rounds = rounds,
			.chunk = chunk,
		};
	}
	error = hire_others(crew, threads, processes);
	if (!error)
		work(&crew->worker[0]);
	*rates = (struct host_rates){ .busy = 1 };
	for (u32 i = 0; i < threads && !error; i++) {
		if (i)
			wait_for(&crew->worker[i], processes);
		add_up(&crew->worker[i], threads, (double)areas * pages * rounds, rates);
	}
	for (u32 i = 0; i < threads && !error; i++)
		error = crew->worker[i].error;
	sched_setaffinity(0, sizeof(cpus), &cpus);
	pthread_barrier_destroy(&crew->barrier);
	munmap(crew, sizeof(*crew));
	munmap(base, threads * stride);
	return error;
}

struct computing {
	pthread_t thread;
	atomic_bool runs, stop;
	u32 cpu;
	double lost_ns;
};

/* Compute, and note the time in which it could not: an interrupt is a gap between two clocks. */
static void *compute(void *argument)
{
	struct computing *c = argument;
	double last, now;

	run_on(c->cpu);
	atomic_store(&c->runs, true);
	for (last = now_ns(); !atomic_load_explicit(&c->stop, memory_order_relaxed); last = now) {
		now = now_ns();
		if (now - last > GAP)
			c->lost_ns += now - last;
	}
	return NULL;
}

static int start_computing(struct computing *c, const cpu_set_t *cpus)
{
	int error = 0;

	if (CPU_COUNT(cpus) < 2)
		return ENODEV;
	c->cpu = cpu_number(cpus, 1);
	error = pthread_create(&c->thread, NULL, compute, c);
	while (!error && !atomic_load(&c->runs))
		usleep(100);
	return error;
}

static double stop_computing(struct computing *c)
{
	atomic_store(&c->stop, true);
	pthread_join(c->thread, NULL);
	return c->lost_ns;
}

int host_refill(u32 n, u32 pages, bool whole, bool spin, double *zap_ns, double *touch_ns,
		double *lost_ns)
{
	unsigned char *base = map_areas(AREA);
	size_t bytes = whole ? AREA : AREA - PAGE;
	struct computing other = { 0 };
	double start, zapped;
	cpu_set_t cpus;
	int error = 0;

	if (!base)
		return errno;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	if (!pages || pages >= AREA / PAGE)
		error = EINVAL;
	else if (spin)
		error = start_computing(&other, &cpus);
	run_on(cpu_number(&cpus, 0));
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
	*lost_ns = other.runs ? stop_computing(&other) / n : 0;
	sched_setaffinity(0, sizeof(cpus), &cpus);
	munmap(base, AREA);
	return error;
}
