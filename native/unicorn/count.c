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
	if (UC(v, ctl)(v->uc, UC_CTL_READ_WRITE(UC_CTL_TB_REQUEST_CACHE, 2), pc, &tb) == UC_ERR_OK &&
	    tb.pc == pc && tb.size == size)
		return tb.icount;
	return insn_count(v, pc, pc + size, NULL);
}

/* The block's entry in the cache. */
static struct icount *icount_of(struct vcpu *v, u64 pc, u32 size)
{
	struct icount *entry = &v->icount[(pc ^ pc >> 12) & (ICOUNT_ENTRIES - 1)];

	if (unlikely(entry->pc != pc || entry->size != size || entry->epoch != v->epoch)) {
		entry->pc = pc;
		entry->size = (u16)size;
		entry->insns = (u16)ask_insns(v, pc, size);
		entry->crossing = (u16)insn_crossing(v, pc, size);
		entry->control = v->attached ? control_of_block(v, pc, size) : CONTROL_NONE;
		entry->epoch = v->epoch;
	}
	return entry;
}

/* New code was translated: what is cached may be about what stood there before. */
void on_edge(uc_engine *uc, uc_tb *now, uc_tb *before, void *arg)
{
	struct vcpu *v = arg;

	(void)uc;
	(void)before;
	v->icount[(now->pc ^ now->pc >> 12) & (ICOUNT_ENTRIES - 1)].epoch = v->epoch - 1;
}

/* Instructions of the block under way before rip; all of them if rip is past its end. */
static u32 insns_before(struct vcpu *v, u64 rip)
{
	if (rip == v->block_pc)
		return 0;
	if (rip == v->block_pc + v->block_size)
		return v->block_insns;
	if (rip - v->block_pc > v->block_size) {
		v->shared.miscounts++;
		return v->block_insns;
	}
	return insn_count(v, v->block_pc, rip, NULL);
}

/* The block under way was cut: the instruction at rip and those after it did not happen. */
void uncount_from(struct vcpu *v, u64 rip)
{
	u32 before;

	if (!v->block_insns)
		return;
	before = insns_before(v, rip);
	v->shared.count -= v->block_insns - before;
	v->block_insns = 0;
}

/* Instructions executed before the one at rip, which is in the block under way. */
u64 count_at(struct vcpu *v, u64 rip)
{
	if (!v->block_insns)
		return v->shared.count;
	return v->shared.count - v->block_insns + insns_before(v, rip);
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
	v->code_store = NO_ADDRESS;
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
	if (v->control)
		control_carry_out(v);
	soft_drain(v);
}

static bool attention(const struct vcpu *v)
{
	const struct soft_flush *soft = &v->mmu->soft;

	return soft->all | soft->nr | v->control;
}

/* Count the block that begins at pc, or stop before it if it is too long for the limit. */
bool count_block(struct vcpu *v, u64 pc, u32 size)
{
	struct icount *entry;

	if (unlikely(v->code_store != NO_ADDRESS))
		recount_cut_block(v, pc, size);
	if (unlikely(attention(v)))
		attend(v);
	if (unlikely(v->stop_asked)) {
		v->stop = STOP_ASKED;
		UC(v, emu_stop)(v->uc);
		return false;
	}
	entry = icount_of(v, pc, size);
	if (unlikely(entry->insns > v->limit - v->shared.count)) {
		v->stop = STOP_LIMIT;
		v->block_insns = 0;
		UC(v, emu_stop)(v->uc);
		return false;
	}
	v->shared.count += entry->insns;
	v->block_pc = pc;
	v->block_size = size;
	v->block_insns = entry->insns;
	v->block_crossing = entry->crossing;
	v->control = entry->control;
	return true;
}

void on_block_fast(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	(void)uc;
	count_block(arg, pc, size);
}
