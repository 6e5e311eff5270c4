// SPDX-License-Identifier: GPL-2.0-or-later
/* Stale ranges: a hash table by level and address, of chains that end in NONE. */
#include "x86/stale_range.h"

#include <string.h>

#define NONE 0xffffffff

void forget_ranges(struct tlb_check *check)
{
	struct check_inside *in = check->inside;

	memset(in->chain, 0xff, sizeof(in->chain));
	in->free = NONE;
	in->fresh = 0;
	check->nr_ranges = 0;
}

/* The chain of ranges of level that va lies in. */
static u32 *chain_of(struct check_inside *in, u64 va, u32 level, u32 table)
{
	u64 key = (va >> (12 + 9 * (level - 1))) * 16 + level * 2 + table;

	return &in->chain[key * 0x9e3779b97f4a7c15 >> 48 & (NR_CHAINS - 1)];
}

static bool is_of(const struct stale_range *r, u64 va, u32 level, u32 table)
{
	return r->level == level && r->table == table && vpn_of(r->va, level) == vpn_of(va, level);
}

struct stale_range *find_range(struct tlb_check *check, u64 va, u32 level, u32 table, u16 pcid)
{
	struct check_inside *in = check->inside;

	for (u32 i = *chain_of(in, va, level, table); i != NONE; i = in->range[i].next)
		if (is_of(&in->range[i], va, level, table) &&
		    (in->range[i].pcid == pcid || in->range[i].global))
			return &in->range[i];
	return NULL;
}

static struct stale_range *range_number(struct tlb_check *check, u32 number)
{
	return number == NONE ? NULL : &check->inside->range[number];
}

struct stale_range *first_range(struct tlb_check *check, u32 i)
{
	return range_number(check, check->inside->chain[i]);
}

struct stale_range *next_range(struct tlb_check *check, const struct stale_range *r)
{
	return range_number(check, r->next);
}

void add_range(struct mmu_unit *u, const struct stale_range *new)
{
	struct tlb_check *check = u->check;
	struct check_inside *in = check->inside;
	u32 *chain = chain_of(in, new->va, new->level, new->table), number;

	if (find_range(check, new->va, new->level, new->table, new->pcid))
		return;
	number = in->free;
	if (number != NONE) {
		in->free = in->range[number].next;
	} else if (in->fresh < CHECK_MAX_RANGES) {
		number = in->fresh++;
	} else {
		check->lost++;
		return;
	}
	in->range[number] = *new;
	in->range[number].next = *chain;
	*chain = number;
	check->nr_ranges++;
}

static bool falls(const struct stale_range *r, const struct drop *drop)
{
	if (!(r->table ? drop->tables : drop->pages))
		return false;
	if (!drop->all && !is_of(r, drop->va, r->level, r->table))
		return false;
	return r->global ? drop->what & DROP_GLOBAL
			 : r->pcid == drop->pcid || drop->what & DROP_ANY_PCID;
}

static void drop_in_chain(struct tlb_check *check, u32 *link, const struct drop *drop)
{
	struct check_inside *in = check->inside;

	while (*link != NONE) {
		u32 number = *link;
		struct stale_range *r = &in->range[number];

		if (!falls(r, drop)) {
			link = &r->next;
			continue;
		}
		*link = r->next;
		r->next = in->free;
		in->free = number;
		check->nr_ranges--;
	}
}

void drop_ranges(struct tlb_check *check, const struct drop *drop)
{
	struct check_inside *in = check->inside;

	if (!check->nr_ranges)
		return;
	if (drop->all) {
		for (u32 i = 0; i < NR_CHAINS; i++)
			drop_in_chain(check, &in->chain[i], drop);
		return;
	}
	for (u32 level = 1; level <= 5; level++)
		for (u32 table = 0; table < 2; table++)
			drop_in_chain(check, chain_of(in, drop->va, level, table), drop);
}
