/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The BLOCK hooks: before each block, what the one before left to be done, the count, the fetch. */
#include "unicorn/fetch.h"
#include "unicorn/trace.h"

/*
 * After a store to a frame of code: whether it, or one behind it, met its own block.  Unicorn undid
 * that and begins again with the instruction as a block of its own. The registers of the first such
 * store then still are as they were; of another, the block under way tells that it ends too soon.
 */
static bool is_cut_block(struct vcpu *v, u64 pc, u32 size)
{
	const struct block *b = v->block.known;

	if (insn_count(v, pc, pc + size, NULL) != 1)
		return false;
	if (pc == v->code_store.rip)
		return reg_read(v, UC_X86_REG_RCX) == v->code_store.rcx &&
		       reg_read(v, UC_X86_REG_RSP) == v->code_store.rsp;
	return is_inside_block(v, pc) && pc > v->code_store.rip && pc + size < b->pc + b->size;
}

static void recount_cut_block(struct vcpu *v, u64 pc, u32 size)
{
	bool cut = is_cut_block(v, pc, size);

	soft_drop_page(v, v->code_store.page);
	v->pending.code_store = 0;
	if (!cut)
		return;
	if (v->fidelity->modelled) {
		v->pending.deaf = 2;
		forget_memos(v); /* access_in_full() is to see the store */
	}
	uncount_from(v, pc);
	v->stream.next = pc;
	v->stream.crossing = NO_ADDRESS;
	v->stream.denied = pc;
}

/*
 * Where a misaligned store meets its own block Unicorn leaves its helper as if that were still
 * under way, and calls no hook of loads and stores from then on: help it, or else start it anew,
 * behind the instruction, whose hooks were called before it was undone. The hook of any other such
 * store is called again: see hears_again(). False: the run ends.
 */
static bool start_hearing(struct vcpu *v, u64 pc)
{
	if (private_has(v, PRIVATE_HEARING)) {
		private_hear_again(v);
		return true;
	}
	clear_block(v);
	end(v, STOP_FOUND, pc, NOT_BEGUN, AGAIN_START);
	return false;
}

/* Rarely needed work at a block's begin. False: the run ends. */
static bool attend(struct vcpu *v, u64 pc, u32 size)
{
	if (v->pending.deadline && is_late(v))
		v->pending.stop = 1;
	if (v->pending.jump)
		settle_jump(v, pc);
	if (v->insn.passed != NO_ADDRESS)
		settle_passed(v);
	if (v->pending.code_store)
		recount_cut_block(v, pc, size);
	trace_finish(v);
	if (v->pending.control && !control_carry_out(v))
		return false;
	soft_drain(v);
	return !v->pending.deaf || --v->pending.deaf || start_hearing(v, pc);
}

/* Control is at pc, the begin of a block, and goes no further. */
static void end_before(struct vcpu *v, u64 pc)
{
	clear_block(v);
	if (v->pending.stop)
		end(v, STOP_ASKED, pc, NOT_BEGUN, AGAIN_NO);
	else
		end(v, STOP_LIMIT, pc, NOT_BEGUN, v->run.exact ? AGAIN_STEPS : AGAIN_NO);
}

/* A step's block is one instruction; what is known of the longer ones there is kept. */
static struct block *single(struct vcpu *v, u64 pc, u32 size)
{
	v->single = (struct block){ .pc = pc, .size = size, .insns = 1 };
	return &v->single;
}

/* Count the block that begins at pc, or stop before it if it is too long for the limit. */
static bool count_block(struct vcpu *v, u64 pc, u32 size)
{
	struct block *b = block_slot(v, pc);

	if (unlikely(busy(v)) && !attend(v, pc, size))
		return false;
	trace_finish(v);
	if (likely(!v->pending.stop)) {
		if (v->run.stepping)
			b = single(v, pc, size);
		else if (unlikely(!is_known(v, b, pc, size)))
			learn(v, b, pc, size);
		if (likely(enter(v, b)))
			return true;
	}
	end_before(v, pc);
	return false;
}

/* The hot path: a block that is known, with nothing to do before it. */
void on_block_fast(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct block *b = block_slot(v, pc);

	(void)uc;
	if (unlikely(!is_known(v, b, pc, size) || busy(v) || !enter(v, b)))
		count_block(v, pc, size);
}

/* Count the block at pc, after what the one before left to be done; false: stop before it. */
static bool begin_block(struct vcpu *v, u64 pc, u32 size)
{
	if (unlikely(v->pending.code_store))
		recount_cut_block(v, pc, size);
	fetch_reached(v, NO_ADDRESS);
	return count_block(v, pc, size);
}

void on_block_exact(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct block *b = block_slot(v, pc);
	struct translation t;
	bool repeated;

	(void)uc;
	if (unlikely(!is_known(v, b, pc, size) || busy(v) || v->stream.crossing != NO_ADDRESS ||
		     !enter(v, b)) &&
	    !begin_block(v, pc, size))
		return;
	if (v->attached || !v->user)
		look_at_privilege(v);
	v->block.careful = v->block.known->rmw != RMW_NONE;
	repeated = v->block.known->insns == 1 && pc + size == v->stream.next;
	while (!fetch_block(v, pc, size, pc + v->block.known->crossing, repeated, &t))
		if (!fetch_is_mended(v, pc, &t))
			return;
	if (!v->pending.jump) /* Unicorn skips it when a script has written RIP */
		skip_pc(v, !v->keep_pc && v->stream.crossing == NO_ADDRESS);
}

/* Whether Unicorn may leave RIP stale in the hooks of the block under way: nobody will look. */
static bool nobody_needs_pc(const struct vcpu *v)
{
	return !v->keep_pc && v->stream.crossing == NO_ADDRESS && v->trace.script->learned;
}

/* As on_block_exact(), with the events of the block's instructions. */
void on_block_trace(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct translation t;
	bool repeated;

	(void)uc;
	if (!begin_block(v, pc, size))
		return;
	if (v->attached || !v->user)
		look_at_privilege(v);
	trace_begin(v);
	repeated = v->block.known->insns == 1 && pc + size == v->stream.next;
	while (!fetch_block(v, pc, size, pc + v->block.known->crossing, repeated, &t))
		if (!fetch_is_mended(v, pc, &t))
			return;
	if (!v->pending.jump)
		skip_pc(v, nobody_needs_pc(v));
}
