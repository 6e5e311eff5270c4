/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions one at a time by RFLAGS.TF (SDM vol. 3B 18.3.1.4), which the guest never sees. While
 * they are plain, Unicorn is not left between them.
 */
#include "unicorn/trace.h"

#define RFLAGS_ZF 0x40
#define OP_PUSHF 0x9c
#define OP_POPF 0x9d
#define OP_IRET 0xcf
#define OP_INT1 0xf1

/* What a step must remember of the state before it. */
struct before {
	struct insn insn;
	u64 rip, rcx, rflags;
};

static u64 rep_count(const struct before *b, u64 rcx)
{
	return b->insn.address32 ? (u32)rcx : rcx;
}

/* PUSHF pushed our TF: clear it there.  It is bit 0 of the second byte pushed. */
static void hide_pushed_flag(struct vcpu *v)
{
	u64 va = reg_read(v, UC_X86_REG_RSP) + 1;
	struct translation t;
	u8 byte;

	if (MMU(v, mmu_refill, refill)(v->mmu, va, ACCESS_WRITE, cpl(v) == 3, &t) != XLATE_OK)
		return;
	if (memory_holds(v->ram, t.pa)) {
		*(u8 *)pa_to_host(v->ram, t.pa) &= (u8) ~(RFLAGS_TF >> 8);
		return;
	}
	UC(v, mem_read)(v->uc, t.pa, &byte, 1);
	byte &= (u8) ~(RFLAGS_TF >> 8);
	UC(v, mem_write)(v->uc, t.pa, &byte, 1);
}

/* Give the guest its own TF back, in RFLAGS and where the instruction saved it. */
static void hide_trap_flag(struct vcpu *v, const struct before *b, bool done)
{
	u8 op = insn_opcode(&b->insn, 0);

	if (b->rflags & RFLAGS_TF)
		return;
	if (done && (op == OP_POPF || op == OP_IRET))
		return;
	reg_write(v, UC_X86_REG_EFLAGS, reg_read(v, UC_X86_REG_EFLAGS) & ~(u64)RFLAGS_TF);
	if (done && op == OP_PUSHF)
		hide_pushed_flag(v);
}

/* Whether this step was a REP's last element, ended by the count (not by ZF, as CMPS and SCAS may
 * be). */
static bool rep_ran_out(struct vcpu *v, const struct before *b)
{
	u8 op = insn_opcode(&b->insn, 0);
	bool compares = op == 0xa6 || op == 0xa7 || op == 0xae || op == 0xaf;
	bool zf = reg_read(v, UC_X86_REG_EFLAGS) & RFLAGS_ZF;

	if (!insn_is_rep(&b->insn) || !rep_count(b, b->rcx))
		return false;
	if (reg_read(v, UC_X86_REG_RIP) == b->rip || rep_count(b, reg_read(v, UC_X86_REG_RCX)))
		return false;
	return !compares || zf == (b->insn.rep == 0xf3);
}

/*
 * Under TF a REP leaves with its last element; otherwise its end is an instruction of its own.
 * Count that too, or, if there is no room for it, go back to before it.
 */
static void settle_rep_end(struct vcpu *v, const struct before *b, u64 room)
{
	if (!rep_ran_out(v, b))
		return;
	if (room > 1) {
		trace_finish(v);
		trace_alone(v, b->rip, &b->insn);
		v->shared.count++;
	} else {
		reg_write(v, UC_X86_REG_RIP, b->rip);
	}
}

/* Whether the instruction neither looks at TF nor is one that step() must look at afterwards. */
static bool is_plain(const struct vcpu *v, const struct insn *insn)
{
	switch (insn_opcode(insn, 0)) {
	case OP_PUSHF:
	case OP_POPF:
	case OP_IRET:
	case OP_INT1:
		return false;
	}
	return !insn_is_rep(insn) && !v->guest->stops_before(insn);
}

/*
 * In the hook of step()'s trap: whether the next instruction may be stepped over as well before
 * Unicorn is left.
 */
bool may_step_on(struct vcpu *v)
{
	struct before *b = v->run.before;
	struct insn next;

	if (!v->run.steps || v->shared.count >= v->run.limit || v->pending.stop ||
	    v->end.reason != STOP_NONE || !is_plain(v, &b->insn))
		return false;
	insn_read(v, reg_read(v, UC_X86_REG_RIP), &next);
	if (!is_plain(v, &next))
		return false;
	b->insn = next;
	return true;
}

/*
 * Execute the instruction at RIP, with on those behind it to the limit as far as they are plain;
 * v->end.reason is STOP_STEPPED if nothing but that happened.
 */
void step(struct vcpu *v, bool on)
{
	u64 room = v->run.limit - v->shared.count;
	bool own_trap, done;
	struct before b;

	b.rip = reg_read(v, UC_X86_REG_RIP);
	b.rcx = reg_read(v, UC_X86_REG_RCX);
	b.rflags = reg_read(v, UC_X86_REG_EFLAGS);
	insn_read(v, b.rip, &b.insn);
	if (v->guest->stops_before(&b.insn)) {
		clear_block(v);
		end_by_intercept(v, &b.insn, b.rip, NOT_BEGUN);
		return;
	}
	own_trap = b.rflags & RFLAGS_TF || insn_opcode(&b.insn, 0) == OP_INT1;
	v->run.trap = own_trap ? STOP_EXCEPTION : STOP_STEPPED;
	v->run.stepping = true;
	v->run.steps = on && v->run.trap == STOP_STEPPED;
	v->run.before = &b;
	reg_write(v, UC_X86_REG_EFLAGS, b.rflags | RFLAGS_TF);
	start(v);
	v->run.stepping = v->run.steps = false;
	v->run.before = NULL;
	v->run.trap = STOP_EXCEPTION;
	done = v->end.reason == STOP_STEPPED ||
	       (v->end.reason == STOP_EXCEPTION && v->end.progress == DONE &&
		insn_opcode(&b.insn, 0) != OP_INT1);
	hide_trap_flag(v, &b, done);
	if (done)
		settle_rep_end(v, &b, room);
}
