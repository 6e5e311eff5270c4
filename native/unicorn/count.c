/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions are counted block by block, when a block begins; what a cut block did not do is
 * taken back.  So shared.count is right whenever vcpu_run() returns.
 */
#include <string.h>

#include "unicorn/vcpu.h"

/* Ask Unicorn for the block's instructions; decode them if it answers for another block. */
static u32 ask_insns(struct vcpu *v, u64 pc, u32 size)
{
	uc_tb tb;

	memset(&tb, 0, sizeof(tb));
	if (UC(v, ctl)(v->uc, UC_CTL_READ_WRITE(UC_CTL_TB_REQUEST_CACHE, 2), pc, &tb) ==
		    UC_ERR_OK &&
	    tb.pc == pc && tb.size == size)
		return tb.icount;
	return insn_count(v, pc, pc + size, NULL);
}

/* Find out about the block that begins at pc. */
static void learn(struct vcpu *v, struct block *b, u64 pc, u32 size)
{
	b->pc = pc;
	b->size = size;
	b->cut = 0;
	b->insns = (u16)ask_insns(v, pc, size);
	b->crossing = (u16)insn_crossing(v, pc, size);
	b->control = (u16)(v->attached ? control_of_block(v, pc, size) : CONTROL_NONE);
	b->rmw = RMW_UNKNOWN;
	b->key = block_key(v, size);
}

/* Instructions of the block under way before rip; all of them if rip is past its end. */
static u32 insns_before(struct vcpu *v, u64 rip)
{
	struct block *b = v->block;

	if (rip == b->pc)
		return 0;
	if (rip == b->pc + b->size)
		return b->insns;
	if (rip - b->pc > b->size) {
		v->shared.miscounts++;
		return b->insns;
	}
	if (b->cut != rip - b->pc) {
		b->cut = (u16)(rip - b->pc);
		b->insns_before_cut = (u16)insn_count(v, b->pc, rip, NULL);
	}
	return b->insns_before_cut;
}

/* The block under way was cut: the instruction at rip and those after it did not happen. */
void uncount_from(struct vcpu *v, u64 rip)
{
	if (!v->block)
		return;
	v->shared.count -= v->block->insns - insns_before(v, rip);
	v->block = NULL;
}

/* Instructions executed before the one at rip, which is in the block under way. */
u64 count_at(struct vcpu *v, u64 rip)
{
	if (!v->block)
		return v->shared.count;
	return v->shared.count - v->block->insns + insns_before(v, rip);
}

/*
 * After a store to a frame of code: if it met its own block, Unicorn undid it and begins again with
 * that instruction as a block of its own.  Its registers then still are as they were.
 */
void recount_cut_block(struct vcpu *v, u64 pc, u32 size)
{
	bool cut = pc == v->code_store_rip && reg_read(v, UC_X86_REG_RCX) == v->code_store_rcx &&
		   reg_read(v, UC_X86_REG_RSP) == v->code_store_rsp &&
		   (v->fidelity == FIDELITY_TRACE || insn_count(v, pc, pc + size, NULL) == 1);

	soft_drop_page(v, v->code_store);
	v->pending.code_store = 0;
	if (!cut)
		return;
	uncount_from(v, pc);
	v->stream.next = pc;
	v->stream.crossing = NO_ADDRESS;
	v->stream.denied = pc;
}

/* Rarely needed work at a block's (trace: an instruction's) begin. */
void attend(struct vcpu *v)
{
	if (v->pending.control)
		control_carry_out(v);
	soft_drain(v);
}

static void do_what_is_pending(struct vcpu *v, u64 pc, u32 size)
{
	if (v->pending.code_store)
		recount_cut_block(v, pc, size);
	attend(v);
}

static void stop_before_block(struct vcpu *v, enum stop stop)
{
	v->stop = stop;
	v->block = NULL;
	UC(v, emu_stop)(v->uc);
}

/* Count the block that begins at pc, or stop before it if it is too long for the limit. */
bool count_block(struct vcpu *v, u64 pc, u32 size)
{
	struct block *b = block_slot(v, pc);

	if (unlikely(busy(v)))
		do_what_is_pending(v, pc, size);
	if (unlikely(v->refused != NO_ADDRESS))
		return false;
	if (unlikely(v->pending.stop)) {
		stop_before_block(v, STOP_ASKED);
		return false;
	}
	if (unlikely(!is_known(v, b, pc, size)))
		learn(v, b, pc, size);
	if (likely(enter(v, b)))
		return true;
	stop_before_block(v, STOP_LIMIT);
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
