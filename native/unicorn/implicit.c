/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Implicit supervisor accesses (SDM vol. 3A 4.6.1): descriptor tables and the TSS, which an
 * instruction at CPL 3 too reads and marks as a supervisor, for whom SMAP heeds no AC. Unicorn does
 * not say so: they are told by the instruction and by where they go.
 */
#include "unicorn/opcode_set.h"
#include "unicorn/vcpu.h"

/* One-byte opcodes that load a segment register or look into the I/O permission map: far RET, IRET,
 * MOV to Sreg, INS, OUTS, IN, OUT. */
static const u64 with_tables[4] = {
	0,
	OP(0x6c) | OP(0x6d) | OP(0x6e) | OP(0x6f),
	OP(0x8e),
	OP(0xca) | OP(0xcb) | OP(0xcf) | OP(0xe4) | OP(0xe5) | OP(0xe6) | OP(0xe7) | OP(0xec) |
		OP(0xed) | OP(0xee) | OP(0xef),
};

/* The same of 0F xx: LAR, LSL, POP FS and GS, LSS, LFS, LGS. */
static const u64 with_tables_0f[4] = {
	OP(0x02) | OP(0x03),
	0,
	OP(0xa1) | OP(0xa9) | OP(0xb2) | OP(0xb4) | OP(0xb5),
	0,
};

static bool uses_tables(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), next = insn_opcode(insn, 1);
	u8 reg = (op == 0x0f ? insn_opcode(insn, 2) : next) >> 3 & 7;

	if (op == 0xff)
		return reg == 3 || reg == 5; /* far CALL and JMP */
	if (op != 0x0f)
		return is_in(with_tables, op);
	return is_in(with_tables_0f, next) ||
	       (next == 0 && (reg == 4 || reg == 5)); /* VERR, VERW */
}

/* Whether va, or, where only that is known, its page, is inside the table of a register. */
static bool is_inside(const struct vcpu *v, u64 va, int reg)
{
	uc_x86_mmr table = { .base = 0 };
	u64 first, last;

	UC(v, reg_read)(v->uc, reg, &table);
	first = table.base;
	last = table.base + table.limit;
	if (!private_has(v, PRIVATE_FILL_ADDRESS))
		first = page_of(first);
	return table.limit && va - first <= last - first;
}

/* Whether implicit accesses have other rights than the guest's own now. */
static bool differ(const struct vcpu *v)
{
	return v->attached &&
	       (cpl(v) == 3 || (v->mmu->cr4 & CR4_SMAP && v->mmu->rflags & RFLAGS_AC));
}

/* Whether the instruction at rip accesses va with other rights than its privilege level's. */
bool is_implicit(struct vcpu *v, u64 va, u64 rip)
{
	struct insn insn;

	if (!differ(v))
		return false;
	if (!is_inside(v, va, UC_X86_REG_GDTR) && !is_inside(v, va, UC_X86_REG_LDTR) &&
	    !is_inside(v, va, UC_X86_REG_TR))
		return false;
	insn_read(v, rip, &insn);
	return uses_tables(&insn);
}
