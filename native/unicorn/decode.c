/* SPDX-License-Identifier: GPL-2.0-or-later */
/* As little of the instruction set as the hooks need; lengths come from capstone. */
#include <string.h>

#include "unicorn/vcpu.h"

typedef bool (*cs_disasm_iter_fn)(size_t handle, const u8 **code, size_t *size, u64 *address,
				  void *insn);

/* Length of the instruction in code[0..n), bytes; 0 if it is not whole, or capstone does not know
 * it. */
u32 insn_length(const struct vcpu *v, const u8 *code, u32 n)
{
	size_t size = n;
	u64 address = 0;

	if (!((cs_disasm_iter_fn)v->api.cs_disasm_iter)(v->api.cs_handle, &code, &size, &address,
							v->api.cs_insn))
		return 0;
	return (u32)address;
}

/* One legacy prefix byte, if it is one. */
static bool take_prefix(struct insn *insn, u8 byte)
{
	switch (byte) {
	case 0xf2:
	case 0xf3:
		insn->both_reps |= insn->rep && insn->rep != byte;
		insn->rep = byte;
		return true;
	case 0x64:
	case 0x65:
		insn->segment = byte;
		return true;
	case 0x66:
		insn->operand16 = true;
		return true;
	case 0x67:
		insn->address32 = true;
		return true;
	case 0xf0:
		insn->lock = true;
		return true;
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		insn->segment_undone |= insn->segment != 0;
		return true;
	default:
		return false;
	}
}

/* Find the opcode of the instruction in insn->byte. A REX that a legacy prefix follows is none (SDM
 * vol. 2 2.2.1). */
static void find_opcode(struct insn *insn)
{
	u32 i = 0;

	for (; i < insn->nr; i++) {
		bool rex = (insn->byte[i] & 0xf0) == 0x40;

		if (!rex && !take_prefix(insn, insn->byte[i]))
			break;
		insn->rex = rex ? insn->byte[i] : 0;
	}
	insn->opcode_at = i;
}

/* Take the instruction in code[0..n) apart as far as its opcode (SDM vol. 2 2.1). */
void insn_parse(const u8 *code, u32 n, struct insn *insn)
{
	memset(insn, 0, sizeof(*insn));
	insn->nr = n < MAX_INSN ? n : MAX_INSN;
	memcpy(insn->byte, code, insn->nr);
	find_opcode(insn);
}

/* Byte n of the opcode and what follows it; 0 past the bytes that could be read. */
u8 insn_opcode(const struct insn *insn, u32 n)
{
	n += insn->opcode_at;
	return n < insn->nr ? insn->byte[n] : 0;
}

/* Of 0f xx: BTS, BTR, BTC, SHLD, SHRD, CMPXCHG, XADD, CMPXCHG8B and 16B. */
static bool is_rmw_0f(u8 op, u8 reg)
{
	switch (op) {
	case 0xa4:
	case 0xa5:
	case 0xab:
	case 0xac:
	case 0xad:
	case 0xb0:
	case 0xb1:
	case 0xb3:
	case 0xbb:
	case 0xc0:
	case 0xc1:
		return true;
	case 0xba:
		return reg >= 5;
	case 0xc7:
		return reg == 1;
	default:
		return false;
	}
}

/*
 * Does the instruction read its memory operand, change it and write it back (SDM vol. 2 A.3)?
 *
 *   7  6 5    3 2    0
 *  +----+------+------+
 *  |mod | reg  | r/m  |	modrm; mod 3 is a register operand, reg may choose the instruction
 *  +----+------+------+
 */
bool insn_is_rmw(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0);
	bool two = op == 0x0f;
	u8 modrm = insn_opcode(insn, two ? 2 : 1), reg = modrm >> 3 & 7;

	if (modrm >= 0xc0)
		return false;
	if (two)
		return is_rmw_0f(insn_opcode(insn, 1), reg);
	if (op < 0x38)
		return (op & 7) <= 1; /* ADD, OR, ADC, SBB, AND, SUB, XOR of r/m, r */
	switch (op) {
	case 0x80:
	case 0x81:
	case 0x83: /* the same of r/m, imm; 7 is CMP */
		return reg != 7;
	case 0x86:
	case 0x87: /* XCHG */
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3: /* rotates and shifts */
		return true;
	case 0xf6:
	case 0xf7: /* NOT, NEG */
		return reg == 2 || reg == 3;
	case 0xfe:
	case 0xff: /* INC, DEC */
		return reg <= 1;
	default:
		return false;
	}
}

/* MOVS, CMPS, STOS, LODS, SCAS, INS or OUTS with a repeat prefix. */
bool insn_is_rep(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0);

	return insn->rep && ((op >= 0xa4 && op <= 0xa7) || (op >= 0xaa && op <= 0xaf) ||
			     (op >= 0x6c && op <= 0x6f));
}
