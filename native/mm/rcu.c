/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/rcu.h"

#include "memory/page_alloc.h"
#include "mm/pgtable.h"

void rcu_read_lock(struct kernel *kernel)
{
	kernel->this_cpu->rcu_nesting++;
}

void rcu_read_unlock(struct kernel *kernel)
{
	if (unlikely(!kernel->this_cpu->rcu_nesting)) {
		kernel_bug(kernel, BUG_RCU_UNBALANCED, 0);
		return;
	}
	kernel->this_cpu->rcu_nesting--;
}

void call_rcu(struct kernel *kernel, u64 pfn)
{
	struct rcu_state *rcu = &kernel->rcu;
	struct memory *ram = kernel->ram;
	u32 index = MEMORY_PAGE_INDEX(ram, pfn);

	ram->pages[index].next = PAGE_NONE;
	if (rcu->head == PAGE_NONE)
		rcu->head = index;
	else
		ram->pages[rcu->tail].next = index;
	rcu->tail = index;
	rcu->nr_pending++;
}

void free_table_frame(struct kernel *kernel, u64 pfn)
{
	struct memory *ram = kernel->ram;
	struct page *page = pfn_to_page(ram, pfn);

	page->flags &= ~PG_table;
	page->ptl = 0;
	page->pte_refcount = 0;
	page->pmd = 0;
	free_pages(ram, pfn, 0, table_is_empty(pa_to_host(ram, pfn << PAGE_SHIFT)));
}

/* Whether every CPU is in a quiescent state. */
static bool all_quiescent(const struct kernel *kernel)
{
	for (u32 i = 0; i < kernel->nr_cpus; i++) {
		if (kernel->cpu[i]->rcu_nesting)
			return false;
	}
	return true;
}

u32 rcu_process_callbacks(struct kernel *kernel)
{
	struct rcu_state *rcu = &kernel->rcu;
	u32 index = rcu->head, freed = rcu->nr_pending;

	if (index == PAGE_NONE || !all_quiescent(kernel))
		return 0;
	rcu->gp_seq++;
	rcu->head = rcu->tail = PAGE_NONE;
	rcu->nr_pending = 0;
	while (index != PAGE_NONE) {
		u32 next = kernel->ram->pages[index].next;

		emit(kernel->ring, rcu_callback, index + first_pfn(kernel->ram), 0, 0);
		free_table_frame(kernel, index + first_pfn(kernel->ram));
		index = next;
	}
	return freed;
}
