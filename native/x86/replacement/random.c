// SPDX-License-Identifier: GPL-2.0-or-later
/* Any entry goes, by a seeded sequence: struct tlb.random. */
#include "x86/replacement.h"

/* xorshift64 (Marsaglia): the next of a sequence of all values but 0. */
static u64 next_random(struct tlb *tlb)
{
	u64 x = tlb->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return tlb->random = x;
}

static u32 victim(struct tlb *tlb, const struct tlb_entry *set, u64 state, u32 ways)
{
	(void)set;
	(void)state;
	return next_random(tlb) % ways;
}

const struct replacement random_way = { .victim = victim };
