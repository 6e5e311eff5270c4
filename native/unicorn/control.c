/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that owns its control registers (an instance that was attached to). Unicorn has no hook
 * for INVLPG and MOV to CRn; both end a block, so what they do to the MMU is done before the next.
 */
#include "unicorn/vcpu.h"

/* Of CR0 and CR4 Unicorn keeps 32 bits; the others must be 0 in what the instruction moved. */
static u32 carry_out_mov_cr(struct vcpu *v, const struct insn *insn)
{
	u8 modrm = insn_opcode(insn, 2);
	u64 moved = insn_gpr(v, (modrm & 7) | (insn->rex & 1u) << 3);

	if ((modrm >> 3 & 7) == 3)
		return control_load_cr3(v);
	return moved >> 32 ? control_refuse_cr0_cr4(v) : control_load_cr0_cr4(v);
}

/*
 * Do to the MMU what the instruction that ended the block, at *rip, did. False: it was not allowed
 * (SDM vol. 2B MOV to CR), which Unicorn does not know.
 */
static bool carry_out(struct vcpu *v, u64 *rip)
{
	const struct block *b = v->block.known;
	u32 control = v->pending.control;
	struct insn insn;

	v->pending.control = CONTROL_NONE;
	if (control == CONTROL_LOOK)
		control_sync(v);
	if (control == CONTROL_LOOK || !b)
		return true;
	*rip = b->pc + b->last;
	insn_read(v, *rip, &insn);
	if (control != CONTROL_INVLPG)
		return carry_out_mov_cr(v, &insn) == XLATE_OK;
	MMU(v, mmu_invlpg, invlpg)(v->mmu, insn_memory_operand(v, &insn, *rip, 2, 0));
	return true;
}

/* The same before the next block. False: #GP, and the run ends. */
bool control_carry_out(struct vcpu *v)
{
	u64 rip = NO_ADDRESS;

	if (carry_out(v, &rip))
		return true;
	end(v, STOP_REFUSED, rip, FETCHED, AGAIN_NO);
	return false;
}

/* Privilege as it is now.  Only who owns its control registers can change it without ending the
 * run. */
void look_at_privilege(struct vcpu *v)
{
	u32 user = cpl(v) == 3;

	if (user != v->user)
		forget_memos(v);
	v->user = user;
	if (!user && v->attached && v->mmu->cr4 & CR4_SMAP)
		sync_ac(v);
}

void vcpu_sync(struct vcpu *v)
{
	if (v->attached)
		control_sync(v);
	drop_forgotten(v);
}
