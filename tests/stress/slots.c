/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the tables are.  Each has two places, at home and away, between which mremap() moves it;
 * each place has a VMA of its own.
 *
 *   free_levels   tables in one PMD table   away: even ones       odd ones
 *   pte           all                       in the same one       in the next one
 *   pmd           two                       likewise              likewise
 *   pud           two                       likewise              below another PUD table
 */
#include <stdlib.h>

#include "stress.h"

#define NEAR ((u64)512 << 20) /* away in the same PMD table */

/* Tables that are together, how far it is to the next ones, and to the other PMD or PUD table. */
struct layout {
	u32 together;
	u64 next, far;
};

static const struct layout *layout(void)
{
	static const struct layout layouts[] = {
		[FREE_LEVELS_PTE] = { TABLES_MAX, (u64)1 << 46, (u64)1 << 30 },
		[FREE_LEVELS_PMD] = { 2, (u64)4 << 30, (u64)1 << 30 },
		[FREE_LEVELS_PUD] = { 2, (u64)1 << 40, (u64)1 << 39 },
	};

	return &layouts[world.options.free_levels];
}

u64 slot_address(u32 table, bool away)
{
	const struct layout *l = layout();
	u64 home = BASE + table / l->together * l->next + table % l->together * (u64)PMD_SIZE;

	return away ? home + (table % 2 ? l->far : NEAR) : home;
}

u64 home_of(u64 addr)
{
	const struct layout *l = layout();
	u64 inside = (addr - BASE) % l->next;

	if (inside >= l->far)
		return addr - l->far;
	return inside >= NEAR ? addr - NEAR : addr;
}

/* Number of the PMD entry of addr in its table. */
static u64 pmd_index(u64 addr)
{
	return addr / PMD_SIZE % PTRS_PER_PTE;
}

void check_place(u64 table, u64 addr, const char *who)
{
	u64 pmd = READ_ONCE(pfn_to_page(&world.memory, table)->pmd) / sizeof(pmd_t) % PTRS_PER_PTE;
	u64 home = home_of(addr), away = home + (pmd_index(home) % 2 ? layout()->far : NEAR);

	if (pmd != pmd_index(home) && pmd != pmd_index(away))
		defect("%s: table %#lx, held for %#lx, is another address's: of PMD entry %lu", who,
		       table, addr, pmd);
}

/* One in four is away. */
u64 any_slot(void)
{
	u64 chance = next_random();

	return slot_address(chance / 4 % world.options.tables, chance % 4 == 0);
}

/* The used pages lie at both ends of a table, and in between. */
u64 any_page(void)
{
	u64 page = next_random() % world.options.pages;

	return any_slot() + page * (PTRS_PER_PTE / world.options.pages) * PAGE_SIZE;
}

void make_vmas(void)
{
	for (u32 i = 0; i < 2 * world.options.tables; i++) {
		u64 start = slot_address(i / 2, i % 2);
		struct vm_area_struct vma = {
			.vm_start = start,
			.vm_end = start + PMD_SIZE,
			.vm_flags = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE,
			.vm_pgoff = start >> PAGE_SHIFT,
			.anon_vma = i + 1,
			.nr_anon_vma_chain = 1,
		};

		if (vma_insert(&world.mm, &vma))
			abort();
	}
}

/* ---- their locks: mmu/linux/vma_lock.py ---- */

bool lock_slot(u64 addr)
{
	return vma_start_read(&world.mm, find_vma(&world.mm, addr));
}

void unlock_slot(u64 addr)
{
	if (vma_end_read(find_vma(&world.mm, addr)) == VMA_READER_NONE)
		defect("the VMA of %#lx lost a reader", addr);
}

static void vma_start_write(u64 addr)
{
	struct vm_area_struct *vma = find_vma(&world.mm, addr);
	struct wait w = begin_wait();

	__atomic_fetch_add(&vma->vm_refcnt, VMA_LOCK_OFFSET, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&vma->vm_refcnt, __ATOMIC_ACQUIRE) != VMA_LOCK_OFFSET + 1)
		wait_on(&w, "the readers of a VMA");
	end_wait(&w);
	WRITE_ONCE(vma->vm_lock_seq, READ_ONCE(world.mm.mm_lock_seq));
	__atomic_fetch_sub(&vma->vm_refcnt, VMA_LOCK_OFFSET, __ATOMIC_RELEASE);
}

bool lock_slots_for_write(u64 one, u64 other)
{
	u32 unlocked = 0;

	if (!__atomic_compare_exchange_n(&world.mmap_lock, &unlocked, 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	__atomic_fetch_add(&world.mm.mm_lock_seq, 1, __ATOMIC_RELEASE);
	vma_start_write(one);
	vma_start_write(other);
	return true;
}

void unlock_slots_for_write(void)
{
	__atomic_fetch_add(&world.mm.mm_lock_seq, 1, __ATOMIC_RELEASE);
	__atomic_store_n(&world.mmap_lock, 0, __ATOMIC_RELEASE);
}
