/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fills that are not the guest's.
 *
 * Whoever owns an instance that was attached to calls Unicorn too, while the guest stands still and
 * in hooks. uc_ctl_remove_cache(), uc_mem_protect() and uc_mem_unmap() look a page up, the latter
 * two RIP's own, as if to fetch from it; uc_vmem_read() and its kin as if to read or write. None of
 * that is the guest's: it counts nothing, sets no A or D, faults nowhere and ends no run. In a vCPU
 * of ours Unicorn itself looks up the pages of the exits, at the end of each run.
 */
#include "unicorn/vcpu.h"

/*
 * Where there is no memory, and no entry can point. Unicorn finds no code to invalidate there, and
 * asks again when the guest fetches from the page. (Deny it, and a run that is under way ends.)
 */
#define NOWHERE 0xfffffffffffff000

/* Have Unicorn invalidate code, and see who asks. */
void learn_invalidator(struct vcpu *v)
{
	drop_by_window(v, v->ram->base, PAGE_SIZE);
	v->invalidator = v->window_asker;
}

/* Unicorn looks a page up because it invalidates code. */
static bool invalidates(const struct vcpu *v)
{
	return private_has(v, PRIVATE_ASKER) && private_asker(v) == v->invalidator;
}

/*
 * Whether a fill is the guest's own. Without the private parts, fetches are told by their page: the
 * guest's are for RIP's page or the next; a look-up of these two, or of data, passes for the
 * guest's.
 */
bool guest_asks(const struct vcpu *v, u64 page, u32 access)
{
	u64 at;

	if (private_has(v, PRIVATE_ASKER) &&
	    (v->fill_target.probe || invalidates(v) || !private_asker(v)))
		return false;
	if (access != ACCESS_FETCH)
		return true;
	at = page_of(reg_read(v, UC_X86_REG_RIP));
	return page == at || page == at + PAGE_SIZE;
}

static bool answer(uc_tlb_entry *entry, u64 address, u32 perms)
{
	entry->paddr = page_of(address);
	entry->perms = perms;
	return true;
}

/* probe() amid a change of Unicorn's memory: where it lies is asked anew, and not believed after.
 */
static bool probe_moving(struct vcpu *v, u64 va, u32 access, u64 *pa)
{
	bool there;

	v->regions.changes++;
	there = v->fidelity->probe(v, va, access, pa);
	v->regions.changes++;
	return there;
}

/*
 * Answer a fill that is not the guest's. The guest asks anew for the page, at the latest in its
 * next block. False: denied, which only a look-up of data can be.
 */
bool answer_unicorn(struct vcpu *v, u64 va, u32 access, uc_tlb_entry *entry)
{
	u64 pa;

	if (!probe_moving(v, va, access, &pa) || !region_of(v, pa) || !open_frame(v, pa))
		return access == ACCESS_FETCH && answer(entry, NOWHERE, PERM_X);
	soft_drop_later(v, va);
	if (access != ACCESS_FETCH)
		return answer(entry, uc_address(v, pa),
			      access == ACCESS_WRITE ? PERM_R | PERM_W : PERM_R);
	if (!holds_code(v, pa)) {
		if (!private_has(v, PRIVATE_ASKER) || invalidates(v))
			return answer(entry, NOWHERE, PERM_X);
		note_code(v, pa); /* uc_ctl_request_cache() translates it now */
	}
	return answer(entry, uc_address(v, pa), PERM_X);
}
