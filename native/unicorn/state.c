/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A vCPU's state: made, cleared, and the registers. */
#include <stdlib.h>
#include <string.h>

#include "unicorn/vcpu.h"

/* A vcpu of zeros that can call Unicorn; NULL: no memory. */
struct vcpu *vcpu_alloc(const struct uc_api *api)
{
	struct vcpu *v = aligned_alloc(_Alignof(struct vcpu), sizeof(*v));

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->api = *api;
	return v;
}

/* No run is under way. */
void clear_run(struct vcpu *v)
{
	v->run = (struct run){ .limit = NO_LIMIT,
			       .due = NO_LIMIT,
			       .exact = true,
			       .begin = NO_ADDRESS,
			       .mended.rip = NO_ADDRESS,
			       .ahead = NO_ADDRESS,
			       .trap = STOP_EXCEPTION };
}

/* No instruction is under way: none is half done while Unicorn stands still. */
void clear_insn(struct vcpu *v)
{
	v->insn = (struct insn_state){ .foretold.page = NO_ADDRESS,
				       .passed = NO_ADDRESS,
				       .waiting = NO_ADDRESS,
				       .rmw_denied = NO_ADDRESS,
				       .flags_rip = NO_ADDRESS };
}

/* The state of a vCPU before its first instruction. */
void clear_vcpu(struct vcpu *v)
{
	clear_run(v);
	clear_insn(v);
	v->stream = (struct stream){ .next = NO_ADDRESS,
				     .crossing = NO_ADDRESS,
				     .crossed = NO_ADDRESS,
				     .denied = NO_ADDRESS };
	v->nested.rip = v->accessing = NO_ADDRESS;
	v->owner_epoch = 1;
	v->epoch = 1;
}

/* Something happened on which answers of the model may rest. */
void forget_memos(struct vcpu *v)
{
	v->translations++;
}

/* Privilege level of the guest; without the private flags, what CS says. */
u32 cpl(const struct vcpu *v)
{
	if (v->hflags)
		return *v->hflags & 3;
	return (u32)reg_read(v, UC_X86_REG_CS) & 3;
}

u32 vcpu_cpl(struct vcpu *v)
{
	return cpl(v);
}

struct vcpu_shared *vcpu_shared(struct vcpu *v)
{
	return &v->shared;
}

void vcpu_set_mm(struct vcpu *v, void *mm)
{
	v->mm = mm;
}

u64 vcpu_reg_read(struct vcpu *v, int reg)
{
	return reg_read(v, reg);
}

void vcpu_reg_write(struct vcpu *v, int reg, u64 value)
{
	reg_write(v, reg, value);
}

/* A system call's result is where the program will find it. */
void settle_result(struct vcpu *v)
{
	if (!v->shared.has_result)
		return;
	v->shared.has_result = 0;
	reg_write(v, UC_X86_REG_RAX, v->shared.result);
}

void vcpu_skip(struct vcpu *v, u32 length)
{
	u64 rip = reg_read(v, UC_X86_REG_RIP);

	v->shared.count++;
	if (v->stream.next == rip)
		v->stream.next += length;
	reg_write(v, UC_X86_REG_RIP, rip + length);
}
