// SPDX-License-Identifier: GPL-2.0-or-later
/* Translate an access, and forecast the answer for a consumer that refills a cache of its own. */
#include "x86/translate.h"

#include "x86/caches.h"
#include "x86/check.h"
#include "x86/rights.h"
#include "x86/tlb.h"
#include "x86/warm.h"

#define LOAD_PERMS (PERM_R | 1 << ACCESS_SHSTK_READ)
#define STORE_PERMS (PERM_W | 1 << ACCESS_SHSTK_WRITE)

/* Where the counters of an access live, by ACCESS_*; shadow-stack accesses are loads and stores. */
static const u8 stlb_hit_counter[] = {
	COUNTER_dtlb_load_misses_stlb_hit,  COUNTER_dtlb_store_misses_stlb_hit,
	COUNTER_itlb_misses_stlb_hit,	    COUNTER_dtlb_load_misses_stlb_hit,
	COUNTER_dtlb_store_misses_stlb_hit, COUNTER_dtlb_load_misses_stlb_hit,
};
static const u8 walk_counter[] = {
	COUNTER_dtlb_load_misses_walk,	COUNTER_dtlb_store_misses_walk,
	COUNTER_itlb_misses_walk,	COUNTER_dtlb_load_misses_walk,
	COUNTER_dtlb_store_misses_walk, COUNTER_dtlb_load_misses_walk,
};
/* Of walks of all sizes; by level of the leaf, those of 4 KiB, 2 MiB and 1 GiB follow. */
_Static_assert(COUNTER_dtlb_load_misses_walk_completed_1g ==
			       COUNTER_dtlb_load_misses_walk_completed + 3 &&
		       COUNTER_dtlb_store_misses_walk_completed_1g ==
			       COUNTER_dtlb_store_misses_walk_completed + 3 &&
		       COUNTER_itlb_misses_walk_completed_1g ==
			       COUNTER_itlb_misses_walk_completed + 3,
	       "events.def has them one after the other");
static const u8 completed_counter[] = {
	COUNTER_dtlb_load_misses_walk_completed,  COUNTER_dtlb_store_misses_walk_completed,
	COUNTER_itlb_misses_walk_completed,	  COUNTER_dtlb_load_misses_walk_completed,
	COUNTER_dtlb_store_misses_walk_completed, COUNTER_dtlb_load_misses_walk_completed,
};

static u32 no_translation(u32 result, u32 error_code, struct translation *t)
{
	*t = (struct translation){ .result = result, .error_code = error_code };
	return result;
}

/* What a walk has found out about its page's rights, as TLB_*. */
static inline u32 rights_of_walk(const struct walk *w)
{
	return w->rights | (w->xd ? TLB_XD : 0) | (w->shstk ? TLB_SHSTK : 0);
}

/* A walk that ended: its answer, and what a consumer may keep of it. */
static u32 answer_of_walk(const struct mmu_unit *u, const struct walk *w, u32 privilege,
			  struct translation *t)
{
	if (w->result != XLATE_OK)
		return no_translation(w->result, w->error_code, t);
	t->pa = w->pa;
	t->result = XLATE_OK;
	t->error_code = 0;
	if (unlikely(!w->level)) { /* paging is off: nothing forbids, nothing says a type */
		t->perms = PERM_R | PERM_W | PERM_X | PERM_SHSTK;
		t->level = 1;
		t->memory_type = MEMORY_UC;
		return XLATE_OK;
	}
	t->perms = perms_if_dirty(permissions(u, rights_of_walk(w), w->pkey, privilege), w->dirty);
	t->level = w->level;
	t->memory_type = memory_type(u, pat_index_of(w->entry[w->level], w->level));
	return XLATE_OK;
}

static inline u32 entry_perms(const struct mmu_unit *u, const struct tlb_entry *e, u32 privilege)
{
	return permissions(u, e->flags & TLB_RIGHTS, e->pkey, privilege);
}

/*
 * PERM_* of an access that uses e as it stands.  A write with D clear may not: a walk must set D
 * first.
 */
