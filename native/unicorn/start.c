/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unicorn started at RIP. */
#include "unicorn/vcpu.h"

/* Start Unicorn at RIP; v->end says why it came back. */
void start(struct vcpu *v, u64 timeout_us)
{
	uc_err err = UC(v, emu_start)(v->uc, reg_read(v, UC_X86_REG_RIP), 0, timeout_us, 0);

	if (v->end.reason == STOP_NONE)
		end_from_outside(v, err);
	if (v->insn.flags_rip != NO_ADDRESS)
		restore_flags(v, v->end.rip);
}
