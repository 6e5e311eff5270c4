/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine: CPUs that are host threads, their waits, and memory. */
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memory/page_alloc.h"
#include "mm/pgalloc.h"
#include "mm/pmd_ref.h"
#include "mm/pt_reclaim.h"
#include "mm/rcu.h"
#include "stress.h"

#define RAM ((u64)64 << 20)
#define PENDING_MAX 2048 /* frames in RCU, above which allocation waits for a grace period */
#define SPINS 64	 /* before the CPU is left to another thread */
#define STOP_NS 30000000 /* how long a stopped thread is away */

struct world world;
_Thread_local struct thread *me;

void defect(const char *format, ...)
{
	va_list arguments;

	while (__atomic_exchange_n(&world.broken, 1, __ATOMIC_ACQ_REL))
		pause(); /* another found one first, and ends the program */
	va_start(arguments, format);
	vsnprintf(world.defect, sizeof(world.defect), format, arguments);
	va_end(arguments);
	print_report();
	fflush(stdout);
	_exit(1);
}

u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* xorshift64* */
u64 next_random(void)
{
	u64 x = me->random;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	me->random = x;
	return x * 0x2545f4914f6cdd1d >> 8;
}

/* ---- waiting ---- */

struct wait begin_wait(void)
{
	return (struct wait){ now_ns(), 0 };
}

void wait_on(struct wait *w, const char *what)
{
	take_interrupts();
	if (++w->spins % SPINS) {
		__builtin_ia32_pause();
		return;
	}
	sched_yield();
	if (w->spins % (SPINS * 64) == 0 && now_ns() - w->since > world.options.stall_ms * 1000000)
		defect("CPU %u waits for %s for more than %lu ms", me->cpu.id, what,
		       world.options.stall_ms);
}

void end_wait(const struct wait *w)
{
	u64 ns = now_ns() - w->since;

	if (ns > me->wait_ns_max)
		me->wait_ns_max = ns;
}

static bool wait_for_lock(struct kernel *kernel, u32 *lock, u32 kind)
{
	struct wait w = begin_wait();

	(void)kernel;
	while (READ_ONCE(*lock))
		wait_on(&w, kind == LOCK_PTE ? "a PTE lock" : "a PMD lock");
	end_wait(&w);
	return true;
}

/* ---- preemption and RCU ---- */

void may_stop(u32 one_of)
{
	struct timespec away = { .tv_nsec = STOP_NS };

	if (!world.options.unfair || next_random() % one_of)
		return;
	me->stops++;
	nanosleep(&away, NULL);
}

/* Stay here, with interrupts taken and RCU told that nothing is read. */
static void stay(u32 turns)
{
	for (u32 i = turns; i > 0; i--) {
		take_interrupts();
		__builtin_ia32_pause();
		if (i % 64 == 0)
			rcu_report_qs(&world.kernel, me->cpu.id);
		if (i % 512 == 0)
			sched_yield();
	}
}

void may_be_preempted(void)
{
	u64 chance = next_random();

	take_interrupts();
	check_bug();
	if (chance % 64)
		return;
	rcu_report_qs(&world.kernel, me->cpu.id);
	if (chance / 64 % 4 == 0)
		sched_yield();
	else if (chance / 64 % 4 == 1)
		stay(chance / 256 % 2048);
	else
		for (u32 i = chance / 256 % 512; i > 0; i--)
			__builtin_ia32_pause();
	may_stop(1024);
}

void linger(void)
{
	u64 chance = next_random();

	if (chance % 8 == 0)
		stay(chance / 8 % 2048);
}

void wait_for_memory(void)
{
	struct wait w;

	if (likely(READ_ONCE(world.kernel.rcu.nr_pending) <= PENDING_MAX))
		return;
	w = begin_wait();
	me->throttled++;
	while (READ_ONCE(world.kernel.rcu.nr_pending) > PENDING_MAX / 2) {
		wait_on(&w, "a grace period");
		rcu_report_qs(&world.kernel, me->cpu.id);
	}
	end_wait(&w);
}

void meet(void)
{
	u32 round = __atomic_load_n(&world.round, __ATOMIC_ACQUIRE);
	struct wait w = begin_wait();

	if (__atomic_add_fetch(&world.arrived, 1, __ATOMIC_ACQ_REL) == world.options.threads) {
		WRITE_ONCE(world.arrived, 0);
		__atomic_fetch_add(&world.round, 1, __ATOMIC_ACQ_REL);
		return;
	}
	while (__atomic_load_n(&world.round, __ATOMIC_ACQUIRE) == round) {
		take_interrupts();
		if (++w.spins % SPINS == 0)
			sched_yield();
		if (w.spins % 1024 == 0)
			rcu_report_qs(&world.kernel, me->cpu.id);
	}
}

/* ---- making it ---- */

