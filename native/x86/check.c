// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The stale-translation checker.
 *
 * It keeps a copy of each table that a walk has read.  Where memory differs from the copy, an entry
 * was changed: if a processor may have cached the old one, and could do harm with it, its addresses
 * become a stale range, until an invalidation that the manuals say is enough (SDM vol. 3A 4.10.4)
 * takes it away.  So a range stands for whatever any processor may hold, speculative entries and
 * entries of upper levels included, not only for what the model's few places happen to hold.
 *
 * An access to a stale range is told: as a use, if the model itself translated by the old entry;
 * else as one that another processor, with more places or other luck, may have made.
 *
 * What needs no invalidation (SDM vol. 3A 4.10.4.3) makes no range: an entry that was not present,
 * rights given, A cleared.  At worst such a change costs a spurious fault, or an A that is not set.
 */
#include "x86/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "x86/stale_range.h"

#define ENTRIES 512

/* A table as it was when last looked at. */
struct shadow {
	struct shadow *next; /* of its level */
	struct shadow
		*alias; /* of its chain: the same frame, used at another place, or another frame */
	u64 pfn;
	u64 va; /* of its first entry */
	u32 level;
	u32 nr_freed;	 /* how often its frame had been freed */
	u32 only_global; /* 1: of its translations processors have the global ones only */
	u32 has_global;	 /* 1: there were some, here or below, when a PCID was last forgotten */
	u32 nr_pcids;
	u16 pcid[CHECK_MAX_PCIDS];
	u64 entry[ENTRIES];
	u32 entry_nr_freed[ENTRIES]; /* how often what the entry leads to had been freed */
};

int check_begin(struct mmu_unit *u)
{
	struct tlb_check *check = calloc(1, sizeof(*check));
	struct check_inside *in = map_lazily(sizeof(*in)); /* little of it is ever touched */

	if (!check || !in)
		goto out;
	check->inside = in;
	in->nr_frames = u->ram->nr_pages;
	in->by_frame = map_lazily(in->nr_frames * sizeof(*in->by_frame));
	if (!in->by_frame || memory_count_frees(u->ram))
		goto out;
	for (u32 i = 0; i < u->tlb.nr_entries; i++)
		in->filled[i].rip = in->filled[i].instruction = CHECK_NOWHERE;
	check->now = (struct check_where){ .rip = CHECK_NOWHERE,
					   .instruction = CHECK_NOWHERE,
					   .cpu = u->cpu };
	check->kernel = check->now;
	check->every_access = 1;
	forget_ranges(check);
	u->check = check;
	return 0;
out:
	if (in && in->by_frame)
		munmap(in->by_frame, in->nr_frames * sizeof(*in->by_frame));
	if (in)
		munmap(in, sizeof(*in));
	free(check);
	return -ENOMEM;
}

void check_end(struct mmu_unit *u)
{
	struct tlb_check *check = u->check;

	if (!check)
		return;
	for (u32 level = 1; level <= 5; level++)
		for (struct shadow *s = check->inside->level[level], *next; s; s = next) {
			next = s->next;
			free(s);
		}
	munmap(check->inside->by_frame,
	       check->inside->nr_frames * sizeof(*check->inside->by_frame));
	munmap(check->inside, sizeof(*check->inside));
	free(check);
	u->check = NULL;
}

/* ---- tables ---- */

/* May a processor that goes on using old do what new does not say (SDM vol. 3A 4.10.4.2, 4.10.4.3)?
 */
static bool needs_flush(u64 old, u64 new, u32 level)
{
	u64 differ = old ^ new, always = X86_ADDR_MASK | (level > 1 ? X86_PS : 0);

	if (!(old & X86_P))
		return false;
	if (!(new & X86_P))
		return true;
	if (is_leaf(old, level))
		always |= X86_G | X86_PCD | X86_PWT | 15ull << X86_PK_SHIFT |
			  (level == 1 ? X86_PAT : 0);
	if (differ & always || old & ~new & (X86_RW | X86_US) || new & ~old & X86_XD)
		return true;
	return is_leaf(old, level) && old & ~new & X86_D;
}

/* Where the entry was changed: by the guest's own store, if there was one. */
static struct check_where where_changed(const struct tlb_check *check, u64 entry_pa)
{
	for (u32 i = 0; i < CHECK_NR_STORES && i < check->nr_stores; i++)
		if (check->store[i].detail == entry_pa)
			return check->store[i];
	return check->kernel;
}

/* The chain in which the copies of the table in frame pfn are. */
static struct shadow **chain_of_frame(struct mmu_unit *u, u64 pfn)
{
	struct check_inside *in = u->check->inside;

	if (likely(memory_holds(u->ram, pfn << PAGE_SHIFT)))
		return &in->by_frame[MEMORY_PAGE_INDEX(u->ram, pfn)];
	return &in->outside[pfn % NR_OUTSIDE];
}

static struct shadow *shadow_of(struct mmu_unit *u, u64 table, u32 level, u64 va)
{
	u64 pfn = table >> PAGE_SHIFT;
	struct shadow *s = *chain_of_frame(u, pfn);

