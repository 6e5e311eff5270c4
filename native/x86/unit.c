// SPDX-License-Identifier: GPL-2.0-or-later
/* One processor's MMU: translate an access, refill a consumer, invalidate, write registers. */
#include <string.h>

#include "x86/internal.h"
#include "x86/warm.h"

#define DATA_PERMS (PERM_R | PERM_W)

/* Where the counters of an access live, by ACCESS_*. */
static const u8 translated_counter[] = {
	COUNTER_dtlb_loads, COUNTER_dtlb_stores, COUNTER_itlb_fetches,
};
static const u8 stlb_hit_counter[] = {
	COUNTER_dtlb_load_misses_stlb_hit, COUNTER_dtlb_store_misses_stlb_hit, COUNTER_itlb_misses_stlb_hit,
};
static const u8 walk_counter[] = {
	COUNTER_dtlb_load_misses_walk, COUNTER_dtlb_store_misses_walk, COUNTER_itlb_misses_walk,
};
static const u8 completed_counter[] = {
	COUNTER_dtlb_load_misses_walk_completed, COUNTER_dtlb_store_misses_walk_completed,
	COUNTER_itlb_misses_walk_completed,
};

static u32 no_translation(u32 result, u32 error_code, struct translation *t)
{
	*t = (struct translation){ .result = result, .error_code = error_code };
	return result;
}

/* A walk that ended: its answer, and what a consumer may keep of it. */
static u32 answer_of_walk(const struct mmu_unit *u, const struct walk *w, u32 user, struct translation *t)
{
	if (w->result != XLATE_OK)
		return no_translation(w->result, w->error_code, t);
	t->pa = w->pa;
	t->perms = perms_if_dirty(permissions(u, w->rights, w->xd, user), w->dirty);
	t->level = w->level ? w->level : 1;
	t->result = XLATE_OK;
	t->error_code = 0;
	return XLATE_OK;
}

static inline u32 entry_perms(const struct mmu_unit *u, const struct tlb_entry *e, u32 user)
{
	return permissions(u, e->flags & (TLB_RW | TLB_US), e->flags & TLB_XD, user);
}

/* May the access use e as it stands?  A write with D clear may not: a walk must set D first. */
static inline bool usable(const struct mmu_unit *u, const struct tlb_entry *e, u32 access, u32 user)
{
	return allows(perms_if_dirty(entry_perms(u, e, user), e->flags & TLB_DIRTY), access);
}

static u32 answer_of_entry(const struct mmu_unit *u, const struct tlb_entry *e, u64 va, u32 user,
			   struct translation *t)
{
	t->pa = e->frame | (va & (level_size(e->level) - 1));
	t->perms = perms_if_dirty(entry_perms(u, e, user), e->flags & TLB_DIRTY);
	t->level = e->page_level;
	t->result = XLATE_OK;
	t->error_code = 0;
	return XLATE_OK;
}

/* t leaves the house: remember whether a consumer may hold parts of a large page. */
static u32 hand_out(struct mmu_unit *u, const struct translation *t)
{
	if (unlikely(t->level > 1))
		u->large = 1;
	return t->result;
}

/* The TLB entry that a completed walk makes. */
static struct tlb_entry entry_of_walk(const struct mmu_unit *u, const struct walk *w, u64 table_gen)
{
	return (struct tlb_entry){
		.vpn = vpn_of(w->va, w->level),
		.frame = w->pa & ~(level_size(w->level) - 1),
		.table_gen = table_gen,
		.pcid = current_pcid(u),
		.flags = TLB_VALID | w->rights | (w->xd ? TLB_XD : 0) | (w->dirty ? TLB_DIRTY : 0) |
			 (w->global ? TLB_GLOBAL : 0),
		.level = w->level,
		.page_level = w->level,
	};
}

/* Recognise a page fault (SDM vol. 3A 4.7), and forget what was cached for va (4.10.4.1). */
void mmu_page_fault(struct mmu_unit *u, u64 va, u32 error_code)
{
	tlb_drop_page(u, va);
	psc_drop_address(u, va, current_pcid(u));
	u->cr2 = va;
	u->counter[COUNTER_page_faults_hw]++;
	emit(u->ring, page_fault, va, error_code, 0);
}

