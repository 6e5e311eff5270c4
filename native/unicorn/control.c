/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that owns its control registers (an instance that was attached to).  Unicorn has no hook
 * for INVLPG and MOV to CRn; both end a block, so what they do to the MMU is done before the next.
 */
#include "unicorn/vcpu.h"

/* Which control instruction, if any, is the block's last. */
enum control control_of_block(struct vcpu *v, u64 pc, u32 size)
{
	struct insn insn;
	u64 last = pc;

	insn_count(v, pc, pc + size, &last);
	insn_read(v, last, &insn);
	if (insn_opcode(&insn, 0) != 0x0f)
		return CONTROL_NONE;
	if (insn_opcode(&insn, 1) == 0x22)
		return CONTROL_MOV_CR;
	if (insn_opcode(&insn, 1) == 0x01 && insn_opcode(&insn, 2) < 0xc0 && (insn_opcode(&insn, 2) >> 3 & 7) == 7)
		return CONTROL_INVLPG;
	return CONTROL_NONE;
}

/* Bring RFLAGS over, of whose bits AC matters. */
void sync_ac(struct vcpu *v)
{
	u64 rflags = reg_read(v, UC_X86_REG_EFLAGS);

	if ((rflags ^ v->mmu->rflags) & RFLAGS_AC)
		forget_memos(v);
	v->mmu->rflags = rflags;
}

/* Bring CR0 and CR4 over: the bits in which Unicorn's changed since we last looked. */
static void sync_cr0_cr4(struct vcpu *v)
{
	u64 cr0 = reg_read(v, UC_X86_REG_CR0), cr4 = reg_read(v, UC_X86_REG_CR4);

	if (cr0 != v->seen_cr0)
		MMU(v, mmu_write_cr0, write_cr0)(v->mmu, v->mmu->cr0 ^ v->seen_cr0 ^ cr0);
	if (cr4 != v->seen_cr4)
		MMU(v, mmu_write_cr4, write_cr4)(v->mmu, v->mmu->cr4 ^ v->seen_cr4 ^ cr4);
	v->seen_cr0 = cr0;
	v->seen_cr4 = cr4;
	if (v->mmu->cr4 & CR4_SMAP)
		sync_ac(v);
}

/* At each fill: registers that the guest, or a script, wrote. */
void control_sync(struct vcpu *v)
{
	u64 cr3 = reg_read(v, UC_X86_REG_CR3);

	sync_cr0_cr4(v);
	if (cr3 != v->seen_cr3)
		MMU(v, mmu_write_cr3, write_cr3)(v->mmu, cr3);
	v->seen_cr3 = cr3;
}

static void carry_out_mov_cr(struct vcpu *v, const struct insn *insn)
{
	sync_cr0_cr4(v);
	if ((insn_opcode(insn, 2) >> 3 & 7) != 3)
		return;
	v->seen_cr3 = reg_read(v, UC_X86_REG_CR3);
	MMU(v, mmu_write_cr3, write_cr3)(v->mmu, v->seen_cr3);
}

/* Do to the MMU what the instruction that ended the block did. */
void control_carry_out(struct vcpu *v)
{
	u32 control = v->pending.control;
	u64 rip = 0;
	struct insn insn;

	v->pending.control = CONTROL_NONE;
	if (!v->block)
		return;
	insn_count(v, v->block->pc, v->block->pc + v->block->size, &rip);
	insn_read(v, rip, &insn);
	if (control == CONTROL_INVLPG)
		MMU(v, mmu_invlpg, invlpg)(v->mmu, insn_memory_operand(v, &insn, rip));
	else
		carry_out_mov_cr(v, &insn);
}
