/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/rcu.h"

#include "memory/page_alloc.h"
#include "mm/pgtable.h"

void rcu_read_lock(struct kernel *kernel)
{
	this_cpu(kernel)->rcu_nesting++;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

void rcu_read_unlock(struct kernel *kernel)
{
	struct cpu *cpu = this_cpu(kernel);

	if (unlikely(!cpu->rcu_nesting)) {
		kernel_bug(kernel, BUG_RCU_UNBALANCED, 0);
		return;
	}
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	cpu->rcu_nesting--;
}

void call_rcu(struct kernel *kernel, u64 pfn)
{
	struct rcu_state *rcu = &kernel->rcu;
	struct memory *ram = kernel->ram;
	u32 index = MEMORY_PAGE_INDEX(ram, pfn);

	smp_lock(&rcu->lock);
	ram->pages[index].next = PAGE_NONE;
	if (rcu->head == PAGE_NONE)
		rcu->head = index;
	else
		ram->pages[rcu->tail].next = index;
	rcu->tail = index;
	WRITE_ONCE(rcu->nr_pending, rcu->nr_pending + 1);
	stat_inc(kernel->counter[KERNEL_COUNTER_rcu_callbacks]);
	stat_max(&kernel->counter[KERNEL_COUNTER_rcu_pending_max], rcu->nr_pending);
	emit_from(__func__, kernel->ring, rcu_callback_queued, pfn, rcu->nr_pending);
	smp_unlock(&rcu->lock);
}

void free_table_frame(struct kernel *kernel, u64 pfn)
{
	struct memory *ram = kernel->ram;
	struct page *page = pfn_to_page(ram, pfn);

	page_change_flags(page, 0, PG_table | PG_upper);
	WRITE_ONCE(page->ptl, 0);
	WRITE_ONCE(page->pte_refcount, 0);
	WRITE_ONCE(page->pmd, 0);
	free_pages(ram, pfn, 0, table_is_empty(pa_to_host(ram, pfn << PAGE_SHIFT)));
}

/* Interrupts that are off are a read section too: fast GUP relies on it. */
static bool in_read_section(const struct cpu *cpu)
{
	return cpu->rcu_nesting || cpu->irqs_disabled;
}

/* Is the CPU in a quiescent state without saying so: idle, and in no read section? */
static bool is_idle(const struct cpu *cpu)
{
	return !cpu->rcu_watching && !in_read_section(cpu);
}

/* Begin a grace period for all that is queued: every CPU that is not idle must report. */
static void gp_start(struct kernel *kernel)
{
	struct rcu_state *rcu = &kernel->rcu;

	rcu->wait_head = rcu->head;
	rcu->head = rcu->tail = PAGE_NONE;
	rcu->gp_running = 1;
	rcu->qs_mask = 0;
	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		if (!is_idle(kernel->cpu[i]))
			rcu->qs_mask |= 1ull << i;
	}
	emit_from(__func__, kernel->ring, rcu_grace_period, rcu->gp_seq + 1, RCU_GP_START);
}

/* Clear from the mask CPU number id, if it is in no read section, and all that went idle. */
static void gp_note_qs(struct kernel *kernel, u32 id)
{
	struct rcu_state *rcu = &kernel->rcu;

	for (u64 mask = rcu->qs_mask; mask; mask &= mask - 1) {
		u32 i = __builtin_ctzll(mask);
		const struct cpu *cpu = kernel->cpu[i];

		if (!is_idle(cpu) && (i != id || in_read_section(cpu)))
			continue;
		rcu->qs_mask &= ~(1ull << i);
		emit_from(__func__, kernel->ring, rcu_grace_period, rcu->gp_seq + 1, RCU_GP_CPUQS);
	}
}

void check_speculation_everywhere(const struct kernel *kernel)
{
	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		struct mmu_unit *u = kernel->cpu[i]->mmu;

		if (unlikely(u->check))
			check_speculation(u);
	}
}

/* The grace period is over: free what waited for it. Returns frames freed. */
static u32 gp_end(struct kernel *kernel)
{
	struct rcu_state *rcu = &kernel->rcu;
	u32 index = rcu->wait_head, freed = 0;

	rcu->gp_seq++;
	rcu->gp_running = 0;
	rcu->wait_head = PAGE_NONE;
	emit_from(__func__, kernel->ring, rcu_grace_period, rcu->gp_seq, RCU_GP_END);
	for (; index != PAGE_NONE; freed++) {
		u32 next = kernel->ram->pages[index].next;

		emit_from(__func__, kernel->ring, rcu_callback, index + first_pfn(kernel->ram));
		free_table_frame(kernel, index + first_pfn(kernel->ram));
		index = next;
	}
	WRITE_ONCE(rcu->nr_pending, rcu->nr_pending - freed);
	check_speculation_everywhere(kernel);
	return freed;
}

/* rcu_report_qs(), its lock held. */
static u32 report_qs(struct kernel *kernel, u32 id)
{
	struct rcu_state *rcu = &kernel->rcu;
	u32 freed = 0;

	for (;;) {
		if (!rcu->gp_running) {
			if (rcu->head == PAGE_NONE && rcu->gp_seq >= rcu->gp_seq_needed)
				return freed;
			gp_start(kernel);
		}
		gp_note_qs(kernel, id);
		if (rcu->qs_mask)
			return freed;
		freed += gp_end(kernel);
	}
}

u32 rcu_report_qs(struct kernel *kernel, u32 id)
{
	u32 freed;

	smp_lock(&kernel->rcu.lock);
	freed = report_qs(kernel, id);
	smp_unlock(&kernel->rcu.lock);
	return freed;
}

u32 rcu_process_callbacks(struct kernel *kernel)
{
	return rcu_report_qs(kernel, this_cpu(kernel)->id);
}
