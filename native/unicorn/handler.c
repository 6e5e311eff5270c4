/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults of an attached instance, inside the fill hook: to its handler first; then, with identity,
 * to Unicorn, which calls the script's own hooks for memory that is not there or is protected.
 */
#include <string.h>

#include "unicorn/vcpu.h"

#define NR_SAVED 18
/* Without paging Unicorn takes these bits of a virtual address as the physical one. */
#define UNICORN_PA_MASK ((1ull << 52) - 1)
#define MAX_RETRIES 16 /* faults of one access that a handler may mend one after the other */

static const int saved_regs[NR_SAVED] = {
	UC_X86_REG_RIP, UC_X86_REG_EFLAGS, UC_X86_REG_RAX, UC_X86_REG_RBX, UC_X86_REG_RCX,
	UC_X86_REG_RDX, UC_X86_REG_RSI,	   UC_X86_REG_RDI, UC_X86_REG_RBP, UC_X86_REG_RSP,
	UC_X86_REG_R8,	UC_X86_REG_R9,	   UC_X86_REG_R10, UC_X86_REG_R11, UC_X86_REG_R12,
	UC_X86_REG_R13, UC_X86_REG_R14,	   UC_X86_REG_R15,
};

static void read_registers(struct vcpu *v, u64 *value)
{
	void *at[NR_SAVED];

	for (u32 i = 0; i < NR_SAVED; i++)
		at[i] = &value[i];
	UC(v, reg_read_batch)(v->uc, (int *)saved_regs, at, NR_SAVED);
}

static enum progress progress_of(u32 access)
{
	return access == ACCESS_FETCH ? NOT_BEGUN : FETCHED;
}

/* The fault in shared.exit, of the instruction at rip, is the one that was mended last. */
static bool is_back(struct vcpu *v, u64 rip)
{
	const struct mended *mended = &v->run.mended;
	const struct vm_exit *exit = &v->shared.exit;

	return rip == mended->rip && exit->address == mended->address &&
	       exit->error_code == mended->error_code && count_at(v, rip) == mended->count;
}

/* The handler changed registers: the instruction starts anew with them. */
static void start_anew(struct vcpu *v, u64 rip, const u64 *value, u32 access)
{
	if (value[0] != rip)
		v->run.begin = value[0]; /* Unicorn puts RIP back when the fill is denied */
	v->run.mended = (struct mended){
		.rip = value[0],
		.address = v->shared.exit.address,
		.count = count_at(v, rip),
		.error_code = v->shared.exit.error_code,
	};
	v->pending.jump = 0;
	end(v, STOP_RESOLVED, rip, progress_of(access), AGAIN_START);
}

/* The fault in shared.exit: FAULT_*. FAULT_ABORT also if the run has been ended. */
static u32 ask(struct vcpu *v, u32 access)
{
	u64 before[NR_SAVED] = { 0 }, after[NR_SAVED] = { 0 };
	struct vm_exit *exit = &v->shared.exit;
	u32 answer;

	read_registers(v, before);
	if (is_back(v, before[0]))
		return FAULT_RAISED;
	exit->rip = exit->insn = before[0];
	answer = v->on_fault(v);
	if (is_late(v))
		leave_guest(v); /* a stop that comes inside a fill can be lost */
	if (answer == FAULT_ABORT)
		end(v, STOP_ABORTED, before[0], progress_of(access), AGAIN_NO);
	if (answer != FAULT_RETRY)
		return answer;
	read_registers(v, after);
	if (!memcmp(before, after, sizeof(before)))
		return FAULT_RETRY;
	start_anew(v, before[0], after, access);
	return FAULT_ABORT;
}

/* Let the handler mend the fault *t; one that comes back unchanged is not mended. */
static u32 mend(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t)
{
	for (u32 i = 0; i < MAX_RETRIES; i++) {
		struct translation before = *t;
		u32 answer = ask(v, access);

		if (answer != FAULT_RETRY)
			return answer;
		if (MMU(v, mmu_refill, refill)(v->mmu, va, faulting, cpl(v) == 3, t) == XLATE_OK)
			return FAULT_RETRY;
		if (t->result == before.result && t->error_code == before.error_code)
			return FAULT_RAISED;
		describe_fault(v, va, faulting, t);
	}
	return FAULT_RAISED;
}

/* Whether the access is Unicorn's to refuse or make, if virtual addresses are meant as physical
 * ones: it has no memory, or not that right, or a right to write or execute without one to read,
 * which no page table can give. */
