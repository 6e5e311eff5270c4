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
#define TABLES_MAX 128
#define BASE ((u64)1 << 30)	 /* where the VMAs begin */
#define STAMP 0x5ca1ab1e00000000 /* what a page is stamped with, besides its address: no PTE */
#define POISON 0x6b6b6b6067	 /* of a freed table: present, and beyond RAM */

/* What a thread does, in turn at random. */
enum operation {
	FAULT,	 /* do_anonymous_fault(), for reading or writing */
	FAST,	 /* mm_fast_fault(), likewise */
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
	MOVE,	 /* mremap() of a whole table, or of its entries */
	NR_OPERATIONS
};

extern const char *const operation_names[NR_OPERATIONS];

struct options {
	u32 threads;
	u32 policy;	 /* FREE_TABLES_* */
	u32 free_levels; /* FREE_LEVELS_* */
	bool invlpgb;	 /* flushes are broadcast */
	u32 tables;	 /* PTE tables that they share */
	u32 pages;	 /* pages used of each */
	double seconds;
	u64 seed;
	u64 stall_ms; /* a wait longer than this is a defect */
	bool unfair;  /* a thread is stopped now and then where another may have to wait for it */
};

/* What one CPU asks another for. */
struct request {
	const struct flush_tlb_info *info; /* a flush; NULL: to take an interrupt, no more */
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
	u32 operation;
	u32 masked; /* interrupts wait: the CPU is within an instruction, or takes one already */
	u64 done[NR_OPERATIONS], missed[NR_OPERATIONS]; /* missed: there was no table, no page */
	u64 tables_allocated, tables_freed, faults, fast, retries, calls, throttled, stops;
	u64 broadcasts, tables_moved, entries_moved;
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
	u64 pending[THREADS_MAX];			  /* by CPU, who asked for an interrupt */
	u64 broadcast[THREADS_MAX];			  /* by CPU, whose INVLPGB is to be done */
	u32 mmap_lock;					  /* held for writing */
	u64 gone;					  /* a place whose table has just left it */
	u64 frames_kept;				  /* of tables that stay, among others */
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

/* crash.c: a thread that touches what is no memory has broken a rule, too. */
void catch_crashes(void);
/* machine.c: what the product asks of a machine; time, chance and waiting. */
u64 next_random(void);
u64 now_ns(void);
void make_world(const struct options *options);
/* A wait in progress. */
struct wait {
	u64 since;
	u32 spins;
};
struct wait begin_wait(void);
/* Once more round a wait, in which interrupts are taken; too long a one is a defect. */
void wait_on(struct wait *w, const char *what);
void end_wait(const struct wait *w);
/* A place where this CPU may be interrupted, preempted or stopped: sometimes it is. */
void may_be_preempted(void);
/* With options.unfair: be away for long, once in so many calls. */
void may_stop(u32 one_of);
/* Stay here for a while, sometimes, with interrupts taken and RCU told that nothing is read. */
void linger(void);
/* If many frames wait for a grace period, wait for it. */
void wait_for_memory(void);
/* Wait, with interrupts on, until all CPUs are here. */
void meet(void);

/* interrupts.c: what CPUs ask each other for. */
/* Take what waits for this CPU: interrupts if they are on, INVLPGB always. */
void take_interrupts(void);
/* struct kernel's functions of these names. */
void flush_others(struct mm_struct *mm, const struct flush_tlb_info *info);
void sync_one(struct kernel *kernel);
/* An interrupt comes between any two instructions of the thread. */
void on_signal(int signal);

/* slots.c: where the tables are, and the VMAs over them. */
void make_vmas(void);
/* The first address of a table, at home or away, where mremap() moves it. */
u64 slot_address(u32 table, bool away);
u64 any_slot(void);
/* A used page of any table, at either place. */
u64 any_page(void);
/* The address that a page has at home: what it is stamped with, wherever it is moved. */
u64 home_of(u64 addr);
/* The table that is held for addr must stand there, or where mremap() may have moved it. */
void check_place(u64 table, u64 addr, const char *who);
/* Read-lock, and unlock, the VMA of addr. */
bool lock_slot(u64 addr);
void unlock_slot(u64 addr);
/* Have mmap_lock for writing and both VMAs write-locked; false: another has mmap_lock. */
bool lock_slots_for_write(u64 one, u64 other);
void unlock_slots_for_write(void);

/* operations.c: one of them, drawn at random. */
void operate(void);
/* Those of files of their own.  Each returns whether there was something to do. */
bool gup(void);
bool read_section(void);
bool move_some(void);
bool zap_some(void);
/*
 * Has the table of addr moved away, its VMA being write-locked still?  Which move it was, 0: no. If
 * it is the same before a translation and after it, the translation must fail.
 */
u64 gone_since(u64 addr);
/* Zap [start, end), whose VMAs are locked or used by nobody. */
void zap(u64 start, u64 end);

/* walkers.c: what may be seen, by who. */
/* Is the first word of the page at addr what a page of this mm holds: 0 at first, or its stamp? */
void check_word(u64 word, u64 addr, const char *who);
/* Is this what an entry of this mm can be: none, or one that refers to RAM? */
void check_entry(u64 entry, u64 addr, const char *who);
/* Look at all used entries of the table that holds *pte. */
void check_entries(const pte_t *pte, const char *who);
/* frames.c: is the frame a table's, and is it still in the life that it was? */
void check_table_lives(u64 pfn, u32 lives, const char *who);
u32 table_lives(u64 pfn);
/* rest.c: has the product found a broken invariant itself? (BUG_* of mm/mm.h) */
void check_bug(void);
/* All threads are at rest. Does every count say what its table holds? */
void check_at_rest(void);
/* The end: unmap everything, wait out RCU; nothing may be left. */
void check_at_end(void);

#endif
