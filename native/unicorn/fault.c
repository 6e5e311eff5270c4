/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fault of the guest's: let it happen, resolve it on the spot, or describe it for Python. */
#include "unicorn/vcpu.h"

/* Write the fault *t of an access at va into shared.exit; the run goes on until end(). */
void describe_fault(struct vcpu *v, u64 va, u32 access, const struct translation *t)
{
	struct vm_exit *exit = &v->shared.exit;

	exit->address = va;
	exit->uc_err = UC_ERR_OK;
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

/* A fault at va happens: CR2, counters, events. False: it does not translate now either. */
bool let_fault_fast(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	(void)access, (void)privilege;
	if (t->result == XLATE_PF)
		MMU(v, mmu_page_fault, page_fault)(v->mmu, va, t->error_code);
	return false;
}

/* The same, with the look-up in the TLB model that leads to it and may find a translation. */
bool let_fault_modelled(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	return MMU(v, mmu_translate, translate)(v->mmu, va, access, privilege, t) == XLATE_OK &&
	       MMU(v, mmu_refill, refill)(v->mmu, va, access, privilege, t) == XLATE_OK;
}

/* Whether the caller wants to look before anything changes at the instruction at RIP. */
static bool is_due(struct vcpu *v)
{
	return v->shared.count >= v->run.due &&
	       count_at(v, reg_read(v, UC_X86_REG_RIP)) >= v->run.due;
}

/* What happens now is the instruction's at RIP. */
static void tell_ring(struct vcpu *v)
{
	u64 rip;

	if (!ring_records(v->ring))
		return;
	rip = reg_read(v, UC_X86_REG_RIP);
	if (!trace_at(v, rip))
		v->ring->instruction = count_at(v, rip);
}

/*
 * The refill reported *t, a fault at va: let it happen, and resolve it here if that is quick.
 * Returns whether *t translates now.
 */
bool resolve_fault_as(struct vcpu *v, u64 va, u32 access, u32 privilege, struct translation *t)
{
	forget_memos(v);
	tell_ring(v);
	if (v->mmu->check)
		tell_checker(v);
	if (v->fidelity->let_fault(v, va, access, privilege, t))
		return true;
	if (t->result != XLATE_PF || !v->mm || !v->mmu_api.fast_fault || unlikely(is_due(v)))
		return false;
	if (v->mmu->check)
		tell_checker_of_fault(v, va);
	if (!MMU(v, mm_fast_fault, fast_fault)(v->mm, va, t->error_code))
		return false;
	v->shared.fast_faults++;
	u32 error_code = t->error_code;
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, privilege, t) == XLATE_OK)
		return true;
	t->result = XLATE_PF;
	t->error_code = error_code;
	return false;
}

/* The same of an access with the rights of its privilege level. */
bool resolve_fault(struct vcpu *v, u64 va, u32 access, struct translation *t)
{
	return resolve_fault_as(v, va, access, cpl(v) == 3, t);
}
