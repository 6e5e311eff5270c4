/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that programs use, that Unicorn computes wrongly, and that are carried out here:
 *
 *   PHADDW, PHADDD, PHADDSW, PHSUBW, PHSUBD, PHSUBSW (SDM vol. 2 PHADDW, PHSUBW) of one register
 * with itself, the common horizontal sum: Unicorn overwrites the second operand before it has read
 * it; FPREM, FPREM1: Unicorn rounds to 53 bits (fprem.c).
 */
#include <string.h>

#include "unicorn/vcpu.h"

#define FSW_TOP 0x3800
#define OP_FPREM 0xd9 /* with the next two */
#define FPREM1 0xf5
#define FPREM 0xf8
#define PHADDW 0x01
#define PHADDD 0x02
#define PHADDSW 0x03
#define PHSUBW 0x05
#define PHSUBD 0x06
#define PHSUBSW 0x07

static bool is_horizontal(u8 op)
{
	return op >= PHADDW && op <= PHSUBSW && op != 0x04;
}

static bool is_fprem(const struct insn *insn)
{
	u8 next = insn_opcode(insn, 1);

	return insn_opcode(insn, 0) == OP_FPREM && (next == FPREM || next == FPREM1);
}

/* An MMX register is named without REX bits. */
static bool is_sum_of_itself(const struct insn *insn)
{
	u8 modrm = insn_opcode(insn, 3);
	u32 reg = (modrm >> 3 & 7) | (insn->rex & 4) << 1, rm = (modrm & 7) | (insn->rex & 1u) << 3;

	return insn_opcode(insn, 0) == 0x0f && insn_opcode(insn, 1) == 0x38 &&
	       is_horizontal(insn_opcode(insn, 2)) && modrm >= 0xc0 && reg == rm;
}

/* Whether the instruction is one of those above. */
bool is_emulated(const struct insn *insn)
{
	return is_fprem(insn) || is_sum_of_itself(insn);
}

static int16_t saturate(s32 value)
{
	return (int16_t)(value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value);
}

/* Each pair of words, n in all, of operand a into one half of the result; the other half is the
 * second operand's, a again. */
static void horizontal_words(u8 op, const int16_t *a, int16_t *result, u32 n)
{
	for (u32 i = 0; i < n / 2; i++) {
		s32 first = a[2 * i], second = a[2 * i + 1];
		s32 value = op == PHADDW || op == PHADDSW ? first + second : first - second;

		result[i] = op == PHADDSW || op == PHSUBSW ? saturate(value) : (int16_t)value;
		result[i + n / 2] = result[i];
	}
}

static void horizontal_dwords(u8 op, const u32 *a, u32 *result, u32 n)
{
	for (u32 i = 0; i < n / 2; i++) {
		result[i] = op == PHADDD ? a[2 * i] + a[2 * i + 1] : a[2 * i] - a[2 * i + 1];
		result[i + n / 2] = result[i];
	}
}

/* An MMX instruction makes TOP 0 and every x87 register valid (SDM vol. 1 9.5.1). */
static void begin_mmx(struct vcpu *v)
{
	reg_write(v, UC_X86_REG_FPSW, reg_read(v, UC_X86_REG_FPSW) & ~(u64)FSW_TOP);
	reg_write(v, UC_X86_REG_FPTAG, 0);
}

static void sum_of_itself(struct vcpu *v, const struct insn *insn)
{
	u8 op = insn_opcode(insn, 2), modrm = insn_opcode(insn, 3);
	u32 bytes = insn->operand16 ? 16 : 8, nr = (modrm & 7) | (insn->rex & 1u) << 3;
	int reg = (int)nr + (insn->operand16
				     ? UC_X86_REG_XMM0
				     : UC_X86_REG_FP0); /* MMn is the mantissa of x87 register n */
	u8 in[16] = { 0 }, out[16] = { 0 };

	UC(v, reg_read)(v->uc, reg, in);
	if (op == PHADDD || op == PHSUBD) {
		u32 a[4], result[4] = { 0 };

		memcpy(a, in, sizeof(a));
		horizontal_dwords(op, a, result, bytes / 4);
		memcpy(out, result, sizeof(result));
	} else {
		int16_t a[8], result[8] = { 0 };

		memcpy(a, in, sizeof(a));
		horizontal_words(op, a, result, bytes / 2);
		memcpy(out, result, sizeof(result));
	}
	if (!insn->operand16) {
		memset(out + 8, 0xff, 2); /* its sign and exponent (SDM vol. 1 9.5.1) */
		begin_mmx(v);
	}
	UC(v, reg_write)(v->uc, reg, out);
}

/* Carry out the instruction, which is_emulated(); RIP is the caller's to move. */
void emulate(struct vcpu *v, const struct insn *insn)
{
	if (is_fprem(insn))
		fprem(v, insn_opcode(insn, 1) == FPREM1);
	else
		sum_of_itself(v, insn);
}
