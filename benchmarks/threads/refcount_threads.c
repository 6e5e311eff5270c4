/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What visiting a PTE table costs where each CPU is a host thread: one measurement a run, the
 * product's functions (native/mm, UCMMU_SMP), each thread on a core of its own; and the single
 * steps that the model of scaling is calibrated with.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/pgalloc.h"
#include "mm/pmd_ref.h"
#include "mm/pgtable.h"
#include "mm/pte_ref.h"
#include "mm/rcu.h"
#include "probe.h"

#define THREADS_MAX 8
#define ROUNDS_MAX 1000
#define BATCH 256 /* operations between two looks at the clock */
#define BASE ((u64)1 << 30)
#define LINE 64
#define TABLES 64  /* more than an L1 cache holds */
#define SPINS 4096 /* before a core is left to others: one may keep whom this thread waits for */
#define noinline __attribute__((noinline))

/* A count in pieces, one for each CPU: percpu_ref while nobody has asked for its sum. */
struct percpu_ref {
	_Alignas(LINE) u32 is_atomic; /* read by all, written when the table is to go */
	struct {
		_Alignas(LINE) u64 count;
	} cpu[THREADS_MAX];
};

/* Fair, as qspinlock is. */
struct ticket_lock {
	u32 next, serving;
};

struct thread {
	_Alignas(2 * LINE) struct cpu cpu;
	pthread_t pthread;
	pmd_t *pmd;
	u64 addr, table;
	u64 own_word;
	u64 done, ns, transfers, waits;
	u32 turn, scanned;
	double probe_ns;
};

static struct memory memory;
static struct kernel kernel;
static struct mm_struct mm;
static struct thread thread[THREADS_MAX];
static struct percpu_ref percpu;
static u32 nr_threads, count_transfers;
static u32 stop, ready;
static u64 round_ns;
static _Alignas(2 * LINE) struct ticket_lock ticket_lock;
static _Alignas(2 * LINE) u32 turn;
static _Alignas(2 * LINE) u64 entries[TABLES][PAGE_SIZE / sizeof(u64)];

/* ---- the operations ---- */

/* One more turn of a loop that waits for another thread. */
static always_inline void spin(u32 *spins)
{
	if (unlikely(++*spins % SPINS == 0))
		sched_yield();
}

static always_inline void op_lock(struct thread *t)
{
	u32 mine = __atomic_fetch_add(&ticket_lock.next, 1, __ATOMIC_RELAXED), spins = 0;

	(void)t;
	for (; __atomic_load_n(&ticket_lock.serving, __ATOMIC_ACQUIRE) != mine; spin(&spins))
		__builtin_ia32_pause();
	__atomic_store_n(&ticket_lock.serving, mine + 1, __ATOMIC_RELEASE);
}

static always_inline void op_rcu_read(struct thread *t)
{
	(void)t;
	rcu_read_lock(&kernel);
	rcu_read_unlock(&kernel);
}

/*
 * Two threads modify a line in turn.  They ask for it by read-modify-writes, not by loads: a load
 * would first fetch a copy, and the store after it once more the line.
 */
static always_inline void op_turns(struct thread *t)
{
	u32 mine = t->turn * nr_threads + t->cpu.id, seen = mine, spins = 0;

	while (!__atomic_compare_exchange_n(&turn, &seen, mine + 1, false, __ATOMIC_ACQ_REL,
					    __ATOMIC_RELAXED) &&
	       !READ_ONCE(stop)) {
		seen = mine;
		spin(&spins);
	}
	t->turn++;
}

static always_inline void op_scan(struct thread *t)
{
	if (!table_is_empty(entries[t->scanned++ % TABLES]))
		abort();
}

static always_inline void op_atomic(struct thread *t)
{
	__atomic_fetch_add(&t->own_word, 1, __ATOMIC_RELAXED);
}

static always_inline void percpu_get(struct thread *t)
{
	rcu_read_lock(&kernel);
	if (likely(!READ_ONCE(percpu.is_atomic)))
		WRITE_ONCE(percpu.cpu[t->cpu.id].count, percpu.cpu[t->cpu.id].count + 1);
	rcu_read_unlock(&kernel);
}

static always_inline void percpu_put(struct thread *t)
{
	rcu_read_lock(&kernel);
	if (likely(!READ_ONCE(percpu.is_atomic)))
		WRITE_ONCE(percpu.cpu[t->cpu.id].count, percpu.cpu[t->cpu.id].count - 1);
	rcu_read_unlock(&kernel);
}

static always_inline void op_percpu_pair(struct thread *t)
{
	percpu_get(t);
	percpu_put(t);
}

