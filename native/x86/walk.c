// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The page walk of 4-level and 5-level paging (SDM vol. 3A 4.5).
 *
 *   63      57 56     48 47     39 38     30 29     21 20     12 11          0
 *  +----------+---------+---------+---------+---------+---------+-------------+
 *  |copies of |  PML5   |  PML4   |  PDPT   |   PD    |   PT    |   offset    |
 *  | bit 56   |  index  |  index  |  index  |  index  |  index  |             |
 *  +----------+---------+---------+---------+---------+---------+-------------+
 *     level        5         4         3         2         1
 *
 * With 4 levels bits 63:48 are copies of bit 47.
 *
 * mmu/x86/walk.py says the same at leisure.
 */
#include "x86/walk.h"

#include <string.h>

#include "x86/check.h"
#include "x86/rights.h"
#include "x86/warm.h"

/* memory_load(), without a call if inside says that the entry lies in RAM. */
static always_inline bool load_entry(const struct memory *ram, bool inside, u64 pa, u64 *entry)
{
	if (unlikely(!inside))
		return memory_load(ram, pa, entry);
	*entry = __atomic_load_n((u64 *)pa_to_host(ram, pa), __ATOMIC_ACQUIRE);
	return true;
}

/* memory_exchange(), likewise. */
static always_inline u32 exchange_entry(const struct memory *ram, u64 pa, u64 old, u64 entry)
{
	if (unlikely(!memory_holds(ram, pa)))
		return memory_exchange(ram, pa, old, entry);
	return exchange_word(pa_to_host(ram, pa), old, entry);
}

/* The frame of a table that was read is marked, in exact. */
static always_inline void mark_table(struct memory *ram, bool inside, u64 table)
{
	u32 *flags = likely(inside) ? &pfn_to_page(ram, table >> PAGE_SHIFT)->flags
				    : memory_flags(ram, table);

	if (unlikely(flags && !(READ_ONCE(*flags) & PG_table))) {
		*flags |= PG_table;
		ram->tables_met++;
	}
}

/* Bits that must be 0 in a present entry of any level (SDM vol. 3A table 4-19): 51:M, XD without
 * NXE. */
static u64 reserved_always(const struct mmu_unit *u)
{
	u64 reserved = X86_ADDR_MASK & (~0ull << u->maxphyaddr);

	return u->efer & EFER_NXE ? reserved : reserved | X86_XD;
}

/*
 * Bits that must be 0 in this present entry (SDM vol. 3A table 4-19), besides reserved_always(): PS
 * in a PML5E or PML4E, on AMD bit 8 too (APM vol. 2 5.3.3); PS in a PDPTE without 1-GiB pages; in a
 * large leaf the address bits below its size, but for bit 12, its PAT.
 */
static u64 reserved_bits(const struct mmu_unit *u, u64 entry, u32 level)
{
	u64 reserved = reserved_always(u);

	if (level >= 4)
		return reserved | X86_PS | (u->vendor == VENDOR_AMD ? X86_G : 0);
	if (level == 1 || !(entry & X86_PS))
		return reserved;
	if (level == 3 && !has_feature(u, FEATURE_PAGE1GB))
		return reserved | X86_PS;
	return reserved | ((level_size(level) - 1) & X86_ADDR_MASK & ~0x1000ull);
}

/* The walk ends in a fault; why as for error_code_of(). */
static u32 fault(const struct mmu_unit *u, u32 access, u32 privilege, u32 why, struct walk *w)
{
	w->error_code = error_code_of(u, access, privilege, why);
	return w->result = XLATE_PF;
}

/*
 * Set bits in the entry the walk read at level, unless it has them (SDM vol. 3A 4.8), or cannot
 * change. False if another agent changed the entry meanwhile: the walk must start again.
 */
static bool set_accessed_dirty(struct mmu_unit *u, u32 level, u64 bits, u32 mode, struct walk *w)
{
	u64 seen = w->entry[level];
	u32 exchange;

	if (mode == WALK_PROBE || (seen & bits) == bits)
		return true;
	exchange = exchange_entry(u->ram, w->entry_pa[level], seen, seen | bits);
	if (exchange != EXCHANGE_DONE)
		return exchange == EXCHANGE_READ_ONLY;
	w->entry[level] = seen | bits;
	if (unlikely(u->check))
		check_set_ad(u, w->entry_pa[level], seen | bits);
	if (mode == WALK_HARDWARE)
		emit(u->ring, walk_set_ad, w->va, w->entry_pa[level], seen, w->entry[level]);
	return true;
}

/* Read the entry of va at w->level. False if its table lies where no memory is. */
static bool read_entry(struct mmu_unit *u, u64 table, u32 mode, struct walk *w)
{
	bool inside = memory_holds(u->ram, table);
	u32 level = w->level;

	w->entry_pa[level] = table + entry_offset(w->va, level);
	if (unlikely(!load_entry(u->ram, inside, w->entry_pa[level], &w->entry[level])))
		return false;
	if (mode == WALK_HARDWARE) {
		u->counter[COUNTER_page_walker_loads]++;
		if (unlikely(u->check))
			check_table(u, table, level, w->va);
		emit(u->ring, walk_entry, w->va, w->entry_pa[level], w->entry[level], level);
	}
	if (u->exact && mode != WALK_PROBE)
		mark_table(u->ram, inside, table);
	return true;
}

