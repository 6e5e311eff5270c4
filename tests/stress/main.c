/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads, their rounds, and what came of it: one JSON object on standard output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

#define ROUND_NS 100000000 /* of work, then everybody rests and is looked at */
#define BATCH 64	   /* operations between two looks at the clock */

static const char *const policies[] = { "never", "scan", "refcount", "refcount-pmdlock" };
static const char *const levels[] = { "pte", "pmd", "pud" }; /* from FREE_LEVELS_PTE on */

static void work_until(u64 end)
{
	while (!has_ended() && now_ns() < end) {
		u64 since = now_ns(), spent;

		for (u32 i = 0; i < BATCH && !has_ended(); i++)
			operate();
		spent = now_ns() - since;
		if (spent > me->batch_ns_max)
			me->batch_ns_max = spent;
	}
}

static void *run(void *arg)
{
	u64 end;

	me = arg;
	me->pthread = pthread_self();
	set_this_cpu(&world.kernel, &me->cpu);
	meet(); /* nobody interrupts a CPU that is not there yet */
	end = now_ns() + (u64)(world.options.seconds * 1e9);
	do {
		u64 now = now_ns();

		work_until(now + ROUND_NS < end ? now + ROUND_NS : end);
		meet();
		if (me->cpu.id == 0)
			check_at_rest();
		if (me->cpu.id == 0 && now_ns() >= end && !world.stop)
			WRITE_ONCE(world.stop, 1);
		meet();
	} while (!has_ended());
	return NULL;
}

static double number(const char *name, const char *text, double least, double most)
{
	char *end;
	double value = strtod(text, &end);

	if (*end || end == text || !(value >= least && value <= most)) {
		fprintf(stderr, "stress: %s must be a number from %g to %g, not %s\n", name, least,
			most, text);
		exit(2);
	}
	return value;
}

/* Which of the names it is. */
static u32 number_of(const char *name, const char *const *names, u32 nr)
{
	for (u32 i = 0; i < nr; i++)
		if (!strcmp(names[i], name))
			return i;
	fprintf(stderr, "stress: %s is none of %s to %s\n", name, names[0], names[nr - 1]);
	exit(2);
}

static u64 sum(size_t field)
{
	u64 total = 0;

	for (u32 i = 0; i < world.options.threads; i++)
		total += *(const u64 *)((const char *)&world.thread[i] + field);
	return total;
}

static u64 most(size_t field)
{
	u64 value = 0;

	for (u32 i = 0; i < world.options.threads; i++) {
		u64 mine = *(const u64 *)((const char *)&world.thread[i] + field);

		value = mine > value ? mine : value;
	}
	return value;
}

#define SUM(field) sum(offsetof(struct thread, field))
#define MOST(field) most(offsetof(struct thread, field))

static void print_operations(void)
{
	u64 total = 0;

	printf("\"operations\": {");
	for (u32 i = 0; i < NR_OPERATIONS; i++) {
		u64 done = SUM(done[i]);

		total += done;
		printf("\"%s\": %lu, ", operation_names[i], done);
	}
	printf("\"total\": %lu}, \"missed\": {", total);
	for (u32 i = 0; i < NR_OPERATIONS; i++)
		printf("%s\"%s\": %lu", i ? ", " : "", operation_names[i], SUM(missed[i]));
	printf("}, ");
}

static void print_defect(void)
{
	printf("\"defects\": %u, \"defect\": ", world.broken);
	if (world.broken)
		printf("\"%s\"", world.defect);
	else
		printf("null");
	printf("}\n");
}

void print_report(void)
{
	const struct options *o = &world.options;
	double seconds = (now_ns() - world.since) / 1e9;

	printf("{\"free_tables\": \"%s\", \"free_levels\": \"%s\", \"invlpgb\": %s, ",
	       policies[o->policy], levels[o->free_levels - FREE_LEVELS_PTE],
	       o->invlpgb ? "true" : "false");
	printf("\"threads\": %u, \"tables\": %u, \"pages\": %u, ", o->threads, o->tables, o->pages);
	printf("\"seed\": %lu, \"seconds\": %.3f, ", o->seed, seconds);
	print_operations();
	printf("\"tables_allocated\": %lu, \"tables_freed\": %lu, \"lost_counts\": %lu, ",
	       SUM(tables_allocated), SUM(tables_freed), world.lost_counts);
	printf("\"faults\": %lu, \"flushes_for_others\": %lu, \"grace_periods\": %lu, ",
	       SUM(faults), SUM(calls), world.kernel.rcu.gp_seq);
	printf("\"fast_faults\": %lu, \"broadcasts\": %lu, ", SUM(fast), SUM(broadcasts));
	printf("\"tables_moved\": %lu, \"entries_moved\": %lu, ", SUM(tables_moved),
	       SUM(entries_moved));
	printf("\"words_checked\": %lu, \"stops\": %lu, \"throttled\": %lu, ", SUM(reads),
	       SUM(stops), SUM(throttled));
	printf("\"rests\": %u, \"tables_at_rest\": %lu, \"entries_at_rest\": %lu, ", world.rounds,
	       world.rest_tables, world.rest_entries);
	printf("\"lock_waits\": %lu, \"wait_us_max\": %lu, \"batch_us_max\": %lu, ",
	       world.kernel.counter[KERNEL_COUNTER_pte_lock_contended] +
		       world.kernel.counter[KERNEL_COUNTER_pmd_lock_contended],
	       MOST(wait_ns_max) / 1000, MOST(batch_ns_max) / 1000);
	print_defect();
}

int main(int argc, char **argv)
{
	pthread_t made[THREADS_MAX];
	struct options options;

	if (argc != 11) {
		fprintf(stderr, "usage: stress POLICY LEVELS INVLPGB THREADS TABLES PAGES SECONDS "
				"SEED STALL_MS UNFAIR\n");
		return 2;
	}
	options = (struct options){
		.policy = number_of(argv[1], policies, 4),
		.free_levels = FREE_LEVELS_PTE + number_of(argv[2], levels, 3),
		.invlpgb = number("INVLPGB", argv[3], 0, 1),
		.threads = number("THREADS", argv[4], 1, THREADS_MAX),
		.tables = number("TABLES", argv[5], 1, TABLES_MAX),
		.pages = number("PAGES", argv[6], 1, PTRS_PER_PTE),
		.seconds = number("SECONDS", argv[7], 0, 1e9),
		.seed = number("SEED", argv[8], 0, 1e15),
		.stall_ms = number("STALL_MS", argv[9], 1, 1e9),
		.unfair = number("UNFAIR", argv[10], 0, 1),
	};
	make_world(&options);
	world.since = now_ns();
	for (u32 i = 0; i < options.threads; i++)
		if (pthread_create(&made[i], NULL, run, &world.thread[i])) {
			fprintf(stderr, "stress: no thread can be made\n");
			return 2;
		}
	for (u32 i = 0; i < options.threads; i++)
		pthread_join(made[i], NULL);
	me = world.thread;
	set_this_cpu(&world.kernel, &me->cpu);
	world.mm.cpu_bitmap = 1; /* the others are gone */
	check_at_end();
	print_report();
	return 0;
}