static bool is_unicorns(struct vcpu *v, u64 va, u32 access)
{
	static const u32 needs[] = { UC_PROT_READ, UC_PROT_WRITE, UC_PROT_EXEC };
	u64 pa = va & UNICORN_PA_MASK;
	struct region *r = region_of(v, pa);

	return !r || r->uc_base + (pa - r->base) != pa || !(r->perms & needs[access]) ||
	       !(r->perms & UC_PROT_READ);
}

/* Whether the page is mapped, but not as identity: what it forbids is no matter of Unicorn's. */
static bool is_mapped_elsewhere(struct vcpu *v, u64 va, const struct translation *t)
{
	return t->error_code & PF_P && !region_of(v, va & UNICORN_PA_MASK);
}

/* Give the page to Unicorn as it is, for this access. */
static void pass(struct vcpu *v, u64 va, u32 access, uc_tlb_entry *entry)
{
	v->insn.passed = page_of(va);
	v->insn.passed_va = va;
	v->insn.passed_access = access;
	soft_drop_later(v, va);
	entry->paddr = page_of(va & UNICORN_PA_MASK);
	entry->perms = UC_PROT_ALL;
}

void vcpu_handle_faults(struct vcpu *v, u32 handled)
{
	v->handled = handled;
}

/* There is no memory where va translates to: no fault of a program's, and an error of its tables.
 */
bool nothing_is_a_bad_table(struct vcpu *v, u64 va, u64 pa, u32 access, uc_tlb_entry *entry)
{
	(void)v, (void)va, (void)pa, (void)access, (void)entry;
	return false;
}

/* The same of an attached instance, whose virtual addresses may be meant as physical ones. */
bool pass_nothing(struct vcpu *v, u64 va, u64 pa, u32 access, uc_tlb_entry *entry)
{
	struct translation absent = { .result = XLATE_PF };

	if (v->mmu->cr0 & CR0_PG && !(v->identity && pa == page_of(va & UNICORN_PA_MASK)))
		return false;
	if (!is_unicorns(v, va, access))
		return false;
	describe_fault(v, va, access, &absent);
	pass(v, va, access, entry);
	return true;
}

enum answer raise_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
			uc_tlb_entry *entry)
{
	(void)va, (void)faulting, (void)t, (void)entry;
	end_by_fault(v, reg_read(v, UC_X86_REG_RIP), access);
	return ANSWER_DENY;
}

/* The fault is described. entry: NULL outside the fill hook. */
enum answer handle_fault(struct vcpu *v, u64 va, u32 access, u32 faulting, struct translation *t,
			 uc_tlb_entry *entry)
{
	u32 answer = v->handled ? mend(v, va, access, faulting, t) : FAULT_RAISED;

	if (answer == FAULT_RETRY)
		return ANSWER_INSTALL;
	if (answer == FAULT_ABORT)
		return ANSWER_DENY;
	if (entry && v->identity && !v->deliver &&
	    (t->result == XLATE_GP || (t->result == XLATE_PF && !is_mapped_elsewhere(v, va, t))) &&
	    is_unicorns(v, va, access)) {
		pass(v, va, access, entry);
		return ANSWER_PASS;
	}
	return raise_fault(v, va, access, faulting, t, entry);
}

/* The model refuses the fetch at pc: let its fault happen. True: try again; false: the run ends. */
bool fetch_is_mended(struct vcpu *v, u64 pc, struct translation *t)
{
	describe_fault(v, pc, ACCESS_FETCH, t);
	return v->guest->on_fault(v, pc, ACCESS_FETCH, ACCESS_FETCH, t, NULL) == ANSWER_INSTALL;
}

/* The look-up that waited for a passed access; a page that no table maps even now has none. */
static void look_up_now(struct vcpu *v, u64 va)
{
	u32 access = v->insn.passed_access;
	struct translation t;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, access, cpl(v) == 3, &t) == XLATE_OK &&
	    v->fidelity->modelled)
		translate(v, va, access, &t);
}

/* An access that was given to Unicorn is done: what it does to the tables, and counts, is done now.
 */
void settle_passed(struct vcpu *v)
{
	u64 va = v->insn.passed_va;

	v->insn.passed = NO_ADDRESS;
	if (v->insn.passed_access == ACCESS_FETCH)
		return;
	if (v->insn.waiting != NO_ADDRESS)
		look_up_now(v, v->insn.waiting);
	v->insn.waiting = NO_ADDRESS;
	look_up_now(v, va);
}