static always_inline void op_get_put(struct thread *t)
{
	pte_get(&mm, t->table);
	pte_put(&mm, t->table, t->addr);
}

static always_inline void op_lookup_put(struct thread *t)
{
	u64 table;

	if (pte_try_get(&mm, t->pmd, &table) != TRYGET_SUCCEEDED)
		abort();
	pte_put(&mm, table, t->addr);
}

static always_inline void op_lookup_put_percpu(struct thread *t)
{
	u64 pmdval;

	rcu_read_lock(&kernel);
	pmdval = pmdp_get(t->pmd);
	if (pmd_none(pmdval))
		abort();
	percpu_get(t);
	rcu_read_unlock(&kernel);
	percpu_put(t);
}

/* What a fault does to the table, but for the page and its entry. */
static always_inline void op_fault(struct thread *t)
{
	pte_t *pte;
	u64 table;

	if (pte_alloc_get_map_lock(&mm, t->pmd, t->addr, &pte) != PTE_ALLOC_OK)
		abort();
	table = pte_table(&mm, pte);
	pte_unlock(&mm, table);
	pte_put(&mm, table, t->addr);
}

static always_inline void op_fault_percpu(struct thread *t)
{
	pte_t *pte;
	u64 table;

	percpu_get(t);
	if (pte_alloc_get_map_lock(&mm, t->pmd, t->addr, &pte) != PTE_ALLOC_OK)
		abort();
	table = pte_table(&mm, pte);
	pte_unlock(&mm, table);
	percpu_put(t);
}

/* So many times: the loop stands around the operation itself, not around a call of it. */
#define REPEAT(name)                                                    \
	static noinline void repeat_##name(struct thread *t, u32 times) \
	{                                                               \
		while (times--)                                         \
			op_##name(t);                                   \
	}
REPEAT(lock)
REPEAT(rcu_read)
REPEAT(turns)
REPEAT(scan)
REPEAT(atomic)
REPEAT(percpu_pair)
REPEAT(get_put)
REPEAT(lookup_put)
REPEAT(lookup_put_percpu)
REPEAT(fault)
REPEAT(fault_percpu)

static const struct {
	const char *name;
	void (*repeat)(struct thread *t, u32 times);
} operations[] = {
	{ "lock", repeat_lock },
	{ "rcu_read", repeat_rcu_read },
	{ "turns", repeat_turns },
	{ "scan", repeat_scan },
	{ "atomic", repeat_atomic },
	{ "percpu_pair", repeat_percpu_pair },
	{ "get_put", repeat_get_put },
	{ "lookup_put", repeat_lookup_put },
	{ "lookup_put_percpu", repeat_lookup_put_percpu },
	{ "fault", repeat_fault },
	{ "fault_percpu", repeat_fault_percpu },
};

static void (*operation)(struct thread *t, u32 times);

/* ---- threads ---- */

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool wait_for_lock(struct kernel *k, u32 *lock, u32 kind)
{
	u32 spins = 0;

	(void)kind;
	thread[this_cpu(k)->id].waits++;
	for (; READ_ONCE(*lock); spin(&spins))
		__builtin_ia32_pause();
	return true;
}

/*
 * Did the line of the table's count come from another core?  A word of the same line, unused in
 * tables, has who wrote last.
 */
static void note_owner(struct thread *t)
{
	struct page *page = pfn_to_page(&memory, t->table);

	if (READ_ONCE(page->prev) != t->cpu.id) {
		t->transfers++;
		WRITE_ONCE(page->prev, t->cpu.id);
	}
}

static void work(struct thread *t)
{
	if (!count_transfers) {
		operation(t, BATCH);
		return;
	}
	for (u32 i = 0; i < BATCH; i++) {
		operation(t, 1);
		note_owner(t);
	}
}

static void *run(void *arg)
{
	struct thread *t = arg;
	double again;
	u64 since;

	set_this_cpu(&kernel, &t->cpu);
	t->turn = 0;
	__atomic_fetch_add(&ready, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < nr_threads)
		sched_yield();
	t->probe_ns = probe();
	since = now_ns();
	/* The first whose time is over ends the round: only while all work, all work as meant. */
	for (t->done = 0; !READ_ONCE(stop) && now_ns() - since < round_ns; t->done += BATCH)
		work(t);
	WRITE_ONCE(stop, 1);
	t->ns = now_ns() - since;
	again = probe();
	t->probe_ns = again > t->probe_ns ? again : t->probe_ns;
	return NULL;
}

/* The core number that this program may use, in turn. */
static void pin(pthread_attr_t *attributes, u32 number)
{
	cpu_set_t allowed, one;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	number %= CPU_COUNT(&allowed);
	for (u32 cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && number-- == 0) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			pthread_attr_setaffinity_np(attributes, sizeof(one), &one);
			return;
		}
}

