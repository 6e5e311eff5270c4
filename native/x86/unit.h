/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One processor's MMU: registers, TLB, counters, and what changed for whoever caches its answers.
 */
#ifndef UCMMU_X86_UNIT_H
#define UCMMU_X86_UNIT_H

#include "memory/ram.h"
#include "x86/check.h"
#include "x86/paging.h"
#include "x86/tlb.h"

/* cffi-begin */
#define SOFT_FLUSH_MAX 33 /* pages listed singly before the whole is named */

/*
 * Pages whose translations a consumer of mmu_translate() (Unicorn's soft TLB) must forget.
 * The consumer takes them and resets the list; the MMU only adds.
 */
struct soft_flush {
	u32 all; /* forget everything */
	u32 nr;
	u64 page[SOFT_FLUSH_MAX]; /* virtual addresses, 4 KiB-aligned */
};

struct mmu_unit {
	struct memory *ram;
	u64 cr0, cr2, cr3, cr4, efer, rflags;
	u64 pat;	/* IA32_PAT */
	u32 pkru, pkrs; /* PKRU; IA32_PKRS, whose upper half is reserved */
	u32 vendor;	/* VENDOR_* */
	u32 features;	/* FEATURE_* */
	u32 maxphyaddr; /* bits; guest RAM lies below 2^maxphyaddr */
	u32 cpu;
	u32 exact;     /* 1: mmu_translate() goes through the TLB model */
	u32 large;     /* 1: a page above 4 KiB was handed out, so INVLPG names every page */
	u64 table_gen; /* counts announced changes of table entries, and of tables */
	struct soft_flush soft;
	struct event_ring *ring; /* may be NULL */
	struct tlb_check *check; /* NULL: nobody checks for stale translations */
	u64 counter[NR_COUNTERS];
	struct tlb tlb;
};

/*
 * Walk the tables for va, for an access of ACCESS_* and PRIVILEGE_*.
 * Fills *w and returns w->result. WALK_QUIET and WALK_HARDWARE set A and D by compare-and-exchange;
 * WALK_HARDWARE counts page_walker_loads and emits walk_entry, walk_set_ad, walk_done. None touches
 * the TLB.
 */
u32 mmu_walk(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 mode, struct walk *w);

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
/* Touch an entry as the use of it by mmu_translate() does. */
void mmu_touch(struct mmu_unit *u, struct tlb_entry *e);

/* INVLPG: va's entries of the current PCID, global ones of any, and its paging-structure caches
 * (AMD's TCE: va's). */
void mmu_invlpg(struct mmu_unit *u, u64 va);
/* INVPCID type 0-3 (SDM vol. 2A INVPCID). XLATE_OK, XLATE_GP for an illegal descriptor, XLATE_UD
 * without the feature. */
u32 mmu_invpcid(struct mmu_unit *u, u32 type, u64 pcid, u64 va);
/* INVLPGB (APM vol. 3 INVLPGB): what it does to this processor. XLATE_OK, XLATE_GP, XLATE_UD. */
u32 mmu_invlpgb(struct mmu_unit *u, u64 rax, u32 ecx, u32 edx);
/*
 * Register writes.  Each answers XLATE_OK, or XLATE_GP and changes nothing where the manuals say
 * #GP; those that a processor's mode or CPL forbids are the caller's to know.
 */
/* MOV to CR3: switches tables; without bit 63 drops the PCID's non-global entries. */
u32 mmu_write_cr3(struct mmu_unit *u, u64 value);
/* MOV to CR4 and CR0: what the change of bits invalidates (SDM 4.10.4.1). XLATE_LEGACY: PG without
 * EFER.LME. */
u32 mmu_write_cr4(struct mmu_unit *u, u64 value);
u32 mmu_write_cr0(struct mmu_unit *u, u64 value);
/* WRMSR of EFER, IA32_PAT, IA32_PKRS; WRPKRU. */
u32 mmu_write_efer(struct mmu_unit *u, u64 value);
u32 mmu_write_pat(struct mmu_unit *u, u64 value);
u32 mmu_write_pkrs(struct mmu_unit *u, u64 value);
u32 mmu_write_pkru(struct mmu_unit *u, u64 value);
/* Drop every entry, global ones too. */
void mmu_flush_all(struct mmu_unit *u);
/* Entries of tables changed without a flush: consumers must ask again, the model keeps what it has.
 */
void mmu_tables_changed(struct mmu_unit *u);
/* Name va (or everything, nr_pages > SOFT_FLUSH_MAX) in the list of pages a consumer must forget.
 */
void mmu_soft_flush(struct mmu_unit *u, u64 va, u64 nr_pages);
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
