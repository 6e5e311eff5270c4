/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways from user mode into the kernel: SYSCALL, interrupts, and I/O ports, which user mode may not touch. */
#include "unicorn/vcpu.h"

#define RFLAGS_RF 0x10000

#define PORT_RIP 16		/* RIP's place among port_regs: where memory hooks skip it, it is stale */

static const int port_regs[NR_PORT_REGS] = {
	UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP, UC_X86_REG_RBP,
	UC_X86_REG_RSI, UC_X86_REG_RDI, UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10, UC_X86_REG_R11,
	UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15, UC_X86_REG_RIP, UC_X86_REG_EFLAGS,
};

void on_syscall(uc_engine *uc, void *arg)
{
	struct vcpu *v = arg;

	if (v->stop != STOP_NONE)
		return;
	v->stop = STOP_SYSCALL;
	UC(v, emu_stop)(uc);
}

/* An exception or INT n.  What comes after a stop, like the trap behind a step, does not count. */
void on_interrupt(uc_engine *uc, u32 vector, void *arg)
{
	struct vcpu *v = arg;

	if (v->stop != STOP_NONE)
		return;
	v->stop = STOP_INTERRUPT;
	v->vector = vector;
	UC(v, emu_stop)(uc);
}

/*
 * An instruction that must not be executed raises vector.  Unicorn goes on to the end of the block
 * nevertheless: undo_trap() puts registers back, and meanwhile the other hooks keep still.  What such
 * a block still stores stays stored.
 */
static void trap(struct vcpu *v, u32 vector, bool (*is)(const struct insn *insn))
{
	for (u32 i = 0; i < NR_PORT_REGS; i++)
		v->port[i] = reg_read(v, port_regs[i]);
	if (v->block)
		v->port[PORT_RIP] = insn_find(v, v->block->pc, v->block->size, is);
	v->undo = true;
	on_interrupt(v->uc, vector, v);
}

/* IN or OUT: #GP at CPL 3, since there is no I/O permission map (SDM vol. 1 19.5). */
u32 on_in(uc_engine *uc, u32 port, int size, void *arg)
{
	(void)uc, (void)port, (void)size;
	trap(arg, VECTOR_GP, insn_is_port);
	return 0;
}

void on_out(uc_engine *uc, u32 port, int size, u32 value, void *arg)
{
	(void)uc, (void)port, (void)size, (void)value;
	trap(arg, VECTOR_GP, insn_is_port);
}

/* SYSENTER: no 64-bit Linux program's way into the kernel; #UD, as on a processor that has it for 32-bit code only (APM vol. 3). */
void on_sysenter(uc_engine *uc, void *arg)
{
	(void)uc;
	trap(arg, VECTOR_UD, insn_is_sysenter);
}

/* Registers as they were before an instruction that was not allowed. */
void undo_trap(struct vcpu *v)
{
	v->undo = false;
	for (u32 i = 0; i < NR_PORT_REGS; i++)
		reg_write(v, port_regs[i], v->port[i]);
}

/* SYSCALL's own work (SDM vol. 2 SYSCALL), and what the kernel will want to read. */
void finish_syscall(struct vcpu *v)
{
	static const int args[] = { UC_X86_REG_RAX, UC_X86_REG_RDI, UC_X86_REG_RSI, UC_X86_REG_RDX, UC_X86_REG_R10,
				    UC_X86_REG_R8, UC_X86_REG_R9, UC_X86_REG_RSP, UC_X86_REG_EFLAGS };
	struct vm_exit *exit = &v->shared.exit;
	u64 rflags = 0;
	void *values[] = { &exit->nr, &exit->arg[0], &exit->arg[1], &exit->arg[2], &exit->arg[3],
			   &exit->arg[4], &exit->arg[5], &exit->rsp, &rflags };

	UC(v, reg_read_batch)(v->uc, (int *)args, values, 9);
	reg_write(v, UC_X86_REG_RCX, exit->rip);
	reg_write(v, UC_X86_REG_R11, rflags & ~(u64)RFLAGS_RF);
	fetch_catch_up(v, true);
	v->stream.next = NO_ADDRESS;
}
