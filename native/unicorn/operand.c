/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an instruction's memory operand lies. */
#include "unicorn/vcpu.h"

/* General-purpose register number nr, as instructions encode it. */
u64 insn_gpr(const struct vcpu *v, u32 nr)
{
	static const int reg[16] = {
		UC_X86_REG_RAX, UC_X86_REG_RCX, UC_X86_REG_RDX, UC_X86_REG_RBX,
		UC_X86_REG_RSP, UC_X86_REG_RBP, UC_X86_REG_RSI, UC_X86_REG_RDI,
		UC_X86_REG_R8,	UC_X86_REG_R9,	UC_X86_REG_R10, UC_X86_REG_R11,
		UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14, UC_X86_REG_R15,
	};

	return reg_read(v, reg[nr]);
}

static s32 displacement(const struct insn *insn, u32 at, u32 size)
{
	s32 value = 0;

	for (u32 i = 0; i < size; i++)
		value |= (s32)((u32)insn_opcode(insn, at + i) << 8 * i);
	return size == 1 ? (int8_t)value : value;
}

/*
 * Linear address of the memory operand of the instruction at rip, whose ModRM byte is modrm_at
 * bytes behind the first of its opcode and which ends in imm bytes of immediate, from the registers
 * as they are now (SDM vol. 2 2.1.5).
 */
u64 insn_memory_operand(struct vcpu *v, const struct insn *insn, u64 rip, u32 modrm_at, u32 imm)
{
	u8 modrm = insn_opcode(insn, modrm_at), mod = modrm >> 6, rm = modrm & 7;
	u8 rex_b = (insn->rex & 1) << 3, rex_x = (insn->rex & 2) << 2;
	u32 at = modrm_at + 1, disp_size = mod == 1 ? 1 : mod == 2 ? 4 : 0;
	u64 address = 0;

	if (rm == 4) {
		u8 sib = insn_opcode(insn, at++), base = sib & 7, index = (sib >> 3 & 7) | rex_x;

		if (base == 5 && mod == 0)
			disp_size = 4;
		else
			address = insn_gpr(v, base | rex_b);
		if (index != 4)
			address += insn_gpr(v, index) << (sib >> 6);
	} else if (rm == 5 && mod == 0) {
		disp_size = 4;
		address = rip + insn->opcode_at + at + disp_size + imm;
	} else {
		address = insn_gpr(v, rm | rex_b);
	}
	address += (u64)(s64)displacement(insn, at, disp_size);
	if (insn->address32)
		address = (u32)address;
	if (insn->segment)
		address += reg_read(v, insn->segment == 0x64 ? UC_X86_REG_FS_BASE
							     : UC_X86_REG_GS_BASE);
	return address;
}
