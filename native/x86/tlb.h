/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lookup, fill and invalidation of the TLB and the paging-structure caches (SDM vol. 3A 4.10). */
#ifndef UCMMU_X86_TLB_H
#define UCMMU_X86_TLB_H

#include "x86/replacement.h"
#include "x86/state.h"
#include "x86/walk.h"

/* cffi-begin */
/* Touch an entry as the use of it by mmu_translate() does. */
void mmu_touch(struct mmu_unit *u, struct tlb_entry *e);

/* Name va (or everything, nr_pages > SOFT_FLUSH_MAX) in the list of pages a consumer must forget.
 */
void mmu_soft_flush(struct mmu_unit *u, u64 va, u64 nr_pages);
/* cffi-end */

/* The first-level kind of array that serves an access: a shadow-stack read is a load, a write a
 * store. */
static inline u32 first_level(u32 access)
{
	static const u8 kind[] = {
		TLB_DTLB_LOAD, TLB_DTLB_STORE, TLB_ITLB,
		TLB_DTLB_LOAD, TLB_DTLB_STORE, TLB_DTLB_LOAD,
	};

	return kind[access];
}

/* The second-level kind. */
static inline u32 second_level(u32 access)
{
	return access == ACCESS_FETCH ? TLB_L2_ITLB : TLB_L2_DTLB;
}

/* Below, kinds is a set of TLB_ITLB..TLB_L2_DTLB, kind one of them. */
/* The first entry of those kinds, in order of array, size and way, that maps va, or NULL. */
struct tlb_entry *tlb_find(struct mmu_unit *u, u64 va, u32 kinds);
/* The first table-referencing entry of level that leads to va, or NULL. */
struct tlb_entry *tlb_find_table(struct mmu_unit *u, u64 va, u32 level);
/* e is now the last used of its set: tell its policy, if that keeps a state. */
void tlb_prefer(struct tlb *tlb, const struct tlb_entry *e);
/*
 * Enter *new (flags, level and page_level, frame: any address in the page, pcid, table_gen, pkey,
 * pat) into the array of kind that takes its page size, if any: the whole page, or the fragment of
 * it that va lies in.
 */
void tlb_fill(struct mmu_unit *u, u32 kind, u64 va, const struct tlb_entry *new);
/* Enter a table-referencing entry (vpn and all but array, used) into the array for its level, if
 * any. */
void tlb_fill_table(struct mmu_unit *u, const struct tlb_entry *new);
/*
 * MOV to CR3, or a change of CR4.PCIDE, loads a PCID, which may already be in use: where PCIDs are
 * limited it is live from now on, and if that is one too many, the one loaded longest ago loses its
 * non-global entries there.
 */
void tlb_switch_pcid(struct mmu_unit *u, u16 pcid);
/*
 * Drop what lookups for va would find, in every TLB array, and every fragment of va's page (SDM
 * vol. 3A 4.10.2.3); stale pages go into the soft-flush list.
 */
void tlb_drop_page(struct mmu_unit *u, u64 va);

/* Number of the array that holds e. */
static inline u32 tlb_array_of(const struct tlb_entry *e)
{
	return e->array;
}

/*
 * A use of e.  One of the entry used last, or entered last, of all changes nothing; else it becomes
 * the last used, where the policy of its array goes by use.
 */
static inline void tlb_touch(struct mmu_unit *u, struct tlb_entry *e)
{
	struct tlb *tlb = &u->tlb;
	const struct replacement *policy;

	if (e->used == tlb->clock)
		return;
	policy = replacement_of(&tlb->array[e->array]);
	if (!policy->by_use)
		return;
	if (policy->use)
		tlb_prefer(tlb, e);
	e->used = ++tlb->clock;
}

/* What events say of e: see native/trace/ring.h. */
static inline u64 tlb_event_entry(const struct tlb *tlb, const struct tlb_entry *e)
{
	return (u64)(e - tlb->entry) << EVENT_ENTRY_SLOT_SHIFT |
	       (u64)e->pcid << EVENT_ENTRY_PCID_SHIFT | (u64)e->pat << EVENT_ENTRY_PAT_SHIFT |
	       (u64)e->level << EVENT_ENTRY_LEVEL_SHIFT |
	       (u64)e->page_level << EVENT_ENTRY_PAGE_LEVEL_SHIFT |
	       (u64)e->pkey << EVENT_ENTRY_PKEY_SHIFT | (u64)e->flags << EVENT_ENTRY_FLAGS_SHIFT;
}

/* An event of e, a page's or a table-referencing entry: the one number or the other. */
void tlb_emit_entry(struct mmu_unit *u, u32 page_event, u32 table_event, const struct tlb_entry *e);

/* Take e, which is valid, out. */
static inline void tlb_take_out(struct mmu_unit *u, struct tlb_entry *e)
{
	if (unlikely(ring_records(u->ring)))
		tlb_emit_entry(u, EVENT_tlb_drop, EVENT_walk_cache_drop, e);
	e->flags = 0;
}

/* Drop by PCID, in TLB arrays and paging-structure caches. */
void tlb_drop_context(struct mmu_unit *u, u16 pcid, u32 what);
/* Drop the entries and fragments of va's pages of every size, of a PCID; DROP_GLOBAL: global ones
 * of any PCID too. */
void tlb_drop_address(struct mmu_unit *u, u64 va, u16 pcid, u32 what);

#endif