static double operation_ns(const struct thread *t)
{
	return (double)t->ns / (t->done ? t->done : 1);
}

/* One round. Nanoseconds of one operation, as one thread has it. */
static double round_of(u64 ns)
{
	double sum = 0;

	round_ns = ns;
	stop = ready = turn = 0;
	for (u32 i = 0; i < nr_threads; i++) {
		pthread_attr_t attributes;

		pthread_attr_init(&attributes);
		pin(&attributes, i);
		if (pthread_create(&thread[i].pthread, &attributes, run, &thread[i]))
			abort();
	}
	for (u32 i = 0; i < nr_threads; i++) {
		pthread_join(thread[i].pthread, NULL);
		sum += operation_ns(&thread[i]);
	}
	return sum / nr_threads;
}

/* Of the slowest core. */
static double slowest_probe(void)
{
	double slowest = 0;

	for (u32 i = 0; i < nr_threads; i++)
		if (thread[i].probe_ns > slowest)
			slowest = thread[i].probe_ns;
	return slowest;
}

/* ---- the tables ---- */

static void make_cpu(u32 id)
{
	struct cpu *cpu = &thread[id].cpu;

	cpu->kernel = &kernel;
	cpu->id = id;
	cpu->loaded_mm = &mm;
	cpu->rcu_watching = 1;
	kernel.cpu[id] = cpu;
	kernel.nr_cpus++;
}

/* The table of one thread: the first one's, or with own another one under the same PMD table. */
static void make_table(struct thread *t, bool own)
{
	t->addr = BASE + (own ? t->cpu.id * (u64)PMD_SIZE : 0);
	t->pmd = pmd_alloc(&mm, t->addr);
	alloc_pages(&memory, 0, false); /* no two tables' struct page in one cache line */
	if (!t->pmd || pte_alloc_get(&mm, t->pmd, t->addr, &t->table) != PTE_ALLOC_OK)
		abort();
	pfn_to_page(&memory, t->table)->prev = 0;
}

static void make_world(u32 policy, bool own)
{
	if (memory_init(&memory, (u64)16 << 20, 0))
		abort();
	kernel.ram = &memory;
	kernel.policy = policy;
	kernel.rcu.head = kernel.rcu.tail = kernel.rcu.wait_head = PAGE_NONE;
	kernel.wait_for_lock = wait_for_lock;
	mm.kernel = &kernel;
	mm.ram = &memory;
	mm.ctx_id = INIT_MM_CTX_ID + 1;
	mm.pgd = alloc_pages(&memory, 0, true) << PAGE_SHIFT;
	for (u32 i = 0; i < nr_threads; i++)
		make_cpu(i);
	set_this_cpu(&kernel, &thread[0].cpu);
	for (u32 i = 0; i < nr_threads; i++)
		make_table(&thread[i], own);
}

/* callgrind counts from here on. */
noinline void counted(struct thread *t, u32 times);
noinline void counted(struct thread *t, u32 times)
{
	operation(t, times);
}

int main(int argc, char **argv)
{
	u32 policy, rounds;
	u64 ns, transfers = 0, waits = 0, done = 0;

	if (argc != 8) {
		fprintf(stderr, "usage: refcount_threads OPERATION POLICY THREADS OWN NS ROUNDS "
				"TRANSFERS\n");
		return 2;
	}
	for (u32 i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		if (!strcmp(argv[1], operations[i].name))
			operation = operations[i].repeat;
	policy = atoi(argv[2]);
	nr_threads = atoi(argv[3]);
	ns = atoll(argv[5]);
	rounds = atoi(argv[6]);
	if (!operation || !nr_threads || nr_threads > THREADS_MAX || rounds > ROUNDS_MAX) {
		fprintf(stderr, "refcount_threads: unknown operation, or too many\n");
		return 2;
	}
	count_transfers = 0;
	make_world(policy, atoi(argv[4]));
	if (!ns) {
		counted(&thread[0], rounds);
		return 0;
	}
	count_transfers = atoi(argv[7]);
	printf("{\"rounds\": [");
	for (u32 i = 0; i < rounds; i++) {
		double took = round_of(ns);

		printf("%s[%.3f, %.4f]", i ? ", " : "", took, slowest_probe());
		for (u32 t = 0; t < nr_threads; t++)
			done += thread[t].done;
	}
	for (u32 t = 0; t < nr_threads; t++) {
		transfers += thread[t].transfers;
		waits += thread[t].waits;
	}
	printf("], \"operations\": %lu, \"transfers\": %lu, \"waits\": %lu}\n", done, transfers,
	       waits);
	return kernel.bug != 0;
}