/*
 * Walk for an access that missed.  A walk that a paging-structure cache shortened and that ends in
 * no translation is made again from CR3 without those entries, as it may be at any time (SDM vol. 3A
 * 4.10.4.4): so every fault is one that the tables in memory justify.
 */
static u32 walk_for_miss(struct mmu_unit *u, u64 va, u32 access, u32 user, bool from_cr3,
			 struct walk_start *from, struct walk *w)
{
	struct tlb_entry *hit = NULL;

	*from = from_cr3 ? start_at_cr3(u) : psc_start(u, va, &hit);
	if (hit) {
		u->counter[COUNTER_walk_cache_hits]++;
		tlb_touch(u, hit);
		emit(u->ring, walk_cache_hit, va, hit->level, 0);
		if (walk_from(u, va, access, user, WALK_HARDWARE, from, w) == XLATE_OK)
			return XLATE_OK;
		psc_drop_address(u, va, current_pcid(u));
		*from = start_at_cr3(u);
	}
	return walk_from(u, va, access, user, WALK_HARDWARE, from, w);
}

/* No usable entry: walk, and enter what the walk found, outermost cache first. */
static u32 translate_miss(struct mmu_unit *u, u64 va, u32 access, u32 user, bool from_cr3,
			  struct translation *t)
{
	struct walk_start from;
	struct tlb_entry new;
	struct walk w;

	u->counter[walk_counter[access]]++;
	emit(u->ring, tlb_miss, va, access, 0);
	if (walk_for_miss(u, va, access, user, from_cr3, &from, &w) == XLATE_OK) {
		u->counter[completed_counter[access]]++;
		psc_fill(u, &w, &from);
		new = entry_of_walk(u, &w, from.table_gen);
		tlb_fill(u, second_level(access), va, &new);
		tlb_fill(u, first_level(access), va, &new);
	} else if (w.result == XLATE_PF) {
		mmu_page_fault(u, va, w.error_code);
	}
	return answer_of_walk(u, &w, user, t);
}

/* The access as the TLB model sees it: first level, second level, walk. */
static u32 translate_exact(struct mmu_unit *u, u64 va, u32 access, u32 user, struct translation *t)
{
	struct tlb_entry *e = tlb_find(u, va, first_level(access)), copy;
	bool second = !e;

	u->counter[translated_counter[access]]++;
	if (second)
		e = tlb_find(u, va, second_level(access));
	if (!e)
		return translate_miss(u, va, access, user, false, t);
	if (unlikely(!usable(u, e, access, user))) {
		tlb_drop_page(u, va);
		return translate_miss(u, va, access, user, true, t);
	}
	tlb_touch(u, e);
	emit(u->ring, tlb_hit, va, access, tlb_array_of(e));
	if (second) {
		u->counter[stlb_hit_counter[access]]++;
		copy = *e;
		tlb_fill(u, first_level(access), va, &copy);
	}
	return answer_of_entry(u, e, va, user, t);
}

u32 mmu_translate(struct mmu_unit *u, u64 va, u32 access, u32 user, struct translation *t)
{
	struct walk w;

	if (unlikely(!va_is_canonical(va)))
		return no_translation(XLATE_GP, 0, t);
	if (u->exact && likely(u->cr0 & CR0_PG)) {
		translate_exact(u, va, access, user, t);
		return hand_out(u, t);
	}
	if (mmu_walk(u, va, access, user, WALK_HARDWARE, &w) == XLATE_PF)
		mmu_page_fault(u, va, w.error_code);
	answer_of_walk(u, &w, user, t);
	return hand_out(u, t);
}

/* What mmu_translate() would answer now, and what the answer rests on. */
struct forecast {
	struct translation t;
	bool lasting;	/* a resident entry, or a walk with no stale cache entry in it */
};

