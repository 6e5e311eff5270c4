/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program begins: the privilege of user mode, by SYSRETQ. */
#include "unicorn/vcpu.h"

#define STAR_SYSRET (0x23ull << 48) /* SYSRETQ loads CS 0x33 and SS 0x2b, as Linux's */
/* 0x600: OSFXSR, OSXMMEXCPT, which SSE needs */
#define CR4_USER (CR4_TSD | CR4_PAE | CR4_PGE | 0x600)

static void write_msr(struct vcpu *v, u32 nr, u64 value)
{
	uc_x86_msr msr = { .rid = nr, .value = value };

	UC(v, reg_write)(v->uc, UC_X86_REG_MSR, &msr);
}

/*
 * At CPL 3 from now on: SYSRETQ is executed from the page of the instance's own behind RAM. Nothing
 * but that page is mapped meanwhile, so the fetch behind it ends it. After that Unicorn reports
 * each new block too, which it does by the edge that leads there.
 */
void enter_user_mode(struct vcpu *v)
{
	u64 stub = CODE_WINDOW | (v->ram->base + v->ram->size);

	if (cpl(v) == 3)
		return;
	write_msr(v, MSR_EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);
	write_msr(v, MSR_STAR, STAR_SYSRET);
	reg_write(v, UC_X86_REG_CR4, reg_read(v, UC_X86_REG_CR4) | CR4_USER);
	reg_write(v, UC_X86_REG_CR0, v->mmu->cr0);
	reg_write(v, UC_X86_REG_RCX, 0);
	reg_write(v, UC_X86_REG_R11, RFLAGS_USER);
	soft_drop_all(v);
	v->window = true;
	UC(v, emu_start)(v->uc, stub, 0, 0, 0);
	v->window = false;
	soft_drop_all(v);
}

/*
 * What the vCPU remembers of the program's last instructions says nothing of another's: it was left
 * by the kernel, which always ends a stream of instructions.
 */
void forget_program(struct vcpu *v)
{
	struct stream *s = &v->stream;

	s->next = s->crossing = s->crossed = s->denied = NO_ADDRESS;
}

u32 vcpu_enter_user(struct vcpu *v, u64 rip, u64 rsp)
{
	enter_user_mode(v);
	forget_program(v);
	start_thread(v, rip, rsp);
	return cpl(v) == 3 ? UC_ERR_OK : UC_ERR_EXCEPTION;
}
