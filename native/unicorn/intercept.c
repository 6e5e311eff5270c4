/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instructions never execute in a vCPU of ours: those that the processor modelled does not
 * have and Unicorn executes all the same, or wrongly (VEX as the two-operand SSE form), and those
 * that enter the kernel. A guest that was attached to executes what its own Unicorn does.
 */
#include "unicorn/opcode_set.h"
#include "unicorn/vcpu.h"

/* LOCK needs an instruction that changes its memory operand (SDM vol. 2 LOCK); shifts and rotates
 * are none of these. */
static bool is_lockable(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), op2 = insn_opcode(insn, 1);

	if (!insn_is_rmw(insn))
		return false;
	if (op == 0x0f)
		return op2 != 0xa4 && op2 != 0xa5 && op2 != 0xac && op2 != 0xad;
	return op != 0xc0 && op != 0xc1 && !(op >= 0xd0 && op <= 0xd3);
}

/* INT n: user mode may use the gates of #BP and #OF; any other is #GP (SDM vol. 2 INT n; Linux's
 * IDT). */
static u32 intercept_of_int(u8 n)
{
	return n == VECTOR_BP ? INTERCEPT_INT3 : n == VECTOR_OF ? INTERCEPT_INTO : INTERCEPT_GP;
}

/*
 * Opcodes of 0F xx that have a form with F3, and with F2 (SDM vol. 2 A.3, up to SSE4.2); of the
 * other vector opcodes, F2 and F3 make no instruction.
 */
static const u64 with_f3[4] = {
	OP(0x10) | OP(0x11) | OP(0x12) | OP(0x16) | OP(0x2a) | OP(0x2c) | OP(0x2d),
	OP(0x51) | OP(0x52) | OP(0x53) | OP(0x58) | OP(0x59) | OP(0x5a) | OP(0x5b) | OP(0x5c) |
		OP(0x5d) | OP(0x5e) | OP(0x5f) | OP(0x6f) | OP(0x70) | OP(0x7e) | OP(0x7f),
	0,
	OP(0xc2) | OP(0xd6) | OP(0xe6),
};
static const u64 with_f2[4] = {
	OP(0x10) | OP(0x11) | OP(0x12) | OP(0x2a) | OP(0x2c) | OP(0x2d),
	OP(0x51) | OP(0x58) | OP(0x59) | OP(0x5a) | OP(0x5c) | OP(0x5d) | OP(0x5e) | OP(0x5f) |
		OP(0x70) | OP(0x7c) | OP(0x7d),
	0,
	OP(0xc2) | OP(0xd0) | OP(0xd6) | OP(0xe6) | OP(0xf0),
};

/* Whether 0F op has a form with this prefix, F2 or F3. */
bool has_form(u8 op, u8 rep)
{
	return is_in(rep == 0xf3 ? with_f3 : with_f2, op);
}

/* Whether 0F op is an MMX or SSE instruction, whose prefixes 66, F2 and F3 choose the form. */
static bool is_vector(u8 op)
{
	return (op >= 0x10 && op <= 0x17) || (op >= 0x28 && op <= 0x2f) ||
	       (op >= 0x50 && op <= 0x7f && op != 0x77) || op == 0xc2 ||
	       (op >= 0xc4 && op <= 0xc6) || (op >= 0xd0 && op != 0xff);
}

/* A vector opcode with F2 or F3, which win over 66 (SDM vol. 2 2.1.2); Unicorn lets 66 win, and
 * takes F2 and F3 for nothing. */
static u32 intercept_of_vector(const struct insn *insn, bool exists)
{
	u8 op = insn_opcode(insn, 1);

	if (op == 0x78 || op == 0x79) /* SSE4A's EXTRQ and INSERTQ */
		return INTERCEPT_UD;
	if (!insn->rep)
		return INTERCEPT_NONE;
	if (!exists)
		return INTERCEPT_UD;
	return insn->operand16 ? INTERCEPT_WRONG : INTERCEPT_NONE;
}

/* MOV to and from a control or debug register that does not exist is #UD, which comes before #GP
 * (SDM vol. 2 MOV). */
static u32 intercept_of_mov_cr(const struct insn *insn)
{
	u8 reg = (insn_opcode(insn, 2) >> 3 & 7) | (insn->rex & 4) << 1;
	bool debug = insn_opcode(insn, 1) & 1, exists;

	exists = debug ? reg < 8 : reg == 0 || (reg >= 2 && reg <= 4) || reg == 8;
	return exists ? INTERCEPT_NONE : INTERCEPT_UD;
}

/* An MMX instruction of 0F38 or 0F3A with REX bits, which it ignores: Unicorn takes memory behind
 * MM7 for a register. */
static bool spoils_mmx(const struct insn *insn)
{
	bool reg_form = insn_opcode(insn, 3) >= 0xc0;

	return !insn->operand16 && (insn->rex & 4 || (reg_form && insn->rex & 1));
}

static u32 intercept_of_0f38(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 2);
	bool mmx = op <= 0x0b || (op >= 0x1c && op <= 0x1e);

	if (op >= 0xf0) /* CRC32 and MOVBE go by F2 */
		return INTERCEPT_NONE;
	if (insn->rep)
		return INTERCEPT_UD;
	if (mmx && spoils_mmx(insn))
		return INTERCEPT_WRONG;
	return is_emulated(insn) ? INTERCEPT_EMULATED : INTERCEPT_NONE;
}

