/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What walk.c, tlb.c, caches.c and unit.c share.  Their Python twins carry the same names. */
#ifndef UCMMU_X86_INTERNAL_H
#define UCMMU_X86_INTERNAL_H

#include "x86/unit.h"

/* Levels of tables, and the level of the table that CR3 names (SDM vol. 3A 4.5): 4, or 5 under
 * CR4.LA57. */
static inline u32 top_level(const struct mmu_unit *u)
{
	return u->cr4 & CR4_LA57 ? 5 : 4;
}

static inline bool canonical(const struct mmu_unit *u, u64 va)
{
	return va_is_canonical(va, top_level(u));
}

static inline bool has_feature(const struct mmu_unit *u, u32 feature)
{
	return u->features & feature;
}

/* Where a walk begins: the table to read first, and what the levels above it have said. */
struct walk_start {
	u64 table;     /* guest-physical */
	u64 table_gen; /* of the oldest entry above table */
	u32 level;     /* of table's entries */
	u32 rights;    /* TLB_RW | TLB_US, ANDed, and TLB_XD, ORed */
};

/* PCID in use (SDM vol. 3A 4.10.1): CR3[11:0] under CR4.PCIDE, else 0. */
static inline u16 current_pcid(const struct mmu_unit *u)
{
	return u->cr4 & CR4_PCIDE ? u->cr3 & CR3_PCID_MASK : 0;
}

/* Bits that must be 0 in a present entry of any level (SDM vol. 3A table 4-19): 51:M, XD without
 * NXE. */
static inline u64 reserved_always(const struct mmu_unit *u)
{
	u64 reserved = X86_ADDR_MASK & (~0ull << u->maxphyaddr);

	return u->efer & EFER_NXE ? reserved : reserved | X86_XD;
}

/* Does a present entry map a page (SDM vol. 3A 4.5.4)?  PTEs do, PDEs and PDPTEs with PS. */
static inline bool is_leaf(u64 entry, u32 level)
{
	return level == 1 || (level <= 3 && entry & X86_PS);
}

/* The protection key of a leaf: bits 62:59 (SDM vol. 3A 4.6.2). */
static inline u32 pkey_of(u64 leaf)
{
	return leaf >> X86_PK_SHIFT & 15;
}

/* The index into IA32_PAT that a leaf gives: PAT, PCD, PWT (SDM vol. 3A 4.9.2). */
static inline u32 pat_index_of(u64 leaf, u32 level)
{
	u32 pat = level == 1 ? leaf >> 7 & 1 : leaf >> 12 & 1;

	return pat << 2 | (leaf >> 3 & 3); /* PCD is bit 4, PWT bit 3 */
}

/* The memory type at that index of IA32_PAT (SDM vol. 3A 12.12.2). */
static inline u32 memory_type(const struct mmu_unit *u, u32 pat_index)
{
	return u->pat >> 8 * pat_index & 7;
}

/* Rights of one more entry on the way: R/W and U/S by AND, XD by OR (SDM vol. 3A 4.6.1). */
static inline u32 combine(u32 rights, u64 entry)
{
	return (rights & (entry | TLB_XD)) | (entry >> 63) * TLB_XD;
}

/* Is a page of these rights a shadow-stack page: R/W only missing in the leaf, whose D is set (SDM
 * vol. 3A 4.6.1)? */
static inline bool is_shadow_stack(u32 above, u64 leaf)
{
	return above & X86_RW && (leaf & (X86_RW | X86_D)) == X86_D;
}

/*
 * PERM_* that the protection key of a page takes away (SDM vol. 3A 4.6.2): PKRU's for user pages
 * under CR4.PKE, IA32_PKRS's for supervisor pages under CR4.PKS; never fetches.
 */
static inline u32 denied_by_key(const struct mmu_unit *u, u32 rights, u32 pkey, u32 privilege)
{
	bool user_page = rights & TLB_US, keyed = u->cr4 & (user_page ? CR4_PKE : CR4_PKS);
	u32 key = keyed ? (user_page ? u->pkru : u->pkrs) >> 2 * pkey & 3 : 0;

	if (key & PKR_AD)
		return PERM_R | PERM_W | PERM_SHSTK;
	if (key & PKR_WD && (u->cr0 & CR0_WP || (user_page && privilege == PRIVILEGE_USER)))
		return PERM_W | 1u << ACCESS_SHSTK_WRITE;
	return 0;
}

/*
 * PERM_* that combined rights (TLB_RW, US, XD, SHSTK) and a protection key give to one privilege
 * (SDM vol. 3A 4.6), D not considered.  Bit number ACCESS_* of the result is the answer for that
 * access.
 */
