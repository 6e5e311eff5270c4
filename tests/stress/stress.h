/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Host threads, each a CPU, that fault, zap, look up and read on a few tables of one mm: what of
 * native/ frees PTE tables, built with UCMMU_SMP, and what it is given here of a machine.
 */
#ifndef UCMMU_TESTS_STRESS_H
#define UCMMU_TESTS_STRESS_H

#include <pthread.h>

#include "mm/mm.h"
#include "x86/unit.h"

#define THREADS_MAX 32
#define BASE ((u64)1 << 30)	 /* where the VMA begins */
#define STAMP 0x5ca1ab1e00000000 /* what a page is stamped with, besides its address: no PTE */

/* What a thread does, in turn at random. */
enum operation {
	FAULT,	 /* do_anonymous_fault(), for reading or writing */
	ACCESS,	 /* a guest's load or store through the TLB model, faults included */
	ZAP,	 /* MADV_DONTNEED of a page, of some, or of a whole table */
	VISIT,	 /* pte_tryget_map(): look at the entries without a lock, put */
	LOCK,	 /* pte_tryget_map_lock(): count the entries under the lock, put */
	GET_PUT, /* pte_get() and pte_put() on a table that is held */
	ALLOC,	 /* pte_alloc_get(), which makes the table if there is none, and pte_put() */
	GUP,	 /* a page's frame without lock or reference of the table, interrupts off */
	READ,	 /* an RCU read section over a copy of the PMD entry */
	IDLE,	 /* the CPU leaves RCU's sight, and comes back */
	LAZY,	 /* its TLB is lazy: it speculates, but uses nothing */
	NR_OPERATIONS
};

extern const char *const operation_names[NR_OPERATIONS];

struct options {
	u32 threads;
	u32 policy; /* FREE_TABLES_* */
	u32 tables; /* PTE tables that they share */
	u32 pages;  /* pages used of each */
	double seconds;
	u64 seed;
	u64 stall_ms; /* a wait longer than this is a defect */
	bool unfair;  /* a thread is stopped now and then where another may have to wait for it */
};

/* A flush that one CPU asks another for. */
struct request {
	const struct flush_tlb_info *info;
	u32 pending;
};

/* What frames are to this program; the product does not know it. */
enum frame_state {
	FRAME_OTHER,
	FRAME_TABLE,
	FRAME_UPPER
};

struct frame {
	u32 state; /* enum frame_state */
	u32 lives; /* how often it was freed as a table */
};

struct thread {
	struct cpu cpu;
	struct mmu_unit mmu;
	struct mmu_gather gather;
	pthread_t pthread;
	u64 random;
	u32 masked; /* interrupts wait: the CPU is within an instruction, or takes one already */
	u64 done[NR_OPERATIONS], missed[NR_OPERATIONS]; /* missed: there was no table, no page */
	u64 tables_allocated, tables_freed, faults, retries, calls, throttled, stops;
	u64 reads;	  /* words that were checked */
	u64 wait_ns_max;  /* the longest wait for a lock, or for other CPUs */
	u64 batch_ns_max; /* the longest 64 operations, waits and preemption by the host included */
	u32 sections;	  /* RCU read sections left, in one fault or operation */
	char padding[128];
};

struct world {
	struct options options;
	struct memory memory;
	struct kernel kernel;
	struct mm_struct mm;
	struct frame *frames; /* by index */
	struct thread *thread;
	struct request request[THREADS_MAX][THREADS_MAX]; /* of the first by the second */
	u64 pending[THREADS_MAX];			  /* by CPU, who asked */
	u32 arrived;					  /* at the barrier */
	u32 round;					  /* of the barrier */
	u32 stop;					  /* 1: it is time to end */
	u32 rounds;					  /* that were checked at rest */
	u64 rest_tables, rest_entries;			  /* seen then */
	u64 lost_counts;
	u64 since; /* when it began, ns */
	u32 broken;
	char defect[512]; /* what is wrong */
};

extern struct world world;
extern _Thread_local struct thread *me;

/* A rule is broken: say so in the report, and end the program. */
_Noreturn void defect(const char *format, ...) __attribute__((format(printf, 1, 2)));
void print_report(void);
static inline void mask_interrupts(void)
{
	me->masked++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void unmask_interrupts(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	me->masked--;
}

static inline bool has_ended(void)
{
	return READ_ONCE(world.stop) != 0;
}

/* random.c and time */
u64 next_random(void);
u64 now_ns(void);

/* machine.c: what the product asks of a machine. */
void make_world(const struct options *options);
/* Take the interrupts that wait for this CPU, if it takes any. */
void take_interrupts(void);
/* A place where this CPU may be interrupted, preempted or stopped: sometimes it is. */
void may_be_preempted(void);
/* With options.unfair: be away for long, once in so many calls. */
void may_stop(u32 one_of);
/* Stay here for a while, sometimes, with interrupts taken and RCU told that nothing is read. */
void linger(void);
/* If many frames wait for a grace period, wait for it. */
void wait_for_memory(void);
/* Wait, with interrupts on, until all CPUs are here. Returns whether this one is the last. */
void meet(void);
/* Has the product found a broken invariant itself? (BUG_* of mm/mm.h) */
void check_bug(void);
/* Is the frame a table's, and is it still in the life that it was? */
void check_table_lives(u64 pfn, u32 lives, const char *who);
u32 table_lives(u64 pfn);

/* operations.c: one of them, drawn at random; and MADV_DONTNEED of a range. */
void operate(void);
void zap(u64 start, u64 end);
/* rest.c: all threads are at rest. Does every count say what its table holds? */
void check_at_rest(void);
/* The end: unmap everything, wait out RCU; nothing may be left. */
void check_at_end(void);

#endif
