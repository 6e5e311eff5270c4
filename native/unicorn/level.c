/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of an attached instance, one inside the other's hook: each level has its own end, count and
 * stop, and finds the block and the instruction it was in as it left them.
 */
#include <string.h>

#include "unicorn/vcpu.h"

/* The instruction whose hook is running. */
static u64 insn_of_hook(const struct vcpu *v)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);

	return rip == v->nested.rip ? v->nested.insn : rip;
}

/* Begin a run inside the one under way, if there is one. */
void enter_level(struct vcpu *v, struct level *outer)
{
	if (!v->depth)
		v->thread = pthread_self();
	if (!v->depth++)
		return;
	trace_at(v, insn_of_hook(v));
	*outer = (struct level){
		.run = v->run,
		.end = v->end,
		.block = v->block,
		.trace = v->trace,
		.insn = v->insn,
		.jump = v->jump,
		.stream = v->stream,
		.pending = v->pending,
		.code_store = v->code_store,
		.exit = v->shared.exit,
		.count = v->shared.count,
		.rip = insn_of_hook(v),
		.accessing = v->accessing,
	};
	v->accessing = NO_ADDRESS;
	if (v->run.exits)
		suspend_exits(v);
	if (v->block.known)
		outer->known = *v->block.known;
	private_save_run(v, &outer->unicorn);
	v->pending.any = 0;
	v->stream.next = v->stream.crossing = NO_ADDRESS;
	clear_run(v);
	v->trace.script = NULL;
	clear_block(v);
	clear_insn(v);
}

/* It is over: go on with the outer one. */
void leave_level(struct vcpu *v, const struct level *outer)
{
	v->pending.stop = 0;
	v->pending.deadline = 0;
	if (!--v->depth) {
		free_watchpoints(v, false);
		return;
	}
	v->run = outer->run;
	v->run.counted += v->shared.count - outer->count;
	if (v->run.exits)
		resume_exits(v);
	v->end = outer->end;
	v->block = outer->block;
	if (v->block.known)
		*v->block.known = outer->known;
	trace_resume(v, &outer->trace);
	v->insn = outer->insn;
	v->jump = outer->jump;
	v->stream = outer->stream;
	v->pending = outer->pending;
	v->pending.jump = 0; /* Unicorn has forgotten it over the inner run */
	v->accessing = outer->accessing;
	v->nested = (struct nested){ .rip = reg_read(v, UC_X86_REG_RIP), .insn = outer->rip };
	v->code_store = outer->code_store;
	v->shared.exit = outer->exit;
	private_restore_run(v, &outer->unicorn);
	if (outer->unicorn.stop || is_late(v))
		leave_guest(v); /* the inner run has taken what makes Unicorn leave */
}

u32 vcpu_depth(const struct vcpu *v)
{
	return v->depth;
}

/* Whether a hook of the first instruction of the block under way is running. */
static bool at_first_instruction(const struct vcpu *v)
{
	return v->block.known && insn_of_hook(v) == v->block.known->pc;
}

void vcpu_emu_stop(struct vcpu *v)
{
	if (v->depth) {
		v->pending.stop = 1;
		/* only a hook knows where the guest is: registers are the running thread's */
		if (pthread_equal(v->thread, pthread_self()))
			v->block.stopped |= at_first_instruction(v);
	}
	leave_guest(v);
}

void vcpu_jump(struct vcpu *v, u64 rip)
{
	if (!v->depth)
		return;
	v->jump = (struct jump){ .from = insn_of_hook(v), .to = rip };
	v->jump.early = !is_of_block(v, v->jump.from);
	v->pending.jump = 1;
}
