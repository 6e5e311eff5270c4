// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Groups of four ways: in group (group used last + 1) % groups the way goes that its tree points
 * to. State: a nibble for the tree of each group, and the group used last.
 *
 *   63   56 55                  8 7     4 3     0
 *  +-------+---------------------+-------+-------+
 *  |  MRU  |        ...          |group 1|group 0|
 *  +-------+---------------------+-------+-------+
 */
#include "x86/replacement.h"
#include "x86/replacement/tree.h"

/* The state after a use of a way. */
static u64 use(u64 state, u32 way, u32 ways)
{
	u32 group = way / 4;
	u64 tree = tree_use(state >> 4 * group & 0xf, way % 4, 4);

	(void)ways;
	state &= ~(0xffull << 56 | 0xfull << 4 * group);
	return state | (u64)group << 56 | tree << 4 * group;
}

static u32 victim(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways)
{
	u32 group = ((state >> 56) + 1) % (ways / 4);

	(void)tlb;
	(void)set;
	return 4 * group + tree_victim(state >> 4 * group & 0xf, 4);
}

const struct replacement mru_plru = {
	.by_use = true,
	.names_empty = true,
	.use = use,
	.victim = victim,
};
