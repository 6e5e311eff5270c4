/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The fill hook: Unicorn's soft TLB has no entry for an access and asks our MMU. */
#include "unicorn/vcpu.h"

/* R and W only for the one virtual page that memory hooks will be told about. */
static u32 owner_perms(struct vcpu *v, u64 pa, u64 va, u32 access, u32 perms)
{
	if (access != ACCESS_FETCH)
		give_frame(v, pa, va);
	else if (!claim(v, pa, va))
		return perms & PERM_X;
	if (unlikely(v->watchpoints))
		watch_frame(v, pa, va);
	return perms;
}

/* A frame of code is never silently writable; X is given only where it is noted as code. */
static u32 code_perms(struct vcpu *v, u64 pa, u64 va, u32 access, u32 perms)
{
	if (access == ACCESS_FETCH)
		note_code(v, pa);
	if (!holds_code(v, pa))
		return perms & ~PERM_X;
	if (access == ACCESS_WRITE)
		note_code_store(v, pa, va);
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
	const struct region *r = region_of(v, pa);
	u32 perms = (t->perms & (PERM_R | PERM_W | PERM_X)) | needs[access];

	if (!r && v->guest->on_nothing(v, va, pa, access, entry))
		return true;
	if (!r || !open_frame(v, pa)) {
		describe_fault(v, va, access, t);
		end_by_fault(v, reg_read(v, UC_X86_REG_RIP), access);
		return false;
	}
	if (unlikely(page_of(va) == v->insn.passed))
		settle_passed(v);
	if (access == ACCESS_FETCH)
		v->epoch++;
	perms = code_perms(v, pa, va, access, perms);
	if (v->owning)
		perms = owner_perms(v, pa, va, access, perms);
	entry->paddr = uc_address(v, pa);
	entry->perms = perms;
	v->shared.fills++;
	return true;
}

/* A fault that is resolved: the instruction starts anew. */
static void end_resolved(struct vcpu *v, u64 rip, u32 access)
{
	end(v, STOP_RESOLVED, rip, access == ACCESS_FETCH ? NOT_BEGUN : FETCHED, AGAIN_START);
}

/* The second page of an access that foretell() has already let fault. */
static bool is_foretold(const struct vcpu *v, u64 va, u32 access)
{
	return v->insn.foretold.page == page_of(va) && v->insn.foretold.access == access;
}

/*
 * A load or store that will fault: if it is of a read-modify-write, the fault is that of its load,
 * with the error code of a store.  Unicorn asks for both in turn.
 */
static u32 faulting_access(struct vcpu *v, u64 va, u32 access)
{
	if (access == ACCESS_READ && insn_is_rmw_at(v, reg_read(v, UC_X86_REG_RIP)))
		return ACCESS_RMW;
	return access == ACCESS_WRITE && is_denied_rmw(v, va) ? ACCESS_RMW : access;
}

/*
 * Where Unicorn tells only the page, a modelled fault waits for whoever decodes the instruction:
 * it must happen with its exact address.
 */
static bool left_to_caller(const struct vcpu *v, u32 access)
{
	return v->fidelity->modelled && access != ACCESS_FETCH &&
	       !private_has(v, PRIVATE_FILL_ADDRESS);
}

/* The block at rip cannot be translated as it is. */
static void end_ahead(struct vcpu *v, u64 rip, enum again again)
{
	clear_block(v);
	end(v, STOP_AHEAD, rip, NOT_BEGUN, again);
}

/* A fetch that may be made; false: translation must begin anew. */
static bool install_fetch(struct vcpu *v, u64 page, const struct translation *t,
			  uc_tlb_entry *entry)
{
	if (likely(v->guest->may_translate(v, page)))
		return install(v, page, ACCESS_FETCH, t, entry);
	end_ahead(v, reg_read(v, UC_X86_REG_RIP), AGAIN_START);
	return false;
}

/* The fault is described: who does what about it? */
static bool answer_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
			 uc_tlb_entry *entry)
{
	switch (v->guest->on_fault(v, va, access, faulting, t, entry)) {
	case ANSWER_INSTALL:
		return install(v, va, access, t, entry);
	case ANSWER_PASS:
		return true;
	case ANSWER_DENY:
		break;
	}
	return false;
}

/*
 * The access faults: let that happen. In exact and trace the instruction starts anew even if the
 * fault is resolved here, as it would if the kernel had been entered: what it loaded before the
 * fault is loaded, and counted, again.
 */
static bool take_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
		       uc_tlb_entry *entry)
{
	if (resolve_fault(v, va, faulting, t)) {
		if (!v->fidelity->modelled)
			return install(v, va, access, t, entry);
		end_resolved(v, reg_read(v, UC_X86_REG_RIP), access);
		return false;
	}
	describe_fault(v, va, faulting, t);
	return answer_fault(v, va, access, faulting, t, entry);
}

/* A fetch that faults: control has left the block under way. */
static bool fault_fetch(struct vcpu *v, u64 page, struct translation *t, uc_tlb_entry *entry)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);

	if (v->attached && is_exit(v, rip)) {
		clear_block(v);
		end(v, STOP_UNTIL, rip, NOT_BEGUN, AGAIN_NO);
		return false;
	}
	if (!v->run.stepping && !insn_needs_page(v, rip, page)) {
		end_ahead(v, rip, v->guest->ahead); /* which executes its first instruction alone */
		return false;
	}
	if (v->fidelity->traced)
		fetch_reached(v, NO_ADDRESS); /* while the instruction that it is of is known */
	clear_block(v);
	fetch_reached(v, NO_ADDRESS);
	return take_fault(v, page_of(rip) == page ? rip : page, ACCESS_FETCH, ACCESS_FETCH, t,
			  entry);
}