static void forecast(struct mmu_unit *u, u64 va, u32 access, u32 user, struct forecast *f)
{
	struct tlb_entry *e = mmu_resident(u, va, access), *hit = NULL;
	struct walk_start from;
	struct walk w;

	f->lasting = true;
	if (e && usable(u, e, access, user)) {
		answer_of_entry(u, e, va, user, &f->t);
		return;
	}
	from = e ? start_at_cr3(u) : psc_start(u, va, &hit);
	if (walk_from(u, va, access, user, WALK_PROBE, &from, &w) == XLATE_OK) {
		f->lasting = from.table_gen == u->table_gen;
	} else if (hit) {
		from = start_at_cr3(u);
		walk_from(u, va, access, user, WALK_PROBE, &from, &w);
	}
	answer_of_walk(u, &w, user, &f->t);
}

/* PERM_* that the first-level arrays of an access answer for. */
static u32 own_perms(const struct mmu_unit *u, u32 access)
{
	if (access == ACCESS_FETCH)
		return PERM_X;
	if (!u->tlb.split)
		return DATA_PERMS;
	return first_level(access) == TLB_DTLB_STORE ? PERM_W : PERM_R;
}

/*
 * Data and instruction side, or loads, stores and fetches, may hold different translations of one
 * page.  The answer is that of the side asked for; another side's rights join it only where it
 * would go on saying the same.
 */
static u32 refill_exact(struct mmu_unit *u, u64 va, u32 access, u32 user, struct translation *t)
{
	u32 told = own_perms(u, access);
	struct forecast mine, other;

	forecast(u, va, access, user, &mine);
	*t = mine.t;
	if (t->result != XLATE_OK)
		return t->result;
	if (access == ACCESS_WRITE)
		t->perms |= PERM_W;	/* the access that follows sets D */
	t->perms &= told;
	for (u32 side = ACCESS_READ; side <= ACCESS_FETCH; side++) {
		if (told >> side & 1)
			continue;
		forecast(u, va, side, user, &other);
		if (other.t.result == XLATE_OK && other.t.pa == t->pa && other.lasting)
			t->perms |= other.t.perms & own_perms(u, side);
		told |= own_perms(u, side);
	}
	return XLATE_OK;
}

static __attribute__((noinline)) u32 refill_in_full(struct mmu_unit *u, u64 va, u32 access, u32 user,
						    struct translation *t)
{
	struct walk w;

	if (u->exact && va_is_canonical(va) && u->cr0 & CR0_PG) {
		refill_exact(u, va, access, user, t);
	} else {
		mmu_walk(u, va, access, user, WALK_QUIET, &w);
		answer_of_walk(u, &w, user, t);
	}
	return hand_out(u, t);
}

u32 mmu_refill(struct mmu_unit *u, u64 va, u32 access, u32 user, struct translation *t)
{
	struct warm e;
	u32 perms;

	if (unlikely(!warm_to_pte(u, va, user, &e)))
		return refill_in_full(u, va, access, user, t);
	if (!(e.pte & X86_P))
		return no_translation(XLATE_PF, error_code_of(u, access, user, 0), t);
	if (unlikely(!pte_is_warm(u, access, user, &e)))
		return refill_in_full(u, va, access, user, t);
	perms = warm_permissions(u, &e, user);
	if (unlikely(!allows(perms, access)))
		return refill_in_full(u, va, access, user, t);
	*t = (struct translation){
		.pa = warm_pa(&e, va),
		.perms = perms,
		.level = 1,
		.result = XLATE_OK,
	};
	return XLATE_OK;
}

struct tlb_entry *mmu_resident(struct mmu_unit *u, u64 va, u32 access)
{
	struct tlb_entry *e = tlb_find(u, va, first_level(access));