static inline u32 usable_perms(const struct mmu_unit *u, const struct tlb_entry *e, u32 privilege)
{
	return perms_if_dirty(entry_perms(u, e, privilege), e->flags & TLB_DIRTY);
}

/*
 * Does e, which is not usable, make a page fault by itself?  Intel's processors may believe an
 * entry whose rights do not suffice (SDM vol. 3A 4.10.4.3, "spurious"); AMD's walk again before
 * they fault. The error code, or 0.
 */
static u32 fault_of_entry(const struct mmu_unit *u, const struct tlb_entry *e, u32 access,
			  u32 privilege)
{
	u32 rights = e->flags & TLB_RIGHTS;

	if (u->vendor == VENDOR_AMD || allows(entry_perms(u, e, privilege), access))
		return 0;
	return error_code_of(u, access, privilege,
			     why_denied(u, rights, e->pkey, access, privilege));
}

/* Must a walk that rested on a paging-structure cache, and failed, be made again from CR3
 * (likewise)? */
static inline bool must_retry(const struct mmu_unit *u, const struct walk *w)
{
	return u->vendor == VENDOR_AMD || w->result != XLATE_PF;
}

static inline u32 answer_of_entry(const struct mmu_unit *u, const struct tlb_entry *e, u64 va,
				  u32 perms, struct translation *t)
{
	t->pa = e->frame | (va & (level_size(e->level) - 1));
	t->perms = perms;
	t->level = e->page_level;
	t->memory_type = memory_type(u, e->pat);
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
		.flags = TLB_VALID | rights_of_walk(w) | (w->dirty ? TLB_DIRTY : 0) |
			 (w->global ? TLB_GLOBAL : 0),
		.level = w->level,
		.pkey = w->pkey,
		.pat = pat_index_of(w->entry[w->level], w->level),
		.page_level = w->level,
	};
}

/* The number of e among the entries of all arrays. */
static inline u64 slot_of(const struct mmu_unit *u, const struct tlb_entry *e)
{
	return e - u->tlb.entry;
}

/* Recognise a page fault (SDM vol. 3A 4.7), and forget what was cached for va (4.10.4.1). */
void mmu_page_fault(struct mmu_unit *u, u64 va, u32 error_code)
{
	u->cr2 = va;
	u->counter[COUNTER_page_faults_hw]++;
	emit(u->ring, page_fault, va, error_code);
	tlb_drop_page(u, va);
	psc_drop_address(u, va, current_pcid(u));
}

/*
 * Walk for an access that missed.  On AMD a walk that a paging-structure cache shortened and that
 * ends in no translation is made again from CR3 without those entries, as it may be at any time
 * (SDM vol. 3A 4.10.4.4): there every fault is one that the tables in memory justify.
 */
static u32 walk_for_miss(struct mmu_unit *u, u64 va, u32 access, u32 privilege, bool from_cr3,
			 struct walk_start *from, struct walk *w)
{
	struct tlb_entry *hit = NULL;

	*from = from_cr3 ? start_at_cr3(u) : psc_start(u, va, &hit);
	if (hit) {
		u->counter[COUNTER_walk_cache_hits]++;
		tlb_touch(u, hit);
		emit(u->ring, walk_cache_hit, va, hit->level, hit->frame, slot_of(u, hit));
		if (walk_from(u, va, access, privilege, WALK_HARDWARE, from, w) == XLATE_OK ||
		    !must_retry(u, w))
			return w->result;
		psc_drop_address(u, va, current_pcid(u));
		*from = start_at_cr3(u);
	}
	return walk_from(u, va, access, privilege, WALK_HARDWARE, from, w);
}

/* No usable entry: walk, and enter what the walk found, outermost cache first. */
static u32 translate_miss(struct mmu_unit *u, u64 va, u32 access, u32 privilege, bool from_cr3,
			  struct translation *t)
{
	struct walk_start from;
	struct tlb_entry new;
	struct walk w;

