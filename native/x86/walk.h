/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Accesses, what they end in, and the page walk (SDM vol. 3A 4.5). */
#ifndef UCMMU_X86_WALK_H
#define UCMMU_X86_WALK_H

#include "x86/faults.h"
#include "x86/state.h"

/* cffi-begin */
/* Kinds of access; also an index, and the bit number among PERM_*. */
#define ACCESS_READ 0
#define ACCESS_WRITE 1
#define ACCESS_FETCH 2
#define ACCESS_SHSTK_READ 3 /* shadow-stack accesses (SDM vol. 1 ch. 17) */
#define ACCESS_SHSTK_WRITE 4
/*
 * The load of a read-modify-write instruction, which processors make as one that a store follows:
 * it needs the rights of a write, sets D, and has W/R = 1 in its error code; else it is a load.
 */
#define ACCESS_RMW 5

/* The mode of an access (SDM vol. 3A 4.6): a CPL of 3 makes user accesses, but for implicit ones.
 */
#define PRIVILEGE_SUPERVISOR 0
#define PRIVILEGE_USER 1
#define PRIVILEGE_IMPLICIT 2 /* supervisor, of descriptor tables and the like: SMAP heeds no AC */

/* What a translation, or an attempt at one, ended in. */
#define XLATE_OK 0
#define XLATE_UD 6	   /* #UD: the processor has no such instruction */
#define XLATE_GP 13	   /* #GP: the address is not canonical, the value not legal */
#define XLATE_PF 14	   /* #PF: error_code says why */
#define XLATE_BAD_TABLE 64 /* a paging structure lies where no memory is: nothing x86 defines */
#define XLATE_LEGACY 66	   /* 32-bit or PAE paging, which is not modelled; nothing was changed */

/* Rights of a translation, for one privilege level. */
#define PERM_R 0x1
#define PERM_W 0x2
#define PERM_X 0x4
/* shadow-stack reads and writes; they go together, but for a protection key's WD */
#define PERM_SHSTK 0x18

/* What mmu_walk() may do to the tables. */
#define WALK_PROBE 0	/* look only: no A, no D, no events, no counters */
#define WALK_QUIET 1	/* set A of used entries, and D for a write, as the processor does */
#define WALK_HARDWARE 2 /* the same, with events and counters */

/*
 * One page walk, step by step.  Level 5 is the PML5E, 4 the PML4E, 3 the PDPTE, 2 the PDE, 1 the
 * PTE; entries above top_level (skipped through a paging-structure cache) are 0.
 */
struct walk {
	u64 va;
	u64 pa;		 /* of va itself, if XLATE_OK */
	u64 entry[6];	 /* by level: the entry as the walk left it */
	u64 entry_pa[6]; /* by level: where it lies, guest-physical */
	u32 level;	 /* where the walk ended: leaf, or the entry that faulted */
	u32 top_level;	 /* where the walk began: 4 or 5 unless a paging-structure cache hit */
	u32 result;	 /* XLATE_* */
	u32 error_code;	 /* PF_*, if XLATE_PF */
	u32 rights;	 /* X86_RW | X86_US, ANDed over the levels, if XLATE_OK */
	u32 xd;		 /* 1 if any level says XD */
	u32 dirty;	 /* 1 if D of the leaf is set */
	u32 global;	 /* 1 if G of the leaf is set and CR4.PGE is on */
	u32 shstk; /* 1 if the page is a shadow-stack page: R/W 0 and D 1 in the leaf, R/W 1 above
		    */
	u32 pkey;  /* protection key of the leaf, if XLATE_OK */
};

/*
 * Walk the tables for va, for an access of ACCESS_* and PRIVILEGE_*.
 * Fills *w and returns w->result. WALK_QUIET and WALK_HARDWARE set A and D by compare-and-exchange;
 * WALK_HARDWARE counts page_walker_loads and emits walk_entry, walk_set_ad, walk_done. None touches
 * the TLB.
 */
u32 mmu_walk(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 mode, struct walk *w);
/* cffi-end */

/* Where a walk begins: the table to read first, and what the levels above it have said. */
struct walk_start {
	u64 table;     /* guest-physical */
	u64 table_gen; /* of the oldest entry above table */
	u32 level;     /* of table's entries */
	u32 rights;    /* TLB_RW | TLB_US, ANDed, and TLB_XD, ORed */
};

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

#endif
