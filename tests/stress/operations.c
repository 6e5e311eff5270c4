/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the threads do to the tables, and what each must find there. */
#include "mm/anon.h"
#include "mm/locks.h"
#include "mm/pgtable.h"
#include "mm/pmd_ref.h"
#include "mm/pt_reclaim.h"
#include "mm/pte_ref.h"
#include "mm/rcu.h"
#include "stress.h"

const char *const operation_names[NR_OPERATIONS] = {
	"fault", "fast", "access", "zap",  "visit", "lock", "get_put",
	"alloc", "gup",	 "read",   "idle", "lazy",  "move",
};

/* How often each is drawn. */
static const u32 weights[NR_OPERATIONS] = { 16, 8, 24, 20, 8, 8, 8, 4, 8, 8, 1, 3, 4 };

/* ---- the operations; each returns whether there was something to work on ---- */

static bool fault_at(u64 addr, u32 write)
{
	u32 result;

	me->sections = 0;
	if (!lock_slot(addr))
		return false; /* mremap() has it */
	result = do_anonymous_fault(&world.mm, addr, write);
	unlock_slot(addr);
	me->faults++;
	if (result & VM_FAULT_OOM) {
		wait_for_memory();
		return false;
	}
	if (result & VM_FAULT_FALLBACK)
		defect("fault: an entry of %#lx is not one that a fault can meet", addr);
	return true;
}

static bool fault(void)
{
	return fault_at(any_page(), next_random() % 4 != 0);
}

static bool fast_fault_at(u64 addr, u32 write)
{
	if (!mm_fast_fault(&world.mm, addr, write ? PF_US | PF_WR : PF_US))
		return false;
	me->fast++;
	return true;
}

static bool fast_fault(void)
{
	return fast_fault_at(any_page(), next_random() % 4 != 0);
}

/* A load or a store by the processor: from translation to the word nothing interrupts it. */
static bool access_page(void)
{
	u64 addr = any_page(), *word;
	u32 access = next_random() % 2 ? ACCESS_WRITE : ACCESS_READ, result;
	struct translation t;
	struct wait w = begin_wait();
	u64 gone;

	while (!has_ended()) {
		mask_interrupts();
		gone = gone_since(addr);
		result = mmu_translate(&me->mmu, addr, access, 3, &t);
		if (result == XLATE_OK) {
			if (gone && gone_since(addr) == gone)
				defect("access: CPU %u translates %#lx, which has moved",
				       me->cpu.id, addr);
			if (!memory_holds(&world.memory, t.pa))
				defect("access: %#lx leads to %#lx, which is not RAM", addr, t.pa);
			word = pa_to_host(&world.memory, t.pa);
			check_word(READ_ONCE(*word), addr, "access");
			if (access == ACCESS_WRITE)
				WRITE_ONCE(*word, STAMP ^ home_of(addr));
			unmask_interrupts();
			return true;
		}
		unmask_interrupts();
		if (result != XLATE_PF || t.error_code & PF_RSVD) {
			defect("access: the walk for %#lx met what is no table (%u, error code %#x)",
			       addr, result, t.error_code);
		}
		me->retries++;
		if (!fast_fault_at(addr, access == ACCESS_WRITE))
			fault_at(addr, access == ACCESS_WRITE);
		may_be_preempted();
		wait_on(&w, "a page that stays");
	}
	return false;
}

static pte_t *pte_tryget_map_here(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	return pte_tryget_map(mm, pmd, addr);
}

static pte_t *pte_tryget_map_lock_here(struct mm_struct *mm, pmd_t *pmd, u64 addr)
{
	return pte_tryget_map_lock(mm, pmd, addr);
}

/*
 * Visit the table of addr, and a PTE table below it if there is one: _tryget() and its kin of both
 * levels.  NULL: there is none, nothing is held.
 */
static pte_t *visit_table(u64 addr, pte_t *(*visit)(struct mm_struct *mm, pmd_t *pmd, u64 addr))
{
	pmd_t *pmd = pmd_tryget(&world.mm, addr);
	pte_t *pte;

	if (!pmd)
		return NULL;
	linger();
	pte = visit(&world.mm, pmd, addr);
	pmd_put(&world.mm, pmd, addr);
	if (pte)
		check_place(pte_table(&world.mm, pte), addr, operation_names[me->operation]);
	return pte;
}

/* Only where tables are counted: elsewhere a table may go while it is looked at without a lock. */
static bool visit(void)
{
	u64 addr = any_page(), table;
	pte_t *pte;
	u32 lives;

	if (!pte_ref_is_enabled(&world.mm))
		return false;
	pte = visit_table(addr, pte_tryget_map_here);
	if (!pte)
		return false;
	table = pte_table(&world.mm, pte);
	lives = table_lives(table);
	check_entries(pte, "visit");
	linger();
	check_entries(pte, "visit");
	check_table_lives(table, lives, "visit");
	pte_put(&world.mm, table, addr);
	return true;
}

