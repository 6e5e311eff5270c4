// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Paging-structure caches (SDM vol. 3A 4.10.3): an entry of level L stands for the
 * table-referencing entries from the top level down to L and names the table that the walk reads
 * next, at level L - 1. Never global; tagged with the PCID.
 */
#include "x86/caches.h"

#include "x86/check.h"
#include "x86/rights.h"
#include "x86/tlb.h"

struct walk_start psc_start(struct mmu_unit *u, u64 va, struct tlb_entry **hit)
{
	for (u32 level = 2; level <= top_level(u); level++) {
		struct tlb_entry *e = tlb_find_table(u, va, level);

		if (!e)
			continue;
		*hit = e;
		return (struct walk_start){
			.table = e->frame,
			.table_gen = e->table_gen,
			.level = level - 1,
			.rights = e->flags & (TLB_RW | TLB_US | TLB_XD),
		};
	}
	*hit = NULL;
	return start_at_cr3(u);
}

void psc_fill(struct mmu_unit *u, const struct walk *w, const struct walk_start *from)
{
	u32 rights = from->rights;

	for (u32 level = w->top_level; level > w->level; level--) {
		struct tlb_entry new = {
			.vpn = vpn_of(w->va, level),
			.frame = w->entry[level] & X86_ADDR_MASK,
			.table_gen = from->table_gen,
			.pcid = current_pcid(u),
			.level = level,
			.page_level = level,
		};

		rights = combine(rights, w->entry[level]);
		new.flags = TLB_VALID | TLB_TABLE | rights;
		tlb_fill_table(u, &new);
	}
}

#define ANY_PCID (-1)

/* Drop the entries of a PCID or ANY_PCID; only_va: only those that a walk for va would use. */
static void drop(struct mmu_unit *u, u64 va, bool only_va, s32 pcid)
{
	if (unlikely(u->check))
		check_drop_tables(u, va, only_va, pcid == ANY_PCID ? 0 : pcid,
				  pcid == ANY_PCID ? DROP_ANY_PCID : 0);
	if (!u->tlb.clock)
		return; /* nothing was ever entered */
	for (u32 i = 0; i < u->tlb.nr_arrays; i++) {
		const struct tlb_array *a = &u->tlb.array[i];
		struct tlb_entry *e = &u->tlb.entry[a->first], *end = e + a->sets * a->ways;

		if (!a->tables)
			continue;
		for (; e < end; e++)
			if (e->flags & TLB_TABLE && (pcid == ANY_PCID || e->pcid == pcid) &&
			    (!only_va || e->vpn == vpn_of(va, e->level)))
				tlb_take_out(u, e);
	}
}

void psc_drop_address(struct mmu_unit *u, u64 va, u16 pcid)
{
	drop(u, va, true, pcid);
}

void psc_drop_context(struct mmu_unit *u, u16 pcid)
{
	drop(u, 0, false, pcid);
}

void psc_drop_any(struct mmu_unit *u, u64 va, bool only_va)
{
	drop(u, va, only_va, ANY_PCID);
}
