/* SPDX-License-Identifier: GPL-2.0-or-later */
/* As little of the instruction set as the hooks need; lengths come from capstone. */
#include <string.h>

#include "unicorn/vcpu.h"

typedef bool (*cs_disasm_iter_fn)(size_t handle, const u8 **code, size_t *size, u64 *address,
				  void *insn);

/* Guest-physical address that a fetch at va would use; no side effects.  False if it would fault.
 */
bool probe(struct vcpu *v, u64 va, u64 *pa)
{
	u32 user = cpl(v) == 3;
	struct translation t;
	struct walk w;

	if (v->fidelity != FIDELITY_FAST) {
		if (MMU(v, mmu_refill, refill)(v->mmu, va, ACCESS_FETCH, user, &t) != XLATE_OK)
			return false;
		*pa = t.pa;
		return true;
	}
	if (MMU(v, mmu_walk, walk)(v->mmu, va, ACCESS_FETCH, user, WALK_PROBE, &w) != XLATE_OK)
		return false;
	*pa = w.pa;
	return true;
}

static bool read_physical(struct vcpu *v, u64 pa, void *out, u32 n)
{
	if (!memory_holds(v->ram, pa))
		return UC(v, mem_read)(v->uc, pa, out, n) == UC_ERR_OK;
	memcpy(out, pa_to_host(v->ram, pa), n);
	return true;
}

u32 vcpu_peek(struct vcpu *v, u64 va, void *out, u32 n)
{
	u32 done = 0;

	while (done < n) {
		u32 room = PAGE_SIZE - ((va + done) & ~PAGE_MASK);
		u32 part = n - done < room ? n - done : room;
		u64 pa;

		if (!probe(v, va + done, &pa) || !read_physical(v, pa, (u8 *)out + done, part))
			break;
		done += part;
	}
	return done;
}

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

/* Instructions in [from, to); *last is where the last of them begins. */
u32 insn_count(struct vcpu *v, u64 from, u64 to, u64 *last)
{
	u32 nr = 0;

	while (from < to) {
		u8 code[MAX_INSN];
		u32 n = insn_length(v, code, vcpu_peek(v, from, code, MAX_INSN));

		if (last)
			*last = from;
		nr++;
		if (!n) {
			v->shared.miscounts += from + MAX_INSN < to;
			break;
		}
		from += n;
	}
	return nr;
}

/* Offset in [pc, pc + size) of the instruction that enters a second page; 0 if none does. */
u32 insn_crossing(struct vcpu *v, u64 pc, u32 size)
{
	u64 boundary = page_of(pc) + PAGE_SIZE, at = pc;

	if (pc + size <= boundary)
		return 0;
	while (at < boundary) {
		u8 code[MAX_INSN];
		u32 n = insn_length(v, code, vcpu_peek(v, at, code, MAX_INSN));

		if (!n || at + n > boundary)
			break;
		at += n;
	}
	return (u32)(at - pc);
}

/* Whether the instruction at rip has bytes in page: it is on it, or not whole without it. */
bool insn_needs_page(struct vcpu *v, u64 rip, u64 page)
{
	u8 code[MAX_INSN];
	u64 room = PAGE_SIZE - (rip & ~PAGE_MASK);

	if (page_of(rip) == page)
		return true;
	if (page != page_of(rip) + PAGE_SIZE || room >= MAX_INSN)
		return false;
	return insn_length(v, code, vcpu_peek(v, rip, code, (u32)room)) == 0;
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

/* The same for the instruction at rip; its bytes end where the first cannot be fetched. */
void insn_read(struct vcpu *v, u64 rip, struct insn *insn)
{
	memset(insn, 0, sizeof(*insn));
	insn->nr = vcpu_peek(v, rip, insn->byte, MAX_INSN);
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

/* Where the first instruction of [pc, pc + size) that is one stands; pc if there is none. */
u64 insn_find(struct vcpu *v, u64 pc, u32 size, bool (*is)(const struct insn *insn))
{
	u64 at = pc;

	while (at < pc + size) {
		struct insn insn;
		u32 n;

		insn_read(v, at, &insn);
		n = insn_length(v, insn.byte, insn.nr);
		if (is(&insn))
			return at;
		if (!n)
			break;
		at += n;
	}
	return pc;
}

static u64 gpr(const struct vcpu *v, u32 nr)
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
			address = gpr(v, base | rex_b);
		if (index != 4)
			address += gpr(v, index) << (sib >> 6);
	} else if (rm == 5 && mod == 0) {
		disp_size = 4;
		address = rip + insn->opcode_at + at + disp_size + imm;
	} else {
		address = gpr(v, rm | rex_b);
	}
	address += (u64)(s64)displacement(insn, at, disp_size);
	if (insn->address32)
		address = (u32)address;
	if (insn->segment)
		address += reg_read(v, insn->segment == 0x64 ? UC_X86_REG_FS_BASE
							     : UC_X86_REG_GS_BASE);
	return address;
}

/* Is the instruction at rip a read-modify-write? */
bool insn_is_rmw_at(struct vcpu *v, u64 rip)
{
	struct insn insn;

	insn_read(v, rip, &insn);
	return insn_is_rmw(&insn);
}
