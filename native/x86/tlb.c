// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Set-associative arrays of translations: lookup, fill, eviction, invalidation (SDM vol.
 * 3A 4.10.2). The paging-structure caches are arrays too and share the code below; caches.c gives
 * them meaning.
 */
#include "x86/tlb.h"

#include "x86/check.h"
#include "x86/walk.h"

/* Number, within its array, of the set that an address maps to. */
static inline u32 set_number(const struct tlb_array *a, u64 vpn, u32 level)
{
	u64 page = vpn >> 9 * (level - 1);

	if (a->fold)
		page ^= page >> a->fold;
	return a->sets & (a->sets - 1) ? page % a->sets : page & (a->sets - 1);
}

static inline struct tlb_entry *set_of(struct tlb *tlb, const struct tlb_array *a, u64 vpn,
				       u32 level)
{
	return tlb->entry + a->first + set_number(a, vpn, level) * a->ways;
}

/* Is e a valid entry of that tag?  table: TLB_TABLE for a table-referencing entry, 0 for a page. */
static inline bool matches(const struct tlb_entry *e, u64 vpn, u32 level, u16 pcid, u32 table)
{
	return e->vpn == vpn && e->level == level &&
	       (e->flags & (TLB_VALID | TLB_TABLE)) == (TLB_VALID | table) &&
	       (e->pcid == pcid || e->flags & TLB_GLOBAL);
}

/* The first entry of that tag in a set of so many ways, or NULL. */
static inline struct tlb_entry *find_way(struct tlb_entry *e, u32 ways, u64 vpn, u32 level,
					 u16 pcid, u32 table)
{
	for (struct tlb_entry *end = e + ways; e < end; e++)
		if (matches(e, vpn, level, pcid, table))
			return e;
	return NULL;
}

static inline struct tlb_entry *find_in(struct tlb *tlb, const struct tlb_array *a, u64 va,
					u32 level, u16 pcid, u32 table)
{
	u64 vpn = vpn_of(va, level);

	return find_way(set_of(tlb, a, vpn, level), a->ways, vpn, level, pcid, table);
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
		for (u32 sizes = a->sizes & u->tlb.entered; sizes; sizes &= sizes - 1) {
			struct tlb_entry *e =
				find_in(&u->tlb, a, va, __builtin_ctz(sizes), pcid, 0);

			if (e)
				return e;
		}
	}
	return NULL;
}

struct tlb_entry *tlb_find_table(struct mmu_unit *u, u64 va, u32 level)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);
	struct tlb_entry *e;

	for (a = u->tlb.array; a < end; a++)
		if (a->tables >> level & 1) {
			e = find_in(&u->tlb, a, va, level, current_pcid(u), TLB_TABLE);
			if (e)
				return e;
		}
	return NULL;
}

void tlb_emit_entry(struct mmu_unit *u, u32 page_event, u32 table_event, const struct tlb_entry *e)
{
	const u64 value[4] = { e->vpn << PAGE_SHIFT, e->frame, e->array,
			       tlb_event_entry(&u->tlb, e) };

	ring_emit(u->ring, e->flags & TLB_TABLE ? table_event : page_event, value);
}

void tlb_prefer(struct tlb *tlb, const struct tlb_entry *e)
{
	const struct tlb_array *a = &tlb->array[e->array];
	const struct replacement *policy = replacement_of(a);
	u32 number = e - tlb->entry - a->first, ways = a->ways, set;
	u64 *state;

	if (!policy->use)
		return;
	set = ways & (ways - 1) ? number / ways : number >> __builtin_ctz(ways);
	state = &tlb->set[a->first_set + set];
	*state = policy->use(*state, number - set * ways, ways);
}

void mmu_touch(struct mmu_unit *u, struct tlb_entry *e)
{
	tlb_touch(u, e);
}

void mmu_soft_flush(struct mmu_unit *u, u64 va, u64 nr_pages)
{
	struct soft_flush *soft = &u->soft;

	if (soft->all)
		return;
	if (nr_pages > SOFT_FLUSH_MAX - soft->nr) {
		soft->all = 1;
		soft->nr = 0;
		u->large = 0;
		return;
	}
	for (u64 page = va & PAGE_MASK; nr_pages; nr_pages--, page += PAGE_SIZE)
		soft->page[soft->nr++] = page;
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
	       w.pa != e->frame || w.level != e->page_level ||
	       w.rights != (e->flags & (TLB_RW | TLB_US)) || w.xd != !!(e->flags & TLB_XD) ||
	       (e->flags & TLB_DIRTY && !w.dirty) || w.pkey != e->pkey ||
	       w.shstk != !!(e->flags & TLB_SHSTK);
}