	while (s && (s->pfn != pfn || s->level != level || s->va != va))
		s = s->alias;
	return s;
}

/*
 * The table that an entry led to is out of the way: what processors have from it, they may keep;
 * only_global: that is global translations.
 */
static void orphan(struct mmu_unit *u, const struct stale_range *from, u64 table, bool only_global)
{
	struct shadow *s = shadow_of(u, table, from->level - 1, from->va);
	struct stale_range range = *from;

	if (!s)
		return;
	range.level = s->level;
	for (u32 i = 0; i < ENTRIES; i++) {
		u64 entry = s->entry[i];

		if (!(entry & X86_P))
			continue;
		range.va = s->va + i * level_size(s->level);
		range.old = entry;
		range.nr_freed = s->entry_nr_freed[i];
		range.table = !is_leaf(entry, s->level);
		range.global = !range.table && entry & X86_G && u->cr4 & CR4_PGE;
		if (!only_global || range.global)
			add_range(u, &range);
		if (range.table)
			orphan(u, &range, entry & X86_ADDR_MASK, only_global);
	}
}

/* Entry number i of *s has become new. */
static void entry_changed(struct mmu_unit *u, const struct shadow *s, u32 i, u64 new)
{
	u64 old = s->entry[i], entry_pa = (s->pfn << PAGE_SHIFT) + i * 8;
	struct stale_range range = {
		.va = s->va + i * level_size(s->level),
		.entry_pa = entry_pa,
		.old = old,
		.new = new,
		.changed = where_changed(u->check, entry_pa),
		.nr_freed = s->entry_nr_freed[i],
		.level = s->level,
		.table = !is_leaf(old, s->level),
	};

	range.global = !range.table && old & X86_G && u->cr4 & CR4_PGE;
	if (!needs_flush(old, new, s->level))
		return;
	for (u32 n = 0; n < s->nr_pcids; n++) {
		range.pcid = s->pcid[n];
		if (!s->only_global || range.global)
			add_range(u, &range);
		if (range.table)
			orphan(u, &range, old & X86_ADDR_MASK, s->only_global);
	}
}

/* Forget *s, whose frame was freed; *link points to it. */
static void drop_shadow(struct mmu_unit *u, struct shadow **link)
{
	struct shadow *s = *link;
	struct shadow **alias = chain_of_frame(u, s->pfn);

	while (*alias != s)
		alias = &(*alias)->alias;
	*alias = s->alias;
	*link = s->next;
	free(s);
}

/* Copy an entry, and how often what it leads to was freed so far. */
static void copy_entry(struct mmu_unit *u, struct shadow *s, u32 i, u64 entry)
{
	s->entry[i] = entry;
	if (entry & X86_P)
		s->entry_nr_freed[i] = nr_freed_of(u, entry & X86_ADDR_MASK);
}

/* Compare a table with its copy. False if it is no more: its frame was freed, or taken away. */
static bool sync_table(struct mmu_unit *u, struct shadow *s)
{
	u64 copy[ENTRIES];
	const u64 *now;

	if (nr_freed_of(u, s->pfn << PAGE_SHIFT) != s->nr_freed)
		return false;
	now = memory_words(u->ram, s->pfn << PAGE_SHIFT, copy);
	if (!now)
		return false;
	if (likely(!memcmp(now, s->entry, sizeof(s->entry))))
		return true;
	for (u32 i = 0; i < ENTRIES; i++) {
		if (now[i] == s->entry[i])
			continue;
		entry_changed(u, s, i, now[i]);
		if ((now[i] ^ s->entry[i]) & (X86_ADDR_MASK | X86_P))
			copy_entry(u, s, i, now[i]);
		else
			s->entry[i] = now[i];
	}
	return true;
}

/* Compare tables with their copies: those above first, which decide what becomes of those below. */
void check_sync(struct mmu_unit *u)
{
	struct check_inside *in = u->check->inside;

	u->check->changed = 0;
	for (u32 level = 5; level >= 1; level--)
		for (struct shadow **link = &in->level[level]; *link;) {
			struct shadow *s = *link;

			if (sync_table(u, s))
				link = &s->next;
			else
				drop_shadow(u, link);
		}
}

static void add_shadow(struct mmu_unit *u, u64 table, u32 level, u64 va, u16 pcid)
{
	struct check_inside *in = u->check->inside;
	struct shadow **chain = chain_of_frame(u, table >> PAGE_SHIFT);
	struct shadow *s = malloc(sizeof(*s));
	u64 copy[ENTRIES];
	const u64 *now = memory_words(u->ram, table, copy);

	if (!s || !now) {
		free(s);
		u->check->lost++;
		return;
	}
	*s = (struct shadow){
		.next = in->level[level],
		.alias = *chain,
		.pfn = table >> PAGE_SHIFT,
		.va = va,
		.level = level,
		.nr_freed = nr_freed_of(u, table),
		.nr_pcids = 1,
		.pcid = { pcid },
	};
	for (u32 i = 0; i < ENTRIES; i++)
		copy_entry(u, s, i, now[i]);
	in->level[level] = s;
	*chain = s;
}

