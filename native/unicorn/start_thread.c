/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The processor's state when a program begins: start_thread(), ELF_PLAT_INIT() and
 * fpu_flush_thread() of Linux's exec (arch/x86/kernel/process_64.c, arch/x86/include/asm/elf.h,
 * arch/x86/kernel/fpu/core.c, v6.18).  Nothing of the program before, and nothing of Unicorn's own
 * reset, is left in it.
 */
#include "unicorn/vcpu.h"

#define FCW_INIT 0x37f	  /* all exceptions masked, 64-bit precision, to nearest */
#define MXCSR_INIT 0x1f80 /* all exceptions masked, to nearest, no FTZ, no DAZ */
#define FTW_EMPTY 0xffff  /* two bits a register: 3 is empty */

static void clear_gprs(struct vcpu *v)
{
	static const int gprs[] = {
		UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RBP,
		UC_X86_REG_RSI, UC_X86_REG_RDI, UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10,
		UC_X86_REG_R11, UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15,
	};

	for (u32 i = 0; i < sizeof(gprs) / sizeof(*gprs); i++)
		reg_write(v, gprs[i], 0);
}

/* DS, ES, FS and GS are null in a 64-bit program; writing a selector writes its base, so bases come
 * last. */
static void clear_segments(struct vcpu *v)
{
	static const int selectors[] = { UC_X86_REG_DS, UC_X86_REG_ES, UC_X86_REG_FS,
					 UC_X86_REG_GS };

	for (u32 i = 0; i < sizeof(selectors) / sizeof(*selectors); i++)
		reg_write(v, selectors[i], 0);
	reg_write(v, UC_X86_REG_FS_BASE, 0);
	reg_write(v, UC_X86_REG_GS_BASE, 0);
}

/* x87, MMX and SSE as FNINIT and a power-on reset leave them, registers zero. */
static void fpu_flush_thread(struct vcpu *v)
{
	static const int pointers[] = { UC_X86_REG_FIP, UC_X86_REG_FDP, UC_X86_REG_FCS,
					UC_X86_REG_FDS, UC_X86_REG_FOP };
	static const u8 zero[16];

	reg_write(v, UC_X86_REG_FPSW, 0);
	for (int reg = UC_X86_REG_FP0; reg <= UC_X86_REG_FP7; reg++)
		UC(v, reg_write)(v->uc, reg, zero);
	for (u32 i = 0; i < sizeof(pointers) / sizeof(*pointers); i++)
		reg_write(v, pointers[i], 0);
	reg_write(v, UC_X86_REG_FPCW, FCW_INIT);
	reg_write(v, UC_X86_REG_FPTAG, FTW_EMPTY);
	for (int reg = UC_X86_REG_XMM0; reg <= UC_X86_REG_XMM15; reg++)
		UC(v, reg_write)(v->uc, reg, zero);
	reg_write(v, UC_X86_REG_MXCSR, MXCSR_INIT);
}

void start_thread(struct vcpu *v, u64 rip, u64 rsp)
{
	clear_gprs(v);
	clear_segments(v);
	fpu_flush_thread(v);
	reg_write(v, UC_X86_REG_EFLAGS, RFLAGS_USER);
	reg_write(v, UC_X86_REG_RSP, rsp);
	reg_write(v, UC_X86_REG_RIP, rip);
}
