/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that owns its control registers (an instance that was attached to). Unicorn has no hook
 * for INVLPG and MOV to CRn; both end a block, so what they do to the MMU is done before the next.
 */
#include "unicorn/vcpu.h"

/* Bring RFLAGS over, of whose bits AC matters. */
static void sync_ac(struct vcpu *v)
{
	u64 rflags = reg_read(v, UC_X86_REG_EFLAGS);

	if ((rflags ^ v->mmu->rflags) & RFLAGS_AC)
		forget_memos(v);
	v->mmu->rflags = rflags;
}

/* Tell the MMU of a control register that Unicorn has changed; the bits that differ from *seen, as
 * it changed them. */
static u32 bring_over(struct vcpu *v, int reg, u64 *seen, u64 ours,
		      u32 (*write)(struct mmu_unit *, u64))
{
	u64 value = reg_read(v, reg);
	u32 result;

	if (value == *seen)
		return XLATE_OK;
	result = write(v->mmu, ours ^ *seen ^ value);
	if (result == XLATE_OK)
		*seen = value;
	else
		reg_write(v, reg, *seen);
	return result;
}

static u32 bring_cr0_cr4(struct vcpu *v)
{
	u32 cr0 = bring_over(v, UC_X86_REG_CR0, &v->seen_cr0, v->mmu->cr0,
			     MMU(v, mmu_write_cr0, write_cr0));
	u32 cr4 = bring_over(v, UC_X86_REG_CR4, &v->seen_cr4, v->mmu->cr4,
			     MMU(v, mmu_write_cr4, write_cr4));

	if (v->mmu->cr4 & CR4_SMAP)
		sync_ac(v);
	return cr0 != XLATE_OK ? cr0 : cr4;
}

/*
 * At each fill: registers that a script wrote, CR3 first, whose PCID CR4.PCIDE may ask to be 0.
 * What no processor would hold is taken back.
 */
void control_sync(struct vcpu *v)
{
	u64 cr3 = reg_read(v, UC_X86_REG_CR3);

	if (cr3 != v->seen_cr3 && MMU(v, mmu_write_cr3, write_cr3)(v->mmu, cr3) != XLATE_OK)
		reg_write(v, UC_X86_REG_CR3, v->seen_cr3);
	else
		v->seen_cr3 = cr3;
	bring_cr0_cr4(v);
}

/* MOV to CR3, which counts even if the value is the same. */
static u32 carry_out_mov_cr3(struct vcpu *v)
{
	u64 value = reg_read(v, UC_X86_REG_CR3);
	u32 result = MMU(v, mmu_write_cr3, write_cr3)(v->mmu, value);

	if (result == XLATE_OK)
		v->seen_cr3 = value;
	else
		reg_write(v, UC_X86_REG_CR3, v->seen_cr3);
	return result;
}

static u32 carry_out_mov_cr(struct vcpu *v, const struct insn *insn)
{
	return (insn_opcode(insn, 2) >> 3 & 7) == 3 ? carry_out_mov_cr3(v) : bring_cr0_cr4(v);
}

/*
 * Do to the MMU what the instruction that ended the block did. False: it was not allowed, and the
 * run ends.
 */
bool control_carry_out(struct vcpu *v)
{
	u32 control = v->pending.control;
	u64 rip = 0;
	struct insn insn;

	v->pending.control = CONTROL_NONE;
	if (!v->block.known)
		return true;
	insn_count(v, v->block.known->pc, v->block.known->pc + v->block.known->size, &rip);
	insn_read(v, rip, &insn);
	if (control == CONTROL_INVLPG)
		MMU(v, mmu_invlpg, invlpg)(v->mmu, insn_memory_operand(v, &insn, rip, 2, 0));
	else if (carry_out_mov_cr(v, &insn) != XLATE_OK) {
		/* SDM vol. 2B MOV to CR: #GP, which Unicorn does not know */
		end(v, STOP_REFUSED, rip, FETCHED, AGAIN_NO);
		return false;
	}
	return true;
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
