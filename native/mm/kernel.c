/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel and its CPUs: which one runs, and what all of them must hear of. */
#include "memory/page_alloc.h"
#include "mm/pgtable.h"

#ifdef UCMMU_SMP
_Thread_local struct cpu *cpu_of_thread;
#endif

void set_this_cpu(struct kernel *kernel, struct cpu *cpu)
{
	struct event_ring *ring = kernel->ring;

#ifdef UCMMU_SMP
	cpu_of_thread = cpu;
#else
	kernel->this_cpu = cpu;
#endif
	if (!ring)
		return;
	ring->cpu = cpu->id;
	ring->task = cpu->current_pid;
	ring->ahead_ns = cpu->ahead_ns;
	ring->instruction = cpu->instructions ? *cpu->instructions : 0;
}

void local_irq_save(struct cpu *cpu)
{
	cpu->irqs_disabled++;
}

void local_irq_restore(struct cpu *cpu)
{
	struct kernel *kernel = cpu->kernel;

	if (unlikely(!cpu->irqs_disabled)) {
		kernel_bug(kernel, BUG_IRQS_UNBALANCED, cpu->id);
		return;
	}
	if (!--cpu->irqs_disabled && cpu->nr_calls)
		kernel->run_calls(kernel, cpu->id);
}

/* Note the page with one CPU. */
static void note_code(struct cpu *cpu, u64 page)
{
	struct code_written *drop = &cpu->code_written;

	if (drop->nr && drop->page[drop->nr - 1] == page)
		return;
	if (drop->nr == CODE_WRITTEN_MAX)
		drop->all = 1;
	else
		drop->page[drop->nr++] = page;
}

void note_code_written(struct kernel *kernel, u64 pa)
{
	for (u32 i = 0; i < kernel->nr_cpus; i++)
		note_code(kernel->cpu[i], pa & ~(u64)(PAGE_SIZE - 1));
}

void note_code_stored(struct cpu *cpu, u64 pa)
{
	const struct kernel *kernel = cpu->kernel;

	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		if (kernel->cpu[i] != cpu)
			note_code(kernel->cpu[i], pa & ~(u64)(PAGE_SIZE - 1));
	}
}

void note_code_fetched(struct cpu *cpu)
{
	const struct kernel *kernel = cpu->kernel;

	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		if (kernel->cpu[i] != cpu)
			kernel->cpu[i]->mmu->soft.all = 1;
	}
}

u64 take_freed_code(struct memory *m, struct kernel *kernel, u32 id)
{
	u64 pfn = memory_take_code(m);

	if (!pfn || !kernel)
		return pfn;
	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		if (i != id)
			note_code(kernel->cpu[i], pfn << PAGE_SHIFT);
	}
	return pfn;
}
