/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions are counted block by block, when a block begins; what a cut block did not do is
 * taken back. So shared.count is right whenever vcpu_run() returns.
 */
#include <string.h>

#include "unicorn/vcpu.h"

/*
 * Ask Unicorn for the block's instructions; decode them if it answers for another block, or if the
 * block is cut by an exit, for which it counts one more.
 */
static u32 ask_insns(struct vcpu *v, u64 pc, u32 size)
{
	uc_tb tb;

	memset(&tb, 0, sizeof(tb));
	if (!is_exit(v, pc + size) &&
	    UC(v, ctl)(v->uc, UC_CTL_READ_WRITE(UC_CTL_TB_REQUEST_CACHE, 2), pc, &tb) ==
		    UC_ERR_OK &&
	    tb.pc == pc && tb.size == size)
		return tb.icount;
	return insn_count(v, pc, pc + size, NULL);
}

/* Find out about the block that begins at pc. */
void learn(struct vcpu *v, struct block *b, u64 pc, u32 size)
{
	b->pc = pc;
	b->size = size;
	b->cut = 0;
	b->insns = (u16)ask_insns(v, pc, size);
	b->crossing = (u16)insn_crossing(v, pc, size);
	b->control = (u16)v->guest->control_of_block(v, pc, size, &b->last);
	b->rmw = RMW_UNKNOWN;
	b->key = block_key(v, size);
}

/* Instructions of the block under way before rip; all of them if rip is past its end. */
static u32 insns_before(struct vcpu *v, u64 rip)
{
	struct block *b = v->block.known;

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
	if (!v->block.known)
		return;
	trace_cut(v, rip);
	v->shared.count -= v->block.known->insns - insns_before(v, rip);
	clear_block(v);
}

/* Instructions executed before the one at rip, which is in the block under way. */
u64 count_at(struct vcpu *v, u64 rip)
{
	if (!v->block.known)
		return v->shared.count;
	return v->shared.count - v->block.known->insns + insns_before(v, rip);
}
