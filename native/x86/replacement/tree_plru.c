// SPDX-License-Identifier: GPL-2.0-or-later
/* The way that a binary tree over all ways points to goes; 2^n ways, at most 64. */
#include "x86/replacement.h"
#include "x86/replacement/tree.h"

static u32 victim(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways)
{
	(void)tlb;
	(void)set;
	return tree_victim(state, ways);
}

const struct replacement tree_plru = {
	.by_use = true,
	.names_empty = true,
	.use = tree_use,
	.victim = victim,
};
