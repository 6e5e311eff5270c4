/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refcount_threads.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#define MOST_THREADS 2
#define ENTRIES 512
#define TABLES 64 /* more than an L1 cache holds */

/* A ticket lock: fair, as qspinlock is. */
struct ticket_lock {
	_Atomic u32 next, serving;
};

/* What stands in the struct page of a table, or of a PMD table: one line. */
struct table {
	_Alignas(64) _Atomic u32 count;
	u32 last; /* the thread that wrote the count last: who takes it over has fetched the line */
	struct ticket_lock lock;
};

struct shared {
	struct table table[MOST_THREADS], pmd_table[MOST_THREADS];
	_Alignas(64) _Atomic(struct table *) pmd[MOST_THREADS];
	_Alignas(64) _Atomic u32 turn;
	_Alignas(64) u64 entries[TABLES][ENTRIES];
	pthread_barrier_t barrier;
};

struct worker {
	_Alignas(64) _Atomic u32 rcu_nesting;
	_Atomic u64 mine; /* this CPU's counter */
	struct shared *shared;
	u32 number, threads, work, slot;
	u64 n, transfers, found;
	double ns;
	cpu_set_t cpus;
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void lock(struct ticket_lock *l)
{
	u32 mine = atomic_fetch_add_explicit(&l->next, 1, memory_order_relaxed);

	while (atomic_load_explicit(&l->serving, memory_order_acquire) != mine)
		__builtin_ia32_pause();
}

static void unlock(struct ticket_lock *l)
{
	u32 next = atomic_load_explicit(&l->serving, memory_order_relaxed) + 1;

	atomic_store_explicit(&l->serving, next, memory_order_release);
}

static void rcu_read_lock(struct worker *w)
{
	u32 nesting = atomic_load_explicit(&w->rcu_nesting, memory_order_relaxed);

	atomic_store_explicit(&w->rcu_nesting, nesting + 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

static void rcu_read_unlock(struct worker *w)
{
	u32 nesting = atomic_load_explicit(&w->rcu_nesting, memory_order_relaxed);

	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&w->rcu_nesting, nesting - 1, memory_order_relaxed);
}

/* Whose the count was: read while the line is here anyway. */
static void took_over(struct worker *w, struct table *t)
{
	if (__atomic_load_n(&t->last, __ATOMIC_RELAXED) != w->number) {
		__atomic_store_n(&t->last, w->number, __ATOMIC_RELAXED);
		w->transfers++;
	}
}

static bool get_unless_zero(struct worker *w, struct table *t)
{
	u32 old = atomic_load_explicit(&t->count, memory_order_relaxed);

	do {
		if (!old)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&t->count, &old, old + 1, memory_order_acquire, memory_order_relaxed));
	took_over(w, t);
	return true;
}

static void put(struct worker *w, struct table *t)
{
	if (atomic_fetch_sub_explicit(&t->count, 1, memory_order_acq_rel) == 1)
		w->found++; /* never: each table has an entry */
	took_over(w, t);
}

static void pair_pmd_lock(struct worker *w)
{
	struct ticket_lock *l = &w->shared->pmd_table[w->slot].lock;
	struct table *t;

	lock(l);
	t = atomic_load_explicit(&w->shared->pmd[w->slot], memory_order_relaxed);
	get_unless_zero(w, t);
	unlock(l);
	put(w, t);
}

static void pair_rcu(struct worker *w)
{
	_Atomic(struct table *) *pmd = &w->shared->pmd[w->slot];
	struct table *t;

	rcu_read_lock(w);
	t = atomic_load_explicit(pmd, memory_order_acquire);
	get_unless_zero(w, t);
	if (atomic_load_explicit(pmd, memory_order_acquire) != t)
		w->found++;
	rcu_read_unlock(w);
	put(w, t);
}

static void add_mine(struct worker *w, u64 n)
{
	u64 old = atomic_load_explicit(&w->mine, memory_order_relaxed);

	atomic_store_explicit(&w->mine, old + n, memory_order_relaxed);
}

static void pair_per_cpu(struct worker *w)
{
	rcu_read_lock(w);
	if (atomic_load_explicit(&w->shared->pmd[w->slot], memory_order_acquire))
		add_mine(w, 1);
	rcu_read_unlock(w);
	add_mine(w, (u64)-1);
}

static void take_turn(struct worker *w, u64 i)
{
	u32 mine = (u32)(2 * i + w->number);

	while (atomic_load_explicit(&w->shared->turn, memory_order_acquire) != mine)
		;
	atomic_store_explicit(&w->shared->turn, mine + 1, memory_order_release);
}

static bool is_empty(const u64 *entries)
{
	for (u32 i = 0; i < ENTRIES; i++)
		if (__atomic_load_n(&entries[i], __ATOMIC_RELAXED))
			return false;
	return true;
}

#define REPEAT(what)                             \
	do {                                     \
		for (u64 i = 0; i < w->n; i++) { \
			what;                    \
		}                                \
	} while (0)

static void repeat(struct worker *w)
{
	struct table *t = &w->shared->table[w->slot];

	switch (w->work) {
	case WORK_ATOMIC:
		REPEAT(atomic_fetch_add_explicit(&t->count, 2, memory_order_acq_rel);
		       took_over(w, t));
		break;
	case WORK_LOCK:
		REPEAT(lock(&t->lock); unlock(&t->lock));
		break;
	case WORK_RCU_READ:
		REPEAT(rcu_read_lock(w); rcu_read_unlock(w));
		break;
	case WORK_TURNS:
		REPEAT(take_turn(w, i));
		break;
	case WORK_SCAN:
		REPEAT(w->found += !is_empty(w->shared->entries[i % TABLES]));
		break;
	case WORK_PAIR_NONE:
		REPEAT(w->found +=
		       !atomic_load_explicit(&w->shared->pmd[w->slot], memory_order_acquire));
		break;
	case WORK_PAIR_PMD_LOCK:
		REPEAT(pair_pmd_lock(w));
		break;
	case WORK_PAIR_RCU:
		REPEAT(pair_rcu(w));
		break;
	case WORK_PAIR_PER_CPU:
		REPEAT(pair_per_cpu(w));
		break;
	}
}

/* The thread on the worker's CPU; the first one is the caller's and gets its CPUs back. */
static void *run(void *argument)
{
	struct worker *w = argument;
	cpu_set_t before, mine;
	int cpu = -1;
	double start;

	pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	for (u32 left = w->number + 1; left && cpu < CPU_SETSIZE - 1;)
		left -= !!CPU_ISSET(++cpu, &w->cpus);
	CPU_ZERO(&mine);
	CPU_SET(cpu, &mine);
	pthread_setaffinity_np(pthread_self(), sizeof(mine), &mine);
	if (w->threads > 1)
		pthread_barrier_wait(&w->shared->barrier);
	start = now_ns();
	repeat(w);
	w->ns = (now_ns() - start) / (double)w->n;
	pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
	return NULL;
}

int time_threads(u32 threads, u32 work, bool shared, u64 n, struct thread_times *times)
{
	static struct shared s;
	static struct worker w[MOST_THREADS];
	pthread_t other;
	cpu_set_t cpus;
	int error;

	if (!threads || threads > MOST_THREADS || !n || (work == WORK_TURNS && threads != 2))
		return EINVAL;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	if ((u32)CPU_COUNT(&cpus) < threads)
		return ENODEV;
	memset(&s, 0, sizeof(s));
	memset(w, 0, sizeof(w));
	pthread_barrier_init(&s.barrier, NULL, threads);
	for (u32 i = 0; i < threads; i++) {
		s.table[i].count = 1;
		s.pmd[i] = &s.table[i];
		w[i].shared = &s;
		w[i].number = i;
		w[i].threads = threads;
		w[i].work = work;
		w[i].slot = shared ? 0 : i;
		w[i].n = n;
		w[i].cpus = cpus;
	}
	error = threads > 1 ? pthread_create(&other, NULL, run, &w[1]) : 0;
	if (!error) {
		run(&w[0]);
		if (threads > 1)
			pthread_join(other, NULL);
	}
	pthread_barrier_destroy(&s.barrier);
	*times = (struct thread_times){ 0 };
	for (u32 i = 0; i < threads && !error; i++) {
		times->ns += w[i].ns / threads;
		times->transfers += (double)w[i].transfers / (double)n / threads;
		error = w[i].found ? EPROTO : 0;
	}
	if (work == WORK_TURNS)
		times->ns /= 2;
	return error;
}