	u->counter[walk_counter[access]]++;
	emit(u->ring, tlb_miss, va, access);
	if (walk_for_miss(u, va, access, privilege, from_cr3, &from, &w) == XLATE_OK) {
		u->counter[completed_counter[access]]++;
		u->counter[completed_counter[access] + w.level]++;
		psc_fill(u, &w, &from);
		new = entry_of_walk(u, &w, from.table_gen);
		tlb_fill(u, second_level(access), va, &new);
		tlb_fill(u, first_level(access), va, &new);
	} else if (w.result == XLATE_PF) {
		mmu_page_fault(u, va, w.error_code);
	}
	return answer_of_walk(u, &w, privilege, t);
}

/* The checker follows an entry from the second level into the first. */
static void tell_copied(struct mmu_unit *u, u64 va, u32 access, const struct tlb_entry *from)
{
	struct tlb_entry *e = tlb_find(u, va, first_level(access));

	if (e)
		check_copied(u, e - u->tlb.entry, from - u->tlb.entry);
}

/* The access as the TLB model sees it: first level, second level, walk. */
static u32 translate_exact(struct mmu_unit *u, u64 va, u32 access, u32 privilege,
			   struct translation *t)
{
	struct tlb_entry *e = tlb_find(u, va, first_level(access)), copy;
	u32 error_code, perms;
	bool second = !e;

	u->counter[translated_counter(access)]++;
	if (second)
		e = tlb_find(u, va, second_level(access));
	if (!e)
		return translate_miss(u, va, access, privilege, false, t);
	perms = usable_perms(u, e, privilege);
	if (unlikely(!allows(perms, access))) {
		error_code = fault_of_entry(u, e, access, privilege);
		if (error_code) {
			emit(u->ring, tlb_deny, va, access, tlb_array_of(e), slot_of(u, e));
			mmu_page_fault(u, va, error_code);
			return no_translation(XLATE_PF, error_code, t);
		}
		tlb_drop_page(u, va);
		return translate_miss(u, va, access, privilege, true, t);
	}
	tlb_touch(u, e);
	emit(u->ring, tlb_hit, va, access, tlb_array_of(e), slot_of(u, e));
	if (second) {
		u->counter[stlb_hit_counter[access]]++;
		copy = *e;
		tlb_fill(u, first_level(access), va, &copy);
		if (unlikely(u->check))
			tell_copied(u, va, access, e);
	}
	return answer_of_entry(u, e, va, perms, t);
}

u32 mmu_translate(struct mmu_unit *u, u64 va, u32 access, u32 privilege, struct translation *t)
{
	struct walk w;

	if (unlikely(!canonical(u, va)))
		return no_translation(XLATE_GP, 0, t);
	if (u->exact && likely(u->cr0 & CR0_PG)) {
		translate_exact(u, va, access, privilege, t);
		return hand_out(u, t);
	}
	if (mmu_walk(u, va, access, privilege, WALK_HARDWARE, &w) == XLATE_PF)
		mmu_page_fault(u, va, w.error_code);
	answer_of_walk(u, &w, privilege, t);
	return hand_out(u, t);
}

/* What mmu_translate() would answer now, and what the answer rests on. */
struct forecast {
	struct translation t;
	bool lasting; /* a resident entry, or a walk with no stale cache entry in it */
};

static void forecast(struct mmu_unit *u, u64 va, u32 access, u32 privilege, struct forecast *f)
{
	struct tlb_entry *e = mmu_resident(u, va, access), *hit = NULL;
	u32 error_code = e ? fault_of_entry(u, e, access, privilege) : 0;
	u32 perms = e ? usable_perms(u, e, privilege) : 0;
	struct walk_start from;
	struct walk w;

	f->lasting = true;
	if (allows(perms, access)) {
		answer_of_entry(u, e, va, perms, &f->t);
		return;
	}
	if (error_code) {
		no_translation(XLATE_PF, error_code, &f->t);
		return;
	}
	from = e ? start_at_cr3(u) : psc_start(u, va, &hit);
	if (walk_from(u, va, access, privilege, WALK_PROBE, &from, &w) == XLATE_OK) {
		f->lasting = from.table_gen == u->table_gen;
	} else if (hit && must_retry(u, &w)) {
		from = start_at_cr3(u);
		walk_from(u, va, access, privilege, WALK_PROBE, &from, &w);
	}
	answer_of_walk(u, &w, privilege, &f->t);
}

