/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What walk.c, tlb.c, caches.c and unit.c share.  Their Python twins carry the same names. */
#ifndef UCMMU_X86_INTERNAL_H
#define UCMMU_X86_INTERNAL_H

#include "x86/unit.h"

#define TOP_LEVEL 4	/* PML4; LA57 will make it a question of CR4 */

/* Level of the table that CR3 names (SDM vol. 3A 4.5): PML5 or PML4. */
static inline u32 top_level(const struct mmu_unit *u)
{
	return u->cr4 & CR4_LA57 ? 5 : 4;
}

/* Where a walk begins: the table to read first, and what the levels above it have said. */
struct walk_start {
	u64 table;		/* guest-physical */
	u64 table_gen;		/* of the oldest entry above table */
	u32 level;		/* of table's entries */
	u32 rights;		/* X86_RW | X86_US, ANDed */
	u32 xd;			/* 0 or 1, ORed */
};

/* PCID in use (SDM vol. 3A 4.10.1): CR3[11:0] under CR4.PCIDE, else 0. */
static inline u16 current_pcid(const struct mmu_unit *u)
{
	return u->cr4 & CR4_PCIDE ? u->cr3 & CR3_PCID_MASK : 0;
}

/* Bits that must be 0 in a present entry of any level (SDM vol. 3A table 4-19): 51:M, XD without NXE. */
static inline u64 reserved_always(const struct mmu_unit *u)
{
	u64 reserved = X86_ADDR_MASK & (~0ull << u->maxphyaddr);

	return u->efer & EFER_NXE ? reserved : reserved | X86_XD;
}

/*
 * PERM_* that combined rights give to one privilege level (SDM vol. 3A 4.6.1), D not considered.
 * Bit number ACCESS_* of the result is the answer for that access.
 */
static inline u32 permissions(const struct mmu_unit *u, u32 rights, u32 xd, u32 user)
{
	bool fetchable = !(xd && u->efer & EFER_NXE);
	u32 perms = 0;

	if (likely(user)) {
		if (unlikely(!(rights & X86_US)))
			return 0;
		return PERM_R | (rights & X86_RW ? PERM_W : 0) | (fetchable ? PERM_X : 0);
	}
	if (!(rights & X86_US) || !(u->cr4 & CR4_SMAP) || u->rflags & RFLAGS_AC) {
		perms |= PERM_R;
		if (rights & X86_RW || !(u->cr0 & CR0_WP))
			perms |= PERM_W;
	}
	if (fetchable && !(rights & X86_US && u->cr4 & CR4_SMEP))
		perms |= PERM_X;
	return perms;
}

/* The error code of a fault (SDM vol. 3A 4.7); why is 0, PF_P or PF_P | PF_RSVD. */
static inline u32 error_code_of(const struct mmu_unit *u, u32 access, u32 user, u32 why)
{
	u32 code = why;

	if (access == ACCESS_WRITE)
		code |= PF_WR;
	if (user)
		code |= PF_US;
	if (access == ACCESS_FETCH && (u->cr4 & CR4_SMEP || (u->cr4 & CR4_PAE && u->efer & EFER_NXE)))
		code |= PF_ID;
	return code;
}

static inline bool allows(u32 perms, u32 access)
{
	return perms >> access & 1;
}

/* What is left of perms for a cache that does not come back to have D set. */
static inline u32 perms_if_dirty(u32 perms, u32 dirty)
{
	return dirty ? perms : perms & ~PERM_W;
}

/* vpn of the page or table reach of level that va lies in. */
static inline u64 vpn_of(u64 va, u32 level)
{
	u32 shift = 9 * (level - 1);

	return va >> PAGE_SHIFT >> shift << shift;
}

static inline struct walk_start start_at_cr3(const struct mmu_unit *u)
{
	return (struct walk_start){
		.table = u->cr3 & X86_ADDR_MASK,
		.table_gen = u->table_gen,
		.level = TOP_LEVEL,
		.rights = X86_RW | X86_US,
	};
}

