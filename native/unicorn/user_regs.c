/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The registers of a program, all at once: on a vCPU that stands still, or put away. */
#include "unicorn/user_regs.h"

#include <string.h>

#include "unicorn/vcpu.h"

#define NR_USER_REGS (sizeof(struct user_regs) / sizeof(u64))
#define NR_FP 8
#define NR_XMM 16
#define FX_ABRIDGED_TAG 4 /* places in the image (SDM vol. 1 table 10-2) */
#define FX_MXCSR_MASK 28
#define FX_ST 32
#define FX_XMM 160
#define FX_REG 16 /* bytes from one register to the next */
#define TAG_EMPTY 3

/* In the order of struct user_regs. */
static const int user_regs[NR_USER_REGS] = {
	UC_X86_REG_R15, UC_X86_REG_R14,	   UC_X86_REG_R13, UC_X86_REG_R12,     UC_X86_REG_RBP,
	UC_X86_REG_RBX, UC_X86_REG_R11,	   UC_X86_REG_R10, UC_X86_REG_R9,      UC_X86_REG_R8,
	UC_X86_REG_RAX, UC_X86_REG_RCX,	   UC_X86_REG_RDX, UC_X86_REG_RSI,     UC_X86_REG_RDI,
	UC_X86_REG_RIP, UC_X86_REG_RFLAGS, UC_X86_REG_RSP, UC_X86_REG_FS_BASE, UC_X86_REG_GS_BASE,
};

/* The image's header: registers, their bytes, and their places. */
static const struct {
	int reg;
	u32 size, at;
} header[] = {
	{ UC_X86_REG_FPCW, 2, 0 }, { UC_X86_REG_FPSW, 2, 2 }, { UC_X86_REG_FOP, 2, 6 },
	{ UC_X86_REG_FIP, 8, 8 },  { UC_X86_REG_FDP, 8, 16 }, { UC_X86_REG_MXCSR, 4, 24 },
};

#define NR_HEADER (sizeof(header) / sizeof(*header))

static uc_err read_regs(const struct registers *r, const int *regs, void **at, int nr)
{
	return ((__typeof__(&uc_reg_read_batch))r->read)(r->of, (int *)regs, at, nr);
}

static uc_err write_regs(const struct registers *r, const int *regs, void **at, int nr)
{
	return ((__typeof__(&uc_reg_write_batch))r->write)(r->of, (int *)regs, at, nr);
}

void get_regs(const struct registers *r, struct user_regs *regs)
{
	void *at[NR_USER_REGS];

	for (u32 i = 0; i < NR_USER_REGS; i++)
		at[i] = (u64 *)regs + i;
	read_regs(r, user_regs, at, NR_USER_REGS);
}

void set_regs(const struct registers *r, const struct user_regs *regs)
{
	void *at[NR_USER_REGS];

	for (u32 i = 0; i < NR_USER_REGS; i++)
		at[i] = (u64 *)regs + i;
	write_regs(r, user_regs, at, NR_USER_REGS);
}

/* Which registers stand where in the image from ST(0) on, with x87's stack top there. */
static int stack_and_xmm(u8 *image, int *regs, void **at)
{
	u32 top = image[3] >> 3 & 7; /* FSW bits 13:11 */
	int n = 0;

	for (u32 i = 0; i < NR_FP; i++, n++) {
		regs[n] = UC_X86_REG_FP0 + (int)((top + i) % NR_FP);
		at[n] = image + FX_ST + FX_REG * i;
	}
	for (u32 i = 0; i < NR_XMM; i++, n++) {
		regs[n] = UC_X86_REG_XMM0 + (int)i;
		at[n] = image + FX_XMM + FX_REG * i;
	}
	return n;
}

void fxsave(const struct registers *r, u8 *image)
{
	int regs[NR_FP + NR_XMM], tag_reg = UC_X86_REG_FPTAG, n;
	void *at[NR_FP + NR_XMM];
	u64 value[NR_HEADER] = { 0 }, tags = 0;
	void *tags_at = &tags;
	u32 mask = MXCSR_MASK;

	memset(image, 0, FXSAVE_SIZE);
	for (u32 i = 0; i < NR_HEADER; i++) {
		regs[i] = header[i].reg;
		at[i] = &value[i];
	}
	read_regs(r, regs, at, NR_HEADER);
	for (u32 i = 0; i < NR_HEADER; i++)
		memcpy(image + header[i].at, &value[i], header[i].size);
	read_regs(r, &tag_reg, &tags_at, 1);
	for (u32 i = 0; i < NR_FP; i++)
		if ((tags >> 2 * i & TAG_EMPTY) != TAG_EMPTY)
			image[FX_ABRIDGED_TAG] |= (u8)(1 << i);
	memcpy(image + FX_MXCSR_MASK, &mask, sizeof(mask));
	n = stack_and_xmm(image, regs, at);
	read_regs(r, regs, at, n);
}

void fxrstor(const struct registers *r, const u8 *from)
{
	int regs[NR_FP + NR_XMM], tag_reg = UC_X86_REG_FPTAG, n;
	void *at[NR_FP + NR_XMM];
	u64 value[NR_HEADER] = { 0 }, tags = 0;
	void *tags_at = &tags;
	u8 image[FXSAVE_SIZE];

	memcpy(image, from, FXSAVE_SIZE);
	for (u32 i = 0; i < NR_HEADER; i++) {
		memcpy(&value[i], image + header[i].at, header[i].size);
		if (header[i].reg == UC_X86_REG_MXCSR)
			value[i] &= MXCSR_MASK;
		regs[i] = header[i].reg;
		at[i] = &value[i];
	}
	write_regs(r, regs, at, NR_HEADER);
	n = stack_and_xmm(image, regs, at);
	write_regs(r, regs, at, n);
	for (u32 i = 0; i < NR_FP; i++)
		if (!(image[FX_ABRIDGED_TAG] >> i & 1))
			tags |= (u64)TAG_EMPTY << 2 * i;
	write_regs(r, &tag_reg, &tags_at, 1);
}
