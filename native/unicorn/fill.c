/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fill hook: Unicorn's soft TLB has no entry for an access and asks our MMU. */
#include "unicorn/vcpu.h"

/* Privilege level of the guest; without the private flags, what CS says. */
u32 cpl(const struct vcpu *v)
{
	if (v->hflags)
		return *v->hflags & 3;
	return (u32)reg_read(v, UC_X86_REG_CS) & 3;
}

u32 vcpu_cpl(struct vcpu *v)
{
	return cpl(v);
}

/* Write down why the access is denied; the guest stops at RIP. */
void deny(struct vcpu *v, u64 va, u32 access, const struct translation *t)
{
	struct vm_exit *exit = &v->shared.exit;

	exit->address = va;
	exit->access = access == ACCESS_RMW && private_has(v, PRIVATE_FILL_ADDRESS) ? ACCESS_WRITE
										    : access;
	exit->error_code = t->error_code;
	exit->exact = access == ACCESS_FETCH || private_has(v, PRIVATE_FILL_ADDRESS);
	exit->vector = VECTOR_GP;
	switch (t->result) {
	case XLATE_PF:
		exit->reason = EXIT_PAGE_FAULT;
		break;
	case XLATE_GP:
		exit->reason = EXIT_EXCEPTION;
		break;
	case XLATE_OK:
	case XLATE_BAD_TABLE:
		exit->reason = EXIT_BAD_TABLE;
		break;
	default:
		exit->reason = EXIT_ABORTED;
	}
	v->stop = STOP_DENIED;
}

/* The kernel is entered for a fault at va: what it changes, the checker puts down to that. */
static void tell_checker_of_fault(struct vcpu *v, u64 va)
{
	struct tlb_check *check = v->mmu->check;

	check->kernel = check->now;
	check->kernel.by = CHECK_BY_FAULT;
	check->kernel.detail = va;
	check->changed = 1;
	forget_memos(v);
}

/*
 * The refill told *t, a fault at va: let it happen, and resolve it here if that is quick.
 * Returns whether *t translates now.
 */
bool resolve_fault(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	u32 user = cpl(v) == 3;

	forget_memos(v);
	if (v->ring && v->ring->enabled && v->fidelity != FIDELITY_TRACE)
		v->ring->instruction = count_at(v, reg_read(v, UC_X86_REG_RIP));
	if (v->mmu->check)
		tell_checker(v);
	if (v->fidelity == FIDELITY_FAST) {
		if (t->result == XLATE_PF)
			MMU(v, mmu_page_fault, page_fault)(v->mmu, va, t->error_code);
	} else if (MMU(v, mmu_translate, translate)(v->mmu, va, access, user, t) == XLATE_OK) {
		return MMU(v, mmu_refill, refill)(v->mmu, va, access, user, t) == XLATE_OK;
	}
	if (t->result != XLATE_PF || !v->mm || !v->mmu_api.fast_fault)
		return false;
	if (v->mmu->check)
		tell_checker_of_fault(v, va);
	if (!MMU(v, mm_fast_fault, fast_fault)(v->mm, va, t->error_code))
		return false;
	v->shared.fast_faults++;
	u32 error_code = t->error_code;
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, user, t) == XLATE_OK)
		return true;
	t->result = XLATE_PF;
	t->error_code = error_code;
	return false;
}

/* R and W only for the one virtual page that memory hooks will be told about. */
static u32 owner_perms(struct vcpu *v, struct region *r, u64 pa, u64 va, u32 access, u32 perms)
{
	if (access != ACCESS_FETCH)
		own(v, r, pa, va);
	else if (!owned_by(v, r, pa, va))
		perms &= PERM_X;
	return perms;
}

/* A frame of code is never silently writable; X is given only where it is noted as code. */
static u32 code_perms(struct vcpu *v, struct region *r, u64 pa, u64 va, u32 access, u32 perms)
{
	if (access == ACCESS_FETCH)
		note_code(v, r, pa);
	if (!holds_code(v, r, pa))
		return perms & ~PERM_X;
	if (access == ACCESS_WRITE)
		note_code_store(v, va);
	else
		perms &= ~PERM_W;
	return perms;
}

