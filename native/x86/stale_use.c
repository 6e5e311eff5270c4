// SPDX-License-Identifier: GPL-2.0-or-later
/* The upper half of the checker: accesses to stale ranges, and which of them are told. */
#include "x86/caches.h"
#include "x86/rights.h"
#include "x86/stale_range.h"
#include "x86/translate.h"

/* The stale range that an access to va may run into: a page's first, then those of the levels
 * above. */
static struct stale_range *range_at(struct tlb_check *check, u64 va, u16 pcid)
{
	struct stale_range *r;

	for (u32 level = 1; level <= 3; level++)
		if ((r = find_range(check, va, level, 0, pcid)))
			return r;
	for (u32 level = 2; level <= 5; level++)
		if ((r = find_range(check, va, level, 1, pcid)))
			return r;
	return NULL;
}

void check_before(struct mmu_unit *u, u64 va, u32 access)
{
	struct tlb_check *check = u->check;
	const struct stale_range *r;
	struct tlb_entry *e;

	if (check->every_access || check->changed)
		check_sync(u);
	r = check->nr_ranges ? range_at(check, va, current_pcid(u)) : NULL;
	check->inside->met = r;
	if (likely(!r))
		return;
	check->inside->meets = *r; /* a page fault will drop it */
	e = mmu_resident(u, va, access);
	if (!e)
		psc_start(u, va, &e);
	check->served = e ? e - u->tlb.entry + 1 : 0;
}

/* Did, or might, the old translation give the access something that the tables do not? */
static bool harms(const struct stale_range *r, u32 access, u64 pa, const struct walk *now)
{
	if (now->result != XLATE_OK || now->pa != pa)
		return true;
	return sets_dirty(access) && !r->table && r->old & X86_D && !now->dirty;
}

/* Where the old translation leads, if that can be told: by the same table as today, where that
 * leads. */
static u64 old_address(const struct stale_range *r, u64 va, const struct walk *now)
{
	u64 offset = level_size(r->level) - 1;

	if (!r->table)
		return (r->old & X86_ADDR_MASK & ~offset) | (va & offset);
	if (now->result == XLATE_OK &&
	    !((r->old ^ now->entry[r->level]) & (X86_ADDR_MASK | X86_PS)))
		return now->pa;
	return CHECK_NOWHERE;
}

/*
 * May the old entry let the access through?  Not if it alone forbids it (SDM vol. 3A 4.6.1);
 * whether a page is a user page, on which SMAP, SMEP and keys depend, the entries above have a say
 * in.
 */
static bool lets_through(const struct mmu_unit *u, const struct stale_range *r, u32 access,
			 u32 privilege)
{
	if (privilege == PRIVILEGE_USER && !(r->old & X86_US))
		return false;
	if (access == ACCESS_FETCH)
		return !(r->old & X86_XD && u->efer & EFER_NXE);
	if (access == ACCESS_SHSTK_READ || access == ACCESS_SHSTK_WRITE)
		return r->table ? r->old & X86_RW : is_shadow_stack(X86_RW, r->old);
	return !sets_dirty(access) || r->old & X86_RW ||
	       (privilege != PRIVILEGE_USER && !(u->cr0 & CR0_WP));
}

/* Tell the first use of its kind of a range. */
static void tell(struct mmu_unit *u, u64 va, u32 access, u32 privilege, u32 used)
{
	struct tlb_check *check = u->check;
	const struct stale_range *r = &check->inside->meets;
	struct stale_range *live = find_range(check, r->va, r->level, r->table, r->pcid);
	struct stale_use *use = &check->use[check->nr_uses];

	if (r->told >> used & 1 || check->nr_uses == CHECK_MAX_USES)
		return;
	if (live)
		live->told |= 1 << used;
	*use = (struct stale_use){
		.range = *r,
		.at = check->now,
		.va = va,
		.access = access,
		.privilege = privilege,
		.used = used,
		.freed = nr_freed_of(u, r->old & X86_ADDR_MASK) != r->nr_freed,
	};
	use->at.cpu = u->cpu;
	use->filled.rip = CHECK_NOWHERE;
	use->filled.instruction = CHECK_NOWHERE;
	if (used && check->served)
		use->filled = check->inside->filled[check->served - 1];
	check->nr_uses++;
}

/*
 * Is who changed the entry still at it?  Then others may go on with the old one: the flush that
 * ends the operation takes it from them.  Not if its frame is free by then.
 */
static bool in_progress(const struct mmu_unit *u, const struct stale_range *r)
{
	const struct check_operations *operations = u->check->operations;

	if (!operations || nr_freed_of(u, r->old & X86_ADDR_MASK) != r->nr_freed)
		return false;
	for (u32 i = 0; i < operations->nr; i++)
		if (operations->number[i] == r->changed.operation)
			return true;
	return false;
}

void check_after(struct mmu_unit *u, u64 va, u32 access, u32 privilege, const struct translation *t)
{
	struct tlb_check *check = u->check;
	const struct stale_range *r = &check->inside->meets;
	struct walk now;

	if (likely(!check->inside->met) || in_progress(u, r))
		return;
	mmu_walk(u, va, access, privilege, WALK_PROBE, &now);
	if (t->result == XLATE_OK && harms(r, access, t->pa, &now)) {
		check->nr_used++;
		tell(u, va, access, privilege, 1);
	} else if (lets_through(u, r, access, privilege) &&
		   harms(r, access, old_address(r, va, &now), &now)) {
		check->nr_may++;
		tell(u, va, access, privilege, 0);
	}
}

void check_speculation(struct mmu_unit *u)
{
	struct tlb_check *check = u->check;
	u16 pcid = current_pcid(u);

	check_sync(u);
	if (likely(!check->nr_ranges))
		return;
	for (u32 i = 0; i < NR_CHAINS; i++) {
		struct stale_range *r = first_range(check, i);

		for (; r; r = next_range(check, r)) {
			if (!r->table || r->told & 1 || (r->pcid != pcid && !r->global) ||
			    nr_freed_of(u, r->old & X86_ADDR_MASK) == r->nr_freed)
				continue;
			check->nr_may++;
			check->inside->meets = *r;
			check->served = 0;
			tell(u, r->va, CHECK_SPECULATION, PRIVILEGE_USER, 0);
		}
	}
}

u32 mmu_translate_checked(struct mmu_unit *u, u64 va, u32 access, u32 privilege,
			  struct translation *t)
{
	u32 result;

	check_before(u, va, access);
	result = mmu_translate(u, va, access, privilege, t);
	check_after(u, va, access, privilege, t);
	return result;
}