/* Does the table, or one below it of which that is known, hold global translations? */
static bool has_global(struct mmu_unit *u, const struct shadow *s)
{
	for (u32 i = 0; i < ENTRIES; i++) {
		u64 entry = s->entry[i];
		const struct shadow *below;

		if (!(entry & X86_P))
			continue;
		if (is_leaf(entry, s->level)) {
			if (entry & X86_G)
				return true;
			continue;
		}
		below = shadow_of(u, entry & X86_ADDR_MASK, s->level - 1,
				  s->va + i * level_size(s->level));
		if (below && below->has_global)
			return true;
	}
	return false;
}

/*
 * A PCID's entries are all gone: nothing more of its tables is known until a walk reads them again,
 * but those with global translations, and the tables that lead to them.
 */
static void forget_pcid(struct mmu_unit *u, u16 pcid, u32 what)
{
	struct check_inside *in = u->check->inside;
	bool globals_stay = !(what & DROP_GLOBAL) && u->cr4 & CR4_PGE;

	for (u32 level = 1; level <= 5; level++)
		for (struct shadow **link = &in->level[level]; *link;) {
			struct shadow *s = *link;

			s->has_global = globals_stay && has_global(u, s);
			for (u32 i = 0; i < s->nr_pcids; i++)
				if (s->pcid[i] == pcid || what & DROP_ANY_PCID)
					s->pcid[i--] = s->pcid[--s->nr_pcids];
			if (s->nr_pcids) {
				link = &s->next;
			} else if (s->has_global) {
				s->only_global = 1;
				s->pcid[s->nr_pcids++] = pcid;
				link = &s->next;
			} else {
				drop_shadow(u, link);
			}
		}
}

void check_table(struct mmu_unit *u, u64 table, u32 level, u64 va)
{
	u64 first = va & ~(ENTRIES * level_size(level) - 1);
	struct shadow *s = shadow_of(u, table, level, first);
	u16 pcid = current_pcid(u);

	if (!s || s->nr_freed != nr_freed_of(u, table)) {
		add_shadow(u, table, level, first, pcid);
		return;
	}
	s->only_global = 0;
	for (u32 i = 0; i < s->nr_pcids; i++)
		if (s->pcid[i] == pcid)
			return;
	if (s->nr_pcids < CHECK_MAX_PCIDS)
		s->pcid[s->nr_pcids++] = pcid;
	else
		u->check->lost++;
}

void check_load(struct mmu_unit *u, u64 root, u16 pcid, u32 kept)
{
	u64 before = u->check->inside->root[pcid];
	struct stale_range range = {
		.old = before,
		.new = root,
		.changed = u->check->kernel,
		.level = top_level(u) + 1,
		.pcid = pcid,
	};

	range.changed.operation = 0; /* no flush is to come */
	u->check->inside->root[pcid] = root;
	if (!kept || !before || before == root)
		return;
	check_sync(u);
	orphan(u, &range, before, false);
	range.va = ~0ull << (12 + 9 * top_level(u)); /* the upper half has a copy of its own */
	orphan(u, &range, before, false);
	forget_pcid(u, pcid, 0);
}

void check_set_ad(struct mmu_unit *u, u64 entry_pa, u64 entry)
{
	u64 pfn = entry_pa >> PAGE_SHIFT;

	for (struct shadow *s = *chain_of_frame(u, pfn); s; s = s->alias)
		if (s->pfn == pfn &&
		    (s->entry[entry_pa / 8 % ENTRIES] | X86_A | X86_D) == (entry | X86_A | X86_D))
			s->entry[entry_pa / 8 % ENTRIES] = entry;
}

/* ---- what the TLB is told ---- */

void check_filled(struct mmu_unit *u, u32 number)
{
	u->check->inside->filled[number] = u->check->now;
}

void check_copied(struct mmu_unit *u, u32 number, u32 from)
{
	u->check->inside->filled[number] = u->check->inside->filled[from];
}

void check_drop_page(struct mmu_unit *u, u64 va, u16 pcid, u32 what)
{
	const struct drop drop = { .pages = true, .va = va, .pcid = pcid, .what = what };

	check_sync(u);
	drop_ranges(u->check, &drop);
}

void check_drop_context(struct mmu_unit *u, u16 pcid, u32 what)
{
	const struct drop drop = {
		.tables = true, .pages = true, .all = true, .pcid = pcid, .what = what
	};

	check_sync(u);
	drop_ranges(u->check, &drop);
	forget_pcid(u, pcid, what);
}

void check_drop_tables(struct mmu_unit *u, u64 va, u32 only_va, u16 pcid, u32 what)
{
	const struct drop drop = {
		.tables = true, .all = !only_va, .va = va, .pcid = pcid, .what = what
	};

	check_sync(u);
	drop_ranges(u->check, &drop);
}
