/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mm/rcu.h"

#include "mm/pgtable.h"

void rcu_read_lock(struct mm_struct *mm)
{
	mm->rcu->nesting++;
}

void rcu_read_unlock(struct mm_struct *mm)
{
	if (unlikely(!mm->rcu->nesting)) {
		mm_bug(mm, BUG_RCU_UNBALANCED, 0);
		return;
	}
	mm->rcu->nesting--;
}

void call_rcu(struct mm_struct *mm, u64 pfn)
{
	struct rcu_state *rcu = mm->rcu;
	u32 index = MEMORY_PAGE_INDEX(mm->ram, pfn);

	mm->ram->pages[index].next = PAGE_NONE;
	if (rcu->head == PAGE_NONE)
		rcu->head = index;
	else
		mm->ram->pages[rcu->tail].next = index;
	rcu->tail = index;
	rcu->nr_pending++;
}

/* Free one table frame; its lock dies with it. */
static void free_table_frame(struct mm_struct *mm, u32 index)
{
	struct page *page = &mm->ram->pages[index];
	u64 pfn = index + (mm->ram->base >> PAGE_SHIFT);

	emit(mm->ring, rcu_callback, pfn, 0, 0);
	page->flags &= ~PG_table;
	page->ptl = 0;
	page->pte_refcount = 0;
	page->pmd = 0;
	free_pages(mm->ram, pfn, 0, table_is_empty(pa_to_host(mm->ram, pfn << PAGE_SHIFT)));
}

u32 rcu_process_callbacks(struct mm_struct *mm)
{
	struct rcu_state *rcu = mm->rcu;
	u32 index = rcu->head, freed = rcu->nr_pending;

	if (rcu->nesting || index == PAGE_NONE)
		return 0;
	rcu->gp_seq++;
	rcu->head = rcu->tail = PAGE_NONE;
	rcu->nr_pending = 0;
	while (index != PAGE_NONE) {
		u32 next = mm->ram->pages[index].next;

		free_table_frame(mm, index);
		index = next;
	}
	return freed;
}