/* Answer the fill with *t.  False if there is no memory at its address. */
static bool install(struct vcpu *v, u64 va, u32 access, const struct translation *t,
		    uc_tlb_entry *entry)
{
	static const u32 needs[] = { PERM_R, PERM_W, PERM_X };
	u64 pa = page_of(t->pa);
	struct region *r = region_of(v, pa);
	u32 perms = (t->perms & (PERM_R | PERM_W | PERM_X)) | needs[access];

	if (!r) {
		deny(v, t->pa, access, t);
		return false;
	}
	if (access == ACCESS_FETCH)
		v->epoch++;
	perms = code_perms(v, r, pa, va, access, perms);
	if (v->owning)
		perms = owner_perms(v, r, pa, va, access, perms);
	entry->paddr = pa;
	entry->perms = perms;
	v->shared.fills++;
	return true;
}

/* The second page of an access that access_in_full() has already let fault. */
static bool foretold(struct vcpu *v, u64 va, u32 access)
{
	if (v->foretold.page != page_of(va) || v->foretold.access != access)
		return false;
	v->foretold.page = NO_ADDRESS;
	v->stop = v->foretold.stop;
	v->retried = access;
	return true;
}

/*
 * A load or store that will fault: if it is of a read-modify-write, the fault is that of its load,
 * with the error code of a store.  Unicorn asks for both in turn.
 */
static u32 faulting_access(struct vcpu *v, u64 va, u32 access)
{
	if (access == ACCESS_READ && insn_is_rmw_at(v, reg_read(v, UC_X86_REG_RIP)))
		return ACCESS_RMW;
	return access == ACCESS_WRITE && denied_rmw(v, va) ? ACCESS_RMW : access;
}

/*
 * Where Unicorn tells only the page, a modelled fault waits for whoever decodes the instruction:
 * it must happen with its exact address.
 */
static bool left_to_caller(const struct vcpu *v, u32 access)
{
	return v->fidelity != FIDELITY_FAST && access != ACCESS_FETCH &&
	       !private_has(v, PRIVATE_FILL_ADDRESS);
}

/* A fetch from a page that is executed step by step. */
static bool fetch_unsafe(struct vcpu *v, u64 page)
{
	if (v->stepping) {
		v->unsafe_page = page;
		return true;
	}
	v->block = NULL;
	v->stop = STOP_AHEAD;
	return false;
}

/*
 * Answer Unicorn: page is what it asks for, va the exact address where known.  True: *entry is
 * filled; false: the access is denied and v->stop says why.  In exact and trace a faulting
 * instruction starts anew even if its fault is resolved here, as it would if the kernel had been
 * entered: what it loaded before the fault is loaded, and counted, again.
 */
bool fill(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct vcpu *v = arg;
	struct translation t;
	u32 faulting = access;

	if (unlikely(v->window))
		return window_fill(page, entry);
	if (v->pending.control && access == ACCESS_FETCH)
		control_carry_out(v);
	if (unlikely(v->refused != NO_ADDRESS))
		return false;
	if (v->attached)
		control_sync(v);
	if (unlikely(v->mmu->soft.all))
		forget_memos(v);
	if (unlikely(foretold(v, va, access)))
		return false;
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t) == XLATE_OK) {
		if (access == ACCESS_FETCH && !v->attached && unlikely(is_unsafe_page(v, page)) &&
		    !fetch_unsafe(v, page))
			return false;
		return install(v, va, access, &t, entry);
	}
	if (access == ACCESS_FETCH) {
		u64 rip = reg_read(v, UC_X86_REG_RIP);

		v->block = NULL;
		if (v->attached && rip == v->until) {
			v->stop = STOP_END; /* nothing of what is there is executed */
			return false;
		}
		if (!v->stepping && !insn_needs_page(v, rip, page)) {
			v->stop = STOP_AHEAD;
			return false;
		}
		va = page_of(rip) == page ? rip : page;
	} else if (t.result == XLATE_PF) {
		faulting = faulting_access(v, va, access);
		if (faulting != access)
			MMU(v, mmu_refill, refill)(v->mmu, va, faulting, cpl(v) == 3, &t);
	}
	if (v->fidelity == FIDELITY_EXACT)
		fetch_catch_up(v, access == ACCESS_FETCH);
	if (unlikely(left_to_caller(v, access))) {
		deny(v, page, faulting, &t);
		return false;
	}
	if (!resolve_fault(v, va, faulting, &t)) {
		deny(v, va, faulting, &t);
		return false;
	}
	if (v->fidelity == FIDELITY_FAST)
		return install(v, va, access, &t, entry);
	v->stop = STOP_RETRY;
	v->retried = access;
	return false;
}
