/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What must hold while no thread works: every count, every table, every frame. */
#include "mm/locks.h"
#include "mm/pt_reclaim.h"
#include "mm/rcu.h"
#include "mm/tables.h"
#include "stress.h"

static const char *const problems[] = {
	"an entry refers to no table",
	"a large page",
	"an entry refers to what is no table",
	"a count is wrong",
	"a lock is still held",
	"an entry maps what is no memory",
};

void check_bug(void)
{
	if (unlikely(READ_ONCE(world.kernel.bug)))
		defect("the kernel found BUG_ number %u at %#lx", world.kernel.bug,
		       world.kernel.bug_address);
}

static void check_cpus(void)
{
	for (u32 i = 0; i < world.options.threads; i++) {
		const struct cpu *cpu = &world.thread[i].cpu;

		if (cpu->rcu_nesting || cpu->irqs_disabled || cpu->gather)
			defect("CPU %u is at rest in a read section, with interrupts off, or gathering",
			       i);
	}
}

/* Of the tables that hold a wrong count: how many references too few or too many. */
static void count_lost(const struct tables_problem *p)
{
	world.lost_counts += p->value > p->other ? p->value - p->other : p->other - p->value;
}

/* Each fast fault that was done is counted once, and no other. */
static void check_faults(void)
{
	u64 done = 0;

	for (u32 i = 0; i < world.options.threads; i++)
		done += world.thread[i].fast;
	if (done != world.mm.counter[MM_COUNTER_pgfault])
		defect("at rest: %lu fast faults were done, %lu are counted", done,
		       world.mm.counter[MM_COUNTER_pgfault]);
}

void check_at_rest(void)
{
	struct tables_report report;

	walk_tables(&world.mm, world.mm.pgd, &report, NULL, NULL, 0);
	for (u64 i = 0; i < report.nr_problems && i < TABLES_PROBLEMS_MAX; i++) {
		const struct tables_problem *p = &report.problem[i];

		if (p->what == TABLES_REFERENCES)
			count_lost(p);
		defect("at rest, %#lx: %s: %#lx entries or value, %#lx counted", p->address,
		       problems[p->what], p->value, p->other);
	}
	check_bug();
	check_cpus();
	if ((s64)report.pages[MM_ANONPAGES] != world.mm.rss_stat[MM_ANONPAGES])
		defect("at rest: %lu pages are mapped, %ld are counted", report.pages[MM_ANONPAGES],
		       world.mm.rss_stat[MM_ANONPAGES]);
	check_faults();
	world.rounds++;
	world.rest_tables += report.pte_tables;
	world.rest_entries += report.entries;
}

static u64 sum_of_tables(bool freed)
{
	u64 sum = 0;

	for (u32 i = 0; i < world.options.threads; i++)
		sum += freed ? world.thread[i].tables_freed : world.thread[i].tables_allocated;
	return sum;
}

/* Every CPU passes quiescent states until nothing waits. */
static void drain_rcu(void)
{
	for (u32 turn = 0; turn < 8; turn++)
		for (u32 i = 0; i < world.options.threads; i++)
			rcu_report_qs(&world.kernel, i);
	if (world.kernel.rcu.nr_pending)
		defect("at the end: %u tables still wait for a grace period",
		       world.kernel.rcu.nr_pending);
}

void check_at_end(void)
{
	const u64 *counter = world.mm.counter;
	struct tables_report report;
	bool kept = world.kernel.policy == FREE_TABLES_NEVER;

	zap(BASE, slot_address(world.options.tables - 1, false) + level_size(4));
	drain_rcu();
	check_at_rest();
	if (kept)
		return;
	walk_tables(&world.mm, world.mm.pgd, &report, NULL, NULL, 0);
	if (report.pte_tables)
		defect("at the end: %lu empty tables are left", report.pte_tables);
	if (table_is_counted(&world.mm, 2) && report.pmd_tables)
		defect("at the end: %lu empty PMD tables are left", report.pmd_tables);
	if (table_is_counted(&world.mm, 3) && report.pud_tables)
		defect("at the end: %lu empty PUD tables are left", report.pud_tables);
	if (sum_of_tables(false) != sum_of_tables(true))
		defect("at the end: %lu tables were allocated, %lu freed", sum_of_tables(false),
		       sum_of_tables(true));
	if (counter[MM_COUNTER_pte_tables_allocated] != counter[MM_COUNTER_pte_tables_freed])
		defect("at the end: the mm counts %lu tables installed, %lu freed",
		       counter[MM_COUNTER_pte_tables_allocated],
		       counter[MM_COUNTER_pte_tables_freed]);
	if (world.memory.nr_pages - world.memory.nr_free != world.frames_kept)
		defect("at the end: %lu frames are in use, not %lu",
		       world.memory.nr_pages - world.memory.nr_free, world.frames_kept);
}
