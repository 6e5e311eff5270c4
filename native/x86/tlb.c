// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Set-associative arrays of translations: lookup, fill, eviction, invalidation (SDM vol. 3A 4.10.2).
 * The paging-structure caches are arrays too and share the code below; caches.c gives them meaning.
 */
#include "x86/internal.h"

/* The ways of the set that an address maps to. */
static inline struct tlb_entry *set_of(struct tlb *tlb, const struct tlb_array *a, u64 vpn, u32 level)
{
	u64 page = vpn >> 9 * (level - 1);
	u64 set = a->sets & (a->sets - 1) ? page % a->sets : page & (a->sets - 1);

	return tlb->entry + a->first + set * a->ways;
}

static inline bool matches(const struct tlb_entry *e, u64 vpn, u32 level, u16 pcid)
{
	return e->vpn == vpn && e->level == level && e->flags & TLB_VALID &&
	       (e->pcid == pcid || e->flags & TLB_GLOBAL);
}

static inline struct tlb_entry *find_in(struct tlb *tlb, const struct tlb_array *a, u64 va, u32 level,
					u16 pcid)
{
	u64 vpn = vpn_of(va, level);
	struct tlb_entry *e = set_of(tlb, a, vpn, level), *end = e + a->ways;

	for (; e < end; e++)
		if (matches(e, vpn, level, pcid))
			return e;
	return NULL;
}

static inline const struct tlb_array *arrays_end(const struct tlb *tlb)
{
	return tlb->array + tlb->nr_arrays;
}

struct tlb_entry *tlb_find(struct mmu_unit *u, u64 va, u32 kinds)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);
	u16 pcid = current_pcid(u);

	for (a = u->tlb.array; a < end; a++) {
		if (!(a->kind & kinds))
			continue;
		for (u32 sizes = a->sizes; sizes; sizes &= sizes - 1) {
			struct tlb_entry *e = find_in(&u->tlb, a, va, __builtin_ctz(sizes), pcid);

			if (e)
				return e;
		}
	}
	return NULL;
}

struct tlb_entry *tlb_find_level(struct mmu_unit *u, u64 va, u32 kinds, u32 level)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);
	struct tlb_entry *e;

	for (a = u->tlb.array; a < end; a++)
		if (a->kind & kinds && a->sizes >> level & 1) {
			e = find_in(&u->tlb, a, va, level, current_pcid(u));
			if (e)
				return e;
		}
	return NULL;
}

u32 tlb_array_of(const struct mmu_unit *u, const struct tlb_entry *e)
{
	u32 number = e - u->tlb.entry, i = 0;

	while (number - u->tlb.array[i].first >= u->tlb.array[i].sets * u->tlb.array[i].ways)
		i++;
	return i;
}

void tlb_touch(struct mmu_unit *u, struct tlb_entry *e)
{
	e->used = ++u->tlb.clock;
}

/*
 * Would a walk of today's tables give another answer?  An entry of another PCID is in no soft TLB
 * (MOV to CR3 empties it) and counts as fresh.  The probe's privilege is the page's own, so that
 * SMAP does not stand in its way.
 */
static bool is_stale(struct mmu_unit *u, const struct tlb_entry *e)
{
	u64 va = e->vpn << PAGE_SHIFT;
	struct walk w;

	if (e->table_gen == u->table_gen)
		return false;
	if (e->pcid != current_pcid(u) && !(e->flags & TLB_GLOBAL))
		return false;
	return mmu_walk(u, va, ACCESS_READ, !!(e->flags & TLB_US), WALK_PROBE, &w) != XLATE_OK ||
	       w.pa != e->frame || w.level != e->level || w.rights != (e->flags & (TLB_RW | TLB_US)) ||
	       w.xd != !!(e->flags & TLB_XD) || (e->flags & TLB_DIRTY && !w.dirty) || w.pkey != e->pkey ||
	       w.shstk != !!(e->flags & TLB_SHSTK);
}

