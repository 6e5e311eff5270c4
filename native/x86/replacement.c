// SPDX-License-Identifier: GPL-2.0-or-later
/* The table of replacement policies. */
#include "x86/replacement.h"

extern const struct replacement lru, fifo, random_way, tree_plru, mru_plru;

const struct replacement *const replacements[NR_REPLACEMENTS] = {
	[TLB_LRU] = &lru,	    [TLB_FIFO] = &fifo,
	[TLB_RANDOM] = &random_way, [TLB_TREE_PLRU] = &tree_plru,
	[TLB_MRU_PLRU] = &mru_plru,
};
