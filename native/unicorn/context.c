/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program changes from one vCPU to another, or makes room for the next: all that Unicorn keeps of
 * it is copied as a whole. Control registers and MSRs go along; they are the same on every vCPU
 * that runs programs.
 */
#include <stdlib.h>
#include <string.h>

#include "unicorn/user_regs.h"
#include "unicorn/vcpu.h"

struct vcpu_context {
	struct uc_api api;
	uc_context *uc;
	size_t size;
	u64 denied; /* stream.denied: the program's next instruction is an event already */
};

struct vcpu_context *vcpu_context_alloc(struct vcpu *v)
{
	struct vcpu_context *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->api = v->api;
	c->size = UC(v, context_size)(v->uc);
	c->denied = NO_ADDRESS;
	if (UC(v, context_alloc)(v->uc, &c->uc) == UC_ERR_OK &&
	    UC(v, context_save)(v->uc, c->uc) == UC_ERR_OK)
		return c;
	vcpu_context_free(c);
	return NULL;
}

void vcpu_context_free(struct vcpu_context *c)
{
	if (c->uc)
		UC(c, context_free)(c->uc);
	free(c);
}

void vcpu_context_copy(struct vcpu_context *to, const struct vcpu_context *from)
{
	memcpy(to->uc, from->uc, from->size);
	to->denied = from->denied;
}

void vcpu_context_save(struct vcpu *v, struct vcpu_context *c)
{
	settle_result(v);
	UC(v, context_save)(v->uc, c->uc);
	c->denied = v->stream.denied;
}

void vcpu_context_load(struct vcpu *v, const struct vcpu_context *c)
{
	enter_user_mode(v);
	v->shared.has_result = 0;
	forget_program(v);
	UC(v, context_restore)(v->uc, c->uc);
	v->stream.denied = c->denied;
}

static struct registers of_vcpu(struct vcpu *v)
{
	settle_result(v);
	return (struct registers){ v->api.reg_read_batch, v->api.reg_write_batch, v->uc };
}

static struct registers of_context(struct vcpu_context *c)
{
	return (struct registers){ c->api.context_reg_read_batch, c->api.context_reg_write_batch,
				   c->uc };
}

u64 vcpu_context_reg_read(struct vcpu_context *c, int reg)
{
	u64 value = 0;

	UC(c, context_reg_read)(c->uc, reg, &value);
	return value;
}

void vcpu_context_reg_write(struct vcpu_context *c, int reg, u64 value)
{
	UC(c, context_reg_write)(c->uc, reg, &value);
}

void vcpu_get_regs(struct vcpu *v, struct user_regs *regs)
{
	const struct registers r = of_vcpu(v);

	get_regs(&r, regs);
}

void vcpu_set_regs(struct vcpu *v, const struct user_regs *regs)
{
	const struct registers r = of_vcpu(v);

	set_regs(&r, regs);
}

void vcpu_context_get_regs(struct vcpu_context *c, struct user_regs *regs)
{
	const struct registers r = of_context(c);

	get_regs(&r, regs);
}

void vcpu_context_set_regs(struct vcpu_context *c, const struct user_regs *regs)
{
	const struct registers r = of_context(c);

	set_regs(&r, regs);
}

void vcpu_fxsave(struct vcpu *v, u8 *image)
{
	const struct registers r = of_vcpu(v);

	fxsave(&r, image);
}

void vcpu_fxrstor(struct vcpu *v, const u8 *image)
{
	const struct registers r = of_vcpu(v);

	fxrstor(&r, image);
}

void vcpu_context_fxsave(struct vcpu_context *c, u8 *image)
{
	const struct registers r = of_context(c);

	fxsave(&r, image);
}

void vcpu_context_fxrstor(struct vcpu_context *c, const u8 *image)
{
	const struct registers r = of_context(c);

	fxrstor(&r, image);
}