/* e is about to go: a consumer that learned it from us must forget it if the tables say otherwise now. */
static void forget_if_stale(struct mmu_unit *u, const struct tlb_entry *e)
{
	if (is_stale(u, e))
		mmu_soft_flush(u, e->vpn << PAGE_SHIFT, level_size(e->level) >> PAGE_SHIFT);
}

/* The way to fill: the first empty one, else the least recently used. */
static struct tlb_entry *victim_of(struct tlb_entry *set, u32 ways)
{
	struct tlb_entry *victim = set;

	for (struct tlb_entry *e = set; e < set + ways; e++) {
		if (!(e->flags & TLB_VALID))
			return e;
		if (e->used < victim->used)
			victim = e;
	}
	return victim;
}

static void evict(struct mmu_unit *u, const struct tlb_entry *e, u32 array)
{
	emit(u->ring, tlb_evict, e->vpn << PAGE_SHIFT, e->frame, array);
	u->counter[COUNTER_tlb_evictions]++;
	forget_if_stale(u, e);
}

/* Enter *new into array a: over its own tag if that is resident, else into the victim's place. */
static void fill_array(struct mmu_unit *u, const struct tlb_array *a, const struct tlb_entry *new)
{
	struct tlb_entry *e = find_in(&u->tlb, a, new->vpn << PAGE_SHIFT, new->level, new->pcid);
	u32 number = a - u->tlb.array;

	if (!e) {
		e = victim_of(set_of(&u->tlb, a, new->vpn, new->level), a->ways);
		if (e->flags & TLB_VALID && a->kind != TLB_PSC)
			evict(u, e, number);
	}
	*e = *new;
	tlb_touch(u, e);
	if (a->kind != TLB_PSC)
		emit(u->ring, tlb_fill, e->vpn << PAGE_SHIFT, e->frame, number);
}

void tlb_fill(struct mmu_unit *u, u32 kind, const struct tlb_entry *new)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);

	for (a = u->tlb.array; a < end; a++)
		if (a->kind == kind && a->sizes >> new->level & 1) {
			fill_array(u, a, new);
			return;
		}
}

void tlb_drop_page(struct mmu_unit *u, u64 va)
{
	struct tlb_entry *e;

	if (!u->tlb.clock)
		return;		/* nothing was ever entered */
	while ((e = tlb_find(u, va, TLB_ITLB | TLB_DTLB | TLB_STLB))) {
		forget_if_stale(u, e);
		e->flags = 0;
	}
}

/* Is e one that an invalidation for pcid takes? */
static bool falls(const struct tlb_entry *e, u16 pcid, u32 what)
{
	if (e->flags & TLB_GLOBAL && !(what & DROP_GLOBAL))
		return false;
	return e->pcid == pcid || what & DROP_ANY_PCID;
}

/* The same of an invalidation of e's page: a global entry is every PCID's. */
static bool falls_with_page(const struct tlb_entry *e, u16 pcid, u32 what)
{
	if (e->flags & TLB_GLOBAL)
		return what & DROP_GLOBAL;
	return e->pcid == pcid || what & DROP_ANY_PCID;
}

void tlb_drop_context(struct mmu_unit *u, u16 pcid, u32 what)
{
	struct tlb_entry *e, *end = u->tlb.entry + u->tlb.nr_entries;

	if (!u->tlb.clock)
		return;
	for (e = u->tlb.entry; e < end; e++)
		if (falls(e, pcid, what))
			e->flags = 0;
}

void tlb_drop_address(struct mmu_unit *u, u64 va, u16 pcid, u32 what)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);
	struct tlb_entry *e;

	if (!u->tlb.clock)
		return;
	for (a = u->tlb.array; a < end; a++) {
		if (a->kind == TLB_PSC)
			continue;
		for (u32 sizes = a->sizes; sizes; sizes &= sizes - 1) {
			u32 level = __builtin_ctz(sizes);
			u64 vpn = vpn_of(va, level);

			e = set_of(&u->tlb, a, vpn, level);
			for (u32 way = 0; way < a->ways; way++, e++) {
				if (e->vpn == vpn && e->level == level && falls_with_page(e, pcid, what))
					e->flags = 0;
			}
		}
	}
}
