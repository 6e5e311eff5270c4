/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of frames, seen from outside: the linker leads the product's calls of these
 * functions here first (--wrap).  A table's frame is poisoned when it is freed, so that whoever
 * still reads it reads what is no PTE.
 */
#include "memory/page_alloc.h"
#include "mm/locks.h"
#include "mm/pgalloc.h"
#include "mm/rcu.h"
#include "stress.h"

#define SECTIONS_MAX 10000 /* in one fault, or one operation without: a few are usual */
#define SECTIONS_USUAL 100 /* who has left more may spin: it is not preempted any more */

u64 __real_table_alloc(struct mm_struct *mm);
u64 __real_alloc_pages(struct memory *m, u32 order, bool zero);
void __real_free_pages(struct memory *m, u64 pfn, u32 order, bool zero);
void __real_put_page(struct memory *m, u64 pfn);
void __real_pmd_lock(struct mm_struct *mm, pmd_t *pmd);
void __real_pte_unlock(struct mm_struct *mm, u64 table);
void __real_rcu_read_unlock(struct kernel *kernel);

u64 __wrap_table_alloc(struct mm_struct *mm);
u64 __wrap_alloc_pages(struct memory *m, u32 order, bool zero);
void __wrap_free_pages(struct memory *m, u64 pfn, u32 order, bool zero);
void __wrap_put_page(struct memory *m, u64 pfn);
void __wrap_pmd_lock(struct mm_struct *mm, pmd_t *pmd);
void __wrap_pte_unlock(struct mm_struct *mm, u64 table);
void __wrap_rcu_read_unlock(struct kernel *kernel);

static struct frame *frame_of(u64 pfn)
{
	return &world.frames[MEMORY_PAGE_INDEX(&world.memory, pfn)];
}

u64 __wrap_alloc_pages(struct memory *m, u32 order, bool zero)
{
	u64 pfn = __real_alloc_pages(m, order, zero);

	if (pfn && READ_ONCE(frame_of(pfn)->state) != FRAME_OTHER)
		defect("frame %#lx was handed out while it is a table", pfn);
	return pfn;
}

u64 __wrap_table_alloc(struct mm_struct *mm)
{
	u64 pfn = __real_table_alloc(mm);

	may_be_preempted();
	if (!pfn)
		return 0;
	me->tables_allocated++;
	if (__atomic_exchange_n(&frame_of(pfn)->state, FRAME_TABLE, __ATOMIC_RELAXED) !=
	    FRAME_OTHER)
		defect("frame %#lx became a table twice", pfn);
	return pfn;
}

void __wrap_free_pages(struct memory *m, u64 pfn, u32 order, bool zero)
{
	struct frame *frame = frame_of(pfn);
	u64 *word = pa_to_host(m, pfn << PAGE_SHIFT);
	u32 was = __atomic_exchange_n(&frame->state, FRAME_OTHER, __ATOMIC_RELAXED);

	if (was == FRAME_UPPER) {
		__real_free_pages(m, pfn, order, zero);
		return;
	}
	if (was != FRAME_TABLE) {
		defect("table %#lx was freed twice", pfn);
		return;
	}
	me->tables_freed++;
	for (u32 i = 0; i < PTRS_PER_PTE; i++) {
		if (READ_ONCE(word[i]))
			defect("table %#lx was freed with an entry, %#lx", pfn, READ_ONCE(word[i]));
		WRITE_ONCE(word[i], POISON);
	}
	__atomic_fetch_add(&frame->lives, 1, __ATOMIC_RELAXED);
	__real_free_pages(m, pfn, order, false);
}

void __wrap_put_page(struct memory *m, u64 pfn)
{
	if (!READ_ONCE(pfn_to_page(m, pfn)->_refcount))
		defect("frame %#lx was freed twice", pfn);
	__real_put_page(m, pfn);
}

/* Where the freer of a table can be stopped between the last put and the PMD lock (D2). */
void __wrap_pmd_lock(struct mm_struct *mm, pmd_t *pmd)
{
	may_be_preempted();
	if (me->cpu.rcu_nesting)
		may_stop(1024); /* mostly the last put of a table, which is dead now */
	__real_pmd_lock(mm, pmd);
}

/* Where an entry is set, or cleared, and who did it has not gone on yet (D12). */
void __wrap_pte_unlock(struct mm_struct *mm, u64 table)
{
	__real_pte_unlock(mm, table);
	may_be_preempted();
}

void __wrap_rcu_read_unlock(struct kernel *kernel)
{
	__real_rcu_read_unlock(kernel);
	if (++me->sections > SECTIONS_MAX)
		defect("CPU %u looks a table up again and again: an unbounded wait", me->cpu.id);
	if (me->sections < SECTIONS_USUAL)
		may_be_preempted();
	else
		take_interrupts();
}

u32 table_lives(u64 pfn)
{
	return READ_ONCE(frame_of(pfn)->lives);
}

void check_table_lives(u64 pfn, u32 lives, const char *who)
{
	if (READ_ONCE(frame_of(pfn)->state) != FRAME_TABLE || table_lives(pfn) != lives)
		defect("%s: table %#lx was freed under its reader", who, pfn);
}
