/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replacement policies: a row and a file of replacement/ for each. */
#ifndef UCMMU_X86_REPLACEMENT_H
#define UCMMU_X86_REPLACEMENT_H

#include "x86/state.h"

/* cffi-begin */
/* Who gives a place away when a set is full.  Empty places are filled first, a tree naming which.
 */
#define TLB_LRU 0	/* the least recently used */
#define TLB_FIFO 1	/* the first that was entered */
#define TLB_RANDOM 2	/* any: xorshift64 of struct tlb.random */
#define TLB_TREE_PLRU 3 /* where a binary tree points; 2^n ways, at most 64 */
#define TLB_MRU_PLRU 4	/* (MRU + 1) % groups, tree-PLRU of 4 in the group; 4 * groups ways */
#define NR_REPLACEMENTS 5

#define TLB_MRU_GROUPS 14 /* groups of TLB_MRU_PLRU, at most: a nibble each beside one byte */
/* cffi-end */

/* What a policy does; its twin is the class of mmu/x86/replacement/ with the same file name. */
struct replacement {
	bool by_use;	  /* a hit counts as a use, not only a fill */
	bool names_empty; /* of several empty places it fills the victim's, not the first */
	/* State of a set after a use of a way. NULL: the policy keeps no state. */
	u64 (*use)(u64 state, u32 way, u32 ways);
	/* The way that a set of these entries gives away. */
	u32 (*victim)(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways);
};

/* By TLB_LRU.. */
extern const struct replacement *const replacements[NR_REPLACEMENTS];

static inline const struct replacement *replacement_of(const struct tlb_array *a)
{
	return replacements[a->policy];
}

#endif
