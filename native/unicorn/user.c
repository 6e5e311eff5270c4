/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program begins: the privilege of user mode, by SYSRETQ. */
#include <string.h>

#include "unicorn/vcpu.h"

#define STAR_SYSRET (0x23ull << 48) /* SYSRETQ loads CS 0x33 and SS 0x2b, as Linux's */
/* 0x600: OSFXSR, OSXMMEXCPT, which SSE needs */
#define CR4_USER (CR4_TSD | CR4_PAE | CR4_PGE | 0x600)

static void write_msr(struct vcpu *v, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &msr);
}

/* Run SYSRETQ from the stub frame: nothing but the stub is mapped, so the guest's first fetch ends
 * it. */
static void run_sysret(struct vcpu *v, u64 stub_pa, u64 rip)
{
	static const u8 sysretq[] = { 0x48, 0x0f, 0x07 };

	memcpy(pa_to_host(v->ram, stub_pa), sysretq, sizeof(sysretq));
	write_msr(v, MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	write_msr(v, MSR_STAR, STAR_SYSRET);
	reg_write(v, UC_X86_REG_CR4, reg_read(v, UC_X86_REG_CR4) | CR4_USER);
	reg_write(v, UC_X86_REG_CR0, v->mmu->cr0);
	reg_write(v, UC_X86_REG_RCX, rip);
	reg_write(v, UC_X86_REG_R11, RFLAGS_USER);
	soft_drop_all(v);
	v->window = true;
	UC(v, emu_start)(v->uc, CODE_WINDOW | stub_pa, 0, 0, 0);
	v->window = false;
	soft_drop_all(v);
	drop_code(v, stub_pa);
}

u32 vcpu_enter_user(struct vcpu *v, u64 stub_pa, u64 rip, u64 rsp)
{
	if (cpl(v) != 3)
		run_sysret(v, stub_pa, rip);
	start_thread(v, rip, rsp);
	v->stream.next = NO_ADDRESS;
	return cpl(v) == 3 ? UC_ERR_OK : UC_ERR_EXCEPTION;
}
