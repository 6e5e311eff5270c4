/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end address of a run in an instance that was attached to.
 *
 * Unicorn's own looks up, after each run, where the address and the byte before it lie, through the
 * fill hook, at a time when nothing of the guest's happens: faults of nobody. So Unicorn is told of
 * no end; a CODE hook on that one address stops before it.
 */
#include "unicorn/vcpu.h"

static void on_until(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	struct vcpu *v = arg;

	(void)uc, (void)size;
	if (pc != v->run.until || v->end.reason != STOP_NONE)
		return;
	if (v->fidelity->on_code) {
		/* elsewhere the BLOCK hook has done this */
		if (v->pending.control && !control_carry_out(v))
			return;
		clear_block(v);
	}
	save_flags(v, pc);
	end(v, STOP_UNTIL, pc, NOT_BEGUN, AGAIN_NO);
}

/* Code translated before the hook was there does not call it: drop that. */
static void drop_code_around(struct vcpu *v, u64 va)
{
	u64 pa;

	if (v->fidelity->probe(v, va, ACCESS_FETCH, &pa))
		drop_code(v, pa);
	else
		UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
}

void unwatch_until(struct vcpu *v)
{
	if (v->watched != NO_ADDRESS)
		UC(v, hook_del)(v->uc, v->end_hook);
	v->watched = NO_ADDRESS;
}

/* Have the run that begins now end before the instruction at until. */
uc_err begin_until(struct vcpu *v, u64 until)
{
	uc_err err;

	v->run.until = until;
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
	if (v->watched == until)
		return UC_ERR_OK;
	unwatch_until(v);
	err = UC(v, hook_add)(v->uc, &v->end_hook, UC_HOOK_CODE, (void *)on_until, v, until, until);
	if (err != UC_ERR_OK)
		return err;
	v->watched = until;
	drop_code_around(v, until);
	return UC_ERR_OK;
}

/* Give the instance's own end address its meaning back. */
void end_until(struct vcpu *v)
{
	begin(v);
	UC(v, ctl)(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 0);
}