/* The leaf was found and allows the access: say where va lies and with which rights. */
static u32 translated(struct mmu_unit *u, u32 access, u32 mode, u32 rights, struct walk *w)
{
	u64 leaf = w->entry[w->level], offset = level_size(w->level) - 1;

	w->pa = (leaf & X86_ADDR_MASK & ~offset) | (w->va & offset);
	w->rights = rights & (X86_RW | X86_US);
	w->xd = !!(rights & TLB_XD);
	w->dirty = !!(leaf & X86_D);
	w->global = leaf & X86_G && u->cr4 & CR4_PGE;
	w->shstk = !!(rights & TLB_SHSTK);
	w->pkey = pkey_of(leaf);
	if (mode == WALK_HARDWARE)
		emit(u->ring, walk_done, w->va, w->pa, w->level, access);
	return w->result = XLATE_OK;
}

/* The leaf was read: judge the access by the rights above it, and its own. False if the leaf
 * changed. */
static bool judge(struct mmu_unit *u, u32 access, u32 privilege, u32 mode, u32 above,
		  struct walk *w)
{
	u64 leaf = w->entry[w->level], bits = sets_dirty(access) ? X86_A | X86_D : X86_A;
	u32 rights = combine(above, leaf) | (is_shadow_stack(above, leaf) ? TLB_SHSTK : 0);

	if (!allows(permissions(u, rights, pkey_of(leaf), privilege), access)) {
		fault(u, access, privilege, why_denied(u, rights, pkey_of(leaf), access, privilege),
		      w);
		return true;
	}
	if (!set_accessed_dirty(u, w->level, bits, mode, w))
		return false;
	translated(u, access, mode, rights, w);
	return true;
}

/* One pass over the levels. False if an entry changed under it. */
static bool walk_once(struct mmu_unit *u, u32 access, u32 privilege, u32 mode,
		      const struct walk_start *from, struct walk *w)
{
	u64 table = from->table, entry;
	u32 rights = from->rights;

	for (w->level = from->level;; w->level--) {
		if (!read_entry(u, table, mode, w)) {
			w->result = XLATE_BAD_TABLE;
			return true;
		}
		entry = w->entry[w->level];
		if (!(entry & X86_P)) {
			fault(u, access, privilege, 0, w);
			return true;
		}
		if (entry & reserved_bits(u, entry, w->level)) {
			fault(u, access, privilege, PF_P | PF_RSVD, w);
			return true;
		}
		if (is_leaf(entry, w->level))
			return judge(u, access, privilege, mode, rights, w);
		rights = combine(rights, entry);
		if (!set_accessed_dirty(u, w->level, X86_A, mode, w))
			return false;
		table = entry & X86_ADDR_MASK;
	}
}

u32 walk_from(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 mode,
	      const struct walk_start *from, struct walk *w)
{
	do {
		memset(w, 0, sizeof(*w));
		w->va = va;
		w->top_level = from->level;
	} while (!walk_once(u, access, privilege, mode, from, w));
	return w->result;
}

/* The walks that read no entry: CR0.PG is 0 (SDM vol. 3A 4.1.1), or va is not canonical. */
static u32 walk_nothing(u64 va, u32 result, struct walk *w)
{
	memset(w, 0, sizeof(*w));
	w->va = va;
	w->result = result;
	if (result == XLATE_OK) {
		w->pa = va & (X86_ADDR_MASK | ~PAGE_MASK);
		w->rights = X86_RW | X86_US;
		w->dirty = 1;
	}
	return result;
}

static __attribute__((noinline)) u32 walk_in_full(struct mmu_unit *u, u64 va, u32 access,
						  u32 privilege, u32 mode, struct walk *w)
{
	struct walk_start from = start_at_cr3(u);

	if (!canonical(u, va))
		return walk_nothing(va, XLATE_GP, w);
	if (!(u->cr0 & CR0_PG))
		return walk_nothing(va, XLATE_OK, w);
	return walk_from(u, va, access, privilege, mode, &from, w);
}

/* What the full walk of these entries leaves in *w, field by field: clearing *w first costs as much
 * as the walk. */
static always_inline void tell_warm(const struct mmu_unit *u, u64 va, const struct warm *e,
				    struct walk *w)
{
	w->va = va;
	w->pa = warm_pa(e, va);
	w->entry[0] = 0;
	w->entry[1] = e->pte;
	w->entry[2] = e->pde;
	w->entry[3] = e->pdpte;
	w->entry[4] = e->pml4e;
	w->entry_pa[0] = 0;
	w->entry_pa[1] = (e->pde & X86_ADDR_MASK) + entry_offset(va, 1);
	w->entry_pa[2] = (e->pdpte & X86_ADDR_MASK) + entry_offset(va, 2);
	w->entry_pa[3] = (e->pml4e & X86_ADDR_MASK) + entry_offset(va, 3);
	w->entry_pa[4] = (u->cr3 & X86_ADDR_MASK) + entry_offset(va, 4);
	w->level = 1;
	w->entry[5] = 0;
	w->entry_pa[5] = 0;
	w->top_level = 4;
	w->result = XLATE_OK;
	w->error_code = 0;
	w->rights = warm_rights(e);
	w->xd = warm_xd(e);
	w->dirty = e->pte / X86_D & 1;
	w->global = e->pte / X86_G & u->cr4 / CR4_PGE & 1;
	w->shstk = is_shadow_stack(e->pml4e & e->pdpte & e->pde, e->pte);
	w->pkey = pkey_of(e->pte);
}

u32 mmu_walk(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 mode, struct walk *w)
{
	struct warm e;

	if (unlikely(mode != WALK_QUIET || !walk_warm(u, va, access, privilege, &e)) ||
	    unlikely(!allows(warm_permissions(u, &e, privilege), access)))
		return walk_in_full(u, va, access, privilege, mode, w);
	tell_warm(u, va, &e, w);
	return XLATE_OK;
}
