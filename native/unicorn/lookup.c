/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One access, looked up in the TLB model: by an entry that is known, or in full. */
#include "unicorn/memo.h"
#include "unicorn/trace.h"

/* While nothing is stale, and nothing may have become so, the checker need not look. */
static bool checker_looks(const struct vcpu *v)
{
	const struct tlb_check *check = v->mmu->check;

	return check && (check->nr_ranges || check->changed);
}

/* Whether hits are to be told, and a memo would hide them. */
static bool hits_are_wanted(const struct vcpu *v)
{
	return !v->fidelity->traced && ring_records(v->ring) && !v->ring->unwanted[EVENT_tlb_hit];
}

/*
 * If a first-level entry translates va, use it, and remember that for page.  pa: where the consumer
 * goes, NO_ADDRESS if it does not say.  Never while a checker looks at each access, or hits are to
 * be told and this is not trace.
 */
bool hit(struct vcpu *v, u64 va, u64 pa, u64 page, u32 access)
{
	struct memo *m = memo_of(v, page, access);
	struct tlb_entry *e;

	if (!v->mmu_api.hit || checker_looks(v) || hits_are_wanted(v))
		return false;
	e = MMU(v, mmu_hit, hit)(v->mmu, va, access, v->user);
	if (!e || (pa != NO_ADDRESS && (e->frame | (va & (level_size(e->level) - 1))) != pa))
		return false;
	use(v, e, access);
	if (is_traced(v))
		trace_hit(v, va, access, e);
	*m = (struct memo){
		.page = page,
		.translations = v->translations,
		.entry = e,
		.writable = access != ACCESS_READ ||
			    MMU(v, mmu_hit, hit)(v->mmu, va, ACCESS_RMW, v->user),
		.va = page_of(va),
		.vpn = e->vpn,
		.frame = e->frame,
		.rest = rest_of(e),
	};
	return true;
}

/* The checker wants to know where the guest is. */
void tell_checker(struct vcpu *v)
{
	struct check_where *now = &v->mmu->check->now;

	now->rip = reg_read(v, UC_X86_REG_RIP);
	now->instruction = count_at(v, now->rip);
}

/* Its walk may have met new tables: a memo of stores to such a frame would hide them. */
static void look_at_tables(struct vcpu *v)
{
	if (likely(v->tables_met == v->ram->tables_met))
		return;
	v->tables_met = v->ram->tables_met;
	forget_memos(v);
}

/* exact: events are of their block's first instruction. */
static u64 begin_of_block(const struct vcpu *v)
{
	const struct block *b = v->block.known;

	return v->shared.count - (b ? b->insns : 0);
}

/* The model translates and counts an access of PRIVILEGE_*, in full. */
u32 translate_as(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	u32 result;

	if (unlikely(v->mmu->check))
		tell_checker(v);
	if (ring_records(v->ring) && !is_traced(v))
		v->ring->instruction = begin_of_block(v);
	result = MMU(v, mmu_translate, translate)(v->mmu, va, access, privilege, t);
	look_at_tables(v);
	if (unlikely(result == XLATE_OK && t->level > 1))
		forget_memos(
			v); /* an entry for more than their pages may have come before theirs */
	return result;
}

/* One of the guest's present privilege. */
u32 translate(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	return translate_as(v, va, access, v->user, t);
}