/* PERM_* that the first-level arrays of an access answer for. */
static u32 own_perms(const struct mmu_unit *u, u32 access)
{
	if (access == ACCESS_FETCH)
		return PERM_X;
	if (!u->tlb.split)
		return LOAD_PERMS | STORE_PERMS;
	return first_level(access) == TLB_DTLB_STORE ? STORE_PERMS : LOAD_PERMS;
}

/*
 * Data and instruction side, or loads, stores and fetches, may hold different translations of one
 * page.  The answer is that of the side asked for; another side's rights join it only where it
 * would go on saying the same.
 */
static u32 refill_exact(struct mmu_unit *u, u64 va, u32 access, u32 privilege,
			struct translation *t)
{
	u32 told = own_perms(u, access);
	struct forecast mine, other;

	forecast(u, va, access, privilege, &mine);
	*t = mine.t;
	if (t->result != XLATE_OK)
		return t->result;
	if (access == ACCESS_WRITE)
		t->perms |= PERM_W; /* the access that follows sets D */
	t->perms &= told;
	for (u32 side = ACCESS_READ; side <= ACCESS_FETCH; side++) {
		if (told >> side & 1)
			continue;
		forecast(u, va, side, privilege, &other);
		if (other.t.result == XLATE_OK && other.t.pa == t->pa && other.lasting)
			t->perms |= other.t.perms & own_perms(u, side);
		told |= own_perms(u, side);
	}
	return XLATE_OK;
}

static __attribute__((noinline)) u32 refill_in_full(struct mmu_unit *u, u64 va, u32 access,
						    u32 privilege, struct translation *t)
{
	struct walk w;

	if (u->exact && canonical(u, va) && u->cr0 & CR0_PG) {
		refill_exact(u, va, access, privilege, t);
	} else {
		mmu_walk(u, va, access, privilege, WALK_QUIET, &w);
		answer_of_walk(u, &w, privilege, t);
	}
	return hand_out(u, t);
}

u32 mmu_refill(struct mmu_unit *u, u64 va, u32 access, u32 privilege, struct translation *t)
{
	struct warm e;
	u32 perms;

	if (unlikely(!warm_to_pte(u, va, privilege, &e)))
		return refill_in_full(u, va, access, privilege, t);
	if (!(e.pte & X86_P))
		return no_translation(XLATE_PF, error_code_of(u, access, privilege, 0), t);
	if (unlikely(!pte_is_warm(u, access, privilege, &e)))
		return refill_in_full(u, va, access, privilege, t);
	perms = warm_permissions(u, &e, privilege);
	if (unlikely(!allows(perms, access)))
		return refill_in_full(u, va, access, privilege, t);
	*t = (struct translation){
		.pa = warm_pa(&e, va),
		.perms = perms,
		.level = 1,
		.memory_type = memory_type(u, pat_index_of(e.pte, 1)),
		.result = XLATE_OK,
	};
	return XLATE_OK;
}

struct tlb_entry *mmu_hit(struct mmu_unit *u, u64 va, u32 access, u32 privilege)
{
	struct tlb_entry *e;

	if (!u->exact || !(u->cr0 & CR0_PG) || !canonical(u, va))
		return NULL;
	e = tlb_find(u, va, first_level(access));
	return e && allows(usable_perms(u, e, privilege), access) ? e : NULL;
}

struct tlb_entry *mmu_resident(struct mmu_unit *u, u64 va, u32 access)
{
	struct tlb_entry *e = tlb_find(u, va, first_level(access));

	return e ? e : tlb_find(u, va, second_level(access));
}