/* A load or store that faults. */
static bool fault_data(struct vcpu *v, u64 page, u64 va, u32 access, struct translation *t,
		       uc_tlb_entry *entry)
{
	u32 faulting = t->result == XLATE_PF ? faulting_access(v, va, access) : access;

	if (faulting != access)
		MMU(v, mmu_refill, refill)(v->mmu, va, faulting, cpl(v) == 3, t);
	if (unlikely(v->stream.crossing != NO_ADDRESS))
		fetch_reached(v, reg_read(v, UC_X86_REG_RIP));
	if (unlikely(left_to_caller(v, access))) {
		describe_fault(v, page, faulting, t);
		return answer_fault(v, va, access, faulting, t, entry);
	}
	return take_fault(v, va, access, faulting, t, entry);
}

/*
 * A load or store that user mode may not make, but an implicit supervisor access may, or faults as
 * such.
 */
static bool fill_implicit(struct vcpu *v, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, PRIVILEGE_IMPLICIT, &t) == XLATE_OK)
		return install(v, va, access, &t, entry);
	forget_memos(v);
	trace_at(v, reg_read(v, UC_X86_REG_RIP));
	if (v->fidelity->modelled)
		MMU(v, mmu_translate, translate)(v->mmu, va, access, PRIVILEGE_IMPLICIT, &t);
	else if (t.result == XLATE_PF)
		MMU(v, mmu_page_fault, page_fault)(v->mmu, va, t.error_code);
	describe_fault(v, va, access, &t);
	v->shared.exit.exact = 1;
	return answer_fault(v, va, access, access, &t, entry);
}

/*
 * The second page of an access whose fault has happened already. If it is handled here, the
 * look-ups that waited for it are made.
 */
static bool fill_foretold(struct vcpu *v, u64 page, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct foretold f = v->insn.foretold;
	uc_tlb_entry *passed = page_of(f.fault) == page ? entry : NULL;
	struct translation t;

	v->insn.foretold.page = NO_ADDRESS;
	if (f.resolved) {
		end_resolved(v, reg_read(v, UC_X86_REG_RIP), access);
		return false;
	}
	switch (v->guest->on_fault(v, f.fault, access, f.faulting, &f.t, passed)) {
	case ANSWER_DENY:
		return false;
	case ANSWER_PASS:
		v->insn.waiting = f.va;
		return true;
	case ANSWER_INSTALL:
		break;
	}
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t) != XLATE_OK)
		return fault_data(v, page, va, access, &t, entry);
	translate(v, f.va, f.faulting, &t);
	translate(v, page, f.faulting, &t);
	MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t);
	return install(v, va, access, &t, entry);
}

/*
 * Answer Unicorn: page is what it asks for, va the exact address where known. True: *entry is
 * filled; false: the access is denied and v->end says why.
 */
bool fill(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct vcpu *v = arg;
	struct translation t;

	if (unlikely(v->window))
		return window_fill(v, page, entry);
	/* when a run ends, Unicorn invalidates the code at each exit, whoever's page that is now */
	if (access == ACCESS_FETCH && unlikely(v->own_exits.nr) && !guest_asks(v, page, access))
		return answer_unicorn(v, va, access, entry);
	if (unlikely(v->mmu->soft.all))
		forget_memos(v);
	if (unlikely(is_foretold(v, va, access)))
		return fill_foretold(v, page, va, access, entry);
	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t) == XLATE_OK)
		return access == ACCESS_FETCH ? install_fetch(v, page, &t, entry)
					      : install(v, va, access, &t, entry);
	if (access != ACCESS_FETCH && is_implicit(v, va, reg_read(v, UC_X86_REG_RIP)))
		return fill_implicit(v, va, access, entry);
	return access == ACCESS_FETCH ? fault_fetch(v, page, &t, entry)
				      : fault_data(v, page, va, access, &t, entry);
}

/*
 * The same for an instance that was attached to: fills that are not the guest's come first, and
 * then what the guest or its owner did to the control registers.
 */
bool fill_attached(void *arg, u64 page, u64 va, u32 access, uc_tlb_entry *entry)
{
	struct vcpu *v = arg;
	bool filled;

	if (unlikely(v->window))
		return window_fill(v, page, entry);
	if (unlikely(!guest_asks(v, page, access)))
		return answer_unicorn(v, va, access, entry);
	if (v->pending.control && access == ACCESS_FETCH && !control_carry_out(v))
		return false;
	control_sync(v);
	/* what user mode itself may read is closed to a supervisor under SMAP */
	if (unlikely(v->mmu->cr4 & CR4_SMAP) && access != ACCESS_FETCH &&
	    !is_foretold(v, va, access) && is_implicit(v, va, reg_read(v, UC_X86_REG_RIP)))
		filled = fill_implicit(v, va, access, entry);
	else
		filled = fill(arg, page, va, access, entry);
	if (filled && unlikely(v->pending.jump) && access != ACCESS_FETCH)
		reg_write(v, UC_X86_REG_RIP, v->jump.to); /* a hook of this access wrote it */
	return filled;
}
