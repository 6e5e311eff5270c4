/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mremap() of a table between its two places: move_page_tables() (mmu/linux/move_page_tables.py).
 */
#include "mm/locks.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pte_ref.h"
#include "mm/tlbflush.h"
#include "stress.h"

#define LINGERS 32 /* as long as others need to come by */

/* Exchange the PMD entries: the whole table moves.  false: there is none, or one in its way. */
static bool move_normal_pmd(pmd_t *old_pmd, u64 old, pmd_t *new_pmd, u64 new)
{
	struct mm_struct *mm = &world.mm;
	bool same = table_page(mm, old_pmd) == table_page(mm, new_pmd);
	u64 table, value;

	if (!pmd_none(pmdp_get(new_pmd)) || pte_try_get(mm, old_pmd, &table) != TRYGET_SUCCEEDED)
		return false;
	linger();
	pmd_lock(mm, old_pmd);
	if (!same)
		pmd_lock_nested(mm, new_pmd);
	value = __atomic_exchange_n(old_pmd, 0, __ATOMIC_ACQ_REL);
	__atomic_exchange_n(new_pmd, value, __ATOMIC_ACQ_REL);
	WRITE_ONCE(pfn_to_page(mm->ram, table)->pmd, host_to_pa(mm->ram, new_pmd));
	pmd_entry_set(mm, new_pmd);
	flush_tlb_mm_range(mm, old, old + PMD_SIZE, PAGE_SHIFT, 1);
	if (!same)
		pmd_unlock(mm, new_pmd);
	pmd_unlock(mm, old_pmd);
	pmd_entry_cleared(mm, old_pmd, old);
	linger();
	pte_put(mm, table, new);
	me->tables_moved++;
	return true;
}

/* Both tables are locked.  How many entries there were. */
static u32 move_locked(pte_t *old_pte, u64 old, pte_t *new_pte, u64 new)
{
	struct mm_struct *mm = &world.mm;
	u32 moved = 0;

	for (u64 i = 0; i < PTRS_PER_PTE; i++) {
		u64 value = ptep_get(old_pte + i);

		if (pte_none(value))
			continue;
		if (!pte_none(ptep_get(new_pte + i)))
			defect("move: somebody set the entry of %#lx, whose VMA is write-locked",
			       new + i * PAGE_SIZE);
		set_pte_at(mm, new + i * PAGE_SIZE, new_pte + i, get_and_clear(old_pte + i));
		moved++;
	}
	if (moved)
		flush_tlb_mm_range(mm, old, old + PMD_SIZE, PAGE_SHIFT, 1);
	return moved;
}

/* Move the entries; out of memory, none. */
static void move_ptes(pmd_t *old_pmd, u64 old, pmd_t *new_pmd, u64 new)
{
	struct mm_struct *mm = &world.mm;
	pte_t *old_pte, *new_pte;
	u64 old_table, new_table;
	u32 moved;

	if (pte_alloc_get_map(mm, new_pmd, new, &new_pte) != PTE_ALLOC_OK)
		return;
	new_table = pte_table(mm, new_pte);
	old_pte = pte_tryget_map_lock(mm, old_pmd, old);
	if (old_pte) {
		old_table = pte_table(mm, old_pte);
		pte_lock_nested(mm, new_table);
		moved = move_locked(old_pte, old, new_pte, new);
		pte_entries_set(mm, new_table, moved);
		pte_unlock(mm, new_table);
		pte_unlock(mm, old_table);
		pte_put_many(mm, old_table, old, moved);
		pte_put(mm, old_table, old);
		me->entries_moved += moved;
	}
	pte_put(mm, new_table, new);
}

/* Whatever is at old goes to new, where nothing is.  What is visited: _move_from() there. */
static bool move_extent(u64 old, u64 new)
{
	struct mm_struct *mm = &world.mm;
	pmd_t *old_pmd = pmd_tryget(mm, old), *new_pmd = NULL;

	if (!old_pmd)
		return false;
	if (!pmd_none(pmdp_get(old_pmd)))
		new_pmd = pmd_alloc(mm, new);
	if (new_pmd) {
		if (next_random() % 8 == 0 || !move_normal_pmd(old_pmd, old, new_pmd, new))
			move_ptes(old_pmd, old, new_pmd, new);
		pmd_put(mm, new_pmd, new);
	}
	pmd_put(mm, old_pmd, old);
	return new_pmd;
}

/* Nothing may be mapped there, for its VMA is write-locked and what was is gone. */
static void check_unmapped(u64 start)
{
	struct mm_struct *mm = &world.mm;
	pmd_t *pmd = pmd_tryget(mm, start);
	pte_t *pte = pmd ? pte_tryget_map_lock(mm, pmd, start) : NULL;
	u64 table;

	if (pte) {
		table = pte_table(mm, pte);
		if (!table_is_empty(pte))
			defect("move: somebody mapped a page at %#lx, whose VMA is write-locked",
			       start);
		pte_unlock(mm, table);
		pte_put(mm, table, start);
	}
	if (pmd)
		pmd_put(mm, pmd, start);
}

u64 gone_since(u64 addr)
{
	u32 seq = __atomic_load_n(&world.mm.mm_lock_seq, __ATOMIC_ACQUIRE);
	bool gone = __atomic_load_n(&world.gone, __ATOMIC_ACQUIRE) == (addr & PMD_MASK);

	return gone && __atomic_load_n(&world.mm.mm_lock_seq, __ATOMIC_ACQUIRE) == seq ? seq : 0;
}

/* No CPU may use a translation of the old place; others find out by gone_since(). */
static void check_gone(u64 old)
{
	struct translation t;

	for (u32 page = 0; page < PTRS_PER_PTE; page += PTRS_PER_PTE / world.options.pages) {
		u64 addr = old + page * PAGE_SIZE;

		mask_interrupts();
		if (mmu_translate(&me->mmu, addr, ACCESS_READ, 3, &t) == XLATE_OK)
			defect("move: CPU %u translates %#lx, which has moved", me->cpu.id, addr);
		unmask_interrupts();
	}
	__atomic_store_n(&world.gone, old, __ATOMIC_RELEASE);
	may_be_preempted();
	for (u32 i = 0; i < LINGERS; i++)
		linger();
	__atomic_store_n(&world.gone, 0, __ATOMIC_RELEASE);
}

bool move_some(void)
{
	u64 chance = next_random(), old, new;
	u32 table = chance / 2 % world.options.tables;
	bool away = chance % 2, moved;

	old = slot_address(table, away);
	new = slot_address(table, !away);
	if (!lock_slots_for_write(old, new))
		return false;
	zap(new, new + PMD_SIZE);
	may_be_preempted();
	check_unmapped(new);
	moved = move_extent(old, new);
	if (moved) {
		check_unmapped(old);
		check_gone(old);
	}
	unlock_slots_for_write();
	return moved;
}