static bool visit_locked(void)
{
	u64 addr = any_page(), table;
	pte_t *pte = visit_table(addr, pte_tryget_map_lock_here), *first;
	u32 entries = 0, lives, count;

	if (!pte)
		return false;
	table = pte_table(&world.mm, pte);
	first = table_entry(&world.mm, table, 0);
	lives = table_lives(table);
	for (u32 i = 0; i < PTRS_PER_PTE; i++)
		entries += !pte_none(ptep_get(first + i));
	check_entries(pte, "lock");
	/* With the visitor: the count may be more by other visitors, never less. */
	count = READ_ONCE(pfn_to_page(&world.memory, table)->pte_refcount);
	if (pte_ref_is_enabled(&world.mm) && count < entries + 1)
		defect("lock: table %#lx has %u entries and a visitor, but a count of %u", table,
		       entries, count);
	check_table_lives(table, lives, "lock");
	pte_unlock(&world.mm, table);
	pte_put(&world.mm, table, addr);
	return true;
}

/* References on top of the one held, put one by one and together. */
static bool get_put(void)
{
	u64 addr = any_page(), table;
	u32 nr = 1 + next_random() % 64, lives;
	pte_t *pte;

	if (!pte_ref_is_enabled(&world.mm))
		return false;
	pte = visit_table(addr, pte_tryget_map_here);
	if (!pte)
		return false;
	table = pte_table(&world.mm, pte);
	lives = table_lives(table);
	for (u32 i = 0; i < nr; i++)
		pte_get(&world.mm, table);
	check_table_lives(table, lives, "get_put");
	for (u32 i = 0; i < nr; i++)
		pte_put(&world.mm, table, addr);
	pte_get_many(&world.mm, table, nr);
	pte_put_many(&world.mm, table, addr, nr);
	check_table_lives(table, lives, "get_put");
	pte_put(&world.mm, table, addr);
	return true;
}

static bool alloc_and_put(void)
{
	u64 addr = any_page(), table;
	u32 lives, result = PTE_ALLOC_OOM;
	pmd_t *pmd;

	if (!pte_ref_is_enabled(&world.mm) || !lock_slot(addr))
		return false;
	pmd = pmd_alloc(&world.mm, addr);
	if (pmd) {
		linger();
		result = pte_alloc_get(&world.mm, pmd, addr, &table);
		pmd_put(&world.mm, pmd, addr);
	}
	unlock_slot(addr);
	if (result != PTE_ALLOC_OK) {
		wait_for_memory();
		return false;
	}
	check_place(table, addr, "alloc");
	lives = table_lives(table);
	check_entries(table_entry(&world.mm, table, addr), "alloc");
	linger();
	check_table_lives(table, lives, "alloc");
	pte_put(&world.mm, table, addr);
	return true;
}

static bool idle(void)
{
	struct rcu_state *rcu = &world.kernel.rcu;

	smp_lock(&rcu->lock);
	me->cpu.rcu_watching = 0;
	smp_unlock(&rcu->lock);
	for (u32 i = 0; i < 64; i++)
		take_interrupts();
	smp_lock(&rcu->lock);
	me->cpu.rcu_watching = 1;
	smp_unlock(&rcu->lock);
	return true;
}

/*
 * enter_lazy_tlb(), and back by switch_mm(): flushes pass the CPU by unless tables are freed.  The
 * processor speculates meanwhile, by what it has cached of tables; of data it uses nothing.
 */
static bool lazy(void)
{
	struct tlb_context *ctx = &me->cpu.ctxs[0];
	struct translation t;
	u64 gen;

	__atomic_store_n(&me->cpu.is_lazy, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < 32; i++) {
		u64 addr = any_page();

		mask_interrupts();
		mmu_refill(&me->mmu, addr, ACCESS_READ, 3, &t);
		unmask_interrupts();
		if (t.result == XLATE_OK ? !memory_holds(&world.memory, t.pa)
					 : t.result != XLATE_PF || t.error_code & PF_RSVD)
			defect("lazy: a walk for %#lx went through a freed table", addr);
		linger();
	}
	__atomic_store_n(&me->cpu.is_lazy, 0, __ATOMIC_SEQ_CST);
	if (world.options.invlpgb)
		return true; /* a global ASID: nothing was missed */
	mask_interrupts();
	gen = __atomic_load_n(&world.mm.tlb_gen, __ATOMIC_SEQ_CST);
	if (ctx->tlb_gen != gen) {
		mmu_write_cr3(&me->mmu, me->mmu.cr3);
		ctx->tlb_gen = gen;
	}
	unmask_interrupts();
	return true;
}

void operate(void)
{
	static bool (*const operations[NR_OPERATIONS])(void) = {
		fault,	       fast_fault, access_page,	 zap_some, visit, visit_locked, get_put,
		alloc_and_put, gup,	   read_section, idle,	   lazy,  move_some,
	};
	u32 total = 0, drawn, which = 0;

	for (u32 i = 0; i < NR_OPERATIONS; i++)
		total += weights[i];
	drawn = next_random() % total;
	while (drawn >= weights[which])
		drawn -= weights[which++];
	wait_for_memory();
	me->sections = 0;
	me->operation = which;
	if (operations[which]())
		me->done[which]++;
	else
		me->missed[which]++;
	may_be_preempted();
}
