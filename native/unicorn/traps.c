/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways from user mode into the kernel that Unicorn reports by hooks: SYSCALL and exceptions. */
#include "unicorn/vcpu.h"

#define RFLAGS_RF 0x10000

void on_syscall(uc_engine *uc, void *arg)
{
	struct vcpu *v = arg;

	(void)uc;
	if (v->shared.syscall_hooks)
		return;
	end(v, STOP_SYSCALL, reg_read(v, UC_X86_REG_RIP), DONE, AGAIN_NO);
}

/* #DB is a trap here: only debug registers, which no guest of ours sets, make it a fault. */
void on_interrupt(uc_engine *uc, u32 vector, void *arg)
{
	struct vcpu *v = arg;

	(void)uc;
	if (vector != VECTOR_DB)
		end_by_exception(v, vector,
				 v->pending.jump ? v->jump.from : reg_read(v, UC_X86_REG_RIP),
				 FETCHED);
	else if (v->run.trap != STOP_STEPPED)
		end_by_exception(v, vector, NO_ADDRESS, DONE);
	else if (!may_step_on(v))
		end(v, STOP_STEPPED, NO_ADDRESS, DONE, AGAIN_START);
}

/* SYSCALL's own work (SDM vol. 2 SYSCALL), and what the kernel will want to read. */
void finish_syscall(struct vcpu *v)
{
	static const int args[] = { UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RSI,
				    UC_X86_REG_RDX, UC_X86_REG_R10, UC_X86_REG_R8,
				    UC_X86_REG_R9,  UC_X86_REG_RSP, UC_X86_REG_EFLAGS };
	struct vm_exit *exit = &v->shared.exit;
	u64 rflags = 0;
	void *values[] = { &exit->nr,	  &exit->arg[0], &exit->arg[1],
			   &exit->arg[2], &exit->arg[3], &exit->arg[4],
			   &exit->arg[5], &exit->rsp,	 &rflags };

	UC(v, reg_read_batch)(v->uc, (int *)args, values, 9);
	reg_write(v, UC_X86_REG_RCX, exit->rip);
	reg_write(v, UC_X86_REG_R11, rflags & ~(u64)RFLAGS_RF);
	v->stream.next = NO_ADDRESS;
}
