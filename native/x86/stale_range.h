/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inside of the checker: stale ranges, found by address. */
#ifndef UCMMU_X86_STALE_RANGE_H
#define UCMMU_X86_STALE_RANGE_H

#include "x86/check.h"

#define NR_CHAINS 65536 /* a power of two */
#define NR_OUTSIDE 4096 /* a power of two: chains of tables outside RAM */

struct shadow; /* check.c: a table as it was */

struct check_inside {
	struct shadow *level[6];
	struct shadow **by_frame;	    /* of RAM, by frame index */
	struct shadow *outside[NR_OUTSIDE]; /* by frame number, of several frames each */
	u64 nr_frames;
	u64 root[CR3_PCID_MASK + 1]; /* by PCID: the table it was last loaded with; 0: none */
	u32 chain[NR_CHAINS];
	u32 free;  /* first of the ranges that were in use and are not now */
	u32 fresh; /* ranges from here on were never in use, nor their memory touched */
	bool met;  /* the access under way is to a stale range: */
	struct stale_range meets;
	struct stale_range range[CHECK_MAX_RANGES];
	struct check_where filled[TLB_MAX_ENTRIES];
};

/* How often the frame at guest-physical pa was freed; outside RAM nobody frees any. */
static inline u32 nr_freed_of(const struct mmu_unit *u, u64 pa)
{
	return memory_holds(u->ram, pa)
		       ? u->ram->nr_freed[MEMORY_PAGE_INDEX(u->ram, pa >> PAGE_SHIFT)]
		       : 0;
}

/* Which ranges an invalidation takes. */
struct drop {
	bool tables, pages; /* kinds */
	bool all;	    /* else only those that va lies in */
	u64 va;
	u16 pcid;
	u32 what; /* DROP_* */
};

/* Put all ranges on the list of those not in use. */
void forget_ranges(struct tlb_check *check);
/* The range of just this kind for a PCID, or NULL. */
struct stale_range *find_range(struct tlb_check *check, u64 va, u32 level, u32 table, u16 pcid);
/* Note *new; a range that is known keeps its first, older, translation. */
void add_range(struct mmu_unit *u, const struct stale_range *new);
/* The first range of chain number i, the one after *r; NULL: there is none. */
struct stale_range *first_range(struct tlb_check *check, u32 i);
struct stale_range *next_range(struct tlb_check *check, const struct stale_range *r);
/* Take the ranges away that an invalidation takes. */
void drop_ranges(struct tlb_check *check, const struct drop *drop);

#endif
