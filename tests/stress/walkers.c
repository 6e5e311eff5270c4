/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who looks at tables and holds nothing: fast GUP, and readers under RCU. */
#include "memory/page_alloc.h"
#include "mm/pgtable.h"
#include "mm/pt_reclaim.h"
#include "mm/rcu.h"
#include "stress.h"

void check_word(u64 word, u64 addr, const char *who)
{
	me->reads++;
	if (word && word != (STAMP ^ (home_of(addr) & PAGE_MASK)))
		defect("%s: the page of %#lx holds %#lx, another's word", who, addr, word);
}

void check_entry(u64 entry, u64 addr, const char *who)
{
	me->reads++;
	if (entry && (!(entry & X86_P) || !memory_holds(&world.memory, entry & X86_ADDR_MASK)))
		defect("%s: the entry of %#lx is %#lx, which nobody wrote", who, addr, entry);
}

void check_entries(const pte_t *pte, const char *who)
{
	const pte_t *first = (const pte_t *)((uintptr_t)pte & PAGE_MASK);
	u32 stride = PTRS_PER_PTE / world.options.pages;

	for (u32 i = 0; i < PTRS_PER_PTE; i += stride)
		check_entry(ptep_get(first + i), (u64)i << PAGE_SHIFT, who);
}

/* Take a reference on the page unless it has none. */
static bool try_get_page(struct page *page)
{
	u32 old = READ_ONCE(page->_refcount);

	do {
		if (!old)
			return false;
	} while (!__atomic_compare_exchange_n(&page->_refcount, &old, old + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return true;
}

/* gup_fast_pte() (mmu/linux/gup_fast.py); interrupts are off. 0: it takes the slow way. */
static u64 gup_fast_pte(u64 addr)
{
	pmd_t *pmd = mm_find_pmd(&world.mm, addr), pmdval = pmd ? pmdp_get(pmd) : 0;
	u64 value, pfn;
	pte_t *pte;

	if (pmd_none(pmdval))
		return 0;
	check_entry(pmdval, addr, "gup, PMD");
	pte = pte_offset(&world.mm, pmdval, addr);
	linger();
	value = ptep_get(pte);
	check_entry(value, addr, "gup");
	if ((value & (X86_P | X86_US)) != (X86_P | X86_US) || value & _PAGE_SPECIAL)
		return 0;
	pfn = entry_pfn(value);
	if (!try_get_page(pfn_to_page(&world.memory, pfn)))
		return 0;
	if (pmdp_get(pmd) != pmdval || entry_pfn(ptep_get(pte)) != pfn) {
		put_page(&world.memory, pfn);
		return 0;
	}
	return pfn;
}

bool gup(void)
{
	u64 addr = any_page(), pfn;

	local_irq_save(&me->cpu);
	pfn = gup_fast_pte(addr);
	local_irq_restore(&me->cpu);
	if (!pfn)
		return false;
	may_be_preempted();
	check_word(READ_ONCE(*(u64 *)pa_to_host(&world.memory, pfn << PAGE_SHIFT)), addr, "gup");
	put_page(&world.memory, pfn);
	return true;
}

/* A reader of tables whose frames RCU alone keeps; PMD tables are kept so whatever the policy. */
bool read_section(void)
{
	bool at_once = world.kernel.policy == FREE_TABLES_REFCOUNT_PMDLOCK;
	u64 addr = any_page(), pmdval = 0;
	u32 lives = 0, upper_lives = 0;
	pmd_t *pmd;

	if (at_once && !table_is_counted(&world.mm, 2))
		return false;
	rcu_read_lock(&world.kernel);
	pmd = mm_find_pmd(&world.mm, addr);
	if (pmd) {
		upper_lives = table_lives(pte_table(&world.mm, pmd));
		pmdval = pmdp_get(pmd);
		check_entry(pmdval, addr, "read, PMD");
	}
	if (!pmd_none(pmdval) && !at_once) {
		lives = table_lives(entry_pfn(pmdval));
		check_entries(pte_offset(&world.mm, pmdval, addr), "read");
		linger();
		check_entries(pte_offset(&world.mm, pmdval, addr), "read");
		check_table_lives(entry_pfn(pmdval), lives, "read");
	}
	if (pmd && table_is_counted(&world.mm, 2)) {
		linger();
		check_entry(pmdp_get(pmd), addr, "read, PMD");
		check_table_lives(pte_table(&world.mm, pmd), upper_lives, "read, PMD");
	}
	rcu_read_unlock(&world.kernel);
	return pmd;
}
