/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translating an access, and forecasting the answer. */
#ifndef UCMMU_X86_TRANSLATE_H
#define UCMMU_X86_TRANSLATE_H

#include "x86/walk.h"

/* cffi-begin */
/* What an access may do next without asking again: what a soft TLB may keep. */
struct translation {
	u64 pa;		 /* of the address asked for */
	u32 perms;	 /* PERM_*; W only once D is set */
	u32 level;	 /* page size: 1 4 KiB, 2 2 MiB, 3 1 GiB */
	u32 memory_type; /* MEMORY_*, as the leaf and IA32_PAT say */
	u32 result;	 /* XLATE_* */
	u32 error_code;
};
/*
 * Translate one access, as the processor would: in exact through TLB, paging-structure caches and
 * walk, counted and with events; else by a walk alone. Fills *t and returns t->result.
 * A fault sets cr2, drops the address's entries (SDM 4.10.4.1) and is counted.
 */
u32 mmu_translate(struct mmu_unit *u, u64 va, u32 access, u32 privilege, struct translation *t);

/*
 * The answer for a consumer that refills a cache of its own (Unicorn's soft TLB), which it does at
 * times of its own choosing: no counter, no event, no change to the model.  In exact it is what
 * mmu_translate() would say now: a resident entry decides, else a WALK_PROBE from where that walk
 * would begin (the access itself, which follows, sets A and D through mmu_translate()); not in
 * exact, a WALK_QUIET.  A fault is only told: the consumer has it happen by mmu_translate(), or,
 * not in exact, by mmu_page_fault().
 */
u32 mmu_refill(struct mmu_unit *u, u64 va, u32 access, u32 privilege, struct translation *t);

/*
 * Have the page fault happen that mmu_refill() told: what mmu_translate() does of it, without
 * walking again.  Not in exact, where the access counts its own look-up and walk.
 */
void mmu_page_fault(struct mmu_unit *u, u64 va, u32 error_code);

/* The first- or second-level entry an access to va would find first, whatever its rights, or NULL.
 * No side effects. */
struct tlb_entry *mmu_resident(struct mmu_unit *u, u64 va, u32 access);

/*
 * For a consumer that asks again and again: the first-level entry by which mmu_translate() would
 * answer an access to va and do nothing but count it (translated_counter()) and touch the entry;
 * NULL if it would do more. No side effects. The answer holds while registers and the entry stay,
 * and no page above 4 KiB is entered.
 */
struct tlb_entry *mmu_hit(struct mmu_unit *u, u64 va, u32 access, u32 privilege);
/* cffi-end */

/* Where accesses of ACCESS_* are counted; shadow-stack accesses are loads and stores. */
static inline u32 translated_counter(u32 access)
{
	static const u8 counter[] = {
		COUNTER_dtlb_loads, COUNTER_dtlb_stores, COUNTER_itlb_fetches,
		COUNTER_dtlb_loads, COUNTER_dtlb_stores, COUNTER_dtlb_loads,
	};

	return counter[access];
}

#endif