	return e ? e : tlb_find(u, va, second_level(access));
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

static void forget_everything(struct mmu_unit *u)
{
	mmu_soft_flush(u, 0, SOFT_FLUSH_MAX + 1);
}

/* va's page, whose size the tables may no longer tell: everything if any page was large. */
static void forget_page_of(struct mmu_unit *u, u64 va)
{
	if (u->large)
		forget_everything(u);
	else
		mmu_soft_flush(u, va, 1);
}

void mmu_invlpg(struct mmu_unit *u, u64 va)
{
	u16 pcid = current_pcid(u);

	if (!va_is_canonical(va))
		return;		/* a NOP (SDM vol. 2A, INVLPG) */
	emit(u->ring, invlpg, va, 0, 0);
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_address(u, va, pcid, DROP_GLOBAL);
	psc_drop_context(u, pcid);
	forget_page_of(u, va);
}

/* Drop every entry of every PCID; what: DROP_GLOBAL or 0. */
static void drop_all(struct mmu_unit *u, u32 what)
{
	emit(u->ring, tlb_flush_all, !!(what & DROP_GLOBAL), 0, 0);
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_context(u, 0, what | DROP_ANY_PCID);
	forget_everything(u);
}

static void invpcid_address(struct mmu_unit *u, u16 pcid, u64 va)
{
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_address(u, va, pcid, 0);
	psc_drop_address(u, va, pcid);
	if (pcid == current_pcid(u))
		forget_page_of(u, va);
}

static void invpcid_context(struct mmu_unit *u, u16 pcid)
{
	u->counter[COUNTER_tlb_invalidations]++;
	tlb_drop_context(u, pcid, 0);
	if (pcid == current_pcid(u))
		forget_everything(u);
}

u32 mmu_invpcid(struct mmu_unit *u, u32 type, u64 pcid, u64 va)
{
	if (type > 3 || pcid & ~(u64)CR3_PCID_MASK)
		return XLATE_GP;
	if (type <= 1 && pcid && !(u->cr4 & CR4_PCIDE))
		return XLATE_GP;
	if (type == 0 && !va_is_canonical(va))
		return XLATE_GP;
	switch (type) {
	case 0:
		invpcid_address(u, pcid, va);
		break;
	case 1:
		invpcid_context(u, pcid);
		break;
	case 2:
		drop_all(u, DROP_GLOBAL);
		break;
	case 3:
		drop_all(u, 0);
		break;
	}
	return XLATE_OK;
}

void mmu_write_cr3(struct mmu_unit *u, u64 value)
{
	bool keep = value & CR3_NOFLUSH && u->cr4 & CR4_PCIDE;

	emit(u->ring, mov_cr3, value, 0, 0);
	u->cr3 = value & ~CR3_NOFLUSH;
	if (!keep) {
		u->counter[COUNTER_tlb_invalidations]++;
		tlb_drop_context(u, current_pcid(u), 0);
	}
	tlb_switch_pcid(u, current_pcid(u));
	forget_everything(u);
}

void mmu_write_cr4(struct mmu_unit *u, u64 value)
{
	u64 changed = u->cr4 ^ value, set = changed & value, cleared = changed & u->cr4;
	u16 pcid = current_pcid(u);

	u->cr4 = value;
	if (changed & CR4_PGE || cleared & CR4_PCIDE) {
		drop_all(u, DROP_GLOBAL);
	} else if (changed & CR4_PAE || set & CR4_SMEP) {
		u->counter[COUNTER_tlb_invalidations]++;
		tlb_drop_context(u, pcid, DROP_GLOBAL);
	}
	if (changed & CR4_PCIDE)
		tlb_switch_pcid(u, current_pcid(u));
	if (changed)
		forget_everything(u);
}

void mmu_write_cr0(struct mmu_unit *u, u64 value)
{
	u64 changed = u->cr0 ^ value;

	u->cr0 = value;
	if (changed & CR0_PG && !(value & CR0_PG))
		drop_all(u, DROP_GLOBAL);
	if (changed)
		forget_everything(u);
}

void mmu_flush_all(struct mmu_unit *u)
{
	drop_all(u, DROP_GLOBAL);
}

void mmu_tables_changed(struct mmu_unit *u)
{
	u->table_gen++;
	forget_everything(u);
}
