/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program's registers as one struct, and its x87 and SSE state as FXSAVE lays it out. */
#ifndef UCMMU_UNICORN_USER_REGS_H
#define UCMMU_UNICORN_USER_REGS_H

#include "types.h"

/* cffi-begin */
/* All integer registers of a program; names and order are those of Linux's struct pt_regs. */
struct user_regs {
	u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	u64 ax, cx, dx, si, di;
	u64 ip, flags, sp;
	u64 fs_base, gs_base;
};

#define FXSAVE_SIZE 512	  /* bytes (SDM vol. 1 10.5.1) */
#define MXCSR_MASK 0xffff /* bits of MXCSR that may be 1 */

struct vcpu;
/* A program's registers off any vCPU: what a task keeps while it is on none. */
struct vcpu_context;

/* Room for the registers of one program, of no value yet; NULL: out of memory. v is any vCPU. */
struct vcpu_context *vcpu_context_alloc(struct vcpu *v);
void vcpu_context_free(struct vcpu_context *c);
/* Make *to what *from is. */
void vcpu_context_copy(struct vcpu_context *to, const struct vcpu_context *from);
/* Put the registers of the program that v has run away; a system call's result is among them. */
void vcpu_context_save(struct vcpu *v, struct vcpu_context *c);
/* v goes on with this program: registers, privilege, exception in flight. */
void vcpu_context_load(struct vcpu *v, const struct vcpu_context *c);

u64 vcpu_context_reg_read(struct vcpu_context *c, int reg);
void vcpu_context_reg_write(struct vcpu_context *c, int reg, u64 value);

/* The registers of a program on a vCPU that stands still, or in a context. */
void vcpu_get_regs(struct vcpu *v, struct user_regs *regs);
void vcpu_set_regs(struct vcpu *v, const struct user_regs *regs);
void vcpu_context_get_regs(struct vcpu_context *c, struct user_regs *regs);
void vcpu_context_set_regs(struct vcpu_context *c, const struct user_regs *regs);

/* Its x87 and SSE state, FXSAVE_SIZE bytes as FXSAVE64 writes them; bytes 416 on are 0. */
void vcpu_fxsave(struct vcpu *v, u8 *image);
/* ... as FXRSTOR64 reads it, but that bits of MXCSR that must be 0 are ignored. */
void vcpu_fxrstor(struct vcpu *v, const u8 *image);
void vcpu_context_fxsave(struct vcpu_context *c, u8 *image);
void vcpu_context_fxrstor(struct vcpu_context *c, const u8 *image);
/* cffi-end */

#endif
