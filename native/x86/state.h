/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One processor's MMU: registers, TLB, counters, and what changed for whoever caches its answers.
 */
#ifndef UCMMU_X86_STATE_H
#define UCMMU_X86_STATE_H

#include "memory/ram.h"
#include "trace/ring.h"
#include "types.h"
#include "x86/entries.h"
#include "x86/registers.h"

struct tlb_check;

/* cffi-begin */
/* The TLB and the paging-structure caches (SDM vol. 3A 4.10). */
#define TLB_MAX_ARRAYS 16
#define TLB_MAX_ENTRIES 8192
#define TLB_MAX_SETS 2048 /* of all arrays together */
#define TLB_MAX_PCIDS 16  /* that a limited array may hold at once */
#define TLB_ANY_PCIDS 0xffffffff

/* What an array serves: a set of these. */
#define TLB_ITLB 0x1	   /* first level, fetches */
#define TLB_DTLB_LOAD 0x2  /* first level, loads */
#define TLB_DTLB_STORE 0x4 /* first level, stores */
#define TLB_L2_ITLB 0x8	   /* second level, fetches */
#define TLB_L2_DTLB 0x10   /* second level, loads and stores */
#define TLB_PSC 0x20	   /* walks: it holds table-referencing entries */

/* struct tlb_entry.flags; X86_RW and X86_US keep their places, they are the combined rights. */
#define TLB_VALID 0x1
#define TLB_RW 0x2
#define TLB_US 0x4
#define TLB_XD 0x8
#define TLB_DIRTY 0x10
#define TLB_GLOBAL 0x20
/* shadow-stack page: R/W = 1 in all upper levels, R/W = 0 and D = 1 in the leaf */
#define TLB_SHSTK 0x40
#define TLB_TABLE 0x80	/* stands for a table-referencing entry: paging-structure-cache content */
#define TLB_RIGHTS 0x4e /* what permissions() asks for: RW, US, XD, SHSTK */

/*
 * One entry.  Of a page: vpn = va >> 12, its low bits cleared to the entry's size, maps to frame
 * (guest-physical address where that begins).  With TLB_TABLE, of level L: vpn is va >> 12 cleared
 * below level L's reach, frame the address of the table that level L points to.
 */
struct tlb_entry {
	u64 vpn;
	u64 frame;
	u64 used; /* clock of the last use (TLB_FIFO, TLB_RANDOM: of the fill): the smallest is the
		     least recent */
	u64 table_gen; /* struct mmu_unit.table_gen when the oldest table entry behind it was read
			*/
	u16 pcid;
	u8 flags;      /* TLB_* */
	u8 level;      /* size that the entry maps, or the level of the table-referencing entry */
	u8 pkey;       /* protection key of the leaf */
	u8 pat;	       /* PAT:PCD:PWT of the leaf, an index into IA32_PAT */
	u8 page_level; /* size of the page in the tables: above level, where the entry is a fragment
			  of it */
	u8 array;      /* number of the array it lies in */
};

/* sets * ways entries from number first on; set s holds [first + s * ways, + ways). */
struct tlb_array {
	u32 kind;   /* a set of TLB_ITLB..TLB_PSC */
	u32 sizes;  /* bit L set: holds entries that map pages of level L */
	u32 tables; /* bit L set: holds table-referencing entries of level L */
	u32 sets, ways;
	u32 first, first_set; /* number of its first entry, of its first set */
	u32 fold;   /* 0: set = page % sets; n: set = (page ^ page >> n) % sets, sets a power of two
		     */
	u32 policy; /* TLB_LRU.. of replacement.h */
	u32 pcids; /* how many PCIDs may have entries here at once, or TLB_ANY_PCIDS; 0: a PCID's go
		      at any MOV to CR3 */
	u32 nr_live;
	u16 live[TLB_MAX_PCIDS]; /* those PCIDs, the last loaded first */
	u8 enters[4]; /* by level of a page: the level it is entered as here, 0 not at all */
};

struct tlb {
	u32 nr_arrays; /* 0: no TLB, every access walks */
	u32 nr_entries;
	u64 clock;  /* of the last fill, or of the last use that was not of the entry used last */
	u64 random; /* state of TLB_RANDOM, never 0 */
	u32 fragments; /* 1: a fragment of a page was entered at some time */
	u32 split;     /* 1: loads and stores have first-level arrays of their own */
	struct tlb_array array[TLB_MAX_ARRAYS];
	u64 set[TLB_MAX_SETS]; /* state of each set, which its policy gives a meaning; 0 at first */
	struct tlb_entry entry[TLB_MAX_ENTRIES];
};

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
/* cffi-end */

#define TLB_TRANSLATIONS (TLB_ITLB | TLB_DTLB_LOAD | TLB_DTLB_STORE | TLB_L2_ITLB | TLB_L2_DTLB)

/* Which entries an invalidation takes (SDM vol. 3A 4.10.4.1). */
#define DROP_GLOBAL 0x1	  /* global entries too */
#define DROP_ANY_PCID 0x2 /* whatever the PCID */

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

/* PCID in use (SDM vol. 3A 4.10.1): CR3[11:0] under CR4.PCIDE, else 0. */
static inline u16 current_pcid(const struct mmu_unit *u)
{
	return u->cr4 & CR4_PCIDE ? u->cr3 & CR3_PCID_MASK : 0;
}

/* The memory type at that index of IA32_PAT (SDM vol. 3A 12.12.2). */
static inline u32 memory_type(const struct mmu_unit *u, u32 pat_index)
{
	return u->pat >> 8 * pat_index & 7;
}

#endif
