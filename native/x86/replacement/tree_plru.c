// SPDX-License-Identifier: GPL-2.0-or-later
/* The way that a binary tree over all ways points to goes; 2^n ways, at most 64. */
#include "x86/replacement.h"
#include "x86/replacement/tree.h"

/* tree_use(), unrolled for the numbers of ways that there are most of. */
static u64 use(u64 state, u32 way, u32 ways)
{
	switch (ways) {
	case 4:
		return tree_use(state, way, 4);
	case 8:
		return tree_use(state, way, 8);
	default:
		return tree_use(state, way, ways);
	}
}

static u32 victim(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways)
{
	(void)tlb;
	(void)set;
	return tree_victim(state, ways);
}

const struct replacement tree_plru = {
	.by_use = true,
	.names_empty = true,
	.use = use,
	.victim = victim,
};
