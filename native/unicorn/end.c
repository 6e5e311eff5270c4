/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One end of a run: the only place that says why Unicorn left the guest, and that makes it leave.
 * docs/hooks.md draws the machine.
 */
#include "unicorn/trace.h"

/* The only caller of uc_emu_stop(). */
void leave_guest(struct vcpu *v)
{
	UC(v, emu_stop)(v->uc);
}

void vcpu_stop(struct vcpu *v)
{
	v->pending.stop = 1;
	leave_guest(v);
}

/* Unicorn is about to be started: nobody has ended that yet. */
void begin(struct vcpu *v)
{
	v->end = (struct ending){ .reason = STOP_NONE };
	clear_insn(v);
}

/*
 * Unicorn leaves the guest for this reason, with the instruction at rip so far; again: what
 * run_to_end() does next. Only the first end of a start counts.
 */
void end(struct vcpu *v, enum stop reason, u64 rip, enum progress progress, enum again again)
{
	if (v->end.reason == STOP_NONE)
		v->end = (struct ending){ reason, progress, again, rip };
	if (v->run.started) {
		hide_exits(v); /* nothing is translated any more */
		leave_guest(v);
	}
}

/* A fault that shared.exit describes: Python is to see it. */
void end_by_fault(struct vcpu *v, u64 rip, u32 access)
{
	end(v, STOP_FAULT, rip, access == ACCESS_FETCH ? NOT_BEGUN : FETCHED, AGAIN_NO);
}

/* An exception with this vector of the instruction at rip. */
void end_by_exception(struct vcpu *v, u32 vector, u64 rip, enum progress progress)
{
	if (v->end.reason == STOP_NONE)
		v->shared.exit.vector = vector;
	end(v, STOP_EXCEPTION, rip, progress, AGAIN_NO);
}

/* Whether rip is inside the block under way, behind its first instruction. */
bool is_inside_block(const struct vcpu *v, u64 rip)
{
	const struct block *b = v->block.known;

	return b && rip > b->pc && rip < b->pc + b->size;
}

/* Unicorn does not know the instruction at rip; some of those are carried out here. */
static void end_by_invalid(struct vcpu *v, u64 rip)
{
	struct insn insn;

	insn_read(v, rip, &insn);
	if (!v->guest->knows(&insn)) {
		end_by_exception(v, VECTOR_UD, rip, FETCHED);
		return;
	}
	v->run.err = UC_ERR_OK;
	end(v, STOP_EMULATED, rip, FETCHED, AGAIN_START);
}

/* Whether the instruction at rip is of the block under way. */
bool is_of_block(const struct vcpu *v, u64 rip)
{
	return is_inside_block(v, rip) || (v->block.known && rip == v->block.known->pc);
}

/*
 * Control is at pc. If a hook sent it there, the block under way ended before the instruction of
 * that hook.
 */
void settle_jump(struct vcpu *v, u64 pc)
{
	struct jump jump = v->jump;

	if (jump.early && pc == jump.from) {
		v->jump.early = false;
		return;
	}
	v->pending.jump = 0;
	if (pc != jump.to || !is_of_block(v, jump.from))
		return;
	if (is_inside_block(v, jump.from))
		fetch_cut_before(v, jump.from);
	uncount_from(v, jump.from);
	v->stream.next = NO_ADDRESS;
}

/* Whether the block under way ended before the instruction at rip, which may be its first. */
static bool is_cut_before(const struct vcpu *v, u64 rip)
{
	const struct block *b = v->block.known;
	bool overran = v->run.count && v->shared.count - v->run.counted > v->run.count;

	return is_inside_block(v, rip) || (b && rip == b->pc && (v->block.stopped || overran));
}

/* Unicorn returned err, and nobody of ours had ended it. */
void end_from_outside(struct vcpu *v, uc_err err)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);
	enum stop reason = v->pending.stop ? STOP_ASKED : STOP_OUTSIDE;

	if (v->pending.jump)
		settle_jump(v, rip);
	if (err == UC_ERR_OK && !v->pending.stop && v->guest->end_at_exit(v, rip))
		return;
	if (v->insn.passed != NO_ADDRESS && err != UC_ERR_OK) {
		v->shared.exit.uc_err = err;
		end_by_fault(v, rip, v->insn.passed_access);
		return;
	}
	v->run.err = err;
	if (err == UC_ERR_OK && v->pending.control && !is_cut_before(v, rip) && v->block.known &&
	    !v->guest->carry_out(v))
		return;
	if (v->run.ahead != NO_ADDRESS && rip == v->run.ahead && err == UC_ERR_OK &&
	    !v->pending.stop)
		end(v, STOP_AHEAD, rip, DONE, AGAIN_START);
	else if (err == UC_ERR_INSN_INVALID)
		end_by_invalid(v, rip);
	else if (err != UC_ERR_OK)
		end(v, STOP_ENGINE, rip, FETCHED, AGAIN_NO);
	else
		end(v, reason, rip, is_cut_before(v, rip) ? NOT_BEGUN : DONE, AGAIN_NO);
}

/* Give back what was counted, fetched and left pending of instructions that did not happen. */
void settle(struct vcpu *v)
{
	const struct ending *e = &v->end;

	switch (e->progress) {
	case NOT_BEGUN:
		if (is_inside_block(v, e->rip))
			fetch_cut_before(v, e->rip);
		uncount_from(v, e->rip);
		break;
	case FETCHED:
		trace_at(v, e->rip);
		fetch_again_at(v, e->rip);
		uncount_from(v, e->rip);
		v->stream.denied =
			e->reason == STOP_FAULT || e->reason == STOP_RESOLVED ? e->rip : NO_ADDRESS;
		break;
	case DONE:
		fetch_reached(v, NO_ADDRESS);
		trace_finish(v);
		break;
	}
}