/* e is about to go: a consumer that learned it from us must forget it if the tables say otherwise
 * now. */
static void forget_if_stale(struct mmu_unit *u, const struct tlb_entry *e)
{
	if (is_stale(u, e))
		mmu_soft_flush(u, e->vpn << PAGE_SHIFT, level_size(e->level) >> PAGE_SHIFT);
}

/*
 * The place to fill in a set, whose first entry is given: an empty one if there is one, and of
 * several the one that a tree points to, else the first; in a full set the victim's.
 */
static struct tlb_entry *place_in(struct tlb *tlb, const struct tlb_array *a, u32 set,
				  struct tlb_entry *first)
{
	const struct replacement *policy = replacement_of(a);
	struct tlb_entry *pointed;
	u32 empty = 0;

	while (empty < a->ways && first[empty].flags & TLB_VALID)
		empty++;
	if (empty < a->ways && !policy->names_empty)
		return first + empty;
	pointed = first + policy->victim(tlb, first, tlb->set[a->first_set + set], a->ways);
	return empty < a->ways && pointed->flags & TLB_VALID ? first + empty : pointed;
}

/* A valid entry gives its place away; one of a page is counted. */
static void evict(struct mmu_unit *u, const struct tlb_entry *e)
{
	if (unlikely(ring_records(u->ring)))
		tlb_emit_entry(u, EVENT_tlb_evict, EVENT_walk_cache_evict, e);
	if (e->flags & TLB_TABLE)
		return;
	u->counter[COUNTER_tlb_evictions]++;
	forget_if_stale(u, e);
}

/* Enter *new into array a: over its own tag if that is resident, else into the victim's place. */
static void fill_array(struct mmu_unit *u, const struct tlb_array *a, const struct tlb_entry *new)
{
	struct tlb *tlb = &u->tlb;
	u32 table = new->flags & TLB_TABLE, set = set_number(a, new->vpn, new->level);
	struct tlb_entry *first = tlb->entry + a->first + set * a->ways;
	struct tlb_entry *e = find_way(first, a->ways, new->vpn, new->level, new->pcid, table);

	if (!e) {
		e = place_in(tlb, a, set, first);
		if (e->flags & TLB_VALID)
			evict(u, e);
	}
	*e = *new;
	e->array = a - tlb->array;
	e->used = ++tlb->clock;
	tlb_prefer(tlb, e);
	if (unlikely(u->check))
		check_filled(u, e - tlb->entry);
	if (!table)
		tlb->entered |= 1u << e->level;
	if (unlikely(ring_records(u->ring)))
		tlb_emit_entry(u, EVENT_tlb_fill, EVENT_walk_cache_fill, e);
}

/* *page as an entry of level: the whole of it, or the fragment that va lies in. */
static struct tlb_entry part_of(const struct tlb_entry *page, u64 va, u32 level)
{
	u64 inside = level_size(page->page_level) - level_size(level);
	struct tlb_entry part = *page;

	part.vpn = vpn_of(va, level);
	part.frame = (page->frame & ~(level_size(page->page_level) - 1)) | (va & inside);
	part.level = level;
	return part;
}

void tlb_fill(struct mmu_unit *u, u32 kind, u64 va, const struct tlb_entry *new)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);

	for (a = u->tlb.array; a < end; a++) {
		u32 level = a->enters[new->page_level];
		struct tlb_entry part;

		if (!(a->kind & kind) || !level)
			continue;
		part = part_of(new, va, level);
		if (level < new->page_level)
			u->tlb.fragments = 1;
		fill_array(u, a, &part);
		return;
	}
}

void tlb_fill_table(struct mmu_unit *u, const struct tlb_entry *new)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);

	for (a = u->tlb.array; a < end; a++)
		if (a->tables >> new->level & 1) {
			fill_array(u, a, new);
			return;
		}
}

/* Does an invalidation of e's page take it?  A global entry is every PCID's. */
static bool falls_with_page(const struct tlb_entry *e, u16 pcid, u32 what)
{
	if (e->flags & TLB_GLOBAL)
		return what & DROP_GLOBAL;
	return e->pcid == pcid || what & DROP_ANY_PCID;
}

static bool is_fragment_around(const struct tlb_entry *e, u64 va)
{
	return (e->flags & (TLB_VALID | TLB_TABLE)) == TLB_VALID && e->page_level > e->level &&
	       vpn_of(e->vpn << PAGE_SHIFT, e->page_level) == vpn_of(va, e->page_level);
}

