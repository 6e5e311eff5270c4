/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INVPCID in a guest that was attached to (SDM vol. 2A INVPCID): Unicorn does not know it. */
#include "unicorn/vcpu.h"

#define DESCRIPTOR_SIZE 16

/* 66 0F 38 82 /r, of a memory operand. */
bool is_invpcid(const struct insn *insn)
{
	return insn_opcode(insn, 0) == 0x0f && insn_opcode(insn, 1) == 0x38 &&
	       insn_opcode(insn, 2) == 0x82 && insn->operand16 && !insn->rep && !insn->lock &&
	       insn->nr > insn->opcode_at + 3 && insn_opcode(insn, 3) < 0xc0;
}

/* The register operand: the type, of which any above 3 is as illegal as another. */
static u32 type_of(const struct vcpu *v, const struct insn *insn)
{
	u64 type = insn_gpr(v, (insn_opcode(insn, 3) >> 3 & 7) | (insn->rex & 4u) << 1);

	return type > 3 ? 4 : (u32)type;
}

/* Carry out the INVPCID at rip. XLATE_OK, or why not: XLATE_PF with the fault in *t, at *at. */
static u32 invpcid(struct vcpu *v, const struct insn *insn, u64 rip, struct translation *t, u64 *at)
{
	u64 va = insn_memory_operand(v, insn, rip, 3, 0), descriptor[2];
	u32 result;

	if (!(v->mmu->features & FEATURE_INVPCID))
		return XLATE_UD;
	*at = 0;
	if (cpl(v))
		return XLATE_GP;
	result = linear_access(v, va, descriptor, DESCRIPTOR_SIZE, ACCESS_READ,
			       PRIVILEGE_SUPERVISOR, t, at);
	if (result != XLATE_OK)
		return result;
	*at = 0;
	return MMU(v, mmu_invpcid, invpcid)(v->mmu, type_of(v, insn), descriptor[0], descriptor[1]);
}

/* The load at va faulted: whether it is to be tried again. Else the run has been ended. */
static bool is_mended(struct vcpu *v, u64 va, struct translation *t)
{
	describe_fault(v, va, ACCESS_READ, t);
	v->shared.exit.exact = 1;
	return v->guest->on_fault(v, va, ACCESS_READ, ACCESS_READ, t, NULL) == ANSWER_INSTALL;
}

/* The run ended at an INVPCID: carry it out and step over it, or have it end by its exception. */
void finish_invpcid(struct vcpu *v)
{
	struct translation t = { .result = XLATE_OK };
	u64 rip = v->end.rip, at = 0;
	struct insn insn;
	u32 result;

	begin(v);
	control_sync(v);
	insn_read(v, rip, &insn);
	do
		result = invpcid(v, &insn, rip, &t, &at);
	while (result != XLATE_OK && at && is_mended(v, at, &t));
	if (result == XLATE_OK) {
		drop_forgotten(v);
		vcpu_skip(v, insn_length(v, insn.byte, insn.nr));
		end(v, STOP_EMULATED, NO_ADDRESS, DONE, AGAIN_START);
		return;
	}
	if (result == XLATE_UD)
		end_by_exception(v, VECTOR_UD, rip, FETCHED);
	else if (!at)
		end(v, STOP_REFUSED, rip, FETCHED, AGAIN_NO);
	settle(v);
}
