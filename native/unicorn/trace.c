/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instruction by instruction: each is an event, and stamps the events it causes. */
#include "unicorn/fetch.h"

static void emit_insn(struct vcpu *v, u64 pc, u32 size)
{
	if (v->ring && v->ring->enabled)
		MMU(v, ring_emit, ring_emit)(v->ring, EVENT_insn, (const u64[4]){ pc, size });
}

void on_code(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;
	struct translation t;
	bool repeated, again;

	(void)uc;
	if (size > MAX_INSN)
		size = 1;
	if (!attend(v, pc, size) || v->end.reason != STOP_NONE)
		return;
	if (v->pending.jump)
		return; /* a hook before this one leads elsewhere */
	save_flags(v, pc);
	if (v->pending.stop || v->shared.count >= v->run.limit) {
		end_before(v, pc);
		return;
	}
	again = pc == v->stream.denied;
	v->stream.denied = NO_ADDRESS;
	look_at_privilege(v);
	if (v->ring)
		v->ring->instruction = v->shared.count;
	if (!again)
		emit_insn(v, pc, size);
	v->traced = (struct block){ .pc = pc, .size = size, .insns = 1 };
	v->block = (struct block_state){ .known = &v->traced, .careful = true };
	v->shared.count++;
	v->pending.control = v->guest->control_of_block(v, pc, size, &v->traced.last);
	repeated = !again && pc == v->stream.insn && pc + size == v->stream.next;
	v->stream.insn = pc;
	while (!fetch_block(v, pc, size, pc, repeated, &t))
		if (!fetch_is_mended(v, pc, &t))
			return;
	fetch_reached(v, NO_ADDRESS);
	if (!v->pending.jump)
		skip_pc(v, !v->keep_pc);
}