/*
 * Drop every fragment of the page that va lies in (SDM vol. 3A 4.10.2.3), wherever it is; one that
 * is global only with DROP_GLOBAL.  forget: stale ones go into the soft-flush list.
 */
static void drop_fragments(struct mmu_unit *u, u64 va, u16 pcid, u32 what, bool forget)
{
	struct tlb_entry *e, *end = u->tlb.entry + u->tlb.nr_entries;

	if (!u->tlb.fragments)
		return;
	for (e = u->tlb.entry; e < end; e++) {
		if (!is_fragment_around(e, va) || !falls_with_page(e, pcid, what))
			continue;
		if (forget)
			forget_if_stale(u, e);
		tlb_take_out(u, e);
	}
}

void tlb_drop_page(struct mmu_unit *u, u64 va)
{
	struct tlb_entry *e;

	if (unlikely(u->check))
		check_drop_page(u, va, current_pcid(u), DROP_GLOBAL);
	if (!u->tlb.clock)
		return; /* nothing was ever entered */
	while ((e = tlb_find(u, va, TLB_TRANSLATIONS))) {
		forget_if_stale(u, e);
		tlb_take_out(u, e);
	}
	drop_fragments(u, va, current_pcid(u), DROP_GLOBAL, true);
}

/* Is e one that an invalidation for pcid takes? */
static bool falls(const struct tlb_entry *e, u16 pcid, u32 what)
{
	if (e->flags & TLB_GLOBAL && !(what & DROP_GLOBAL))
		return false;
	return e->pcid == pcid || what & DROP_ANY_PCID;
}

/* Take the entries of [e, end) out that fall; while nobody records, without a look at each. */
static void drop_falling(struct mmu_unit *u, struct tlb_entry *e, struct tlb_entry *end, u16 pcid,
			 u32 what)
{
	if (likely(!ring_records(u->ring))) {
		for (; e < end; e++)
			if (falls(e, pcid, what))
				e->flags = 0;
		return;
	}
	for (; e < end; e++)
		if (e->flags & TLB_VALID && falls(e, pcid, what))
			tlb_take_out(u, e);
}

void tlb_drop_context(struct mmu_unit *u, u16 pcid, u32 what)
{
	struct tlb_entry *e = u->tlb.entry, *end = e + u->tlb.nr_entries;

	if (unlikely(u->check))
		check_drop_context(u, pcid, what);
	if (!u->tlb.clock)
		return;
	drop_falling(u, e, end, pcid, what);
}

void tlb_drop_address(struct mmu_unit *u, u64 va, u16 pcid, u32 what)
{
	const struct tlb_array *a, *end = arrays_end(&u->tlb);
	struct tlb_entry *e;

	if (unlikely(u->check))
		check_drop_page(u, va, pcid, what);
	if (!u->tlb.clock)
		return;
	for (a = u->tlb.array; a < end; a++) {
		for (u32 sizes = a->sizes; sizes; sizes &= sizes - 1) {
			u32 level = __builtin_ctz(sizes);
			u64 vpn = vpn_of(va, level);

			e = set_of(&u->tlb, a, vpn, level);
			for (u32 way = 0; way < a->ways; way++, e++) {
				if (e->vpn == vpn && e->level == level &&
				    (e->flags & (TLB_VALID | TLB_TABLE)) == TLB_VALID &&
				    falls_with_page(e, pcid, what))
					tlb_take_out(u, e);
			}
		}
	}
	drop_fragments(u, va, pcid, what, false);
}

/* The PCID is at the front of the live ones; the one that this pushes out, or -1. */
static s32 make_live(struct tlb_array *a, u16 pcid)
{
	u32 at = 0;
	s32 out = -1;

	while (at < a->nr_live && a->live[at] != pcid)
		at++;
	if (at == a->pcids)
		out = a->live[--at];
	else if (at == a->nr_live)
		a->nr_live++;
	for (; at; at--)
		a->live[at] = a->live[at - 1];
	a->live[0] = pcid;
	return out;
}

void tlb_switch_pcid(struct mmu_unit *u, u16 pcid)
{
	struct tlb *tlb = &u->tlb;

	for (struct tlb_array *a = tlb->array; a < arrays_end(tlb); a++) {
		struct tlb_entry *e = tlb->entry + a->first, *end = e + a->sets * a->ways;
		s32 out;

		if (a->pcids == TLB_ANY_PCIDS)
			continue;
		out = a->pcids ? make_live(a, pcid) : 0;
		if (out < 0)
			continue;
		drop_falling(u, e, end, out, a->pcids ? 0 : DROP_ANY_PCID);
	}
}