static u32 intercept_of_0f(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 1), modrm = insn_opcode(insn, 2);

	if (is_vector(op))
		return intercept_of_vector(insn, has_form(op, insn->rep));
	switch (op) {
	case 0x01:
		return modrm == 0xf9 ? INTERCEPT_RDTSCP : INTERCEPT_NONE;
	case 0x0f: /* 3DNow!: Unicorn loads the operand, and takes the x87 registers, first */
		return INTERCEPT_UD;
	case 0x20:
	case 0x21:
	case 0x22:
	case 0x23:
		return intercept_of_mov_cr(insn);
	case 0x31:
		return INTERCEPT_RDTSC;
	case 0x33: /* RDPMC: CR4.PCE is 0 */
		return INTERCEPT_GP;
	case 0x34: /* SYSENTER: for 32-bit code only, as on AMD (APM vol. 3) */
		return INTERCEPT_UD;
	case 0x38:
		return intercept_of_0f38(insn);
	case 0x3a: /* PALIGNR of MMX registers */
		return modrm == 0x0f && spoils_mmx(insn) ? INTERCEPT_WRONG
							 : intercept_of_vector(insn, false);
	case 0xa4:
	case 0xac: /* SHLD, SHRD by an immediate: Unicorn's RIP-relative operand lies a byte too low
		    */
		return (modrm & 0xc7) == 0x05 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0xae: /* LDMXCSR, STMXCSR */
		return modrm < 0xc0 && (modrm >> 3 & 6) == 2 ? intercept_of_vector(insn, false)
							     : INTERCEPT_NONE;
	case 0xb8: /* POPCNT */
		return insn->rep == 0xf3 && insn->operand16 && insn->rex & 8 ? INTERCEPT_WRONG
									     : INTERCEPT_NONE;
	case 0xba: /* BT and its kin are /4 to /7 */
		return modrm >> 3 & 4 ? INTERCEPT_NONE : INTERCEPT_UD;
	default:
		return INTERCEPT_NONE;
	}
}

/* INTERCEPT_* of an instruction of which at least the opcode and its ModRM byte are there. */
u32 intercept_of(const struct insn *insn)
{
	u8 op = insn_opcode(insn, 0), next = insn_opcode(insn, 1);

	if (insn->opcode_at == insn->nr)
		return INTERCEPT_NONE;
	if (insn->lock && !is_lockable(insn))
		return INTERCEPT_UD;
	if (insn->both_reps || insn->segment_undone)
		return INTERCEPT_WRONG; /* Unicorn takes F2, and forgets FS and GS */
	switch (op) {
	case 0x0f:
		return intercept_of_0f(insn);
	case 0x62: /* EVEX (SDM vol. 2 2.7) */
	case 0xc4: /* VEX: LES and LDS do not exist in 64-bit mode (SDM vol. 2 2.3) */
	case 0xc5:
		return INTERCEPT_UD;
	case 0x8f: /* XOP (APM vol. 3 1.2.6); POP is /0 */
		return next >> 3 & 7 ? INTERCEPT_UD : INTERCEPT_NONE;
	case 0xcf: /* IRET of 16 and 32 bits: Unicorn would enter virtual-8086 mode */
		return insn->rex & 8 ? INTERCEPT_NONE : INTERCEPT_WRONG;
	case 0x9e:
	case 0x9f: /* SAHF, LAHF: with REX Unicorn takes SPL for AH */
		return insn->rex ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0x6c:
	case 0x6d:
	case 0x6e:
	case 0x6f: /* INS, OUTS */
	case 0xe4:
	case 0xe5:
	case 0xe6:
	case 0xe7: /* IN, OUT: no I/O permission map (SDM vol. 1 19.5) */
	case 0xec:
	case 0xed:
	case 0xee:
	case 0xef:
		return INTERCEPT_GP;
	case 0xc0:
	case 0xc1:
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3: /* RCL, RCR: CF is lost where the store faults */
		return next < 0xc0 && (next >> 3 & 6) == 2 ? INTERCEPT_STORE_FIRST : INTERCEPT_NONE;
	case 0xc2: /* RET imm16, which Unicorn takes as signed */
		return insn_opcode(insn, 2) & 0x80 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	case 0xc6:
	case 0xc7: /* XABORT, XBEGIN; MOV is /0 */
		return (next >> 3 & 7) == 7 ? INTERCEPT_UD : INTERCEPT_NONE;
	case 0xcc:
		return INTERCEPT_INT3;
	case 0xcd:
		return intercept_of_int(next);
	case 0xd9: /* FPREM, FPREM1 */
		return is_emulated(insn) ? INTERCEPT_EMULATED : INTERCEPT_NONE;
	case 0xf1:
		return INTERCEPT_INT1;
	case 0xf6:
	case 0xf7: /* LOCK NEG, of whose flags Unicorn gets SF and PF wrong */
		return insn->lock && (next >> 3 & 7) == 3 ? INTERCEPT_WRONG : INTERCEPT_NONE;
	default:
		return INTERCEPT_NONE;
	}
}

/* Whether a run stops before the instruction, always. */
bool stops_before(const struct insn *insn)
{
	u32 intercept = intercept_of(insn);

	return intercept != INTERCEPT_NONE && intercept != INTERCEPT_STORE_FIRST;
}

/* Vector of the exception that an intercept raises. */
u32 vector_of_intercept(u32 intercept)
{
	switch (intercept) {
	case INTERCEPT_UD:
	case INTERCEPT_WRONG:
		return VECTOR_UD;
	case INTERCEPT_INT1:
		return VECTOR_DB;
	case INTERCEPT_INT3:
		return VECTOR_BP;
	case INTERCEPT_INTO:
		return VECTOR_OF;
	default:
		return VECTOR_GP;
	}
}
