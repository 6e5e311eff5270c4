/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The victim of the policies that go by the clock. */
#ifndef UCMMU_X86_REPLACEMENT_OLDEST_H
#define UCMMU_X86_REPLACEMENT_OLDEST_H

#include "x86/state.h"

static inline u32 oldest(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways)
{
	u32 victim = 0;

	(void)tlb;
	(void)state;
	for (u32 way = 1; way < ways; way++)
		if (set[way].used < set[victim].used)
			victim = way;
	return victim;
}

#endif
