/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Arithmetic flags around CODE hooks. Left before or inside an instruction that has one, Unicorn
 * may have lost how to compute the flags: they are those its hook found.
 */
#include "unicorn/vcpu.h"

/*
 * Unicorn has left the guest before or inside the instruction at rip. A REP that has done elements
 * since has flags of its own.
 */
void restore_flags(struct vcpu *v, u64 rip)
{
	if (rip == v->insn.flags_rip && reg_read(v, UC_X86_REG_RCX) == v->insn.rcx)
		reg_write(v, UC_X86_REG_EFLAGS, v->insn.rflags);
}

static void guard_flags(uc_engine *uc, u64 pc, u32 size, void *arg)
{
	(void)uc, (void)size;
	save_flags(arg, pc);
}

u64 vcpu_guard_flags(struct vcpu *v, u64 begin, u64 end)
{
	uc_hook hook = 0;

	UC(v, hook_add)(v->uc, &hook, UC_HOOK_CODE, (void *)guard_flags, v, begin, end);
	return hook;
}

void vcpu_unguard_flags(struct vcpu *v, u64 guard)
{
	UC(v, hook_del)(v->uc, guard);
}
