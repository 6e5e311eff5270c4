/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instruction by instruction: each is an event, and stamps the events it causes. */
#include "unicorn/vcpu.h"

static void emit_insn(struct vcpu *v, u64 pc, u32 size)
{
	if (v->ring && v->ring->enabled)
		MMU(v, ring_emit, ring_emit)(v->ring, EVENT_insn, pc, size, 0);
}

/* A CODE hook is about to return to the instruction at pc: see restore_flags(). */
void save_flags(struct vcpu *v, u64 pc)
{
	v->stream.flags_rip = pc;
	v->stream.rflags = reg_read(v, UC_X86_REG_EFLAGS);
}

/*
 * Left before or inside an instruction that has a CODE hook, Unicorn may have lost how to compute
 * the arithmetic flags: they are those its hook found.
 */
void restore_flags(struct vcpu *v)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);
	bool trapped = v->stop == STOP_INTERRUPT && v->vector == VECTOR_DB;

	if (v->stop == STOP_SYSCALL)
		rip = v->syscall_at;
	if (rip == v->stream.flags_rip && !trapped)
		reg_write(v, UC_X86_REG_EFLAGS, v->stream.rflags);
	v->stream.flags_rip = NO_ADDRESS;
}

static void guard_flags(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	(void)uc, (void)size;
	save_flags(arg, pc);
}

int vcpu_guard_flags(struct vcpu *v)
{
	if (v->guard_flags || v->fidelity == FIDELITY_TRACE)
		return 0;
	v->guard_flags = add_hook(v, UC_HOOK_CODE, (void *)guard_flags, 0);
	return v->guard_flags ? 0 : -1;
}

void on_code(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	bool repeated, again;

	if (size > MAX_INSN)
		size = 1;
	if (v->pending.code_store)
		recount_cut_block(v, pc, size);
	attend(v);
	if (v->stop != STOP_NONE)
		return;
	save_flags(v, pc);
	if (pc == v->until) {
		v->block = NULL;
		stop_at_end(v);
		return;
	}
	if (v->pending.stop || v->shared.count >= v->limit) {
		v->stop = v->pending.stop ? STOP_ASKED : STOP_LIMIT;
		v->block = NULL;
		UC(v, emu_stop)(uc);
		return;
	}
	again = pc == v->stream.denied;
	v->stream.denied = NO_ADDRESS;
	look_at_privilege(v);
	if (v->ring)
		v->ring->instruction = v->shared.count;
	if (!again)
		emit_insn(v, pc, size);
	v->insn = (struct block){ .pc = pc, .size = size, .insns = 1 };
	v->block = &v->insn;
	v->careful = true;
	v->shared.count++;
	v->pending.control = v->attached ? control_of_block(v, pc, size) : CONTROL_NONE;
	repeated = !again && pc == v->stream.insn && pc + size == v->stream.next;
	v->stream.insn = pc;
	if (!fetch(v, pc, size, pc, repeated)) {
		v->shared.count--;
		v->block = NULL;
		UC(v, emu_stop)(uc);
		return;
	}
	fetch_catch_up(v, true);
	skip_pc(v, !v->keep_pc);
}