static inline u32 permissions(const struct mmu_unit *u, u32 rights, u32 pkey, u32 privilege)
{
	bool fetchable = !(rights & TLB_XD && u->efer & EFER_NXE);
	u32 perms = 0;

	if (likely(privilege == PRIVILEGE_USER)) {
		if (unlikely(!(rights & TLB_US)))
			return 0;
		perms = PERM_R | (rights & TLB_RW ? PERM_W : 0) | (fetchable ? PERM_X : 0);
		if (rights & TLB_SHSTK && u->cr4 & CR4_CET)
			perms |= PERM_SHSTK;
	} else {
		bool ac = privilege == PRIVILEGE_SUPERVISOR && u->rflags & RFLAGS_AC;

		if (!(rights & TLB_US) || !(u->cr4 & CR4_SMAP) || ac) {
			perms |= PERM_R;
			if (rights & TLB_RW || !(u->cr0 & CR0_WP))
				perms |= PERM_W;
		}
		if (fetchable && !(rights & TLB_US && u->cr4 & CR4_SMEP))
			perms |= PERM_X;
		if (rights & TLB_SHSTK && !(rights & TLB_US) && u->cr4 & CR4_CET)
			perms |= PERM_SHSTK;
	}
	if (unlikely(u->cr4 & (CR4_PKE | CR4_PKS)))
		perms &= ~denied_by_key(u, rights, pkey, privilege);
	return perms;
}

/* Does the access set D (SDM vol. 3A 4.8)?  A shadow-stack page has it set. */
static inline bool sets_dirty(u32 access)
{
	return access == ACCESS_WRITE || access == ACCESS_RMW;
}

static inline bool allows(u32 perms, u32 access)
{
	return perms >> (access == ACCESS_RMW ? ACCESS_WRITE : access) & 1;
}

/* The error code of a fault (SDM vol. 3A 4.7); why is 0, PF_P, PF_P | PF_PK or PF_P | PF_RSVD. */
static inline u32 error_code_of(const struct mmu_unit *u, u32 access, u32 privilege, u32 why)
{
	u32 code = why;

	if (sets_dirty(access) || access == ACCESS_SHSTK_WRITE)
		code |= PF_WR;
	if (privilege == PRIVILEGE_USER)
		code |= PF_US;
	if (access == ACCESS_FETCH &&
	    (u->cr4 & CR4_SMEP || (u->cr4 & CR4_PAE && u->efer & EFER_NXE)))
		code |= PF_ID;
	if (access == ACCESS_SHSTK_READ || access == ACCESS_SHSTK_WRITE)
		code |= PF_SS;
	return code;
}

/* Why rights that do not allow an access forbid it: PF_PK where its key alone would. */
static inline u32 why_denied(const struct mmu_unit *u, u32 rights, u32 pkey, u32 access,
			     u32 privilege)
{
	return allows(denied_by_key(u, rights, pkey, privilege), access) ? PF_P | PF_PK : PF_P;
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
		.level = top_level(u),
		.rights = X86_RW | X86_US,
	};
}

/* The walk of mmu_walk() from a given start; va is canonical, paging is on. */
u32 walk_from(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 mode,
	      const struct walk_start *from, struct walk *w);

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

/* tlb.c.  kinds is a set of TLB_ITLB..TLB_L2_DTLB, kind one of them. */
/* The first entry of those kinds, in order of array, size and way, that maps va, or NULL. */
struct tlb_entry *tlb_find(struct mmu_unit *u, u64 va, u32 kinds);
/* The first table-referencing entry of level that leads to va, or NULL. */
struct tlb_entry *tlb_find_table(struct mmu_unit *u, u64 va, u32 level);
/* The part of tlb_touch() that is not of TLB_LRU: e is now the last used of its set. */
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
#define DROP_GLOBAL 0x1	  /* global entries too */
#define DROP_ANY_PCID 0x2 /* whatever the PCID */
/* Drop by PCID, in TLB arrays and paging-structure caches. */
void tlb_drop_context(struct mmu_unit *u, u16 pcid, u32 what);
/* Drop the entries and fragments of va's pages of every size, of a PCID; DROP_GLOBAL: global ones
 * of any PCID too. */
void tlb_drop_address(struct mmu_unit *u, u64 va, u16 pcid, u32 what);

/* invalidate.c */
/* Drop every entry of every PCID; what: DROP_GLOBAL or 0.  Counted, with its event. */
void drop_all(struct mmu_unit *u, u32 what);
/* Name everything in the list of what a consumer must forget. */
void forget_everything(struct mmu_unit *u);

/* caches.c */
/* Where a walk for va may begin; *hit is the paging-structure cache entry it rests on, or NULL. */
struct walk_start psc_start(struct mmu_unit *u, u64 va, struct tlb_entry **hit);
/* Enter the table-referencing entries that a completed walk read. */
void psc_fill(struct mmu_unit *u, const struct walk *w, const struct walk_start *from);
/* Drop the entries of a PCID that a walk for va would use. */
void psc_drop_address(struct mmu_unit *u, u64 va, u16 pcid);
/* Drop every entry of a PCID. */
void psc_drop_context(struct mmu_unit *u, u16 pcid);
/* Drop the entries of every PCID; only those that a walk for va would use, if that is all. */
void psc_drop_any(struct mmu_unit *u, u64 va, bool only_va);

#endif