/* A first-level array for loads and stores, a second-level one, and paging-structure caches. */
static void lay_out_tlb(struct tlb *tlb)
{
	static const struct tlb_array arrays[] = {
		{ .kind = TLB_DTLB_LOAD | TLB_DTLB_STORE, .sizes = 2, .sets = 16, .ways = 4 },
		{ .kind = TLB_L2_DTLB, .sizes = 2, .sets = 64, .ways = 8 },
		{ .kind = TLB_PSC, .tables = 1 << 2 | 1 << 3 | 1 << 4, .sets = 1, .ways = 32 },
	};
	u32 sets = 0;

	tlb->random = 1;
	tlb->nr_arrays = sizeof(arrays) / sizeof(arrays[0]);
	for (u32 i = 0; i < tlb->nr_arrays; i++) {
		struct tlb_array *array = &tlb->array[i];

		*array = arrays[i];
		array->first = tlb->nr_entries;
		array->first_set = sets;
		array->enters[1] = array->sizes ? 1 : 0;
		array->pcids = TLB_ANY_PCIDS;
		tlb->nr_entries += array->sets * array->ways;
		sets += array->sets;
	}
}

static void make_cpu(u32 id)
{
	struct thread *t = &world.thread[id];

	t->random = (world.options.seed + id + 1) * 0x9e3779b97f4a7c15;
	t->mmu.ram = &world.memory;
	t->mmu.cpu = id;
	t->mmu.cr0 = CR0_PE | CR0_PG | CR0_WP;
	t->mmu.cr4 = CR4_PAE;
	t->mmu.cr3 = world.mm.pgd;
	t->mmu.efer = EFER_LME | EFER_LMA | EFER_NXE;
	t->mmu.maxphyaddr = 40;
	t->mmu.exact = 1;
	lay_out_tlb(&t->mmu.tlb);
	t->cpu.kernel = &world.kernel;
	t->cpu.mmu = &t->mmu;
	t->cpu.id = id;
	t->cpu.loaded_mm = &world.mm;
	t->cpu.rcu_watching = 1;
	t->cpu.ctxs[0].ctx_id = world.mm.ctx_id;
	world.kernel.cpu[id] = &t->cpu;
	world.kernel.nr_cpus++;
	world.mm.cpu_bitmap |= 1ull << id;
}

static void make_mm(void)
{
	struct mm_struct *mm = &world.mm;

	mm->kernel = &world.kernel;
	mm->ram = &world.memory;
	mm->ctx_id = INIT_MM_CTX_ID + 1;
	mm->pgd = alloc_pages(&world.memory, 0, true) << PAGE_SHIFT;
	page_change_flags(pfn_to_page(mm->ram, mm->pgd >> PAGE_SHIFT), PG_table, 0);
	mm->global_asid = world.options.invlpgb;
	make_vmas();
}

/* The upper tables that stay, for they are not counted: no freeing of theirs is looked for. */
static void make_upper_tables(void)
{
	for (u32 i = 0; i < 2 * world.options.tables; i++) {
		u64 addr = slot_address(i / 2, i % 2);

		if (!table_is_counted(&world.mm, 3) && !pud_alloc(&world.mm, addr))
			abort();
		if (!table_is_counted(&world.mm, 2) && !pmd_alloc(&world.mm, addr))
			abort();
	}
	for (u64 i = 0; i < world.memory.frontier; i++)
		if (READ_ONCE(world.memory.pages[i].flags) & PG_table)
			world.frames[i].state = FRAME_UPPER;
	for (u32 i = 0; i < world.options.threads; i++)
		world.thread[i].tables_allocated = 0;
	world.frames_kept = world.memory.nr_pages - world.memory.nr_free;
}

void make_world(const struct options *options)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	u64 bytes = options->threads * sizeof(struct thread);

	world.options = *options;
	world.thread = aligned_alloc(128, (bytes + 127) / 128 * 128);
	world.frames = calloc(RAM >> PAGE_SHIFT, sizeof(*world.frames));
	if (!world.thread || !world.frames || memory_init(&world.memory, RAM, 0))
		abort();
	memset(world.thread, 0, bytes);
	me = world.thread;
	world.kernel.ram = &world.memory;
	world.kernel.policy = options->policy;
	world.kernel.free_levels = options->free_levels;
	world.kernel.invlpgb = options->invlpgb;
	world.kernel.rcu.head = world.kernel.rcu.tail = world.kernel.rcu.wait_head = PAGE_NONE;
	world.kernel.wait_for_lock = wait_for_lock;
	world.kernel.flush_others = flush_others;
	world.kernel.sync_one = sync_one;
	make_mm();
	for (u32 id = 0; id < options->threads; id++)
		make_cpu(id);
	set_this_cpu(&world.kernel, &me->cpu);
	make_upper_tables();
	sigaction(SIGUSR1, &action, NULL);
	catch_crashes();
}