/* The walk of mmu_walk() from a given start; va is canonical, paging is on. */
u32 walk_from(struct mmu_unit *u, u64 va, u32 access, u32 user, u32 mode,
	      const struct walk_start *from, struct walk *w);

/* The first-level kind of array that serves an access: a shadow-stack read is a load, a write a store. */
static inline u32 first_level(u32 access)
{
	static const u8 kind[] = { TLB_DTLB_LOAD, TLB_DTLB_STORE, TLB_ITLB, TLB_DTLB_LOAD, TLB_DTLB_STORE };

	return kind[access];
}

/* The second-level kind. */
static inline u32 second_level(u32 access)
{
	return access == ACCESS_FETCH ? TLB_L2_ITLB : TLB_L2_DTLB;
}

/* tlb.c.  kinds is a set of TLB_ITLB..TLB_L2_DTLB, kind one of them. */
/* The first entry of those kinds, in order of array, size and way, that maps va, or NULL. */
struct tlb_entry *tlb_find(struct mmu_unit *u, u64 va, u32 kinds);
/* The first table-referencing entry of level that leads to va, or NULL. */
struct tlb_entry *tlb_find_table(struct mmu_unit *u, u64 va, u32 level);
/* The part of tlb_touch() that is not of TLB_LRU: e is now the last used of its set. */
void tlb_prefer(struct tlb *tlb, const struct tlb_entry *e);
/*
 * Enter *new (flags, level and page_level, frame: any address in the page, pcid, table_gen, pkey, pat) into
 * the array of kind that takes its page size, if any: the whole page, or the fragment of it that va lies in.
 */
void tlb_fill(struct mmu_unit *u, u32 kind, u64 va, const struct tlb_entry *new);
/* Enter a table-referencing entry (vpn and all but array, used) into the array for its level, if any. */
void tlb_fill_table(struct mmu_unit *u, const struct tlb_entry *new);
/*
 * MOV to CR3, or a change of CR4.PCIDE, loads a PCID, which may already be in use: where PCIDs are
 * limited it is live from now on, and if that is one too many, the one loaded longest ago loses its
 * non-global entries there.
 */
void tlb_switch_pcid(struct mmu_unit *u, u16 pcid);
/*
 * Drop what lookups for va would find, in every TLB array, and every fragment of va's page (SDM vol. 3A
 * 4.10.2.3); stale pages go into the soft-flush list.
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

	if (e->used == tlb->clock)
		return;
	switch (tlb->array[e->array].policy) {
	case TLB_TREE_PLRU:
	case TLB_MRU_PLRU:
		tlb_prefer(tlb, e);
		__attribute__((fallthrough));
	case TLB_LRU:
		e->used = ++tlb->clock;
	}
}

/* Which entries an invalidation takes (SDM vol. 3A 4.10.4.1). */
#define DROP_GLOBAL 0x1		/* global entries too */
#define DROP_ANY_PCID 0x2	/* whatever the PCID */
/* Drop by PCID, in TLB arrays and paging-structure caches. */
void tlb_drop_context(struct mmu_unit *u, u16 pcid, u32 what);
/* Drop the entries and fragments of va's pages of every size, of a PCID; DROP_GLOBAL: global ones of any PCID too. */
void tlb_drop_address(struct mmu_unit *u, u64 va, u16 pcid, u32 what);

/* caches.c */
/* Where a walk for va may begin; *hit is the paging-structure cache entry it rests on, or NULL. */
struct walk_start psc_start(struct mmu_unit *u, u64 va, struct tlb_entry **hit);
/* Enter the table-referencing entries that a completed walk read. */
void psc_fill(struct mmu_unit *u, const struct walk *w, const struct walk_start *from);
/* Drop the entries of a PCID that a walk for va would use. */
void psc_drop_address(struct mmu_unit *u, u64 va, u16 pcid);
/* Drop every entry of a PCID. */
void psc_drop_context(struct mmu_unit *u, u16 pcid);

#endif
